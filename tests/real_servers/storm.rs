//! Fleets that lose their connections at once and come back to nginx.

use shakedown::run::{RunResult, StormRow};

use super::nginx::assert_completed;
use crate::support::{Load, Namespace, Nginx, NginxOptions, shakedown_command};

const FLEET: u64 = 200;
const SECOND_NS: u64 = 1_000_000_000;

/// The only storm of a run.
fn storm(result: &RunResult) -> &StormRow {
    let [storm] = &result.storms[..] else { panic!("{:?}", result.storms) };
    assert_eq!((storm.fleet, storm.back), (FLEET, FLEET), "all come back, and each once: {storm:?}");
    assert_eq!((result.connections.held, result.connections.lost_while_held), (FLEET, 0), "they stay");
    storm
}

/// A fleet that comes back by `reconnect`, for so long.
fn scenario(reconnect: &str, length: &str) -> String {
    format!(
        "[[population]]\nname = \"fleet\"\n\
         stages = [{{ storm = {{ fleet = {FLEET}, reconnect = \"{reconnect}\" }}, for = \"{length}\" }}]\n"
    )
}

#[test]
fn a_fleet_comes_back_at_its_first_try() {
    let nginx = Nginx::start(NginxOptions::default());
    for (reconnect, first_ns, length) in
        [("flat 1s", SECOND_NS, "2s"), ("obs", 2 * SECOND_NS, "3s"), ("nginx-rtmp", 3 * SECOND_NS, "4s")]
    {
        let text = scenario(reconnect, length);
        let result = Load::start_scenario(shakedown_command(), &text, &[&nginx.url("x")]).finish().result();
        assert_completed(&result, FLEET);
        let storm = storm(&result);
        assert_eq!((storm.population.as_str(), storm.reconnect.to_string()), ("fleet", reconnect.to_owned()));
        assert_eq!((storm.attempts, storm.attempts_per_success), (FLEET, Some(1.0)), "{reconnect}");
        let times = [storm.back_50_ns, storm.back_90_ns, storm.back_99_ns, storm.back_100_ns];
        let times = times.map(|time| time.expect("all are back"));
        assert!(times[0] >= first_ns && times.is_sorted(), "{reconnect}: {times:?}");
    }
}

#[test]
fn a_fleet_tries_again_until_its_server_is_there() {
    let namespace = Namespace::new();
    let text = scenario("flat 1s", "10s");
    let shakedown = namespace.command(env!("CARGO_BIN_EXE_shakedown"));
    let mut load = Load::start_scenario(shakedown, &text, &["127.0.0.1:1935", "--keep-going"]);
    load.wait_until(|| namespace.failed_connects() >= FLEET);
    let _nginx = namespace.within(|| Nginx::start_at(1935, NginxOptions::default()));
    let result = load.finish().result();
    let storm = storm(&result);
    assert!(storm.attempts >= 2 * FLEET, "the first tries failed: {storm:?}");
    let tries = storm.attempts_per_success.expect("some are back");
    assert!((tries - storm.attempts as f64 / FLEET as f64).abs() < 1e-9, "{storm:?}");
    assert!(storm.back_50_ns.is_some_and(|time| time >= 2 * SECOND_NS), "not before the second try: {storm:?}");
}

#[test]
fn a_fleet_whose_server_never_comes_back_is_counted_as_lost() {
    let namespace = Namespace::new();
    let shakedown = namespace.command(env!("CARGO_BIN_EXE_shakedown"));
    let load = Load::start_scenario(shakedown, &scenario("flat 1s", "4s"), &["127.0.0.1:1935", "--keep-going"]);
    let result = load.finish().ended_with(5);
    let [storm] = &result.storms[..] else { panic!("{:?}", result.storms) };
    assert_eq!((storm.fleet, storm.back, storm.attempts_per_success), (FLEET, 0, None));
    assert_eq!((storm.back_50_ns, storm.back_100_ns), (None, None));
    assert!((2 * FLEET..=4 * FLEET).contains(&storm.attempts), "about one a second each: {storm:?}");
    assert_eq!(result.attempts.failed, storm.attempts);
}
