//! Every default, refusal and note.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::super::target::TargetText;
use super::*;
use crate::base::Secret;
use crate::fleet::Topology;
use crate::protocol::DigestAt;

mod populations;
mod sessions;

/// Eight cores, a hundred thousand files for each ring, the kernel's default ports.
fn machine() -> Machine {
    Machine { topology: Topology::of_cpus(0..8), cores: 8, descriptors: 100_000, ports: 28_232 }
}

/// Addresses are themselves; `two.example` has two, one of them told twice.
fn lookup(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    let addresses = match host {
        "two.example" => vec!["10.0.1.1", "10.0.1.2", "10.0.1.1"],
        "public.example" => vec!["203.0.113.7"],
        "empty.example" => vec![],
        address => vec![address],
    };
    addresses
        .into_iter()
        .map(|address| match address.parse::<IpAddr>() {
            Ok(address) => Ok(SocketAddr::from((address, port))),
            Err(_) => Err(Error::new(ErrorKind::NotFound, "no such host")),
        })
        .collect()
}

fn to(targets: &[&str]) -> Request {
    let targets = targets.iter().map(|text| text.parse::<TargetText>().unwrap()).collect();
    Request { targets, seed: Some(Seed::new(7)), ..Request::default() }
}

/// A closed loop against one target, with nothing else asked.
fn closed() -> Request {
    to(&["rtmp://10.0.0.5/live"])
}

fn open(rate: &str) -> Request {
    Request { rate: Some(rate.parse().unwrap()), ..closed() }
}

fn secs(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

fn held_for(seconds: u64) -> Option<HoldRequest> {
    Some(HoldRequest::For(Duration::from_secs(seconds)))
}

fn resolved_on(machine: &Machine, request: &Request) -> Resolved {
    resolve(request, machine, &lookup).unwrap()
}

fn resolved(request: &Request) -> Resolved {
    resolved_on(&machine(), request)
}

fn plan(request: &Request) -> RunPlan {
    resolved(request).plan
}

fn refusal_on(machine: &Machine, request: &Request) -> String {
    match resolve(request, machine, &lookup) {
        Ok(resolved) => panic!("not refused: {resolved:?}"),
        Err(error) => error.to_string(),
    }
}

fn load(request: &Request) -> LoadPlan {
    plan(request).populations.remove(0).lanes.remove(0).load
}

fn concurrency(request: &Request) -> u32 {
    plan(request).concurrency()
}

#[test]
fn with_nothing_asked_everything_has_its_default() {
    let target = Target::new("rtmp://10.0.0.5/live", "10.0.0.5", "10.0.0.5:1935".parse().unwrap());
    let population = Population {
        name: "clients".into(),
        lanes: vec![Lane { begins_ns: 0, concurrency: 64, load: LoadPlan::closed(64, 0, Some(10_000_000_000), None) }],
        targets: vec![TargetShare { target: 0, weight: 1 }],
        sources: Vec::new(),
        clients: vec![ClientShare {
            client: ClientPlan {
                profile: ClientProfile::Shakedown,
                mode: HandshakeMode::Complex,
                digest_at: DigestAt::FirstHalf,
                wrong_c2: false,
            },
            weight: 1,
        }],
        verify: Verify::All,
        until: Until::Handshake,
        app: None,
        stream: None,
        stream_keys: std::sync::Arc::default(),
        hold: Hold::ForNs(0),
        close: ClosePolicy::Rst,
        connect_timeout_ns: 10_000_000_000,
        timeout_ns: 10_000_000_000,
        expect: None,
        canary: false,
    };
    let plan = RunPlan {
        scenario: None,
        targets: vec![target],
        built_in_sink: false,
        engine: Engine::IoUring,
        workers: 8,
        cpus: (0..8).collect(),
        populations: vec![population],
        sources: Vec::new(),
        thresholds: Vec::new(),
        abort_if: Vec::new(),
        drain: false,
        release_per_s: None,
        resolve_every_ns: None,
        proxy_protocol: None,
        tls: None,
        hold_check_ns: None,
        media: None,
        enhanced_rtmp: false,
        seed: Seed::new(7),
        share: Share::WHOLE,
        start_at: None,
    };
    let found = resolved(&closed());
    assert_eq!(found.plan.targets[0].path.as_ref().and_then(Secret::reveal).map(String::as_str), Some("live"));
    let mut plan = plan;
    plan.targets[0].path.clone_from(&found.plan.targets[0].path);
    assert_eq!(found, Resolved { plan, notes: Vec::new() });
}

#[test]
fn what_is_asked_is_in_the_plan() {
    let request = Request {
        mode: Some(HandshakeMode::Complex),
        digest_at: Some(DigestAt::SecondHalf),
        wrong_c2: true,
        verify: Some(Verify::Sample),
        until: Some(Until::Handshake),
        hold: Some(HoldRequest::For(Duration::from_millis(1_500))),
        close: Some(ClosePolicy::Peer),
        connect_timeout: Some(Duration::from_millis(300)),
        timeout: Some(Duration::from_millis(700)),
        concurrency: Some(12),
        workers: Some(3),
        share: Some(Share::new(1, 3).unwrap()),
        start_at: Some("2030-01-02T03:04:05Z".into()),
        thresholds: vec!["response.p99<50ms".into()],
        ..open("100/s")
    };
    let plan = plan(&request);
    let clients = &plan.populations[0];
    let client = ClientPlan {
        profile: ClientProfile::Shakedown,
        mode: HandshakeMode::Complex,
        digest_at: DigestAt::SecondHalf,
        wrong_c2: true,
    };
    assert_eq!((clients.clients[0].client, clients.verify, clients.until), (client, Verify::Sample, Until::Handshake));
    assert_eq!((clients.hold, clients.close), (Hold::ForNs(1_500_000_000), ClosePolicy::Peer));
    assert_eq!((clients.connect_timeout_ns, clients.timeout_ns), (300_000_000, 700_000_000));
    assert_eq!((clients.concurrency(), plan.workers, plan.cpus.len()), (12, 3, 3));
    assert_eq!((plan.share.index, plan.share.count), (1, 3));
    assert_eq!(plan.start_at, request.start_at);
    assert_eq!(plan.thresholds.iter().map(ToString::to_string).collect::<Vec<_>>(), request.thresholds);
}

#[test]
fn a_seed_is_drawn_when_none_is_given() {
    let unseeded = Request { seed: None, ..closed() };
    let drawn = [plan(&unseeded).seed, plan(&unseeded).seed];
    assert_ne!(drawn[0], drawn[1]);
    assert!(drawn.iter().all(|seed| seed.get() < 1 << 53), "every JSON reader keeps it exact");
}

#[test]
fn the_first_of_number_and_time_ends_the_load() {
    for (duration, attempts, warmup, planned) in [
        (None, None, None, (0, Some(10), None)),
        (secs(3), None, None, (0, Some(3), None)),
        (None, Some(5), None, (0, None, Some(5))),
        (secs(3), Some(5), None, (0, Some(3), Some(5))),
        (None, None, secs(2), (2, Some(10), None)),
    ] {
        let (warmup_s, duration_s, number) = planned;
        let nanos = |seconds: u64| seconds * 1_000_000_000;
        let closed = LoadPlan::closed(64, nanos(warmup_s), duration_s.map(nanos), number);
        assert_eq!(load(&Request { duration, attempts, warmup, ..self::closed() }), closed);

        let LoadPlan::Open { stages, attempts: limit, arrival, repeat: None } =
            load(&Request { duration, attempts, warmup, ..open("100/s") })
        else {
            panic!("a rate is an open loop");
        };
        assert_eq!((limit, arrival), (number, ArrivalPattern::Uniform));
        assert_eq!(stages.last().unwrap().duration_ns, duration_s.map(nanos));
        assert_eq!(stages.len(), 1 + usize::from(warmup_s > 0));
    }
}

#[test]
fn a_warmup_is_a_stage_at_the_rate_that_the_load_begins_with() {
    for (rate, warm, from, to) in
        [("100/s", 100.0, 100.0, 100.0), ("50:200/s", 50.0, 50.0, 200.0), ("0:200/s", 200.0, 0.0, 200.0)]
    {
        let LoadPlan::Open { stages, .. } = load(&Request { warmup: secs(5), duration: secs(20), ..open(rate) }) else {
            panic!("a rate is an open loop");
        };
        let stage = |name: &str, warmup, from_per_s, to_per_s, seconds: u64| StagePlan {
            name: name.into(),
            warmup,
            probe: false,
            pace: Pace::Rate { from_per_s, to_per_s },
            duration_ns: Some(seconds * 1_000_000_000),
        };
        assert_eq!(stages, [stage("warm-up", true, warm, warm, 5), stage("load", false, from, to, 20)], "{rate}");
    }
}

#[test]
fn an_open_loop_has_slots_for_every_attempt_taking_its_full_time() {
    let forever = Some(HoldRequest::Forever);
    let poisson = Some(ArrivalPattern::Poisson);
    for (request, slots) in [
        // rate x timeout, at least 64.
        (open("1k/s"), 10_000),
        (open("1/s"), 64),
        (Request { timeout: secs(1), ..open("1k/s") }, 1_000),
        // Never more than there are attempts, the warm-up's included.
        (Request { attempts: Some(500), ..open("1k/s") }, 500),
        (Request { attempts: Some(500), warmup: secs(2), ..open("1k/s") }, 2_500),
        // A hold takes its slot as well, but no longer than the load lasts.
        (Request { duration: secs(100), hold: held_for(5), ..open("1k/s") }, 15_000),
        (Request { duration: secs(12), hold: held_for(60), ..open("1k/s") }, 12_000),
        (Request { hold: forever, ..open("1k/s") }, 10_000),
        (Request { hold: forever, warmup: secs(5), ..open("1k/s") }, 15_000),
        (Request { hold: forever, attempts: Some(200), warmup: secs(1), ..open("100/s") }, 300),
        // Of a Poisson process of 100 there are rarely more than 160.
        (Request { hold: forever, attempts: Some(200), warmup: secs(1), arrival: poisson, ..open("100/s") }, 360),
        // A ramp needs them at its peak.
        (Request { duration: secs(20), ..open("0:2k/s") }, 20_000),
        (Request { duration: secs(20), ..open("2k:0/s") }, 20_000),
        // One source reaches one target from so many ports.
        (open("100k/s"), 28_232),
        (Request { targets: to(&["two.example:1935"]).targets, ..open("100k/s") }, 56_464),
        (Request { sources: vec!["10.0.0.8-10.0.0.10".parse().unwrap()], ..open("100k/s") }, 84_696),
    ] {
        assert_eq!(concurrency(&request), slots, "{request:?}");
    }
    assert_eq!(concurrency(&Request { concurrency: Some(3), ..open("1k/s") }), 3, "what is asked is not adapted");
}

#[test]
fn slots_fit_the_file_tables() {
    for (descriptors, cores, workers, slots) in [
        (1_000, 2, None, 2_000),
        (1_000, 2, Some(1), 1_000),
        (1_000, 2, Some(5), 5_000),
        (10, 2, None, 20),
        (0, 1, None, 1),
    ] {
        let small = Machine { descriptors, cores, ..machine() };
        let plan = resolve(&Request { workers, ..open("1k/s") }, &small, &lookup).map(|resolved| resolved.plan);
        assert_eq!(plan.unwrap().concurrency(), slots, "{descriptors} files, {cores} cores, -t {workers:?}");
    }
}

/// Epoll has no tables: all workers share what the process may have open, less some files of its own.
#[test]
fn the_files_of_the_process_bound_epoll() {
    let small = Machine { descriptors: 1_000, ..machine() };
    let epoll = |request: Request| Request { engine: Some(Engine::Epoll), ..request };
    let resolved = |request| resolve(&request, &small, &lookup);
    for (workers, slots) in [(None, 904), (Some(1), 932), (Some(100), 536)] {
        let plan = resolved(epoll(Request { workers, ..open("1k/s") })).unwrap().plan;
        assert_eq!((plan.concurrency(), plan.engine), (slots, Engine::Epoll), "-t {workers:?}");
    }
    let resolved_slots =
        |slots, request| resolved(epoll(Request { concurrency: Some(slots), workers: Some(1), ..request }));
    assert_eq!(resolved_slots(932, closed()).unwrap().plan.workers, 1);
    insta::assert_snapshot!(
        resolved_slots(933, closed()).unwrap_err(),
        @"933 slots need as many open files, and the epoll engine has 932 for them in all workers together: the process may have 1000 open (the hard limit, ulimit -Hn); raise the limit, use --engine io_uring, whose limit is for each worker, or lower -c"
    );
    let built_in = Request { targets: Vec::new(), ..closed() };
    assert_eq!(resolved_slots(310, built_in.clone()).unwrap().plan.workers, 1);
    insta::assert_snapshot!(
        resolved_slots(311, built_in).unwrap_err(),
        @"311 slots need as many open files, and the epoll engine has 310 for them in all workers together: the process may have 1000 open (the hard limit, ulimit -Hn), the built-in sink's included; raise the limit, use --engine io_uring, whose limit is for each worker, or lower -c"
    );
}

#[test]
fn there_is_a_worker_for_each_core_fewer_if_there_are_fewer_slots_more_if_the_tables_need_it() {
    let small = Machine { descriptors: 100, ..machine() };
    for (machine, slots, asked, workers, note) in [
        (machine(), 64, None, 8, None),
        (machine(), 3, None, 3, None),
        (machine(), 64, Some(2), 2, None),
        (machine(), 2, Some(5), 5, None),
        (small.clone(), 800, None, 8, None),
        (small.clone(), 801, None, 9, Some("9 workers on 8 cores")),
        (small.clone(), 801, Some(9), 9, None),
        (Machine { cores: 2, ..machine() }, 64, None, 2, None),
        (Machine { cores: 0, ..machine() }, 64, None, 1, None),
    ] {
        let request = Request { concurrency: Some(slots), workers: asked, ..closed() };
        let Resolved { plan, notes } = resolved_on(&machine, &request);
        assert_eq!(plan.workers, workers, "-c {slots} -t {asked:?} on {machine:?}");
        assert_eq!(plan.cpus, (0..workers.min(machine.cores.max(1)).min(8)).collect::<Vec<_>>());
        match note {
            None => assert_eq!(notes, [""; 0]),
            Some(note) => assert!(notes.len() == 1 && notes[0].contains(note), "{notes:?}"),
        }
    }
}

#[test]
fn workers_go_to_the_cpus_asked_for_in_their_order() {
    let asked = |text: &str, workers| {
        let request = Request { cpus: Some(text.parse().unwrap()), workers, ..closed() };
        let plan = resolved_on(&machine(), &request).plan;
        (plan.workers, plan.cpus)
    };
    assert_eq!(asked("5,2-3", None), (3, vec![5, 2, 3]), "a worker for each");
    assert_eq!(asked("5,2-3", Some(2)), (2, vec![5, 2]));
    assert_eq!(asked("5,2-3", Some(7)), (7, vec![5, 2, 3]), "more go round");
    let built_in = Request { cpus: Some("6-7".parse().unwrap()), ..to(&[]) };
    let plan = resolved_on(&machine(), &built_in).plan;
    assert_eq!((plan.built_in_sink, plan.workers, plan.cpus), (true, 2, vec![6, 7]), "the rest is the sink's");
    let refused = refusal_on(&machine(), &Request { cpus: Some("7-8".parse().unwrap()), ..closed() });
    assert!(refused.starts_with("--cpus: CPU 8 is not in this process's cpuset, which is 0-7;"), "{refused}");
    let simulated = Request { cpus: Some("1".parse().unwrap()), engine: Some(Engine::Sim), ..closed() };
    assert!(refusal_on(&machine(), &simulated).contains("drop --cpus"));
}

#[test]
fn of_many_cores_one_is_left_free_and_said_to_be() {
    let nowhere = tempfile::tempdir().unwrap();
    let machine =
        Machine { topology: Topology::read(nowhere.path(), &(0..16).collect::<Vec<_>>()), cores: 16, ..machine() };
    let Resolved { plan, notes } = resolved_on(&machine, &closed());
    assert_eq!((plan.workers, plan.cpus), (15, (1..16).collect()));
    insta::assert_snapshot!(notes.join("\n"), @"CPU 0 is left free for the control thread, interrupts and the kernel's own work: --cpus chooses others");
    let Resolved { plan, notes } = resolved_on(&machine, &Request { workers: Some(16), ..closed() });
    assert_eq!((plan.cpus.last(), notes.len()), (Some(&0), 0), "as many as were asked for");
    let chosen = Request { cpus: Some("0-1".parse().unwrap()), ..closed() };
    assert_eq!(resolved_on(&machine, &chosen).notes, [""; 0]);
    let shared = resolved_on(&machine, &to(&[])).plan;
    assert_eq!(shared.cpus, (1..8).collect::<Vec<_>>(), "half of the cores that are left");
    let quota = Machine { cores: 4, ..machine };
    assert_eq!(resolved_on(&quota, &closed()).plan.workers, 4);
}

#[test]
fn a_name_with_several_addresses_is_several_targets() {
    let plan = plan(&to(&["rtmp://two.example/live", "[::1]:1936"]));
    let targets: Vec<_> = plan
        .targets
        .iter()
        .map(|target| (target.name.as_str(), target.host.as_str(), target.address.to_string()))
        .collect();
    assert_eq!(
        targets,
        [
            ("rtmp://two.example/live", "two.example", "10.0.1.1:1935".into()),
            ("rtmp://two.example/live", "two.example", "10.0.1.2:1935".into()),
            ("[::1]:1936", "::1", "[::1]:1936".into()),
        ]
    );
}

#[test]
fn public_addresses_are_loaded_only_if_they_are_allowed() {
    let public = to(&["rtmp://public.example/live"]);
    let refused = refusal_on(&machine(), &public);
    assert!(refused.contains("203.0.113.7") && refused.contains("--allow-target"), "{refused}");
    for allowed in ["203.0.113.0/24", "public.example"] {
        let plan = plan(&Request { allowed: vec![allowed.into()], ..public.clone() });
        assert_eq!(plan.targets[0].address.to_string(), "203.0.113.7:1935");
    }
}

#[test]
fn sources_are_counted_once() {
    let sources = ["10.0.0.8-10.0.0.10", "10.0.0.9", "10.0.0.20"].map(|text| text.parse().unwrap());
    let plan = plan(&Request { sources: sources.to_vec(), ..closed() });
    let sources: Vec<String> = plan.sources.iter().map(IpAddr::to_string).collect();
    assert_eq!(sources, ["10.0.0.8", "10.0.0.9", "10.0.0.10", "10.0.0.20"]);
}

#[test]
fn without_a_target_half_of_the_cores_are_the_sinks() {
    let builtin = to(&[]);
    for (cores, workers) in [(8, 4), (3, 1), (2, 1), (1, 1)] {
        let plan = resolved_on(&Machine { cores, ..machine() }, &builtin).plan;
        assert!(plan.built_in_sink);
        assert_eq!(
            (plan.targets[0].name.as_str(), plan.targets[0].address.to_string()),
            ("built-in sink", "127.0.0.1:0".into())
        );
        assert_eq!((plan.workers, plan.cpus), (workers, (0..workers).collect::<Vec<u32>>()), "{cores} cores");
    }
}

#[test]
fn the_built_in_sink_is_reached_from_loopback_sources_with_ports_to_spare() {
    for (slots, sources) in [(64, 0), (14_116, 0), (14_117, 2), (28_232, 2), (100_000, 8), (400_000, 29)] {
        let plan = plan(&Request { concurrency: Some(slots), ..to(&[]) });
        assert_eq!(plan.sources.len(), sources, "{slots} slots");
        assert!(plan.sources.first().is_none_or(|first| *first == IpAddr::from([127, 0, 0, 1])));
    }
    let asked = Request { concurrency: Some(100), sources: vec!["127.0.0.9".parse().unwrap()], ..to(&[]) };
    assert_eq!(plan(&asked).sources, [IpAddr::from([127, 0, 0, 9])], "what is asked is not adapted");
}

#[test]
fn the_simulated_network_has_one_worker_and_needs_no_ports() {
    let request = Request { engine: Some(Engine::Sim), concurrency: Some(90_000), ..closed() };
    let plan = plan(&request);
    assert_eq!(plan.concurrency(), 90_000);
    assert_eq!((plan.workers, plan.cpus, plan.sources), (1, vec![], vec![]));
    let refused = refusal_on(&machine(), &Request { workers: Some(2), ..request });
    assert!(refused.contains("one worker") && refused.contains("-t"), "{refused}");
}

#[test]
fn what_cannot_work_is_refused_with_its_cause_and_a_remedy() {
    let forever = Some(HoldRequest::Forever);
    let source = |text: &str| vec![text.parse().unwrap()];
    for (request, cause, remedy) in [
        (Request { attempts: Some(0), ..closed() }, "-n 0", "at least 1"),
        (Request { duration: secs(0), ..closed() }, "-d 0s", "such as 10s"),
        (Request { concurrency: Some(0), ..closed() }, "-c 0", "at least 1"),
        (Request { workers: Some(0), ..closed() }, "-t 0", "at least 1"),
        (Request { workers: Some(0), ..open("1k/s") }, "-t 0", "at least 1"),
        (Request { workers: Some(4_097), ..closed() }, "-t 4097", "the most is 4096"),
        (Request { timeout: secs(0), ..closed() }, "--timeout 0s", "such as 10s"),
        (Request { connect_timeout: secs(0), ..closed() }, "--connect-timeout 0s", "such as 10s"),
        (Request { attempts: Some(10), ..open("1:2/s") }, "is a ramp", "-d"),
        (open("2:1/s"), "is a ramp", "-d"),
        (Request { arrival: Some(ArrivalPattern::Poisson), ..closed() }, "--arrival", "-R"),
        (Request { share: Some(Share::new(0, 2).unwrap()), ..closed() }, "--share", "-R"),
        (
            Request { mode: Some(HandshakeMode::Simple), digest_at: Some(DigestAt::FirstHalf), ..closed() },
            "--mode simple has none",
            "drop one",
        ),
        // Slots that are never free again.
        (Request { hold: forever, attempts: Some(65), ..closed() }, "64 slots cannot make 65 attempts", "-c 65"),
        (
            Request { hold: forever, attempts: Some(10), warmup: secs(1), ..closed() },
            "the warm-up of a closed loop leaves none",
            "drop -w",
        ),
        (
            Request { hold: forever, attempts: Some(200), concurrency: Some(100), ..open("1k/s") },
            "100 slots cannot make 200 attempts",
            "-c 200",
        ),
        (
            Request { hold: forever, attempts: Some(100), warmup: secs(1), concurrency: Some(100), ..open("1k/s") },
            "100 slots cannot make 1100 attempts",
            "-c 1100",
        ),
        // Ports and addresses.
        (
            Request { concurrency: Some(28_233), ..closed() },
            "28233 connections need 28233 local ports and there are 28232",
            "give 2 source addresses with --source",
        ),
        (
            Request { concurrency: Some(60_000), ..to(&["two.example:1935"]) },
            "there are 56464 (28232 for each source and target)",
            "give 2 source addresses",
        ),
        (Request { sources: source("::1"), ..closed() }, "different address families", "of the target's family"),
        (
            Request {
                sources: ["10.1.0.1-10.1.255.254", "10.2.0.1-10.2.0.2"].map(|text| text.parse().unwrap()).into(),
                ..closed()
            },
            "65536 source addresses",
            "the most is 65535",
        ),
        (to(&["nowhere.example:1935"]), "cannot resolve 'nowhere.example'", "check the name"),
        (to(&["empty.example:1935"]), "has no address", "empty.example"),
        (to(&["224.0.0.1:1935"]), "no server can have", "224.0.0.1"),
        // What the load model refuses.
        (open("2000M/s"), "2000000000 arrivals per second", "1000M/s"),
        (
            Request { warmup: secs(400 * 365 * 86_400), duration: secs(400 * 365 * 86_400), ..open("1/s") },
            "584 years",
            "shorten",
        ),
        // Conditions on what is not measured.
        (Request { thresholds: vec!["response.p99<50ms".into()], ..closed() }, "response.p99<50ms", "service"),
        (Request { thresholds: vec!["nonsense".into()], ..closed() }, "nonsense", "example"),
    ] {
        let refused = refusal_on(&machine(), &request);
        assert!(refused.contains(cause) && refused.contains(remedy), "{cause}, {remedy}: {refused}");
        assert!(!refused.contains('\n') && !refused.ends_with('.'), "one sentence: {refused}");
    }
    let few_files = Machine { descriptors: 100, ..machine() };
    let refused = refusal_on(&few_files, &Request { concurrency: Some(1_000), workers: Some(9), ..closed() });
    assert!(refused.contains("1000 slots need 10 workers") && refused.contains("give -t 10"), "{refused}");
}

#[test]
fn holds_that_end_are_not_refused() {
    let forever = Some(HoldRequest::Forever);
    for request in [
        Request { hold: forever, attempts: Some(64), ..closed() },
        Request { hold: forever, ..closed() },
        // What finds no slot is dropped when the time is over.
        Request { hold: forever, duration: secs(5), attempts: Some(500), concurrency: Some(10), ..open("1k/s") },
        Request { hold: held_for(5), attempts: Some(500), concurrency: Some(10), warmup: secs(1), ..open("1k/s") },
        Request { hold: held_for(5), attempts: Some(500), concurrency: Some(10), warmup: secs(1), ..closed() },
    ] {
        assert_eq!(resolved(&request).notes, [""; 0], "{request:?}");
    }
    let nothing_left = resolved(&Request { hold: forever, warmup: secs(1), ..closed() });
    assert_eq!(nothing_left.notes, ["the warm-up holds all 64 slots for ever: no attempt is left to measure"]);
}

/// Seconds as people ask for them, or anything.
fn some_time() -> impl Strategy<Value = Duration> {
    prop_oneof![4 => (0..1_000_u64).prop_map(Duration::from_secs), 1 => any::<Duration>()]
}

fn some_rate() -> impl Strategy<Value = f64> {
    prop_oneof![4 => 0.0..1e5_f64, 1 => 0.0..1e12_f64]
}

prop_compose! {
    fn requests()(
        rate in prop::option::of((some_rate(), some_rate(), any::<bool>())),
        concurrency in prop::option::of(prop_oneof![4 => 0..30_000_u32, 1 => any::<u32>()]),
        duration in prop::option::of(some_time()),
        attempts in prop::option::of(prop_oneof![4 => 0..100_000_u64, 1 => any::<u64>()]),
        warmup in prop::option::of(some_time()),
        workers in prop::option::of(prop_oneof![4 => 0..100_u32, 1 => any::<u32>()]),
        hold in prop::option::of(prop_oneof![Just(HoldRequest::Forever), some_time().prop_map(HoldRequest::For)]),
        timeout in prop::option::of(some_time()),
        poisson in any::<bool>(),
        share in (0..65_535_u32).prop_map(|index| Share::new(index, 65_535).unwrap()),
        simulated in any::<bool>(),
    ) -> Request {
        let rate = rate.and_then(|(from, to, ramp)| {
            let end = |per_s| Rate::per_second(per_s).ok();
            RateRange::new(end(if ramp { from } else { to })?, end(to)?).ok()
        });
        Request {
            rate,
            concurrency,
            duration,
            attempts,
            warmup,
            workers,
            hold,
            timeout,
            arrival: (poisson && rate.is_some()).then_some(ArrivalPattern::Poisson),
            share: rate.map(|_| share),
            engine: simulated.then_some(Engine::Sim),
            ..closed()
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_is_planned_or_refused(
        request in requests(),
        (cores, descriptors, ports) in (0..200_u32, 0..2_000_000_u32, 0..65_536_u32),
    ) {
        let machine = Machine { topology: Topology::of_cpus(0..cores), cores, descriptors, ports };
        match resolve(&request, &machine, &lookup) {
            Ok(Resolved { plan, .. }) => {
                let slots = plan.concurrency();
                prop_assert!(plan.workers >= 1 && slots >= 1);
                prop_assert!(request.concurrency.is_none_or(|asked| asked == slots), "what is asked is not adapted");
                if plan.engine == Engine::IoUring {
                    prop_assert!(slots <= ports, "one target and one source");
                    prop_assert!(u64::from(slots) <= u64::from(plan.workers) * u64::from(descriptors.max(1)));
                }
            }
            Err(refusal) => prop_assert!(!refusal.to_string().is_empty()),
        }
    }
}
