//! A generator that is stopped (Ctrl-Z, a virtual machine that is paused) and goes on.

use std::process::Stdio;

use rustix::process::Signal;

use super::command::{assert_conserved, ended, ended_in, failures, prepared};
use super::signals::Peer;
use crate::support::{Server, SinkProcess};

#[test]
fn what_a_stopped_generator_missed_is_its_own_doing() {
    let folder = tempfile::tempdir().unwrap();
    let (peer, clock) = (Peer::serving(), SinkProcess::start(""));
    let words = format!(
        "run {} -R 100 -n 400 -c 4 --close fin --threshold response.max<1s --threshold response.p50<30s -o result.json",
        peer.scripted.address()
    );
    let mut command = prepared(&words);
    let run = Server::start(command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()));
    peer.wait_for(50);
    run.signal(Signal::STOP);
    // Another generator is the clock: it takes two seconds.
    assert_eq!(ended(&format!("run {} -R 50 -n 101", clock.address())).code, Some(0));
    run.signal(Signal::CONT);
    let (status, stderr) = run.finish();
    let result = ended_in(folder.path(), "report result.json --json").json();
    assert_eq!(status.code(), Some(4), "{stderr:#?} {result}");
    assert_conserved(&result);
    assert_eq!(failures(&result), "");
    assert_eq!(result["thresholds"][0]["pass"], serde_json::Value::Null);
    assert!(result["generator"]["pauses"][0]["duration_s"].as_f64().unwrap() > 1.0, "{}", result["generator"]);
    let due = result["timeline"].as_array().unwrap().iter().map(|row| row["due"].as_u64().unwrap());
    assert_eq!(due.take(4).collect::<Vec<_>>(), [100; 4]);
}
