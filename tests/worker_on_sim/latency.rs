//! Two clocks for each sample: a stall shows in full, and its cause is told apart.

use shakedown::base::Nanos;
use shakedown::finding::FindingCode;
use shakedown::io::sim::{Peer, ServiceModel};
use shakedown::measure::{LatencyHistogram, Metric, Quantile};
use shakedown::run::{Verdict, simulate};

use super::lab::*;

/// An attempt of the model below, in nanoseconds after the load's start.
struct Modelled {
    intended: u64,
    slot_free: u64,
    started: u64,
    done: u64,
}

/// A server that is frozen for a stretch, and how fast it is.
struct Frozen {
    from: u64,
    until: u64,
    servers: usize,
    service: u64,
}

impl Modelled {
    /// What attempts intended at `intended` go through with so many slots: each waits for the slot of the attempt that
    /// many before it; C0C1 is there three one-way trips after the start; servers take handshakes in turn.
    fn all(intended: impl Iterator<Item = u64>, slots: usize, server: &Frozen) -> Vec<Self> {
        let one_way = ONE_WAY * 1_000;
        let mut attempts: Vec<Self> = Vec::new();
        let mut served: Vec<u64> = Vec::new();
        for (index, intended) in intended.enumerate() {
            let slot_free = index.checked_sub(slots).map_or(0, |before| attempts[before].done);
            let started = intended.max(slot_free);
            let arrived = started + 3 * one_way;
            let seen = if (server.from..server.until).contains(&arrived) { server.until } else { arrived };
            let server_free = index.checked_sub(server.servers).map_or(0, |before| served[before]);
            served.push(seen.max(server_free) + server.service);
            attempts.push(Self { intended, slot_free, started, done: served[index] + one_way });
        }
        attempts
    }

    fn response(&self) -> Nanos {
        Nanos::new(self.done - self.intended)
    }

    fn service(&self) -> Nanos {
        Nanos::new(self.done - self.started)
    }

    fn slot_wait(&self) -> Nanos {
        Nanos::new(self.slot_free.saturating_sub(self.intended))
    }
}

/// 1 000/s for 4 s against a server that stands still from 1 s to 2 s.
fn frozen_server(slots: u32) -> Lab {
    let peer = Peer { freezes: vec![freeze(secs(1), secs(1))], ..Peer::default() };
    Lab::new(open_for(1_000.0, secs(4)), slots).simple().against(peer)
}

fn frozen_server_on_paper(slots: usize) -> Vec<Modelled> {
    let server = Frozen { from: 1_000_000_000, until: 2_000_000_000, servers: 8, service: SERVICE * 1_000 };
    Modelled::all((0..4_000).map(|k| k * 1_000_000), slots, &server)
}

fn count_above(histogram: &LatencyHistogram, attempts: &[Modelled], of: fn(&Modelled) -> Nanos, limit: Nanos) -> usize {
    assert_eq!(*histogram, spans(attempts.iter().map(of)));
    attempts.iter().filter(|attempt| of(attempt) > limit).count()
}

#[test]
fn a_frozen_server_shows_in_every_response_time_that_it_delayed() {
    let on_paper = frozen_server_on_paper(usize::MAX);
    let report = frozen_server(2_000).run();
    assert_eq!(report.counts().completed, 4_000);
    assert_eq!(report.spans(Metric::Response), spans(on_paper.iter().map(Modelled::response)));
    assert_eq!(report.spans(Metric::Service), report.spans(Metric::Response), "everything started on time");
    assert_eq!(report.spans(Metric::SlotWait), spans([Nanos::ZERO; 4_000]));
    assert_eq!(report.spans(Metric::Lateness), spans([Nanos::ZERO; 4_000]));

    // From 1 s down to normal, evenly: a backlog of 1 000 drains at 40 a millisecond, so each later arrival waits a
    // millisecond less and 25 us of queue more.
    let delayed: Vec<Nanos> = on_paper[1_000..2_000].iter().map(Modelled::response).collect();
    assert_eq!(delayed[0], secs(1) + micros(SERVICE + ONE_WAY));
    for (before, after) in delayed.iter().zip(&delayed[8..]) {
        assert_eq!(before.saturating_sub(*after), millis(8).saturating_sub(micros(SERVICE)), "eight at a time");
    }
    // 25.6 ms after the thaw the queue is gone, and with it the last trace.
    assert!(on_paper[2_026..].iter().all(|attempt| attempt.response() == micros(ATTEMPT)));
}

#[test]
fn fewer_slots_move_the_delay_from_service_to_slot_wait_and_hide_none_of_it() {
    let on_paper = frozen_server_on_paper(50);
    let report = frozen_server(50).run();
    assert_eq!(report.spans(Metric::Response), spans(on_paper.iter().map(Modelled::response)));
    assert_eq!(report.spans(Metric::Lateness), spans([Nanos::ZERO; 4_000]));

    // Only what was in the slots was served slowly. The j-th arrival after them waited about 950.3 ms - j x 0.975 ms: a
    // millisecond less than the one before it, and 25 us of queue more.
    let slow = count_above(&report.spans(Metric::Service), &on_paper, Modelled::service, millis(10));
    let waited = count_above(&report.spans(Metric::SlotWait), &on_paper, Modelled::slot_wait, millis(10));
    assert_eq!((slow, waited), (50, 965));

    // The backlog of a thousand goes through the slots 20 times, an attempt's time each.
    let within = micros(20 * ATTEMPT);
    let ample = frozen_server(2_000).run();
    for percentile in ["p50", "p75", "p80", "p90", "p95", "p99", "p99.5"] {
        let quantile: Quantile = percentile.parse().unwrap();
        let (few, many) = (report.spans(Metric::Response).at(quantile), ample.spans(Metric::Response).at(quantile));
        let (few, many) = (few.unwrap(), many.unwrap());
        assert!(
            few.saturating_sub(many) <= within && many.saturating_sub(few) <= within,
            "{percentile}: {few}, {many}"
        );
    }
}

#[test]
fn a_closed_loop_sees_a_frozen_server_only_in_what_was_in_its_slots() {
    let peer = Peer { freezes: vec![freeze(secs(1), secs(1))], ..Peer::default() };
    let report = Lab::new(closed_for(secs(4)), 4).simple().against(peer).run();
    let service = report.spans(Metric::Service);
    assert_eq!(service.count(), report.counts().completed);
    assert_eq!(service.at("p99.9".parse().unwrap()), spans([micros(ATTEMPT)]).max());
    // Of 20 000 samples four tell of the second in which nothing happened. It is why an open loop is the default of a
    // capacity.
    assert!(service.max().unwrap() > millis(999));
    assert_eq!(
        [Metric::Response, Metric::SlotWait, Metric::Lateness].map(|metric| report.spans(metric).count()),
        [0; 3]
    );
}

#[test]
fn a_late_generator_accuses_itself() {
    // The generator stands still for the arrivals from 1 s to 1.5 s; the server takes everything at once.
    let service = ServiceModel { parallelism: 10_000, ..ServiceModel::default() };
    let mut lab = Lab::new(open_for(1_000.0, secs(4)), 1_000).simple().against(Peer { service, ..Peer::default() });
    lab.network.freezes = vec![freeze(secs(1), millis(500))];
    let late = || (0..500).map(|k| millis(500 - k));
    let on_time = || std::iter::repeat_n(Nanos::ZERO, 3_500);

    let report = lab.run();
    assert_eq!(report.counts().completed, 4_000);
    assert_eq!(report.spans(Metric::Lateness), spans(late().chain(on_time())));
    assert_eq!(report.spans(Metric::Response), spans(late().chain(on_time()).map(|late| late + micros(ATTEMPT))));
    assert_eq!(report.spans(Metric::Service), spans([micros(ATTEMPT); 4_000]));
    assert_eq!(report.spans(Metric::SlotWait), spans([Nanos::ZERO; 4_000]));

    let result = report.result();
    let codes: Vec<_> = result.generator.findings.iter().map(|finding| finding.code).collect();
    assert_eq!((codes, result.generator.limited), (vec![FindingCode::LateStarts, FindingCode::GeneratorPaused], true));
    assert_eq!(result.verdict, Verdict::Inconclusive);
}

#[test]
fn an_attempt_that_a_freeze_of_the_generator_meets_midway_cannot_tell_it_from_the_servers_time() {
    // The answer of the attempt of 1 s is there after 600 us and looked at after 10 ms.
    let mut lab = Lab::new(open_for(100.0, secs(2)), 10).simple();
    lab.network.freezes = vec![freeze(secs(1) + micros(500), millis(9) + micros(500))];
    let report = lab.run();
    let undelayed = std::iter::repeat_n(micros(ATTEMPT), 199);
    assert_eq!(report.spans(Metric::Service), spans(undelayed.chain([millis(10)])));
    assert_eq!(report.spans(Metric::Lateness), spans([Nanos::ZERO; 200]));
}

#[test]
fn milestones_lie_where_the_network_puts_them() {
    let report = Lab::new(open_for(100.0, secs(1)), 10).run();
    for (metric, span) in [
        (Metric::Response, ATTEMPT),
        (Metric::Service, ATTEMPT),
        (Metric::Connect, 2 * ONE_WAY),
        (Metric::S0s1, 2 * ONE_WAY + SERVICE),
        (Metric::S2, 2 * ONE_WAY + SERVICE),
    ] {
        assert_eq!(report.spans(metric), spans([micros(span); 100]), "{metric}");
    }
    assert_eq!(report.spans(Metric::Confirm).count(), 0);
}

#[test]
fn arrivals_that_find_no_slot_keep_their_intended_instant() {
    // One attempt every 10 ms, half a second each, ten slots: twenty a second get through.
    let service = 500_000_000;
    let peer = Peer {
        service: ServiceModel { parallelism: 1_000, time: Nanos::new(service), noise: Nanos::ZERO },
        ..Peer::default()
    };
    let report = Lab::new(open_for(100.0, secs(2)), 10).simple().against(peer).run();
    let server = Frozen { from: 0, until: 0, servers: 1_000, service };
    let mut on_paper = Modelled::all((0..200).map(|k| k * 10_000_000), 10, &server);
    on_paper.retain(|attempt| attempt.started < 2_000_000_000);

    let counts = report.counts();
    assert_eq!((counts.due, counts.started, counts.dropped), (200, 40, 160));
    assert_eq!(on_paper.len(), 40);
    assert_eq!(report.spans(Metric::Response), spans(on_paper.iter().map(Modelled::response)));
    assert_eq!(report.spans(Metric::Service), spans(on_paper.iter().map(Modelled::service)));
    assert_eq!(report.spans(Metric::SlotWait), spans(on_paper.iter().map(Modelled::slot_wait)));
    assert_eq!(report.spans(Metric::Lateness), spans([Nanos::ZERO; 40]));

    let result = report.result();
    let codes: Vec<_> = result.generator.findings.iter().map(|finding| finding.code).collect();
    // Ten slots are fewer than the plan may need, so what was dropped is not held against the target.
    assert_eq!((codes, result.generator.limited), (vec![FindingCode::PoolTooSmall], true));
    assert_eq!(result.verdict, Verdict::Inconclusive);
}

#[test]
fn a_silent_server_that_holds_all_slots_does_not_make_the_generator_the_limit() {
    let mut plan = Lab::new(open_for(100.0, secs(2)), 10).plan;
    plan.targets[0].host = "silent.sim".into();
    let result = shakedown::run::RunResult::assemble(simulate(plan.into()).parts);
    let attempts = result.attempts;
    assert_eq!((attempts.due, attempts.started, attempts.dropped, attempts.failed), (200, 10, 190, 10));
    assert_eq!(result.rate.intended_per_s, Some(100.0));
    let codes: Vec<_> = result.generator.findings.iter().map(|finding| finding.code).collect();
    assert_eq!((codes, result.generator.limited), (vec![FindingCode::SlotsHeldByTarget], false));
    // Nothing completed, and that is the target's doing.
    assert_eq!(result.verdict, Verdict::Fail);
}

#[test]
fn a_stage_is_measured_by_when_its_attempts_were_intended() {
    // The server stands still across the end of the warm-up: what was intended before it stays out of the totals, however
    // late it completes.
    let peer = Peer { freezes: vec![freeze(millis(900), millis(200))], ..Peer::default() };
    let load = open(vec![warmup(1_000.0, secs(1)), stage("load", 1_000.0, 1_000.0, Some(secs(1)))], None);
    let report = Lab::new(load, 1_000).simple().against(peer).run();
    let server = Frozen { from: 900_000_000, until: 1_100_000_000, servers: 8, service: SERVICE * 1_000 };
    let on_paper = Modelled::all((0..2_000).map(|k| k * 1_000_000), usize::MAX, &server);
    assert_eq!(report.spans(Metric::Response), spans(on_paper[1_000..].iter().map(Modelled::response)));
}
