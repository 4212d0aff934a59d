//! The simulated network: virtual time, scripted peers.
//!
//! A [`SimNetwork`] is one worker's whole world: its own host's kernel, the packets under way, and a [`Peer`] for each
//! target. Nothing in it reads a clock or draws randomness but from its seed, so a run on it is a function call that
//! can be repeated. It is also the referee of the contract of [`Io`]: what a kernel would answer with a confusing
//! error, or not notice at all, is a panic here.
//!
//! The arithmetic is meant to be done on paper. With latency `L` each way and a service time `S`, an idle [`Peer`]
//! answers a connect after `2 L` and C0C1 after `2 L + S`; whatever both sides compute takes no time. What the
//! generator's host refuses itself it refuses after 1 ms. Bandwidth is unlimited, unless a peer
//! stops reading ([`Peer::takes`]); no packet is lost but a SYN, and
//! those of a flow that vanishes ([`PeerScript::Vanishes`]).

mod client;
mod freeze;
mod hosts;
mod peer;
mod session;
mod target;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

pub use freeze::Freeze;
pub use hosts::SIM_HOSTS;
pub use peer::{Peer, PeerCounts, PeerScript, ServiceModel, SessionAnswers, SessionModel, Unasked, UnaskedAct};

use self::client::Client;
use self::freeze::Freezes;
use self::target::Target;
use self::wire::{Event, Wire};
use super::{Buffers, Completion, Io, IoPlan, Op, TargetId};
use crate::base::{Nanos, Seed, StreamPurpose, Time};
use crate::protocol::ServerTemplates;

/// What a simulated network is made of.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// All noise, and the filler of the peers' templates, comes from this seed.
    pub seed: Seed,
    /// Which of the networks of this seed it is: workers on networks of their own see noise of their own.
    pub index: u32,
    /// What each packet takes.
    pub one_way: Nanos,
    /// Most that is added to `one_way`, evenly distributed. Packets of a connection stay in order.
    pub jitter: Nanos,
    /// The targets, by [`TargetId`]; the last one stands for all that follow, no peer at all for default ones.
    pub peers: Vec<Peer>,
    /// When the generator stands still: a wait that would end in a freeze ends with it, as if the generator's thread
    /// had been off its core.
    pub freezes: Vec<Freeze>,
}

/// A virtual network in virtual time; see the [module](self).
pub struct SimNetwork {
    wire: Wire,
    client: Client,
    targets: Vec<Target>,
    freezes: Freezes,
}

/// The clock of a simulated network starts here: no instant of a run is near zero by luck.
const START: Time = Time::from_nanos(1_000_000_000_000);

/// Presigned S1s of a network.
const SERVER_TEMPLATES: usize = 16;

impl SimConfig {
    /// Default peers, 100 us away, without noise.
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            index: 0,
            one_way: Nanos::from_micros(100),
            jitter: Nanos::ZERO,
            peers: Vec::new(),
            freezes: Vec::new(),
        }
    }
}

impl SimNetwork {
    /// What each connection in use takes beside its slot and its buffers: half of it was measured, with 100 000 complex
    /// handshakes at once; the rest is what an allocator may leave between them.
    pub const BYTES_PER_CONNECTION: u64 = 2_048;

    /// A network whose targets are those of the plan, played by the peers of the configuration. The addresses of the
    /// plan matter only by their number.
    ///
    /// # Panics
    /// If a peer has no server ([`ServiceModel::parallelism`] is 0).
    pub fn new(plan: IoPlan, config: SimConfig) -> Self {
        let templates = &mut config.seed.stream(StreamPurpose::ServerTemplates, config.index);
        let templates = Arc::new(ServerTemplates::sign(SERVER_TEMPLATES, templates));
        let default = Peer::default();
        let last = config.peers.last().unwrap_or(&default);
        let peers = (0..plan.targets.len()).map(|target| config.peers.get(target).unwrap_or(last));
        Self {
            client: Client::new(&plan, peers.clone().cloned()),
            targets: (0..)
                .zip(peers)
                .map(|(id, peer)| Target::new(TargetId(id), peer.clone(), START, templates.clone()))
                .collect(),
            wire: Wire::new(
                START,
                config.one_way,
                config.jitter,
                config.seed.stream(StreamPurpose::Simulation, config.index),
            ),
            freezes: Freezes::new(START, &config.freezes),
        }
    }

    /// What the application behind `target` saw up to now.
    ///
    /// # Panics
    /// If the plan has no such target.
    pub fn peer_counts(&self, target: TargetId) -> PeerCounts {
        self.targets[usize::from(target.0)].counts()
    }

    /// Plays all events up to `until`.
    fn play_until(&mut self, until: Time) {
        while let Some(event) = self.wire.next_until(until) {
            self.play(event);
        }
        self.wire.advance_to(until);
    }

    fn play(&mut self, event: Event) {
        let Self { wire, client, targets, .. } = self;
        match event {
            Event::SynArrives(syn) => targets[usize::from(syn.target.0)].syn(syn, wire),
            Event::SynTimer(syn) => client.syn_timer(syn, wire),
            Event::KeepAliveTimer(slot, connection) => client.keep_alive_timer(slot, connection, wire),
            Event::AtTarget(id, connection, what) => targets[usize::from(id.0)].deliver(connection, what, wire),
            Event::AtClient(slot, connection, what) => client.deliver(slot, connection, what, wire),
            Event::TargetPolls(id, connection) => targets[usize::from(id.0)].poll(connection, wire),
            Event::TargetActs(id, connection) => targets[usize::from(id.0)].resume(connection, wire),
            Event::SessionWakes(id, connection) => targets[usize::from(id.0)].session_wakes(connection, wire),
            Event::ServiceEnds(id, connection) => targets[usize::from(id.0)].service_ends(connection, wire),
        }
    }
}

impl Io for SimNetwork {
    fn now(&self) -> Time {
        self.wire.now()
    }

    fn buffers(&mut self) -> &mut Buffers {
        &mut self.client.buffers
    }

    /// As the contract says; executing ops takes no time, and all that completes at one instant is returned together.
    ///
    /// # Panics
    /// When an op breaks the contract, and when `wake_at` is [`Time::MAX`] and nothing will ever happen.
    fn submit_and_wait(
        &mut self,
        ops: &mut Vec<Op>,
        wake_at: Time,
        completions: &mut Vec<Completion>,
    ) -> std::io::Result<()> {
        for op in ops.drain(..) {
            self.client.execute(op, &mut self.wire);
        }
        self.play_until(self.now());
        while !self.client.has_completions() && self.now() < wake_at {
            let next = self.wire.next_at().map_or(wake_at, |next| next.min(wake_at));
            assert!(next < Time::MAX, "the simulated worker waits for nothing");
            self.play_until(next);
        }
        self.play_until(self.freezes.thaw(self.now()));
        self.client.return_completions(completions);
        Ok(())
    }

    fn completion_overflows(&self) -> u64 {
        0
    }
}
