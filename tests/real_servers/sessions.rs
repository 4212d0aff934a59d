//! Sessions with nginx-rtmp: how far they come, and how it refuses them.

use shakedown::measure::{FailureKind, LatencySummary, Metric, Side, Step};
use shakedown::protocol::ClientProfile;
use shakedown::protocol::session::Course;
use shakedown::run::{FailureRow, RunResult};

use super::nginx::assert_completed;
use crate::support::{Load, Nginx, NginxOptions, SinkProcess, hook_server, run, run_by, shakedown_command, streams};

/// The only row of failures of a run in which nothing else happened.
fn the_failure(result: &RunResult) -> &FailureRow {
    let [row] = &result.failures[..] else { panic!("{:?}", result.failures) };
    assert_eq!((row.count, row.side), (result.attempts.failed, Side::Target));
    row
}

/// The only failure of a run against `url` of which nothing completes.
fn refused(url: &str, options: &str) -> FailureRow {
    let result = run_by(shakedown_command(), &format!("{url} -c 5 -n 20 {options}")).ended_with(5);
    assert_eq!((result.attempts.completed, result.attempts.failed), (0, 20));
    the_failure(&result).clone()
}

fn has_finding(result: &RunResult, code: &str) -> bool {
    result.generator.findings.iter().any(|finding| finding.code.to_string() == code)
}

fn spans(summary: Option<&LatencySummary>) -> &LatencySummary {
    summary.expect("attempts that went so far have spans")
}

/// nginx leaves Nagle's algorithm on and acknowledges late: who sends `connect` apart from C2 waits for 40 ms.
#[test]
fn publishers_of_our_own_wait_for_no_acknowledgement() {
    let nginx = Nginx::start(NginxOptions::default());
    let options = format!("{} -R 500/s --until publish", nginx.url("{id}"));
    let ours = run_by(shakedown_command(), &format!("{options} -n 2000")).result();
    assert_completed(&ours, 2_000);
    for metric in [
        ours.latency.get(Metric::Reply),
        ours.latency.get(Metric::AppConnect),
        ours.latency.get(Metric::Publish),
        ours.latency.get(Metric::Confirm),
    ] {
        assert_eq!(spans(metric).count, 2_000);
    }
    assert!(!has_finding(&ours, "nagle_plateau") && !has_finding(&ours, "connect_waits"));

    let ffmpegs = run_by(shakedown_command(), &format!("{options} -n 500 --client ffmpeg")).result();
    assert_completed(&ffmpegs, 500);
    assert!(has_finding(&ffmpegs, "connect_waits") && !has_finding(&ffmpegs, "nagle_plateau"));
    let waited = spans(ffmpegs.latency.get(Metric::AppConnect)).min_ns.expect("it has samples");
    // The kernel's delayed acknowledgement (TCP_DELACK_MIN) is 40 ms in ticks of at most 10 ms, the first of which has
    // begun before.
    assert!(waited >= 30_000_000, "{waited}");
    let usual = spans(ours.latency.get(Metric::AppConnect)).p50_ns.expect("it has samples");
    assert!(2 * usual < waited, "{usual} and {waited}");
}

#[test]
fn every_client_with_a_session_publishes_and_plays() {
    let nginx = Nginx::start(NginxOptions { statistics: true, ..NginxOptions::default() });
    let url = nginx.url("{id}");
    let able = |course| {
        let able = move |client: &ClientProfile| client.session().is_some_and(|spec| spec.dialogue(course).is_some());
        ClientProfile::ALL.into_iter().filter(able)
    };
    let mut publishers = 0;
    for client in able(Course::Publish) {
        let result = run(&format!("{url} -c 4 -n 20 --until publish --client {client}"));
        assert_completed(&result, 20);
        publishers += 1;
    }
    let mut source = Load::start(&format!("{} -c 1 -d 10m --until publish --hold forever", nginx.url("source")));
    source.wait_until(|| streams(&nginx.statistics()) == [1, 1]);
    let mut players = 0;
    for client in able(Course::Play) {
        let result = run(&format!("{} -c 4 -n 20 --until play --client {client}", nginx.url("source")));
        assert_completed(&result, 20);
        assert!(result.media.received_bytes > 0, "{client}: {:?}", result.media);
        players += 1;
    }
    assert!(publishers >= 8 && players >= 8, "{publishers} publish, {players} play");
}

#[test]
fn a_population_plays_what_another_publishes() {
    let nginx = Nginx::start(NginxOptions { statistics: true, ..NginxOptions::default() });
    let text = "
        [[population]]
        name = \"encoders\"
        stages = [{ rate = \"50/s\", for = \"200ms\" }]
        until = \"publish\"
        hold = \"forever\"
        stream = \"show-{id%10}\"

        [[population]]
        name = \"viewers\"
        stages = [{ rate = \"50/s\", for = \"2s\" }]
        until = \"play\"
        clients = { ffmpeg-play = 1, librtmp-swf = 1 }
        hold = \"forever\"
        stream = \"show-{id%10}\"
    ";
    let arguments = [nginx.address().to_string()];
    let load = Load::start_scenario(shakedown_command(), text, &[&arguments[0]]);
    let result = load.finish().result();
    let completed = |name: &str| {
        let row = result.by_population.iter().find(|row| row.name == name).expect("a row for each");
        row.attempts.completed
    };
    assert_eq!((completed("encoders"), completed("viewers")), (10, 100), "{:?}", result.failures);
    assert_eq!(result.connections.lost_while_held, 0);
    assert_eq!(spans(result.latency.get(Metric::FirstFrame)).count, 100);
    // A viewer is complete with its first one.
    assert!(result.media.received_messages >= 100 && result.media.received_bytes > 0, "{:?}", result.media);
}

#[test]
fn a_name_that_is_taken_is_named() {
    let nginx = Nginx::start(NginxOptions::default());
    let result = run(&format!("{} -c 20 -n 20 --until publish --hold forever --stream same", nginx.address()));
    assert_eq!((result.attempts.completed, result.attempts.failed), (1, 19));
    let row = the_failure(&result);
    assert_eq!((row.step, row.kind), (Step::Publish, FailureKind::NameTaken));
    let [reason] = &row.reasons[..] else { panic!("{:?}", row.reasons) };
    assert_eq!((reason.text.as_str(), reason.count), ("NetStream.Publish.BadName: Already publishing", 19));
    assert!(row.advice.contains("--stream"), "{}", row.advice);
}

/// nginx says nothing to those it refuses, it closes.
#[test]
fn refusals_without_a_word_are_told_apart_by_their_step() {
    let hooks = hook_server(|path, body| match path {
        "/connect" if !body.contains("app=locked&") => 200,
        _ => 403,
    });
    let nginx = Nginx::start(NginxOptions { hooks: Some(hooks.address()), ..NginxOptions::default() });
    let url = |app: &str| format!("rtmp://{}/{app}/{{id}}", nginx.address());
    for app in ["nowhere", "locked"] {
        let row = refused(&url(app), "--until publish");
        assert_eq!((row.step, row.kind), (Step::Reply, FailureKind::Closed), "{app}");
        assert!(row.advice.contains("the application's name"), "{}", row.advice);
    }
    for (step, options) in [(Step::Publish, "--until publish"), (Step::Play, "--until play --client ffmpeg-play")] {
        let row = refused(&url("guarded"), options);
        assert_eq!((row.step, row.kind), (step, FailureKind::Closed), "{options}");
        assert!(row.advice.contains("credentials"), "{}", row.advice);
    }
    // As far as `connect`, nobody asks about the stream.
    assert_completed(&run(&format!("{} -c 5 -n 20 --until connect", url("guarded"))), 20);
    assert_completed(&run(&format!("{} -c 5 -n 20 --until publish", url("live"))), 20);
}

/// nginx follows a redirection of a stream itself, as a relay, and closes after one of `connect`.
#[test]
fn redirections_of_the_sink_name_the_other_server() {
    let sink = SinkProcess::start("--reject connect:app=old*:redirect=rtmp://10.0.0.9/live");
    let row = refused(&format!("rtmp://{}/older/{{id}}", sink.address()), "--until publish");
    assert_eq!((row.step, row.kind), (Step::Reply, FailureKind::Redirected));
    assert!(row.reasons.iter().any(|reason| reason.text.contains("rtmp://10.0.0.9/live")), "{:?}", row.reasons);
}

#[test]
fn goodbye_ends_a_stream_before_its_connection() {
    for client in ["shakedown", "ffmpeg", "obs", "gstreamer"] {
        let nginx = Nginx::start(NginxOptions { logs_connections: true, ..NginxOptions::default() });
        let result = run(&format!("{} -c 2 -n 10 --until publish --close fin --client {client}", nginx.url("{id}")));
        assert_completed(&result, 10);
        let log = nginx.stop();
        // nginx ends the stream of a connection that is gone by itself: what counts comes before.
        let goodbyes = log.iter().filter(|line| line.contains("disconnect, client")).filter(|line| {
            let connection = connection(line).expect("it is of a connection");
            let of_it = log.iter().filter(|line| self::connection(line) == Some(connection));
            let mut before = of_it.take_while(|other| other != line);
            before.any(|line| line.contains("deleteStream"))
        });
        assert_eq!(goodbyes.count(), 10, "{client}: {log:#?}");
    }
}

/// The number of the connection that a line of nginx's log is about.
fn connection(line: &str) -> Option<&str> {
    line.split(' ').find_map(|word| word.strip_prefix('*'))
}
