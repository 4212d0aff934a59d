//! Publishers that stay on air: what nginx counts, what a player sees of them, what becomes of lost ones.

use std::time::Duration;

use shakedown::measure::{FailureKind, Side, Step};

use crate::support::{Link, LinkOptions, Load, LostSyns, Nginx, NginxOptions, ffprobe, streams};

#[test]
fn held_publishers_stay_on_air_with_a_trickle() {
    const PUBLISHERS: usize = 200;
    let nginx = Nginx::start(NginxOptions { statistics: true, ..NginxOptions::default() });
    let url = nginx.url("held-{id}");
    let mut load = Load::start(&format!("{url} -c {PUBLISHERS} -d 10m --until publish --hold forever"));
    load.wait_until(|| streams(&nginx.statistics()) == [PUBLISHERS, PUBLISHERS]);
    assert_eq!(ffprobe(&nginx.url("held-7")), ["aac", "h264"]);
    // Every publisher has sent its metadata, for nginx knows their codecs; and nobody has gone.
    load.wait_until(|| nginx.statistics().matches("<codec>AAC</codec>").count() == PUBLISHERS);
    let statistics = nginx.statistics();
    assert_eq!((streams(&statistics)[0], statistics.matches("<publishing/><active/></client>").count()), (200, 200));

    let result = load.interrupt().ended_with(130);
    let attempts = (result.attempts.completed, result.attempts.failed);
    assert_eq!(attempts, (PUBLISHERS as u64, 0), "{:?}", result.failures);
    assert_eq!((result.connections.held, result.connections.lost_while_held), (PUBLISHERS as u64, 0));
    // Metadata, two sequence headers and a picture each, at least.
    assert!(result.media.sent_bytes > 300 * PUBLISHERS as u64, "{:?}", result.media);
}

#[test]
fn a_flow_that_is_dropped_silently_is_noticed_by_the_hold_check() {
    const PUBLISHERS: u64 = 20;
    let link = Link::start(LinkOptions { delay: Duration::ZERO, loss: 0.0, lost_syns: LostSyns::None, seed: 1 });
    let options = NginxOptions { listen: Link::SERVER.into(), logs_connections: true, ..NginxOptions::default() };
    let mut nginx = link.at_server(|| Nginx::start(options));
    let url = nginx.url("{id}");
    let arguments = format!("{url} -n {PUBLISHERS} -c {PUBLISHERS} --until publish --hold 10m --hold-check 1s");
    let load = link.start_run(&arguments);
    nginx.wait_for("publish: name=", PUBLISHERS as u32);
    link.silence_server();
    let result = load.finish().result();
    assert_eq!(result.attempts.completed, PUBLISHERS, "{:?}", result.failures);
    assert_eq!(result.connections.lost_while_held, PUBLISHERS);
    let [row] = &result.failures[..] else { panic!("{:?}", result.failures) };
    assert_eq!((row.step, row.kind, row.count), (Step::Hold, FailureKind::LostSilently, PUBLISHERS));
    assert_eq!(row.side, Side::Unattributed);
}
