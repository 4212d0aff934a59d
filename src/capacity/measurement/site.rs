//! Where the target is: on this machine or elsewhere, on which cores, and whether its sockets have drained.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use procfs::net::{TcpNetEntry, TcpState};

use crate::base::Nanos;
use crate::finding::{Finding, FindingCode};
use crate::observe::{Listening, Subject, listener_of};
use crate::run::RunPlan;

use crate::capacity::trial::runner::Runner;

/// How often sockets are looked at while they drain.
const LOOK: Nanos = Nanos::from_millis(20);
/// Sockets that have not drained by then stay for reasons of their own.
const LONGEST_COOLDOWN: Nanos = Nanos::from_secs(5);

/// What is known of the targets' whereabouts.
#[derive(Clone, Debug, Default)]
pub struct Site {
    addresses: BTreeSet<SocketAddr>,
    /// All targets answer on this machine.
    pub local: bool,
    /// One of them is this program's own sink.
    pub own_sink: bool,
    /// The processes that serve them, if they can be seen.
    pub processes: Vec<u32>,
    /// Their names.
    pub names: Vec<String>,
    /// The CPUs they serve on.
    pub cpus: Vec<u32>,
    /// Sockets to the targets that were there before the first trial.
    sockets_before: usize,
}

/// Which CPUs the workers get beside a local target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The workers' CPUs; none where the target's place says nothing about them.
    pub cpus: Option<Vec<u32>>,
    /// Workers and target may meet on a core.
    pub finding: Option<Finding>,
}

impl Site {
    /// Looks for the targets of `plan` among this machine's sockets.
    pub fn of(plan: &RunPlan) -> Self {
        let addresses: BTreeSet<SocketAddr> = plan.targets.iter().map(|target| target.address).collect();
        let mut site = Self { local: addresses.iter().all(|address| is_own(address.ip())), ..Self::default() };
        if site.local {
            let listening: Vec<Listening> = addresses.iter().map(|address| listener_of(*address)).collect();
            site.processes = listening.iter().flat_map(Listening::roots).collect();
            let mut names: Vec<String> = listening
                .iter()
                .flat_map(|listening| &listening.processes)
                .map(|process| process.name.clone())
                .collect();
            names.dedup();
            site.own_sink = names.iter().any(|name| name == env!("CARGO_PKG_NAME"));
            site.names = names;
            let cpus: BTreeSet<u32> = listening.iter().flat_map(Listening::cpus).collect();
            site.cpus = cpus.into_iter().collect();
        }
        site.addresses = addresses;
        site.sockets_before = site.sockets();
        site
    }

    /// The subjects that are observed without being asked for: the processes of a local target.
    pub fn subjects(&self) -> Vec<Subject> {
        self.processes.iter().map(|pid| Subject::Process(*pid)).collect()
    }

    /// Where the workers go: to the CPUs that the target does not use, or to half of them.
    pub fn placement(&self, allowed: &[u32]) -> Placement {
        if !self.local || self.cpus.is_empty() {
            return Placement { cpus: None, finding: None };
        }
        let others: Vec<u32> = allowed.iter().copied().filter(|cpu| !self.cpus.contains(cpu)).collect();
        if !others.is_empty() {
            return Placement { cpus: Some(others), finding: None };
        }
        let half = (allowed.len() / 2).max(1);
        let workers = allowed[..half.min(allowed.len())].to_vec();
        let list = |cpus: &[u32]| cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let remedy = match &allowed[half.min(allowed.len())..] {
            [] => "the generator needs a core that the target does not have: load it from another machine".to_owned(),
            rest => format!("pin the target: taskset -a -c -p {} PID, or start it under taskset -c", list(rest)),
        };
        let finding = Finding::warning(
            FindingCode::TargetSharesCores,
            format!(
                "the target may run on CPU {}, the workers' among them ({}): they take time from each other",
                list(&self.cpus),
                list(&workers)
            ),
            remedy,
        );
        Placement { cpus: Some(workers), finding: Some(finding) }
    }

    /// Waits until the targets have no more sockets of earlier attempts than before the first one, at most a few seconds.
    /// What waits out TIME_WAIT has drained.
    pub fn cool_down(&mut self, runner: &mut Runner) -> Nanos {
        let began = runner.elapsed();
        if runner.engine() == crate::io::Engine::Sim {
            return Nanos::ZERO;
        }
        loop {
            let sockets = self.sockets();
            if sockets <= self.sockets_before || runner.interrupted().is_some() {
                break;
            }
            if runner.elapsed().saturating_sub(began) >= LONGEST_COOLDOWN {
                // They are somebody else's, and the next trial need not wait for them.
                self.sockets_before = sockets;
                break;
            }
            runner.wait(LOOK);
        }
        runner.elapsed().saturating_sub(began)
    }

    /// Sockets of this machine at either end of a connection to the targets, and connections that wait to be accepted.
    /// None where `/proc/net` cannot be read.
    fn sockets(&self) -> usize {
        let tables = [procfs::net::tcp(), procfs::net::tcp6()];
        let entries = tables.into_iter().flatten().flatten();
        entries.map(|entry| self.sockets_of(&entry)).sum()
    }

    fn sockets_of(&self, entry: &TcpNetEntry) -> usize {
        let is_target = |address: SocketAddr| {
            self.addresses.contains(&SocketAddr::new(address.ip().to_canonical(), address.port()))
        };
        match entry.state {
            TcpState::TimeWait => 0,
            TcpState::Listen => {
                let serves = |target: &SocketAddr| {
                    let ip = entry.local_address.ip().to_canonical();
                    self.local
                        && entry.local_address.port() == target.port()
                        && (ip == target.ip() || ip.is_unspecified())
                };
                if self.addresses.iter().any(serves) { entry.rx_queue as usize } else { 0 }
            }
            _ => usize::from(is_target(entry.remote_address) || is_target(entry.local_address)),
        }
    }
}

/// A socket can be bound to it: it is an address of this host.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(cpus: &[u32]) -> Site {
        Site { local: true, cpus: cpus.to_vec(), ..Site::default() }
    }

    #[test]
    fn workers_go_where_a_local_target_is_not() {
        let placed = |site: &Site, allowed: &[u32]| site.placement(allowed).cpus;
        assert_eq!(placed(&local(&[2, 3]), &[0, 1, 2, 3]), Some(vec![0, 1]));
        assert_eq!(placed(&local(&[0]), &[0, 1]), Some(vec![1]));
        assert_eq!(placed(&local(&[]), &[0, 1]), None, "nobody knows where it is");
        assert_eq!(placed(&Site { local: false, ..local(&[0]) }, &[0, 1]), None);
    }

    #[test]
    fn a_target_on_all_cores_is_a_finding_with_the_remedy() {
        let Placement { cpus, finding } = local(&[0, 1]).placement(&[0, 1]);
        assert_eq!(cpus, Some(vec![0]));
        let finding = finding.unwrap();
        insta::assert_snapshot!(finding.message, @"the target may run on CPU 0,1, the workers' among them (0): they take time from each other");
        insta::assert_snapshot!(finding.remedy.unwrap(), @"pin the target: taskset -a -c -p 1 PID, or start it under taskset -c");
        let alone = local(&[0]).placement(&[0]);
        assert_eq!(alone.cpus, Some(vec![0]));
        assert!(alone.finding.unwrap().remedy.unwrap().contains("another machine"));
    }
}
