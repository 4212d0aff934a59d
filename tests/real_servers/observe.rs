//! Processes that serve, seen from outside: found by their address, and read while they are loaded.

use shakedown::observe::{ObservedKind, ObservedSample, listener_of};

use crate::support::{Nginx, NginxOptions, SinkProcess, run};

#[test]
fn nginx_is_found_by_its_address_and_observed_with_its_workers() {
    let nginx = Nginx::start(NginxOptions { workers: 2, ..NginxOptions::default() });
    let listening = listener_of(nginx.address());
    assert_eq!(listening.roots(), [nginx.id()], "{listening:?}");
    assert_eq!(listening.processes.len(), 3, "a master and two workers: {listening:?}");
    let result = run(&format!("{} -c 32 -d 2s --observe pid:{}", nginx.url("x"), nginx.id()));
    let [observed] = result.observed.as_slice() else { panic!("one subject: {:?}", result.observed) };
    assert_eq!(
        (observed.name.as_str(), observed.kind),
        (&*format!("nginx (pid {})", nginx.id()), ObservedKind::Process)
    );
    assert_eq!((observed.listen_backlog, observed.ended_s), (Some(511), None), "nginx's own default");
    let is_whole = |sample: &ObservedSample| {
        sample.threads == Some(3)
            && sample.cpu_percent > Some(0.0)
            && sample.busiest_thread_percent <= sample.cpu_percent
            && sample.rss_bytes > Some(0)
            && sample.descriptors > Some(0)
            && sample.listen_queue.is_some()
            && sample.socket_drops.is_some()
            && sample.listen_drops.is_some()
    };
    assert!(!observed.samples.is_empty() && observed.samples.iter().all(is_whole), "{:?}", observed.samples);
    let info = result.tcp_info.expect("sock_diag answers");
    assert!(info.readings > 0, "{info:?}");
}

#[test]
fn held_connections_are_seen_by_tcp_info() {
    let sink = SinkProcess::start("--workers 1");
    let result = run(&format!("{} -c 50 -n 50 --hold 2s --observe pid:{}", sink.address(), sink.id()));
    let [observed] = result.observed.as_slice() else { panic!("one subject: {:?}", result.observed) };
    assert!(observed.name.starts_with("shakedown (pid "), "{}", observed.name);
    let info = result.tcp_info.expect("sock_diag answers");
    assert!(info.sampled > 0 && info.syn_retries == 0 && info.rtt_p50_ns.is_some(), "{info:?}");
    let pinned = listener_of(sink.address()).cpus();
    assert!(!pinned.is_empty(), "the sink's worker runs somewhere");
}
