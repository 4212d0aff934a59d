//! Many connections at once, at sizes that a test machine can afford: more than the descriptors of one process, and more
//! workers than cores. Needs direct descriptors (Linux 6.13) and a hard limit of 20 000 open files.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread::JoinHandle;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shakedown::base::{Seed, StreamPurpose};
use shakedown::measure::ModeCounts;
use shakedown::protocol::{C0C1_SIZE, C2_SIZE, C2Verdict, S0S1S2_SIZE, ServerHandshake, ServerState, ServerTemplates};
use shakedown::run::{Attempts, RunResult};
use support::{PATIENCE, RunOutput, SinkProcess, run, run_by, tool};

/// The binary in a process that may have `files` open files.
fn limited_to(files: u32) -> Command {
    let mut command = Command::new(tool("prlimit"));
    command.arg(format!("--nofile={files}:{files}")).arg(env!("CARGO_BIN_EXE_shakedown"));
    command
}

/// All of `count` attempts completed and were verified.
fn assert_completed(result: &RunResult, count: u64) {
    let held = result.attempts.held;
    let all = Attempts { due: count, started: count, completed: count, held, ..Attempts::default() };
    assert_eq!(result.attempts, all, "{:?}", result.failures);
    assert_eq!(result.modes, ModeCounts { complex_verified: count, ..ModeCounts::default() });
}

#[test]
fn one_worker_has_15000_attempts_in_flight() {
    const COUNT: usize = 15_000;
    let server = PatientServer::start(COUNT);
    let arguments = format!("{} -t 1 -c {COUNT} -n {COUNT} --connect-timeout 60s --timeout 60s", server.address);
    let result = run_by(limited_to(20_000), &arguments).passed();
    assert_completed(&result, COUNT as u64);
    assert_eq!(result.environment.nofile, 20_000);
    // It answered the first only when it had accepted the last.
    assert_eq!(server.finish(), COUNT);
}

#[test]
fn workers_together_exceed_the_limit_of_one_process() {
    const COUNT: u64 = 30_000;
    let sink = SinkProcess::start("--workers 3");
    let arguments = format!(
        "{} -t 4 -c {COUNT} -n {COUNT} --hold forever --source 127.0.0.1-127.0.0.5 --connect-timeout 60s --timeout 60s",
        sink.address()
    );
    let result = run_by(limited_to(10_000), &arguments).passed();
    assert_completed(&result, COUNT);
    let connections = result.connections;
    assert_eq!((connections.held, connections.held_peak, connections.lost_while_held), (COUNT, COUNT, 0));
    assert_eq!(result.workers.len(), 4);
    let counts = sink.counts();
    assert_eq!((counts.accepted, counts.c2_valid, counts.reset, counts.held), (COUNT, COUNT, COUNT, 0));
}

#[test]
fn a_hundred_thousand_are_held_at_once() {
    const COUNT: u64 = 100_000;
    let sink = SinkProcess::start("--workers 6");
    // Opened at a rate, as each attempt in flight needs buffers; a machine too slow for it takes longer.
    let arguments = format!(
        "{} -R 8k/s -c {COUNT} -n {COUNT} --verify sample --hold forever --source 127.0.0.10-127.0.0.21 \
         --connect-timeout 60s --timeout 60s",
        sink.address()
    );
    let result = run_by(limited_to(20_000), &arguments).result();
    let all = Attempts { due: COUNT, started: COUNT, completed: COUNT, held: COUNT, ..Attempts::default() };
    assert_eq!(result.attempts, all, "{:?}", result.failures);
    let connections = result.connections;
    assert_eq!((connections.held, connections.held_peak, connections.lost_while_held), (COUNT, COUNT, 0));
    assert_eq!(result.workers.len(), 5, "a worker's file table holds 20 000");
    let counts = sink.counts();
    assert_eq!((counts.accepted, counts.c2_valid, counts.reset, counts.held), (COUNT, COUNT, COUNT, 0));
}

#[test]
fn a_timed_hold_keeps_every_slot_busy() {
    const COUNT: u64 = 2_000;
    let sink = SinkProcess::start("");
    // Twice as many attempts as slots: the second half waits for the first one's hold.
    let result = run(&format!("{} -c {} -n {COUNT} --hold 1s", sink.address(), COUNT / 2));
    assert_completed(&result, COUNT);
    let connections = result.connections;
    assert!((1..=COUNT / 2).contains(&connections.held_peak), "{connections:?}");
    assert_eq!(connections.lost_while_held, 0);
    assert!(result.window.duration_s >= 1.0, "{:?}", result.window);
    assert_eq!(sink.counts().c2_valid, COUNT);
}

#[test]
fn every_slot_is_used_whatever_worker_has_it() {
    let sink = SinkProcess::start("");
    for (workers, count) in [(2, 2), (3, 100), (4, 1_001), (4, 5_000)] {
        let arguments = format!("{} -t {workers} -c {count} -n {count} --hold forever", sink.address());
        let result = run(&arguments);
        assert_completed(&result, count);
        assert_eq!(result.connections.held_peak, count, "{workers} workers");
    }
}

#[test]
fn a_plan_that_no_table_holds_names_what_it_needs() {
    let refused = |files, arguments: &str| {
        let RunOutput { code, printed, told } = run_by(limited_to(files), arguments);
        assert_eq!((code, printed.as_str()), (2, ""), "{told}");
        told
    };
    let told = refused(1_000, "127.0.0.1:1935 -c 4500 -t 2");
    assert!(told.contains("4500 slots need 5 workers") && told.contains("give -t 5"), "{told}");
    let told = refused(20_000, "127.0.0.1:1935 -c 1000000 --source 127.0.0.1-127.0.0.2");
    assert!(told.contains("1000000 connections need 1000000 local ports"), "{told}");
}

#[test]
fn more_workers_are_made_where_the_tables_need_them() {
    let sink = SinkProcess::start("");
    let output = run_by(limited_to(200), &format!("{} -c 900 -n 900 --hold forever", sink.address()));
    assert!(output.told.contains("5 workers"), "{}", output.told);
    let result = output.passed();
    assert_completed(&result, 900);
    assert_eq!((result.workers.len(), result.connections.held_peak), (5, 900));
}

/// A server that answers nobody until everybody has come.
struct PatientServer {
    address: SocketAddr,
    thread: JoinHandle<usize>,
}

impl PatientServer {
    /// Serves the first `count` connections.
    fn start(count: usize) -> Self {
        raise_file_limit(count as u64 + 500);
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let thread = std::thread::spawn(move || serve(&listener, count));
        Self { address, thread }
    }

    /// The number of signed C2s.
    fn finish(self) -> usize {
        self.thread.join().expect("every connection is served")
    }
}

fn serve(listener: &TcpListener, count: usize) -> usize {
    let templates = ServerTemplates::sign(1, &mut Seed::new(1).stream(StreamPurpose::ServerTemplates, 0));
    let mut connections: Vec<(TcpStream, Vec<u8>)> = (0..count)
        .map(|_| {
            let (stream, _) = listener.accept().expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
            (stream, vec![0; C0C1_SIZE])
        })
        .collect();
    let mut handshakes = vec![ServerHandshake::new(0, true); count];
    for ((stream, received), handshake) in connections.iter_mut().zip(&mut handshakes) {
        stream.read_exact(received).expect("C0C1");
        assert_eq!(handshake.advance(received, &templates), Ok(ServerState::AwaitingC2));
        let mut answer = [0; S0S1S2_SIZE];
        handshake.write_s0s1s2(received, &templates, &mut answer);
        stream.write_all(&answer).expect("the client reads");
    }
    let valid = connections.iter_mut().zip(&mut handshakes).filter_map(|((stream, received), handshake)| {
        received.resize(C0C1_SIZE + C2_SIZE, 0);
        stream.read_exact(&mut received[C0C1_SIZE..]).expect("C2 stays readable after the reset that follows it");
        (handshake.advance(received, &templates) == Ok(ServerState::Done(C2Verdict::Valid))).then_some(())
    });
    valid.count()
}

/// Lets this process open `needed` files.
fn raise_file_limit(needed: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    assert!(maximum.is_none_or(|maximum| maximum >= needed), "needs a hard limit of {needed} open files (ulimit -Hn)");
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard limit");
}
