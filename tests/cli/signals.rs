//! SIGINT, SIGTERM and SIGHUP: the first ends the load and drains, the second ends everything at once; both leave a report.

use std::fs::File;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::process::Signal;
use serde_json::Value;
use shakedown::protocol::{C0C1_SIZE, C2_SIZE};

use super::command::{BINARY, Ended, assert_conserved, ended_in, failures, prepared};
use super::hostile::{answer, send, until_closed};
use crate::support::{PATIENCE, ScriptedPeer, Server, scripted_peer};

/// A server that says when a connection got so far, and waits with all of them until it may go on.
pub struct Peer {
    pub scripted: ScriptedPeer,
    reached: Receiver<()>,
    /// Dropped: all may go on.
    gate: Sender<()>,
}

impl Peer {
    fn new(script: impl Fn(&mut TcpStream, &Sender<()>, &Mutex<Receiver<()>>) + Send + Sync + 'static) -> Self {
        let (reach, reached) = channel();
        let (gate, closed) = channel();
        let closed = Mutex::new(closed);
        let scripted = scripted_peer(move |mut stream| script(&mut stream, &reach, &closed));
        Self { scripted, reached, gate }
    }

    /// Reads C0C1, says so, and closes when it may.
    pub fn silent() -> Self {
        Self::new(|stream, reach, gate| {
            if stream.read_exact(&mut [0; C0C1_SIZE]).is_ok() {
                let _test_is_over = reach.send(());
                let _test_is_over = gate.lock().expect("no thread panicked").recv_timeout(PATIENCE);
            }
        })
    }

    /// Serves a handshake, says when C2 has come, and keeps the connection.
    pub fn serving() -> Self {
        Self::new(|stream, reach, _| {
            let mut c0c1 = [0; C0C1_SIZE];
            if stream.read_exact(&mut c0c1).is_ok() && send(stream, &answer(&c0c1)) {
                if stream.read_exact(&mut [0; C2_SIZE]).is_ok() {
                    let _test_is_over = reach.send(());
                }
                until_closed(stream);
            }
        })
    }

    pub fn wait_for(&self, connections: usize) {
        for _ in 0..connections {
            self.reached.recv_timeout(PATIENCE).expect("the generator connects");
        }
    }

    fn open_gate(&mut self) {
        self.gate = channel().0;
    }

    /// A run of two clients against it, with its output in `folder`.
    pub fn start(&self, folder: &Path, flags: &str) -> Server {
        let stdout = File::create(folder.join("stdout")).unwrap();
        let words = format!("run {} -c 2 -d 10m --timeout 10m -o result.json {flags}", self.scripted.address());
        Server::start(prepared(&words).current_dir(folder).stdin(Stdio::null()).stdout(stdout))
    }
}

/// Sends `signal` and waits until the run says that it has seen it.
fn signal(run: &mut Server, signal: Signal) {
    run.signal(signal);
    let word = match signal {
        Signal::INT => "interrupted:",
        Signal::TERM => "terminated:",
        _ => "ended by SIGHUP:",
    };
    run.wait_until(|line| line.starts_with(word)).expect("it binds no port");
}

/// Waits for the end; exit code and result, which the file and the report agree on.
fn finish(run: Server, folder: &Path) -> (Option<i32>, Value) {
    let (status, stderr) = run.finish();
    assert!(!stderr.iter().any(|line| line.contains("panicked")), "{stderr:#?}");
    let printed = std::fs::read_to_string(folder.join("stdout")).unwrap();
    let report: Ended = ended_in(folder, "report result.json");
    assert_eq!((report.code, report.stdout), (status.code(), printed), "{stderr:#?}");
    let result = ended_in(folder, "report result.json --json").json();
    assert_conserved(&result);
    (status.code(), result)
}

#[test]
fn the_first_signal_drains_what_is_in_flight() {
    for (number, word, code) in
        [(Signal::INT, "interrupt", 130), (Signal::TERM, "terminate", 143), (Signal::HUP, "hangup", 129)]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut peer = Peer::silent();
        let mut run = peer.start(folder.path(), "");
        peer.wait_for(2);
        signal(&mut run, number);
        peer.open_gate();
        let (exit, result) = finish(run, folder.path());
        assert_eq!((exit, &result["interrupted"]), (Some(code), &word.into()));
        assert_eq!(result["interrupted_at"]["phase"], "load");
        // A worker that closed its connection just before it saw the order may have started another one.
        let due = result["attempts"]["due"].as_u64().unwrap();
        assert!((2..=4).contains(&due), "{due}");
        assert_eq!(failures(&result), format!("s0 closed target x {due}"));
        assert_eq!(result["attempts"]["in_flight"], 0);
    }
}

#[test]
fn the_second_signal_ends_at_once_and_counts_what_it_cut() {
    for (first, second, code) in
        [(Signal::INT, Signal::INT, 130), (Signal::TERM, Signal::INT, 143), (Signal::HUP, Signal::HUP, 129)]
    {
        let folder = tempfile::tempdir().unwrap();
        let peer = Peer::silent();
        let mut run = peer.start(folder.path(), "");
        peer.wait_for(2);
        signal(&mut run, first);
        run.signal(second);
        let (exit, result) = finish(run, folder.path());
        assert_eq!(exit, Some(code));
        assert_eq!((&result["attempts"]["due"], &result["attempts"]["in_flight"]), (&2.into(), &2.into()));
    }
}

#[test]
fn a_signal_releases_held_connections() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::serving();
    let mut run = peer.start(folder.path(), "--hold forever");
    peer.wait_for(2);
    signal(&mut run, Signal::INT);
    let (exit, result) = finish(run, folder.path());
    assert_eq!((exit, &result["interrupted"]), (Some(130), &"interrupt".into()));
    assert_eq!((&result["attempts"]["completed"], &result["attempts"]["in_flight"]), (&2.into(), &0.into()));
    assert_eq!(
        (&result["connections"]["held_peak"], &result["connections"]["lost_while_held"]),
        (&2.into(), &0.into())
    );
}

#[test]
fn a_signal_goes_before_a_missed_condition() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::serving();
    let mut run = peer.start(folder.path(), "--hold forever --threshold rate>10M/s");
    peer.wait_for(2);
    signal(&mut run, Signal::TERM);
    let (exit, result) = finish(run, folder.path());
    assert_eq!((exit, &result["thresholds"][0]["pass"]), (Some(143), &false.into()));
}

#[test]
fn a_simulated_run_is_interrupted_like_a_real_one() {
    let folder = tempfile::tempdir().unwrap();
    let stdout = File::create(folder.path().join("stdout")).unwrap();
    let words = "run --engine sim --seed 1 -d 1000h -c 4 -o result.json";
    let mut run = Server::start(prepared(words).current_dir(folder.path()).stdin(Stdio::null()).stdout(stdout));
    run.wait_until(|line| line.starts_with("closed loop")).expect("it binds no port");
    run.signal(Signal::TERM);
    let (exit, result) = finish(run, folder.path());
    assert_eq!((exit, &result["interrupted"]), (Some(143), &"terminate".into()));
    assert_eq!(result["interrupted_at"]["phase"], "load");
    assert_eq!(result["attempts"]["in_flight"], 0);
}

#[test]
fn a_signal_that_was_ignored_before_is_ignored_still() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::silent();
    let stdout = File::create(folder.path().join("stdout")).unwrap();
    let mut command = std::process::Command::new("nohup");
    command
        .arg(BINARY)
        .args(format!("run {} -c 2 -d 10m --timeout 10m -o result.json", peer.scripted.address()).split(' '));
    let mut run = Server::start(command.current_dir(folder.path()).stdin(Stdio::null()).stdout(stdout));
    peer.wait_for(2);
    run.signal(Signal::HUP);
    signal(&mut run, Signal::TERM);
    run.signal(Signal::TERM);
    let (exit, result) = finish(run, folder.path());
    assert_eq!((exit, &result["interrupted"]), (Some(143), &"terminate".into()));
}

#[test]
fn a_search_that_is_hung_up_on_saves_what_it_knows() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::silent();
    let words = format!("capacity {} -o c.json --no-control --budget 10m", peer.scripted.address());
    let mut run = Server::start(prepared(&words).current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()));
    peer.wait_for(1);
    run.signal(Signal::HUP);
    run.wait_until(|line| line.starts_with("ended by SIGHUP:")).expect("it binds no port");
    run.signal(Signal::HUP);
    let (status, told) = run.finish();
    let saved = std::fs::read_to_string(folder.path().join("c.json")).unwrap();
    let saved: Value = serde_json::from_str(&saved).unwrap();
    assert_eq!((status.code(), &saved["interrupted"]), (Some(129), &"hangup".into()), "{told:#?}");
}
