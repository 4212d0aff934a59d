//! What real servers do with hostile and odd clients. The reactions are those that `docs/clients.md` tells of.

use shakedown::measure::{FailureKind, Side, Step};
use shakedown::run::{ReactionRow, RunResult, Verdict};

use crate::support::{Load, Nginx, NginxOptions, Rtmpsrv, RunOutput, run, run_by, shakedown_command};

/// How a server ends the connection of a client, and what it has sent by then.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reaction {
    /// FIN without a byte.
    Closes,
    /// Some bytes, then FIN; or RST, if the client's C2 was on its way.
    EndsInItsAnswer,
    /// S0S1S2, then FIN.
    ClosesAfterItsAnswer,
    /// Nothing as long as the client waits.
    Waits,
    /// S0S1S2, then nothing.
    Answers,
    /// The client hangs up itself.
    IsLeft,
}

/// The reactions to each client, all of which are of one kind.
fn reactions(result: &RunResult) -> Vec<(&str, Reaction)> {
    let one = |row: &ReactionRow| {
        let total = row.not_connected + row.closed + row.reset + row.open + row.left;
        let all = |count| count == total;
        let reaction = match () {
            () if all(row.left) => Reaction::IsLeft,
            () if all(row.closed) && all(row.answered) => Reaction::ClosesAfterItsAnswer,
            () if all(row.closed + row.reset) && all(row.partly_answered) => Reaction::EndsInItsAnswer,
            () if all(row.closed) && row.answered + row.partly_answered == 0 => Reaction::Closes,
            () if all(row.open) && all(row.answered) => Reaction::Answers,
            () if all(row.open) && row.answered + row.partly_answered == 0 => Reaction::Waits,
            () => panic!("{row:?}"),
        };
        assert!(total > 0, "every client has had its turn");
        reaction
    };
    let rows = result.by_client.iter();
    rows.map(|row| (row.name.as_str(), one(row.reactions.as_ref().expect("a hostile client")))).collect()
}

/// All of these clients, three attempts each, with that much patience.
fn reactions_of(server: &Nginx, clients: &[(&'static str, Reaction)], patience: &str) -> RunResult {
    let names = clients.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",");
    let attempts = 3 * clients.len() as u64;
    let result = run(&format!("{} -t 1 -c 8 -n {attempts} --client {names} --timeout {patience}", server.url("x")));
    assert_eq!((result.attempts.observed, result.attempts.failed), (attempts, 0), "{:?}", result.failures);
    assert_eq!((result.verdict, result.failures.len()), (Verdict::Pass, 0));
    assert_eq!(reactions(&result), clients);
    result
}

/// Clients that nginx answers or refuses at once, and what it does then.
const JUDGED_AT_ONCE: [(&str, Reaction); 10] = [
    ("version-0x00", Reaction::Closes),
    ("version-0x01", Reaction::Closes),
    ("version-0x06", Reaction::Closes),
    ("version-0x20", Reaction::Closes),
    ("wrong-digest", Reaction::Answers),
    ("zero-filler", Reaction::Answers),
    ("wrong-c2", Reaction::Answers),
    ("split-1536", Reaction::Answers),
    ("early-c2", Reaction::Answers),
    ("close-after-c1", Reaction::IsLeft),
];

#[test]
fn nginx_refuses_other_versions_and_forgives_the_rest() {
    reactions_of(&Nginx::start(NginxOptions::default()), &JUDGED_AT_ONCE, "700ms");
}

#[test]
fn nginx_waits_for_those_who_do_not_go_on() {
    let waited_for = ["half-c1", "silent", "http", "tls", "drip"].map(|name| (name, Reaction::Waits));
    let clients = [&waited_for[..], &[("no-c2", Reaction::Answers)]].concat();
    reactions_of(&Nginx::start(NginxOptions::default()), &clients, "700ms");
}

#[test]
fn nginx_closes_when_its_deadline_has_passed_without_a_byte() {
    let timed_out = ["half-c1", "silent", "http", "tls"].map(|name| (name, Reaction::Closes));
    // Each byte begins its time anew; a byte a second comes often enough.
    let others = [("no-c2", Reaction::ClosesAfterItsAnswer), ("drip", Reaction::Waits)];
    let clients = [&timed_out[..], &others].concat();
    let nginx = Nginx::start(NginxOptions { timeout_s: 2, ..NginxOptions::default() });
    let result = reactions_of(&nginx, &clients, "5s");
    for row in &result.by_client {
        let shortest = row.reactions.as_ref().and_then(|row| row.open_time.min_ns).expect("it was open");
        // nginx's clock stands still while it handles events.
        assert!(shortest >= 1_900_000_000, "{}: {shortest}", row.name);
    }
}

#[test]
fn rtmpsrv_refuses_other_versions_and_wrong_digests() {
    for (client, expected) in [
        ("version-0x00", Reaction::Closes),
        ("version-0x01", Reaction::Closes),
        ("version-0x20", Reaction::Closes),
        ("wrong-digest", Reaction::EndsInItsAnswer),
        ("wrong-c2", Reaction::ClosesAfterItsAnswer),
        ("early-c2", Reaction::ClosesAfterItsAnswer),
        ("zero-filler", Reaction::Answers),
        ("no-c2", Reaction::Answers),
        ("half-c1", Reaction::Waits),
        ("silent", Reaction::Waits),
        ("http", Reaction::Waits),
        ("tls", Reaction::Waits),
    ] {
        let server = Rtmpsrv::start();
        let shakedown = server.command(env!("CARGO_BIN_EXE_shakedown"));
        let arguments = format!("{} -c 1 -n 2 --client {client} --timeout 500ms", Rtmpsrv::ADDRESS);
        let result = run_by(shakedown, &arguments).passed();
        assert_eq!(reactions(&result), [(client, expected)]);
    }
}

#[test]
fn hostile_clients_do_not_disturb_the_others() {
    let nginx = Nginx::start(NginxOptions::default());
    let clients = "shakedown=3,ffmpeg=3,half-c1,silent,drip,version-0x20";
    let result = run(&format!("{} -t 1 -c 64 -n 1000 --client {clients} --timeout 500ms", nginx.url("x")));
    let attempts = result.attempts;
    assert_eq!((attempts.completed, attempts.observed, attempts.failed), (600, 400, 0), "{:?}", result.failures);
    for row in &result.by_client {
        let (completed, observed) = if row.reactions.is_none() { (300, 0) } else { (0, 100) };
        assert_eq!((row.attempts.completed, row.attempts.observed), (completed, observed), "{}", row.name);
    }
}

/// Six attempts of `client` that expect something.
fn expecting(nginx: &Nginx, client: &str, expectation: &str) -> RunOutput {
    let arguments = [&nginx.url("x"), "-c", "6", "-n", "6", "--client", client, "--expect", expectation];
    Load::start_by(shakedown_command(), &arguments).finish()
}

#[test]
fn an_expectation_that_is_met_passes() {
    let nginx = Nginx::start(NginxOptions { timeout_s: 2, ..NginxOptions::default() });
    for (client, expectation) in [
        ("version-0x01", "closed within 5s"),
        ("silent", "closed within 20s"),
        ("drip", "open for 3s"),
        ("wrong-digest", "answered within 20s"),
    ] {
        let result = expecting(&nginx, client, expectation).passed();
        assert_eq!((result.attempts.observed, result.attempts.failed), (6, 0), "{client}: {expectation}");
    }
}

#[test]
fn an_expectation_that_is_missed_exits_with_3() {
    let nginx = Nginx::start(NginxOptions::default());
    for (client, expectation, step) in [
        ("silent", "closed within 1s", Step::S0),
        ("version-0x01", "open for 1s", Step::S0),
        ("version-0x01", "reset within 1s", Step::S0),
        ("http", "answered within 1s", Step::S0),
        ("no-c2", "closed within 1s", Step::Hold),
    ] {
        let output = expecting(&nginx, client, expectation);
        let result = output.ended_with(3);
        assert_eq!((result.attempts.observed, result.attempts.failed), (0, 6), "{client}: {expectation}");
        let [row] = &result.failures[..] else { panic!("{:?}", result.failures) };
        assert_eq!((row.step, row.kind, row.side, row.count), (step, FailureKind::Unexpected, Side::Target, 6));
        let reactions = result.by_client[0].reactions.as_ref().expect("a hostile client");
        assert_eq!((reactions.unexpected, result.verdict), (6, Verdict::Fail), "{client}: {expectation}");
    }
}
