//! What servers say while a connection is held: what is lost by it, what is only announced, and which conditions see it.

use shakedown::base::Nanos;
use shakedown::io::sim::{Peer, SessionModel, Unasked, UnaskedAct};
use shakedown::measure::{Attempts, FailureKind, Step, Until};
use shakedown::protocol::session::Request;
use shakedown::run::{ClosePolicy, Hold, RunResult};

use super::lab::*;

const N: u64 = 4;

/// Held for 3 s, by a target that does `unasked`.
fn held(milestone: Until, unasked: &'static [Unasked]) -> Lab {
    let lab = Lab::new(closed_of(N), N as u32).simple().against(Peer::conducting(SessionModel::doing(unasked)));
    let mut lab = lab.with(|clients| {
        (clients.until, clients.hold, clients.close) = (milestone, Hold::ForNs(secs(3).as_u64()), ClosePolicy::Fin);
    });
    lab.audited = true;
    lab
}

const fn says(to: Request, level: &'static str, code: &'static str) -> Unasked {
    let act = UnaskedAct::Status { level, code, description: "in words", tc_url: "" };
    Unasked { to, after: Nanos::from_millis(500), act }
}

const fn does(to: Request, after_ms: u64, act: UnaskedAct) -> Unasked {
    Unasked { to, after: Nanos::from_millis(after_ms), act }
}

const RECONNECT: UnaskedAct = UnaskedAct::Status {
    level: "status",
    code: "NetConnection.Connect.ReconnectRequest",
    description: "moving",
    tc_url: "rtmp://other/live",
};
const RECONNECT_WORDS: &str = "NetConnection.Connect.ReconnectRequest: moving -> rtmp://other/live";

/// Step, kind, number and words of the only failure.
fn only_failure(result: &RunResult) -> (Step, FailureKind, u64, Vec<(&str, u64)>) {
    let [row] = &result.failures[..] else { panic!("one kind of failure: {:?}", result.failures) };
    (row.step, row.kind, row.count, row.reasons.iter().map(|reason| (reason.text.as_str(), reason.count)).collect())
}

#[test]
fn what_a_server_takes_back_in_words_is_lost_and_counts_as_failed() {
    use Request::{Connect, Play, Publish};
    const BAD_NAME: &[Unasked] = &[says(Publish, "error", "NetStream.Publish.BadName")];
    const UNAUTHORIZED: &[Unasked] = &[says(Publish, "error", "NetStream.Publish.Unauthorized")];
    const FAILED: &[Unasked] = &[says(Publish, "error", "NetStream.Failed")];
    const UNPUBLISHED: &[Unasked] = &[says(Publish, "status", "NetStream.Unpublish.Success")];
    const SHUTDOWN: &[Unasked] = &[says(Connect, "status", "NetConnection.Connect.AppShutdown")];
    const CLOSED: &[Unasked] = &[says(Connect, "status", "NetConnection.Connect.Closed")];
    const REJECTED: &[Unasked] = &[says(Connect, "error", "NetConnection.Connect.Rejected")];
    const NOT_FOUND: &[Unasked] = &[says(Play, "status", "NetStream.Play.StreamNotFound")];
    for (milestone, unasked, kind, words) in [
        (Until::Publish, BAD_NAME, FailureKind::NameTaken, "NetStream.Publish.BadName: in words"),
        (Until::Publish, UNAUTHORIZED, FailureKind::Unauthorized, "NetStream.Publish.Unauthorized: in words"),
        (Until::Publish, FAILED, FailureKind::Ended, "NetStream.Failed: in words"),
        (Until::Publish, UNPUBLISHED, FailureKind::Ended, "NetStream.Unpublish.Success: in words"),
        (Until::Publish, SHUTDOWN, FailureKind::Ended, "NetConnection.Connect.AppShutdown: in words"),
        (Until::Connect, SHUTDOWN, FailureKind::Ended, "NetConnection.Connect.AppShutdown: in words"),
        (Until::Connect, CLOSED, FailureKind::Ended, "NetConnection.Connect.Closed: in words"),
        (Until::Reply, REJECTED, FailureKind::Rejected, "NetConnection.Connect.Rejected: in words"),
        (Until::Play, NOT_FOUND, FailureKind::Ended, "NetStream.Play.StreamNotFound: in words"),
    ] {
        let report = held(milestone, unasked).run();
        let counts = Attempts {
            due: N,
            started: N,
            completed: N,
            held: N,
            lost_while_held: N,
            taken_back: N,
            ..Attempts::default()
        };
        assert_eq!(report.counts(), counts, "{milestone}: {words}");
        assert_eq!((report.peers[0].fins, report.peers[0].resets), (N, 0), "the connections were open: {words}");
        let result = report.result();
        assert_eq!(only_failure(&result), (Step::Hold, kind, N, vec![(words, N)]), "{milestone}");
        assert_eq!(result.announcements, [], "{words}");
    }
}

#[test]
fn conditions_see_what_is_lost_while_held() {
    const BAD_NAME: &[Unasked] = &[says(Request::Publish, "error", "NetStream.Publish.BadName")];
    const CLOSE: &[Unasked] = &[does(Request::Publish, 500, UnaskedAct::Close)];
    let met = |unasked, thresholds: &[&str]| {
        let mut lab = held(Until::Publish, unasked);
        lab.plan.thresholds = thresholds.iter().map(|text| text.parse().unwrap()).collect();
        let result = lab.run().result();
        result.thresholds.iter().map(|threshold| (threshold.actual, threshold.pass)).collect::<Vec<_>>()
    };
    let (all, none) = ((Some(1.0), Some(false)), (Some(0.0), Some(true)));
    assert_eq!(met(BAD_NAME, &["failed<1%", "lost<1%", "clients.lost<1%"]), [all; 3]);
    assert_eq!(met(CLOSE, &["failed<1%", "lost<1%"]), [none, all], "a close without a word is a loss alone");
    assert_eq!(met(&[], &["failed<1%", "lost<1%"]), [none; 2]);
}

#[test]
fn what_a_server_repeats_of_the_applications_query_is_masked() {
    const BAD_NAME: &[Unasked] = &[says(Request::Publish, "error", "NetStream.Publish.BadName")];
    let mut lab = held(Until::Publish, BAD_NAME);
    lab.plan.populations[0].app = Some("live?token=words".parse().unwrap());
    let result = lab.run().result();
    assert_eq!(result.failures[0].reasons[0].text, "NetStream.Publish.BadName: in ***");
}

#[test]
fn a_played_stream_that_ends_is_lost_and_nobody_is_blamed() {
    const UNPUBLISH: &[Unasked] = &[says(Request::Play, "status", "NetStream.Play.UnpublishNotify")];
    const STOP: &[Unasked] = &[says(Request::Play, "status", "NetStream.Play.Stop")];
    const END: &[Unasked] = &[does(Request::Play, 500, UnaskedAct::StreamEof)];
    for (unasked, words) in [
        (UNPUBLISH, "NetStream.Play.UnpublishNotify: in words"),
        (STOP, "NetStream.Play.Stop: in words"),
        (END, "Stream EOF: the stream is over"),
    ] {
        let report = held(Until::Play, unasked).run();
        let Attempts { completed, lost_while_held, taken_back, .. } = report.counts();
        assert_eq!((completed, lost_while_held, taken_back), (N, N, 0), "{words}");
        let result = report.result();
        assert_eq!(only_failure(&result), (Step::Hold, FailureKind::Unpublished, N, vec![(words, N)]));
        assert_eq!(serde_json::to_value(result.failures[0].side).unwrap(), "unattributed");
    }
}

#[test]
fn a_stream_that_ends_with_the_run_is_not_lost() {
    // Those that are released one by one hear of the end while they wait for their turn.
    const END: &[Unasked] = &[does(Request::Play, 2_100, UnaskedAct::StreamEof)];
    let mut lab = held(Until::Play, END).with(|clients| clients.hold = Hold::Forever);
    lab.plan.release_per_s = Some(1.0);
    let report = lab.order(secs(2), shakedown::fleet::Order::Release).run();
    assert_eq!((report.counts().held, report.counts().lost_while_held), (N, 0), "{:?}", report.failures());
}

#[test]
fn a_command_to_close_is_heeded() {
    const SAY_CLOSE: &[Unasked] = &[does(Request::Publish, 500, UnaskedAct::SayClose)];
    let result = held(Until::Publish, SAY_CLOSE).run().result();
    let words = vec![("close: the connection is to be closed", N)];
    assert_eq!(only_failure(&result), (Step::Hold, FailureKind::Ended, N, words));
}

#[test]
fn noise_while_held_is_a_loss_with_its_cause() {
    const NOISE: &[Unasked] = &[does(Request::Publish, 500, UnaskedAct::Noise)];
    let result = held(Until::Publish, NOISE).run().result();
    let (step, kind, count, words) = only_failure(&result);
    assert_eq!((step, kind, count), (Step::Hold, FailureKind::BadMessage, N));
    assert!(matches!(words[..], [(_, N)]), "{words:?}");
}

#[test]
fn a_request_to_reconnect_is_announced_and_explains_the_close_after_it() {
    const ASK: &[Unasked] = &[does(Request::Publish, 500, RECONNECT)];
    const ASK_AND_CLOSE: &[Unasked] =
        &[does(Request::Publish, 500, RECONNECT), does(Request::Publish, 800, UnaskedAct::Close)];
    let result = held(Until::Publish, ASK).run().result();
    let [row] = &result.announcements[..] else { panic!("{:?}", result.announcements) };
    assert_eq!((row.text.as_str(), row.count), (RECONNECT_WORDS, N));
    assert!((0.5..0.6).contains(&row.first_s), "{row:?}");
    assert_eq!((result.attempts.held, result.attempts.lost_while_held, result.failures.len()), (N, 0, 0));

    let result = held(Until::Publish, ASK_AND_CLOSE).run().result();
    let told = vec![(RECONNECT_WORDS, N)];
    assert_eq!(only_failure(&result), (Step::Hold, FailureKind::Redirected, N, told.clone()));
    assert!(!result.failures[0].advice.contains("deny publish"), "{}", result.failures[0].advice);
    assert_eq!((result.attempts.lost_while_held, result.attempts.taken_back), (N, 0));

    // Before the milestone, too.
    const AT_CONNECT: &[Unasked] =
        &[does(Request::Connect, 0, RECONNECT), does(Request::Connect, 0, UnaskedAct::Close)];
    let result = held(Until::Publish, AT_CONNECT).run().result();
    assert_eq!(only_failure(&result), (Step::Publish, FailureKind::Redirected, N, told));
}

#[test]
fn a_warning_is_announced_and_explains_a_close_without_another_name() {
    const WARN_AND_CLOSE: &[Unasked] =
        &[says(Request::Publish, "warning", "NetStream.Publish.Slow"), does(Request::Publish, 800, UnaskedAct::Close)];
    let result = held(Until::Publish, WARN_AND_CLOSE).run().result();
    let words = "NetStream.Publish.Slow: in words";
    assert_eq!(only_failure(&result), (Step::Hold, FailureKind::Closed, N, vec![(words, N)]));
    assert_eq!(result.announcements[0].text, words);
    assert!(!result.failures[0].advice.contains("deny publish"), "{}", result.failures[0].advice);
}
