//! What can be told of a plan before it runs: conditions under which its numbers mean less than they seem to.

use std::time::Duration;

use crate::base::{DurationText, Nanos, rate_text};
use crate::doctor::{HeldPlan, examine_held};
use crate::engine::{ClosePolicy, Hold};
use crate::host::MachineFacts;

use crate::finding::{Finding, FindingCode, Severity};
use crate::host::{CpuShares, TIME_WAIT};
use crate::run::plan::{Population, RunPlan};

/// Clocks that are read one after the other differ by less.
const LEAST_SUSPENSION: Nanos = Nanos::from_millis(50);
/// From this share of stolen time the host, not the load, makes the latencies.
const STEAL_PERCENT: f64 = 5.0;

/// Findings about `plan` on a machine with `ports` local ports and `cores` cores.
pub fn findings(plan: &RunPlan, ports: u32, cores: u32) -> Vec<Finding> {
    let mut findings = Vec::new();
    let loopback = plan.targets.iter().all(|target| target.address.ip().to_canonical().is_loopback());
    if loopback && !plan.built_in_sink {
        findings.push(shared_machine(plan, cores));
    }
    if plan.built_in_sink && cores < 2 {
        findings.push(shared_core());
    }
    findings.extend(connect_waits(plan));
    for population in plan.asked() {
        let tuples = population.sources.len().max(1) as f64 * population.targets.len() as f64;
        findings.extend(port_search(population, tuples, ports));
        findings.extend(time_wait(population, tuples, ports));
        if !loopback {
            findings.extend(tuple_reuse(population, tuples, ports));
        }
    }
    findings
}

/// Holds that the end of the load will cut, a sentence for each population of which most are: the load is over before they
/// are.
pub fn cut_holds(plan: &RunPlan) -> Vec<String> {
    let load = plan.length();
    let cut = |population: &&Population| {
        let hold = match population.hold {
            Hold::ForNs(ns) | Hold::Exponential { mean_ns: ns } => ns,
            Hold::Forever => 0,
        };
        let meant_to_stay = population.clients.iter().any(|share| !share.client.is_hostile());
        meant_to_stay && hold > load.as_u64() / 2
    };
    let sentence = |population: &Population| {
        let text = |ns| DurationText(Duration::from_nanos(ns));
        let hold = match population.hold {
            Hold::ForNs(ns) => text(ns).to_string(),
            Hold::Exponential { mean_ns } => format!("{} on average", text(mean_ns)),
            Hold::Forever => unreachable!("it has no end to be cut"),
        };
        let name = if plan.populations.len() > 1 { format!("{}: ", population.name) } else { String::new() };
        format!(
            "{name}connections are to be held {hold}, and the load is over after {}, which cuts most holds: lengthen the \
             load, or let it wait for them (--drain)",
            text(load.as_u64())
        )
    };
    if plan.drain || load == Nanos::MAX {
        return Vec::new();
    }
    plan.asked().filter(cut).map(sentence).collect()
}

/// Findings about the connections that `plan` holds at once, on a machine with these facts: whether its memory, files and
/// tables suffice. Ports are judged with all others. A plan that holds none asks for no facts.
pub fn held(plan: &RunPlan, facts: impl FnOnce() -> MachineFacts) -> Vec<Finding> {
    let held = |population: &&Population| population.hold != Hold::ForNs(0);
    let connections = plan.asked().filter(held).map(|population| u64::from(population.concurrency())).sum();
    if connections == 0 {
        return Vec::new();
    }
    let both_ends = plan.targets.iter().all(|target| target.address.ip().to_canonical().is_loopback());
    let held = HeldPlan { connections, pairs: 1, both_ends, engine: plan.engine };
    let judged = examine_held(&held, &facts()).into_iter().filter(|finding| finding.code != FindingCode::HeldPorts);
    judged
        .filter_map(|found| {
            // Slots are the most that may be held: whether it comes to that, the run will show.
            let severity = found.severity.min(Severity::Warning);
            let name = found.code.to_string();
            let resource = name.trim_start_matches("held_").replace('_', " ");
            let value = found.value.unwrap_or_default();
            let message =
                format!("{connections} connections may be held at once; {resource}: {value}: {}", found.message);
            (severity > Severity::Ok).then_some(Finding { value: None, severity, message, ..found })
        })
        .collect()
}

/// What the CPU time of the run says.
pub fn stolen(shares: CpuShares) -> Option<Finding> {
    (shares.steal >= STEAL_PERCENT).then(|| {
        Finding::warning(
            FindingCode::CpuSteal,
            format!("the hypervisor took {:.0} % of this machine's CPU time during the run", shares.steal),
            "latencies include the host's pauses: measure on a machine whose cores are its own",
        )
    })
}

/// What the clocks say: one stands still while the machine is suspended.
pub fn suspended(length: Nanos) -> Option<Finding> {
    (length >= LEAST_SUSPENSION).then(|| {
        Finding::warning(
            FindingCode::MachineSuspended,
            format!("this machine was suspended for {length} while the load ran"),
            "the target kept running and may have dropped connections: keep the machine awake and run it again",
        )
    })
}

fn shared_machine(plan: &RunPlan, cores: u32) -> Finding {
    Finding::info(
        FindingCode::TargetOnThisMachine,
        format!(
            "the target runs on this machine and shares its {cores} cores with {} worker{}",
            plan.workers,
            if plan.workers == 1 { "" } else { "s" }
        ),
        "pin the target to other cores and give fewer workers (-t), or load it from another machine",
    )
}

fn shared_core() -> Finding {
    Finding::warning(
        FindingCode::SinkSharesCore,
        "generator and built-in sink share the only core",
        "the numbers are those of half a core: measure with two cores or more",
    )
}

/// Clients whose `connect` waits in their own kernel, as it does in the field.
fn connect_waits(plan: &RunPlan) -> Option<Finding> {
    let names = plan.clients_whose_connect_waits();
    (!names.is_empty()).then(|| Finding::info(FindingCode::ConnectWaits, format!(
            "C2 and connect of {} leave apart, under Nagle's algorithm: connect waits until C2 is acknowledged, which most \
             servers delay",
            names.join(", ")
        ), "about 40 ms of each of their attempts are the client's, not the target's: compare --client shakedown"))
}

/// `connect()` searches one parity of the port range first and then scans: it slows down past the half.
fn port_search(population: &Population, tuples: f64, ports: u32) -> Option<Finding> {
    let share = f64::from(population.concurrency()) / (tuples * f64::from(ports));
    (share > 0.5 && population.hold != Hold::ForNs(0)).then(|| {
        Finding::warning(
            FindingCode::PortSearch,
            format!(
                "{} connections may use {:.0} % of the local ports; connect() slows down past half of them",
                population.concurrency(),
                share * 100.0
            ),
            "give more local addresses with --source",
        )
    })
}

/// Whoever closes first keeps the port in TIME_WAIT.
fn time_wait(population: &Population, tuples: f64, ports: u32) -> Option<Finding> {
    let sustainable = tuples * f64::from(ports) / TIME_WAIT.as_secs_f64();
    let rate = population.peak_per_s()?;
    (population.close == ClosePolicy::Fin && rate > sustainable).then(|| {
        Finding::warning(
            FindingCode::TimeWait,
            format!(
                "closing by FIN leaves each port in TIME_WAIT for {TIME_WAIT}: {} can last, {} are planned",
                rate_text(sustainable),
                rate_text(rate)
            ),
            "close by RST (--close rst), let the server close (--close peer), or give more --source addresses",
        )
    })
}

/// A port that comes back soon looks like an old connection to stateful firewalls and NATs.
fn tuple_reuse(population: &Population, tuples: f64, ports: u32) -> Option<Finding> {
    let rate = population.peak_per_s()?;
    let interval = tuples * f64::from(ports) / rate;
    (interval < TIME_WAIT.as_secs_f64()).then(|| {
        Finding::warning(
            FindingCode::TupleReuse,
            format!("at {} each local port is used again after {interval:.1} s", rate_text(rate)),
            "firewalls and NATs on the way may drop such SYNs: give more --source addresses, or see that there are none",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ClientProfile;
    use crate::run::Until;
    use crate::run::fixtures::open_plan;

    fn codes(change: impl FnOnce(&mut RunPlan)) -> Vec<String> {
        let mut plan = open_plan();
        plan.targets[0].address = "10.0.0.5:1935".parse().unwrap();
        change(&mut plan);
        findings(&plan, 28_232, 8).into_iter().map(|finding| finding.code.to_string()).collect()
    }

    #[test]
    fn each_condition_is_found() {
        // 1 000 a second use each of 28 232 ports again after 28 s.
        assert_eq!(codes(|_| ()), ["tuple_reuse"]);
        assert!(
            codes(|plan| {
                plan.sources = (1..=3).map(|last| [10, 0, 0, last].into()).collect();
                plan.populations[0].sources = vec![0, 1, 2];
            })
            .is_empty()
        );
        assert_eq!(
            codes(|plan| plan.targets[0].address = "127.0.0.1:1935".parse().unwrap()),
            ["target_on_this_machine"]
        );
        assert_eq!(codes(|plan| plan.populations[0].close = ClosePolicy::Fin), ["time_wait", "tuple_reuse"]);
        let held = |plan: &mut RunPlan| {
            plan.populations[0].lanes[0].concurrency = 20_000;
            plan.populations[0].hold = Hold::Forever;
        };
        assert_eq!(codes(held), ["port_search", "tuple_reuse"]);
        let ffmpeg = |until| {
            move |plan: &mut RunPlan| {
                plan.populations[0].clients[0].client.profile = ClientProfile::Ffmpeg;
                plan.populations[0].until = until;
            }
        };
        assert_eq!(codes(ffmpeg(Until::Connect)), ["connect_waits", "tuple_reuse"]);
        assert_eq!(codes(ffmpeg(Until::Handshake)), ["tuple_reuse"], "it sends no connect");
        assert_eq!(codes(|plan| plan.populations[0].until = Until::Connect), ["tuple_reuse"], "it writes both at once");
    }

    #[test]
    fn held_connections_that_do_not_fit_are_found_beforehand() {
        let mut plan = open_plan();
        plan.targets[0].address = "10.0.0.5:1935".parse().unwrap();
        plan.populations[0].lanes[0].concurrency = 200_000;
        let facts = MachineFacts {
            memory_available: Some(1 << 30),
            cgroup_memory_left: None,
            system_files: Some(crate::host::Usage { used: 0, most: 10_000_000 }),
            tcp_memory: Some(1 << 32),
            conntrack: None,
            ..MachineFacts::detect_without_ring()
        };
        let none = || -> MachineFacts { unreachable!("nothing is held") };
        assert_eq!(held(&plan, none), []);
        plan.populations[0].hold = Hold::ForNs(1);
        let found = held(&plan, || facts.clone());
        assert_eq!(found.iter().map(|finding| finding.code).collect::<Vec<_>>(), [FindingCode::HeldMemory]);
        insta::assert_snapshot!(found[0].message, @"200000 connections may be held at once; memory: 908 MiB of 1.0 GiB: needed, 4764 bytes a connection, nearly all of it the kernel's; there is room for 225 thousand");
        plan.targets[0].address = "127.0.0.1:1935".parse().unwrap();
        assert!(held(&plan, || facts)[0].message.contains("both ends of it being here"));
    }

    #[test]
    fn a_machine_that_slept_says_for_how_long() {
        assert_eq!(suspended(Nanos::from_millis(49)), None);
        let found = suspended(Nanos::from_secs(90)).unwrap();
        insta::assert_snapshot!(found.message, @"this machine was suspended for 90.0 s while the load ran");
    }

    #[test]
    fn stolen_time_is_a_finding_from_five_percent() {
        assert_eq!(stolen(CpuShares { steal: 4.9, softirq: 50.0 }), None);
        assert!(stolen(CpuShares { steal: 5.1, softirq: 0.0 }).is_some());
    }
}
