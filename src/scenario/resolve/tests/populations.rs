//! Several populations, each with clients, targets and sources of its own.

use super::*;
use crate::load::Reconnect;
use crate::run::ProxyVersion;
use crate::scenario::{PopulationRequest, StageLoad, StageRequest};

fn stage(load: StageLoad, seconds: u64) -> StageRequest {
    StageRequest { name: None, load, length: Duration::from_secs(seconds), warmup: false, every: None }
}

fn rate(text: &str, seconds: u64) -> StageRequest {
    stage(StageLoad::Rate(text.parse().unwrap()), seconds)
}

fn concurrency_of(from: u32, to: u32, seconds: u64) -> StageRequest {
    stage(StageLoad::Concurrency { from, to }, seconds)
}

fn storm_of(fleet: u32, seconds: u64) -> StageRequest {
    stage(StageLoad::Storm { fleet, reconnect: Reconnect::NginxRtmp }, seconds)
}

fn population(name: &str, stages: Vec<StageRequest>) -> PopulationRequest {
    PopulationRequest { name: name.into(), stages, ..PopulationRequest::default() }
}

fn scenario(populations: Vec<PopulationRequest>) -> Request {
    Request { scenario: Some("evening".into()), populations, ..closed() }
}

fn shares(shares: &[(u16, u32)]) -> Vec<TargetShare> {
    shares.iter().map(|&(target, weight)| TargetShare { target, weight }).collect()
}

fn texts(texts: &[&str]) -> Vec<TargetText> {
    to(texts).targets
}

/// Slots of each lane of each population.
fn sizes(request: &Request) -> Vec<Vec<u32>> {
    let lanes = |population: &Population| population.lanes.iter().map(|lane| lane.concurrency).collect();
    plan(request).populations.iter().map(lanes).collect()
}

#[test]
fn populations_have_targets_and_sources_of_their_own_or_the_runs() {
    let own = PopulationRequest {
        targets: texts(&["10.0.0.6:1935", "rtmp://10.0.0.5/live"]),
        weights: vec![3, 1],
        sources: vec!["10.1.0.7-10.1.0.9".parse().unwrap()],
        ..population("own", vec![rate("10/s", 5)])
    };
    let common = population("common", vec![rate("10/s", 5)]);
    let sources = vec!["10.1.0.8".parse().unwrap()];
    let plan = plan(&Request { sources, ..scenario(vec![common, own]) });
    assert_eq!(plan.scenario.as_deref(), Some("evening"));
    let addresses: Vec<String> = plan.targets.iter().map(|target| target.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.5:1935", "10.0.0.6:1935"], "each target once");
    let sources: Vec<String> = plan.sources.iter().map(IpAddr::to_string).collect();
    assert_eq!(sources, ["10.1.0.8", "10.1.0.7", "10.1.0.9"], "each source once");
    let [common, own] = &plan.populations[..] else { panic!("two populations") };
    assert_eq!((&common.targets, &common.sources), (&shares(&[(0, 1)]), &vec![0]));
    assert_eq!((&own.targets, &own.sources), (&shares(&[(1, 3), (0, 1)]), &vec![1, 0, 2]));
}

#[test]
fn names_keep_their_weights_whatever_the_number_of_their_addresses() {
    let request = Request { weights: vec![1, 1], ..to(&["two.example:1935", "10.0.0.5:1935"]) };
    assert_eq!(plan(&request).populations[0].targets, shares(&[(0, 1), (1, 1), (2, 2)]));
}

#[test]
fn populations_differ_in_what_their_clients_do() {
    let first = PopulationRequest {
        hold: Some(HoldRequest::Exponential(Duration::from_secs(1_200))),
        clients: vec!["obs=40".parse().unwrap(), "ffmpeg=60".parse().unwrap()],
        close: Some(ClosePolicy::Fin),
        timeout: secs(3),
        ..population("first", vec![rate("10/s", 5)])
    };
    let second = PopulationRequest {
        clients: vec!["half-c1".parse().unwrap()],
        expect: Some("closed within 20s".parse().unwrap()),
        ..population("second", vec![concurrency_of(5, 5, 60)])
    };
    let plan = plan(&scenario(vec![first, second]));
    let [first, second] = &plan.populations[..] else { panic!("two populations") };
    assert_eq!((first.hold, first.close), (Hold::Exponential { mean_ns: 1_200_000_000_000 }, ClosePolicy::Fin));
    assert_eq!((first.timeout_ns, first.expect), (3_000_000_000, None));
    let clients: Vec<_> = first.clients.iter().map(|share| (share.client.profile, share.weight)).collect();
    assert_eq!(clients, [(ClientProfile::Obs, 40), (ClientProfile::Ffmpeg, 60)]);
    // What is expected within 20 s is waited for a little longer.
    assert_eq!((second.hold, second.timeout_ns), (Hold::ForNs(0), 25_000_000_000));
    assert_eq!(second.expect, Some("closed within 20s".parse().unwrap()));
    assert_eq!((plan.length(), plan.clients().len()), (Nanos::from_secs(60), 3));
}

#[test]
fn a_fleet_stays_when_it_is_back() {
    let storm = population("fleet", vec![storm_of(500, 60)]);
    assert_eq!(plan(&scenario(vec![storm.clone()])).populations[0].hold, Hold::Forever);
    let held = PopulationRequest { hold: held_for(5), ..storm };
    assert_eq!(plan(&scenario(vec![held])).populations[0].hold, Hold::ForNs(5_000_000_000));
}

#[test]
fn lanes_have_the_slots_that_their_plans_need() {
    // A loop its most clients, a fleet its clients, planned arrivals what is asked or their rate times the timeout.
    let stages = vec![rate("1k/s", 60), concurrency_of(10, 300, 5), concurrency_of(20, 20, 5), storm_of(500, 60)];
    let sized = PopulationRequest { hold: held_for(0), ..population("sized", stages) };
    let asked = PopulationRequest { name: "asked".into(), concurrency: Some(77), ..sized.clone() };
    assert_eq!(sizes(&scenario(vec![sized, asked])), [[10_000, 300, 500], [77, 300, 500]]);
    let burst = stage(StageLoad::Burst(5_000), 1);
    let probe = stage(StageLoad::Probe("2/s".parse().unwrap()), 60);
    let event = StageRequest { every: secs(20), ..burst.clone() };
    assert_eq!(sizes(&scenario(vec![population("events", vec![burst, probe, event])])), [[5_000, 64, 5_000]]);
}

#[test]
fn lanes_share_the_file_tables() {
    let small = Machine { descriptors: 1_000, cores: 2, ..machine() };
    let request = scenario(vec![
        population("fleet", vec![storm_of(500, 60), rate("1k/s", 60)]),
        population("others", vec![rate("1k/s", 60)]),
    ]);
    let plan = resolved_on(&small, &request).plan;
    let sizes: Vec<Vec<u32>> = plan
        .populations
        .iter()
        .map(|population| population.lanes.iter().map(|lane| lane.concurrency).collect())
        .collect();
    assert_eq!(sizes, [vec![500, 750], vec![750]]);
    assert_eq!((plan.workers, plan.concurrency()), (2, 2_000));
}

#[test]
fn lanes_share_the_ports_of_their_sources_and_targets() {
    let fast = |name| population(name, vec![rate("100k/s", 60)]);
    let elsewhere = PopulationRequest { targets: texts(&["10.0.0.9:1935"]), ..fast("elsewhere") };
    let from = |name, source: &str| PopulationRequest { sources: vec![source.parse().unwrap()], ..fast(name) };
    for (populations, expected) in [
        (vec![fast("one"), fast("two")], [[14_116], [14_116]]),
        (vec![fast("one"), elsewhere], [[28_232], [28_232]]),
        (vec![from("one", "10.1.0.1"), from("two", "10.1.0.2")], [[28_232], [28_232]]),
        (vec![from("one", "10.1.0.1"), from("two", "10.1.0.1-10.1.0.2")], [[28_232], [28_232]]),
        (vec![fast("one"), population("fleet", vec![storm_of(20_000, 60)])], [[8_232], [20_000]]),
    ] {
        assert_eq!(sizes(&scenario(populations.clone())), expected, "{populations:?}");
    }
    let fleets = ["one", "two"].map(|name| population(name, vec![storm_of(20_000, 60)]));
    let refused = refusal_on(&machine(), &scenario(fleets.to_vec()));
    assert!(refused.contains("40000 connections need 40000 local ports and there are 28232"), "{refused}");
    assert!(refused.contains("give 2 source addresses"), "{refused}");
    let simulated = Request { engine: Some(Engine::Sim), ..scenario(fleets.to_vec()) };
    assert_eq!(sizes(&simulated), [[20_000], [20_000]], "the simulated network has no ports to run out of");
}

#[test]
fn the_canary_goes_along_with_the_load() {
    let canary = Some("10.0.0.9:1935".parse().unwrap());
    let plan = plan(&Request { canary, duration: secs(30), ..open("100/s") });
    let [clients, canary] = &plan.populations[..] else { panic!("two populations") };
    assert!(!clients.canary && canary.canary);
    assert_eq!((canary.name.as_str(), &canary.targets), ("canary", &shares(&[(1, 1)])));
    assert_eq!((canary.timeout_ns, canary.connect_timeout_ns), (2_000_000_000, 2_000_000_000));
    let [Lane { begins_ns: 0, concurrency: 8, load: LoadPlan::Open { stages, repeat: None, .. } }] = &canary.lanes[..]
    else {
        panic!("{canary:?}")
    };
    assert_eq!(stages[0].pace, Pace::Rate { from_per_s: 1.0, to_per_s: 1.0 });
    assert_eq!(stages[0].duration_ns, Some(30_000_000_000));
    assert_eq!(plan.asked().count(), 1);
    let named_like_it = population("canary", vec![rate("1/s", 5)]);
    let refused = refusal_on(
        &machine(),
        &Request { canary: Some("10.0.0.9:1935".parse().unwrap()), ..scenario(vec![named_like_it]) },
    );
    assert!(refused.contains("'canary' is the name of the population that --canary makes"), "{refused}");
}

#[test]
fn headers_of_a_load_balancer_name_clients() {
    let client_ips = Some("10.9.0.0/16".parse().unwrap());
    let request = Request { proxy_protocol: Some(ProxyVersion::V2), client_ips, ..closed() };
    let proxy = plan(&request).proxy_protocol.unwrap();
    assert_eq!((proxy.version, proxy.client_ips.to_string()), (ProxyVersion::V2, "10.9.0.0/16".into()));
}

#[test]
fn release_and_looking_up_again_are_in_the_plan() {
    let release = Some("5k/s".parse().unwrap());
    let plan = plan(&Request { release, resolve_every: secs(30), ..to(&["two.example:1935"]) });
    assert_eq!((plan.release_per_s, plan.resolve_every_ns), (Some(5_000.0), Some(30_000_000_000)));
}

#[test]
fn refuses_populations_that_cannot_work_with_cause_and_remedy() {
    let of = |stages| scenario(vec![population("encoders", stages)]);
    let steady = || vec![rate("10/s", 10)];
    let with = |change: fn(&mut PopulationRequest)| {
        let mut changed = population("encoders", steady());
        change(&mut changed);
        scenario(vec![changed])
    };
    for (request, cause, remedy) in [
        (
            scenario(vec![population("encoders", steady()), population("encoders", steady())]),
            "two populations are called 'encoders'",
            "a name of its own",
        ),
        (
            with(|population| population.expect = Some("closed within 5s".parse().unwrap())),
            "expects a reaction to hostile clients and has none",
            "give it one",
        ),
        (
            with(|population| {
                population.expect = Some("closed within 5s".parse().unwrap());
                population.clients = vec!["half-c1".parse().unwrap()];
                population.timeout = secs(4);
            }),
            "waits only 4.00 s for it",
            "--timeout",
        ),
        (
            with(|population| {
                population.stages = vec![storm_of(10, 5)];
                population.clients = vec!["half-c1".parse().unwrap(), "obs".parse().unwrap()];
            }),
            "comes back to stay, and hostile clients do not",
            "a population of their own",
        ),
        (with(|population| population.concurrency = Some(0)), "-c 0", "at least 1"),
        (of(vec![stage(StageLoad::Concurrency { from: 0, to: 0 }, 5)]), "allow no client at any time", "at least 1"),
        (Request { weights: vec![1, 2], ..closed() }, "2 weights for 1 targets", "one for each target"),
        (Request { weights: vec![0], ..closed() }, "0 is not a weight", "from 1 to 1000000"),
        (Request { resolve_every: Some(Duration::from_millis(999)), ..closed() }, "more than once a second", "1s or"),
        (
            Request { resolve_every: secs(30), engine: Some(Engine::Sim), ..closed() },
            "simulated network do not change",
            "drop --resolve",
        ),
        (Request { proxy_protocol: Some(ProxyVersion::V1), ..closed() }, "no addresses are given", "--client-ips"),
        (
            Request { client_ips: Some("10.9.0.0/16".parse().unwrap()), ..closed() },
            "sent in a PROXY header and none is asked",
            "--proxy-protocol",
        ),
        (
            Request { share: Some(Share::new(0, 2).unwrap()), ..of(vec![concurrency_of(1, 5, 5)]) },
            "--share deals out planned arrivals",
            "give it a rate",
        ),
        (
            with(|population| {
                population.targets = texts(&["[::1]:1935"]);
                population.sources = vec!["10.1.0.1".parse().unwrap()];
            }),
            "different address families",
            "of the target's family",
        ),
    ] {
        let refused = refusal_on(&machine(), &request);
        assert!(refused.contains(cause) && refused.contains(remedy), "{cause}, {remedy}: {refused}");
        assert!(!refused.contains('\n') && !refused.ends_with('.'), "one sentence: {refused}");
    }
}

#[test]
fn a_scenario_without_targets_meets_the_built_in_sink() {
    let steady = || vec![rate("10/s", 10)];
    let everywhere = Request { targets: Vec::new(), ..scenario(vec![population("encoders", steady())]) };
    assert!(plan(&everywhere).built_in_sink);
    let own = PopulationRequest { targets: texts(&["10.0.0.9:1935"]), ..population("encoders", steady()) };
    let plan = plan(&Request { targets: Vec::new(), ..scenario(vec![own]) });
    assert!(!plan.built_in_sink && plan.targets.len() == 1);
}
