//! Several nginx as one target: their parts of the load, one that dies, both families of addresses.

use std::net::Ipv6Addr;

use shakedown::measure::{FailureKind, Side};

use super::nginx::assert_completed;
use crate::support::{Load, Nginx, NginxOptions, run, run_by, shakedown_command};

#[test]
fn each_gets_its_part_of_the_load() {
    let [one, two] = [(); 2].map(|()| Nginx::start(NginxOptions::default()));
    for (weights, parts) in [("", [200, 200]), ("--weights 3,1", [300, 100]), ("--weights 1,7", [50, 350])] {
        let result = run(&format!("{} {} -t 1 -c 16 -n 400 {weights}", one.url("x"), two.url("x")));
        assert_completed(&result, 400);
        let rows: Vec<_> = result.by_target.iter().map(|row| (row.name.clone(), row.attempts.completed)).collect();
        let expected = [&one, &two].map(|nginx| nginx.url("***")).into_iter().zip(parts);
        assert_eq!(rows, expected.collect::<Vec<_>>(), "{weights}");
    }
}

#[test]
fn one_that_dies_does_not_stop_the_others() {
    let staying = Nginx::start(NginxOptions::default());
    let mut dying = Nginx::start(NginxOptions { logs_connections: true, ..NginxOptions::default() });
    let (staying_at, dying_at) = (staying.address().to_string(), dying.address().to_string());
    let load = Load::start(&format!("{dying_at} {staying_at} -R 200/s -d 5s"));
    dying.wait_for_disconnects(50);
    dying.stop();
    // Whether the generator was in time is another matter on a busy machine.
    let result = load.finish().result();

    assert_eq!((result.attempts.due, result.attempts.in_flight), (1_000, 0));
    assert_eq!((&result.ended_by, result.interrupted, result.window.duration_s), (&None, None, 5.0));
    let [died, stayed] = &result.by_target[..] else { panic!("{:?}", result.by_target) };
    assert_eq!((died.name.as_str(), stayed.name.as_str()), (dying_at.as_str(), staying_at.as_str()));
    assert_eq!((stayed.attempts.failed, stayed.attempts.completed), (0, stayed.attempts.started));
    assert!(stayed.attempts.started >= 450, "half of the load: {:?}", stayed.attempts);
    assert!(died.attempts.completed >= 50, "before it died: {:?}", died.attempts);
    assert!(died.attempts.failed > 0, "after it died: {:?}", died.attempts);
    assert_eq!(died.attempts.failed, result.attempts.failed);
    assert!(result.failures.iter().any(|row| row.kind == FailureKind::Refused), "{:?}", result.failures);
    assert!(result.failures.iter().all(|row| row.side == Side::Target), "{:?}", result.failures);
}

#[test]
fn both_families_of_addresses_are_one_cluster() {
    let four = Nginx::start(NginxOptions::default());
    let six = Nginx::start(NginxOptions { listen: Ipv6Addr::LOCALHOST.into(), ..NginxOptions::default() });
    let result = run(&format!("{} {} -t 1 -c 8 -n 200", four.url("x"), six.url("x")));
    assert_completed(&result, 200);
    let rows: Vec<_> = result.by_target.iter().map(|row| (row.name.clone(), row.attempts.completed)).collect();
    assert_eq!(rows, [(four.url("***"), 100), (six.url("***"), 100)]);

    for source in ["127.0.0.2", "::1"] {
        let refused =
            run_by(shakedown_command(), &format!("{} {} -n 1 --source {source}", four.url("x"), six.url("x")));
        assert_eq!((refused.code, refused.printed.as_str()), (2, ""), "{source}");
        assert!(refused.told.contains("different address families"), "{}", refused.told);
    }
}
