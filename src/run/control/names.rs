//! Names that are looked up again while the load runs.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::{JoinHandle, spawn_blocking};

use crate::base::{Nanos, Time, host_address};
use crate::io::TargetId;

use crate::run::plan::{RunPlan, Target};

/// Looks a target's name up and checks that its addresses may be loaded.
#[derive(Clone)]
pub struct Resolver(Arc<LookUp>);

/// The addresses of a target, or why it has none that may be loaded, in one sentence.
type Found = Result<Vec<SocketAddr>, String>;
type LookUp = dyn Fn(&Target) -> Found + Send + Sync;

/// The targets with names, and where each points now.
#[derive(Clone, Debug)]
struct Names {
    names: Vec<Name>,
}

#[derive(Clone, Debug)]
struct Name {
    target: Target,
    /// Indices of the plan's targets that this name stands for, and their addresses now.
    rows: Vec<(u16, SocketAddr)>,
}

/// What a new look-up of all names led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Targets that connect elsewhere from now on.
    pub retargets: Vec<(TargetId, SocketAddr)>,
    /// What happened, in one sentence each.
    pub texts: Vec<String>,
}

/// The look-ups of a run: the next one, and the one under way.
pub(super) struct Resolving {
    names: Names,
    resolver: Resolver,
    every: Nanos,
    next: Time,
    look_up: Option<JoinHandle<Vec<Found>>>,
}

impl Resolver {
    /// A resolver that asks `look_up`.
    pub fn new(look_up: impl Fn(&Target) -> Found + Send + Sync + 'static) -> Self {
        Self(Arc::new(look_up))
    }
}

impl Resolving {
    /// The look-ups of a run of `plan` that begins at `start`; none if it asks for none.
    pub(super) fn of(plan: &RunPlan, resolver: Option<Resolver>, start: Time) -> Option<Self> {
        let (resolver, every) = (resolver?, Nanos::new(plan.resolve_every_ns?));
        Some(Self { names: Names::of(plan), resolver, every, next: start + every, look_up: None })
    }

    /// What a look-up that is over led to. The next one begins if it is time, in a thread of its own.
    pub(super) async fn changes(&mut self, now: Time) -> Changes {
        if now >= self.next && self.look_up.is_none() {
            let (names, resolver) = (self.names.clone(), self.resolver.clone());
            self.look_up = Some(spawn_blocking(move || names.look_up(&resolver)));
            self.next += self.every;
        }
        match self.look_up.take_if(|look_up| look_up.is_finished()) {
            Some(over) => over.await.map(|found| self.names.follow(found)).unwrap_or_default(),
            None => Changes::default(),
        }
    }
}

impl Names {
    /// The names among a plan's targets; addresses are not looked up again.
    fn of(plan: &RunPlan) -> Self {
        let mut names: Vec<Name> = Vec::new();
        for (index, target) in (0..).zip(&plan.targets) {
            if host_address(&target.host).is_some() {
                continue;
            }
            match names.iter_mut().find(|name| name.target.name == target.name) {
                Some(name) => name.rows.push((index, target.address)),
                None => names.push(Name { target: target.clone(), rows: vec![(index, target.address)] }),
            }
        }
        Self { names }
    }

    /// Looks every name up. Takes as long as the resolver does.
    fn look_up(&self, resolver: &Resolver) -> Vec<Found> {
        self.names.iter().map(|name| (resolver.0)(&name.target)).collect()
    }

    /// Follows what [`look_up`](Self::look_up) found.
    fn follow(&mut self, found: Vec<Found>) -> Changes {
        let mut changes = Changes::default();
        for (name, found) in self.names.iter_mut().zip(found) {
            match found {
                Ok(addresses) if !addresses.is_empty() => name.follow(&addresses, &mut changes),
                Ok(_) => {
                    changes.texts.push(format!("{} has no address any more; the last ones stay", name.target.host))
                }
                Err(error) => changes.texts.push(format!("{error}; the last addresses of {} stay", name.target.host)),
            }
        }
        changes
    }
}

impl Name {
    /// Addresses that are still there keep their rows; rows whose address is gone get new ones, or share those that are
    /// left. A name has as many rows as it had addresses at the start.
    fn follow(&mut self, addresses: &[SocketAddr], changes: &mut Changes) {
        let known: Vec<SocketAddr> = self.rows.iter().map(|(_, address)| *address).collect();
        let mut fresh = addresses.iter().filter(|address| !known.contains(address));
        let mut changed = false;
        for (number, (row, address)) in self.rows.iter_mut().enumerate() {
            if !addresses.contains(address) {
                let next = *fresh.next().unwrap_or(&addresses[number % addresses.len()]);
                changes.retargets.push((TargetId(*row), next));
                changes.texts.push(format!("{}: {address} is gone, {next} takes its place", self.target.host));
                *address = next;
                changed = true;
            }
        }
        let unused = fresh.count();
        if unused > 0 && changed {
            changes
                .texts
                .push(format!("{} has {unused} more addresses than at the start, which get no load", self.target.host));
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::fixtures;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 1935))
    }

    /// A plan whose first target is an address and whose others are two addresses of one name.
    fn names() -> Names {
        let mut plan = fixtures::open_plan();
        let named = |last| Target::new("rtmp://in.example/live", "in.example", address(last));
        let fixed = Target::new("10.0.0.9:1935", "10.0.0.9", address(9));
        plan.targets = vec![fixed, named(1), named(2)];
        Names::of(&plan)
    }

    #[test]
    fn what_stays_keeps_its_row() {
        let mut names = names();
        assert_eq!(names.follow(vec![Ok(vec![address(2), address(1)])]), Changes::default());
        let changes = names.follow(vec![Ok(vec![address(2), address(5)])]);
        assert_eq!(changes.retargets, [(TargetId(1), address(5))]);
        assert_eq!(changes.texts, ["in.example: 10.0.0.1:1935 is gone, 10.0.0.5:1935 takes its place"]);
        assert_eq!(names.follow(vec![Ok(vec![address(5), address(2)])]), Changes::default());
    }

    #[test]
    fn fewer_addresses_share_the_rows_and_more_are_told() {
        let mut names = names();
        assert_eq!(names.follow(vec![Ok(vec![address(2)])]).retargets, [(TargetId(1), address(2))]);
        let changes = names.follow(vec![Ok(vec![address(6), address(7), address(8)])]);
        assert_eq!(changes.retargets, [(TargetId(1), address(6)), (TargetId(2), address(7))]);
        assert!(changes.texts.last().unwrap().contains("1 more addresses"), "{changes:?}");
    }

    #[test]
    fn without_an_answer_the_last_addresses_stay() {
        let mut names = names();
        for found in [Err("no such host".to_owned()), Ok(Vec::new())] {
            let changes = names.follow(vec![found]);
            assert!(changes.retargets.is_empty());
            assert_eq!(changes.texts.len(), 1);
        }
    }
}
