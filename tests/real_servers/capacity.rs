//! Searches for capacities of real servers: short ones, whose answers do not depend on how fast the machine is.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use shakedown::capacity::{CapacityResult, LimitedBy, Outcome};
use shakedown::observe::listener_of;

use crate::support::{Authority, Nginx, NginxOptions, PATIENCE, Server, SinkProcess, shakedown_command};

/// Trials so short, and a deadline so long, that a busy machine can carry them out.
const SHORT: &str = "--budget 40s --trial 1s --confirm 4s --width 10% --deadline 500ms --no-control";

/// `shakedown capacity` with `words`, its cache in `folder`.
fn command(folder: &Path, words: &str) -> Command {
    let mut command = shakedown_command();
    command.arg("capacity").args(words.split_whitespace()).env("XDG_CACHE_HOME", folder).current_dir(folder);
    command
}

/// Its exit code and result.
fn capacity(words: &str) -> (i32, CapacityResult) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = assert_cmd::Command::from_std(command(folder.path(), words));
    let ended = command.args(["--json", "-q"]).timeout(3 * PATIENCE).output().expect("an executable file");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    let text = String::from_utf8(ended.stdout).expect("JSON is UTF-8");
    let result = CapacityResult::parse(&text, Path::new("stdout")).unwrap_or_else(|error| panic!("{error}: {told}"));
    (ended.status.code().expect("no signal"), result)
}

fn highest(result: &CapacityResult) -> f64 {
    result.trials.iter().map(|trial| trial.rate_per_s).fold(0.0, f64::max)
}

#[test]
fn a_need_that_nginx_meets_is_never_exceeded() {
    let nginx = Nginx::start(NginxOptions::default());
    let (code, result) = capacity(&format!("{} --need 100 --margin 1.5 {SHORT}", nginx.url("x")));
    assert!(highest(&result) <= 150.0, "{:?}", result.trials);
    assert!(result.local_target);
    assert_eq!(result.server.as_deref(), Some("nginx"));
    // What else the machine does decides which answer it is; the exit code is that answer's.
    let qualified = result.qualification.expect("an answer").qualified;
    assert_eq!(code, qualified.map_or(4, |yes| if yes { 0 } else { 3 }), "{}", result.statement);
    assert!(qualified != Some(true) || result.confirmation.is_some_and(|confirmation| confirmation.passed));
}

#[test]
fn what_was_allowed_limits_the_range() {
    let nginx = Nginx::start(NginxOptions::default());
    let (code, result) = capacity(&format!("{} --max-rate 200 {SHORT}", nginx.url("x")));
    assert!(highest(&result) <= 200.0, "{:?}", result.trials);
    let goal = result.first_goal().expect("a goal");
    // On a machine that is busy with other things even this may be too much.
    if code == 0 {
        assert_eq!((goal.outcome, goal.limited_by), (Outcome::RangeLimited, LimitedBy::Range));
        assert!(result.statement.contains("range-limited"), "{}", result.statement);
    } else {
        assert_ne!(goal.outcome, Outcome::RangeLimited, "{}", result.statement);
    }
}

#[test]
fn nobody_who_listens_ends_it_at_once() {
    let nginx = Nginx::start(NginxOptions::default());
    let url = nginx.url("x");
    nginx.stop();
    let (code, result) = capacity(&format!("{url} {SHORT}"));
    assert_eq!((code, result.trials.len()), (5, 0));
    assert!(result.statement.contains("nothing completes"), "{}", result.statement);
}

#[test]
fn a_signal_leaves_what_was_known() {
    let nginx = Nginx::start(NginxOptions::default());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let words = format!("{} --max-rate 100 --budget 5m --deadline 500ms --no-control -o known.json", nginx.url("x"));
    let mut command = command(folder.path(), &words);
    let mut search = Server::start(command.stdin(Stdio::null()).stdout(Stdio::null()));
    search.wait_until(|line| line.contains("climb ") && line.contains("/s for")).expect("it needs no port");
    search.signal(Signal::INT);
    let (status, _) = search.finish();
    assert_eq!(status.code(), Some(130));
    let known = CapacityResult::read(&folder.path().join("known.json")).expect("it was saved");
    assert_eq!(known.interrupted, Some(shakedown::run::Signal::Interrupt));
    assert!(known.baseline.is_some() && !known.trials.is_empty(), "{}", known.statement);
}

#[test]
fn a_server_that_stands_still_now_and_then_is_not_given_a_capacity() {
    let nginx = Nginx::start(NginxOptions::default());
    let workers: Vec<u32> = listener_of(nginx.address()).processes.iter().map(|process| process.pid).collect();
    let (stop, stopped) = channel::<()>();
    let signal = move |signal| {
        for pid in &workers {
            let pid = Pid::from_raw(pid.cast_signed()).expect("the number of a process");
            let _ended = kill_process(pid, signal);
        }
    };
    let stalls = std::thread::spawn(move || {
        for (next, length) in [(Signal::STOP, 4_700), (Signal::CONT, 300)].into_iter().cycle() {
            if stopped.recv_timeout(Duration::from_millis(length)) != Err(RecvTimeoutError::Timeout) {
                return signal(Signal::CONT);
            }
            signal(next);
        }
    });
    // Each stall is in a confirmation, and loses what waits for more than the deadline: several percent at any rate.
    let words = "--max-rate 400 --budget 60s --trial 3s --confirm 6s --deadline 100ms --no-control";
    let (code, result) = capacity(&format!("{} {words}", nginx.url("x")));
    drop(stop);
    stalls.join().expect("the thread that stalls it");
    assert_ne!(code, 0, "{}", result.statement);
    let outcome = result.first_goal().map(|goal| (goal.outcome, goal.confirmed_per_s));
    assert!(matches!(outcome, Some((_, None))), "{outcome:?}: {}", result.statement);
}

#[test]
fn a_sink_on_the_same_machine_has_no_capacity_but_the_generators() {
    let sink = SinkProcess::start("--workers 1");
    let (code, result) = capacity(&format!("{} {SHORT}", sink.address()));
    assert_eq!(code, 4, "{}", result.statement);
    assert_eq!(result.server.as_deref(), Some("shakedown"));
    let goal = result.first_goal().expect("a goal");
    if goal.lower_bound_per_s.is_some() {
        assert_eq!((goal.outcome, goal.limited_by), (Outcome::GeneratorLimited, LimitedBy::Generator));
        assert!(result.statement.contains("at least"), "{}", result.statement);
    }
}

#[test]
fn the_ceiling_is_measured_once_and_remembered() {
    let nginx = Nginx::start(NginxOptions::default());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let once = || {
        let words = format!("{} --need 50 --budget 60s --trial 1s --deadline 500ms --json -q", nginx.url("x"));
        let ended = assert_cmd::Command::from_std(command(folder.path(), &words)).output().expect("an executable file");
        let text = String::from_utf8(ended.stdout).expect("JSON is UTF-8");
        CapacityResult::parse(&text, Path::new("stdout")).expect("a result").control.expect("a control")
    };
    let (first, second) = (once(), once());
    assert!(first.built_in_sink && !first.cached, "{first:?}");
    // What was measured beside other work is not remembered.
    let kept = fs::read_dir(folder.path().join("shakedown")).map_or(0, Iterator::count);
    assert!(kept == 1 || !second.cached, "{second:?}");
    assert!(!second.cached || first.ceiling_per_s == second.ceiling_per_s, "{first:?}, {second:?}");
}

#[test]
fn the_ceiling_is_that_of_tls_where_the_target_speaks_it() {
    const NAME: &str = "ingest.test";
    let authority = Authority::new("authority");
    let nginx = Nginx::start(NginxOptions { tls: Some(authority.issue(NAME)), ..NginxOptions::default() });
    let trust = format!("--tls-ca {} --tls-name {NAME}", authority.file().display());
    let target = format!("rtmps://{}/live/x {trust}", nginx.tls_address());
    let (_, result) = capacity(&format!("{target} --need 20 --budget 2m --trial 1s --deadline 500ms"));
    let control = result.control.as_ref().unwrap_or_else(|| panic!("no control: {}", result.statement));
    assert!(control.built_in_sink && control.ceiling_per_s > 20.0, "{control:?}");
}
