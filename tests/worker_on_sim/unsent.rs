//! Media whose time comes: what leaves, what does not, and which conditions see it.

use shakedown::finding::FindingCode;
use shakedown::fleet::{End, Order};
use shakedown::io::sim::Peer;
use shakedown::measure::{MediaCounts, Until};
use shakedown::run::{Hold, MediaPlan, MediaSource};

use super::lab::*;

const N: u64 = 3;
/// What a publisher sends in a second, in bits.
const RATE: u64 = 8_000_000;

/// Publishers held for 10 s, of whom a target takes so many bytes each.
fn publishers(takes: Option<u64>) -> Lab {
    let lab = Lab::new(closed_of(N), N as u32).simple().against(Peer { takes, ..Peer::default() });
    let mut lab = lab.with(|clients| (clients.until, clients.hold) = (Until::Publish, Hold::ForNs(secs(10).as_u64())));
    lab.plan.media = Some(MediaPlan { source: MediaSource::BitsPerSecond(RATE), clients_percent: 100 });
    lab.audited = true;
    lab
}

fn media(report: &Report) -> MediaCounts {
    report.snapshot.measured().media
}

#[track_caller]
fn assert_balanced(media: &MediaCounts) {
    assert_eq!(media.due_messages, media.sent_messages + media.unsent_messages, "{media:?}");
    assert_eq!(media.due_bytes, media.sent_bytes + media.unsent_bytes, "{media:?}");
}

#[test]
fn all_that_is_due_leaves_for_a_target_that_reads() {
    let report = publishers(None).run();
    let media = media(&report);
    assert_balanced(&media);
    assert_eq!((media.publishers, media.stalled, media.unsent_messages, media.unsent_bytes), (N, 0, 0, 0));
    assert_eq!((report.peers[0].media_messages, report.peers[0].media_bytes), (media.sent_messages, media.sent_bytes));
    let in_ten_seconds = N * 10 * RATE / 8;
    assert!(media.due_bytes.abs_diff(in_ten_seconds) < in_ten_seconds / 50, "{media:?}");
}

#[test]
fn media_that_never_leaves_is_counted_and_its_publishers_are_stalled() {
    const TAKES: u64 = 2_000_000;
    let mut lab = publishers(Some(TAKES));
    lab.plan.thresholds = ["stalled<1%", "unsent<1%", "clients.unsent<1%", "failed<1%", "lost<1%"]
        .map(|text| text.parse().unwrap())
        .into();
    let report = lab.run();
    let media = media(&report);
    assert_balanced(&media);
    assert_eq!((media.publishers, media.stalled), (N, N));
    let taken = N * TAKES;
    assert!(media.sent_bytes < taken && media.sent_bytes > taken * 9 / 10, "{media:?}");
    assert_eq!(report.peers[0].media_bytes, media.sent_bytes, "what is sent reached the target here");
    let in_ten_seconds = N * 10 * RATE / 8;
    assert!(media.due_bytes.abs_diff(in_ten_seconds) < in_ten_seconds / 50, "{media:?}");

    let result = report.result();
    let passes: Vec<_> = result.thresholds.iter().map(|threshold| threshold.pass).collect();
    assert_eq!(passes, [Some(false), Some(false), Some(false), Some(true), Some(true)], "{:?}", result.thresholds);
    assert_eq!(result.thresholds[0].actual, Some(1.0));
    let codes: Vec<_> = result.generator.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [FindingCode::MediaUnsent]);
}

#[test]
fn an_intro_that_never_leaves_is_unsent() {
    // Somewhere between the handshake's end and the first picture there is no more room.
    let counted = (3_100..4_400).step_by(50).filter_map(|takes| {
        let mut lab = publishers(Some(takes));
        lab.plan.media = None;
        let report = lab.run();
        let media = media(&report);
        assert_balanced(&media);
        (report.counts().completed == N).then_some(media)
    });
    let without_intro: Vec<_> = counted.filter(|media| media.sent_messages == 0).collect();
    assert!(!without_intro.is_empty());
    assert!(without_intro.iter().all(|media| media.stalled == N && media.unsent_messages > 0), "{without_intro:?}");
}

#[test]
fn a_run_that_is_cut_counts_what_had_not_left() {
    let report = publishers(Some(2_000_000)).order(secs(5), Order::Abandon).run();
    assert_eq!(report.end, End::Abandoned);
    let media = media(&report);
    assert_balanced(&media);
    let in_five_seconds = N * 5 * RATE / 8;
    assert!(media.due_bytes.abs_diff(in_five_seconds) < in_five_seconds / 20, "{media:?}");
}

#[test]
fn a_generator_that_stands_still_stalls_nobody() {
    let mut lab = publishers(None);
    lab.network.freezes = vec![freeze(millis(2_500), secs(4))];
    let report = lab.run();
    let media = media(&report);
    assert_balanced(&media);
    assert_eq!((media.stalled, media.unsent_messages), (0, 0), "what is late is sent all the same");
    assert_eq!(media.late_messages, 0, "nor is it late by the target's doing");
}

#[test]
fn the_end_of_the_load_waits_for_holds_if_asked_to() {
    let last_hold = expiry(millis(900) + micros(ATTEMPT) + secs(3));
    for (drain, ended) in [(false, secs(1)), (true, last_hold)] {
        let mut lab = Lab::new(open_for(10.0, secs(1)), 20).simple();
        lab = lab.with(|clients| clients.hold = Hold::ForNs(secs(3).as_u64()));
        lab.plan.drain = drain;
        let report = lab.run();
        assert_eq!((report.counts().completed, report.counts().held), (10, 10));
        assert_eq!(report.ended, ended, "drain: {drain}");
    }
}
