//! Sessions against the sink, over sockets: both sides' books agree.

use rcgen::{CertificateParams, KeyPair};
use shakedown::base::Nanos;
use shakedown::io::tls::{TlsServer, TlsServerPlan};
use shakedown::measure::{FailureKind, MediaCounts, Step, TlsCounts, Until};
use shakedown::protocol::ClientProfile;
use shakedown::run::{ClosePolicy, Hold, RunPlan, TlsPlan};
use shakedown::sink::{Sink, SinkCounts, SinkPlan};

use super::drive::{BACKENDS, Backend, ENGINES, Ended, against, on_sockets, plan};
use super::worker::sink_plan;

/// Long enough for a tag of the trickle.
const HOLD: Nanos = Nanos::from_millis(1_200);

fn sink_that_refuses(rules: &[&str], backend: Backend) -> Sink {
    let reject = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    Sink::start(SinkPlan { reject, ..sink_plan(backend) }).expect("a sink on loopback")
}

/// Simple handshakes of `shakedown`, closed by FIN.
fn sessions(slots: u32, attempts: u64, until: Until, sink: &Sink) -> RunPlan {
    let mut plan = against(&plan(slots, attempts), sink.address());
    let population = &mut plan.populations[0];
    (population.until, population.close) = (until, ClosePolicy::Fin);
    plan
}

fn media(ended: &Ended) -> MediaCounts {
    ended.snapshot.measured().media
}

/// What the sink has seen of `count` complete connections, the media apart.
fn seen(count: u64, counts: SinkCounts) -> SinkCounts {
    SinkCounts { accepted: count, complex: count, c2_valid: count, ..counts }
}

#[test]
fn every_milestone_is_reached_and_seen() {
    for backend in BACKENDS {
        for (until, published, played) in
            [(Until::Reply, 0, 0), (Until::Connect, 0, 0), (Until::Publish, 600, 0), (Until::Play, 0, 600)]
        {
            let sink = sink_that_refuses(&[], backend);
            let ended = on_sockets(&sessions(100, 600, until, &sink), backend);
            let outcomes = ended.outcomes();
            assert_eq!((outcomes.counts.completed, &outcomes.failures[..]), (600, &[][..]), "{until}");
            let expected = SinkCounts { connected: 600, published, played, ..SinkCounts::default() };
            assert_eq!(sink.stop(), seen(600, expected), "{until}");
        }
    }
}

#[test]
fn both_sides_count_the_same_media() {
    for backend in BACKENDS {
        let sink = sink_that_refuses(&[], backend);
        let mut plan = sessions(50, 50, Until::Publish, &sink);
        plan.populations[0].hold = Hold::ForNs(HOLD.as_u64());
        let ended = on_sockets(&plan, backend);
        let outcomes = ended.outcomes();
        assert_eq!((outcomes.counts.completed, outcomes.counts.lost_while_held), (50, 0));
        let (sent, seen) = (media(&ended), sink.stop());
        assert!(sent.sent_messages >= 50 * 5, "an intro of four messages, and a tag: {sent:?}");
        assert_eq!(seen.media_messages, sent.sent_messages);
        assert_eq!(seen.media_bytes, sent.sent_bytes);
        assert_eq!((seen.published, seen.reset, seen.bad_messages, seen.held), (50, 0, 0, 0));
    }
}

#[test]
fn players_are_sent_media() {
    for backend in ENGINES {
        let sink = sink_that_refuses(&[], backend);
        let mut plan = sessions(50, 50, Until::Play, &sink);
        plan.populations[0].hold = Hold::ForNs(HOLD.as_u64());
        let ended = on_sockets(&plan, backend);
        assert_eq!(ended.outcomes().counts.lost_while_held, 0);
        assert!(media(&ended).received_messages >= 50 * 5);
        assert_eq!(sink.stop().played, 50);
    }
}

#[test]
fn refusals_are_seen_on_both_sides() {
    for backend in ENGINES {
        for (rule, until, step, kind, connected) in [
            ("connect:app=live:rejected", Until::Connect, Step::Reply, FailureKind::Rejected, 0),
            ("connect:redirect=rtmp://b/live", Until::Connect, Step::Reply, FailureKind::Redirected, 0),
            ("connect:close", Until::Connect, Step::Reply, FailureKind::Closed, 0),
            ("publish:name-taken", Until::Publish, Step::Publish, FailureKind::NameTaken, 200),
            ("publish:unauthorized", Until::Publish, Step::Publish, FailureKind::Unauthorized, 200),
            ("publish:close", Until::Publish, Step::Publish, FailureKind::Closed, 200),
            ("play:not-found", Until::Play, Step::Play, FailureKind::Rejected, 200),
        ] {
            let sink = sink_that_refuses(&[rule], backend);
            let ended = on_sockets(&sessions(20, 200, until, &sink), backend);
            let failures: Vec<_> =
                ended.outcomes().failures.iter().map(|(step, kind, _, count)| (*step, *kind, *count)).collect();
            assert_eq!(failures, [(step, kind, 200)], "{rule}");
            let seen = sink.stop();
            assert_eq!((seen.rejected, seen.connected, seen.published + seen.played), (200, connected, 0), "{rule}");
            assert_eq!((seen.bad_messages, seen.held), (0, 0), "{rule}");
        }
    }
}

#[test]
fn every_client_is_understood() {
    for backend in ENGINES {
        for client in ClientProfile::ALL {
            for (until, can) in [(Until::Publish, client.publishes()), (Until::Play, client.plays())] {
                if !can {
                    continue;
                }
                let sink = sink_that_refuses(&[], backend);
                let mut plan = sessions(10, 30, until, &sink);
                plan.populations[0].clients[0].client.profile = client;
                let outcomes = on_sockets(&plan, backend).outcomes();
                assert_eq!((outcomes.counts.completed, &outcomes.failures[..]), (30, &[][..]), "{client} {until}");
                let seen = sink.stop();
                assert_eq!(
                    (seen.connected, seen.published + seen.played, seen.bad_messages),
                    (30, 30, 0),
                    "{client} {until}"
                );
            }
        }
    }
}

#[test]
fn a_sink_with_a_certificate_speaks_tls() {
    for backend in ENGINES {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
        let pair = KeyPair::generate().unwrap();
        let self_signed = CertificateParams::new(["sink.test".to_owned()]).unwrap().self_signed(&pair).unwrap();
        std::fs::write(&certificate, self_signed.pem()).unwrap();
        std::fs::write(&key, pair.serialize_pem()).unwrap();
        let tls = TlsServer::load(&TlsServerPlan { certificate: certificate.clone(), key }).unwrap();
        let sink = Sink::start(SinkPlan { tls: Some(tls), ..sink_plan(backend) }).unwrap();

        let mut plan = sessions(20, 100, Until::Publish, &sink);
        plan.targets[0].tls = true;
        plan.tls = Some(TlsPlan {
            ca: Some(certificate),
            insecure: false,
            server_name: Some("sink.test".to_owned()),
            resume: true,
        });
        let ended = on_sockets(&plan, backend);
        let outcomes = ended.outcomes();
        assert_eq!((outcomes.counts.completed, &outcomes.failures[..]), (100, &[][..]));
        let TlsCounts { full, resumed } = ended.snapshot.measured().tls;
        assert_eq!(full + resumed, 100);
        assert!(resumed > 0, "tickets are used");

        // Who speaks plain RTMP to it is told apart from a client that gave up.
        let plain = on_sockets(&sessions(5, 10, Until::Handshake, &sink), backend);
        assert_eq!(plain.outcomes().counts.failed, 10);
        let seen = sink.stop();
        assert_eq!(
            (seen.accepted, seen.complex, seen.published, seen.violations, seen.abandoned),
            (110, 100, 100, 10, 0)
        );
    }
}
