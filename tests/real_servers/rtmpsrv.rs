//! librtmp's server, the only one that checks C2. It sends all of S0S1S2 before it reads C2, so its verdict falls on a
//! connection that is complete and held: it closes after a C2 whose digest is wrong.

use shakedown::measure::{FailureKind, ModeCounts, Side, Step};
use shakedown::run::RunResult;

use super::nginx::assert_completed;
use crate::support::{Rtmpsrv, run_by};

/// What the server prints of a C2 with a wrong digest before it closes.
const REFUSED: &str = "Client not genuine Adobe!";

/// Five attempts, one after the other: the result, and how many C2s the server refused.
fn judged(options: &str) -> (RunResult, usize) {
    let server = Rtmpsrv::start();
    let shakedown = server.command(env!("CARGO_BIN_EXE_shakedown"));
    let result = run_by(shakedown, &format!("{} -c 1 -n 5 {options}", Rtmpsrv::ADDRESS)).passed();
    let printed = server.finish();
    (result, printed.iter().filter(|line| line.contains(REFUSED)).count())
}

#[test]
fn accepts_our_signed_c2() {
    for half in ["first-half", "second-half"] {
        let (result, refused) = judged(&format!("--digest {half} --hold 300ms"));
        assert_completed(&result, 5);
        assert_eq!(result.modes, ModeCounts { complex_verified: 5, ..ModeCounts::default() }, "{half}");
        assert_eq!((result.connections.held_peak, result.connections.lost_while_held), (1, 0), "{half}");
        assert_eq!(refused, 0, "{half}");
    }
}

#[test]
fn closes_after_a_wrong_digest() {
    let (result, refused) = judged("--wrong-c2 --hold 20s");
    assert_eq!((result.attempts.completed, result.attempts.failed), (5, 0));
    assert_eq!(result.connections.lost_while_held, 5);
    let [row] = &result.failures[..] else { panic!("{:?}", result.failures) };
    assert_eq!((row.step, row.kind, row.side, row.count), (Step::Hold, FailureKind::Closed, Side::Target, 5));
    assert_eq!(refused, 5);
}

#[test]
fn keeps_a_simple_client() {
    let (result, refused) = judged("--mode simple --hold 300ms");
    assert_completed(&result, 5);
    assert_eq!(result.modes, ModeCounts { simple: 5, ..ModeCounts::default() });
    assert_eq!((result.connections.lost_while_held, refused), (0, 0));
}
