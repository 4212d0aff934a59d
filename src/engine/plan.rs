//! What a worker is told once, at its start.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::table::choices;
use crate::base::{Nanos, RandomStream, Time};
use crate::io::{SourceId, TargetId};
use crate::load::{Arrivals, ConcurrencyPlan, QuotaShare, Reconnect, Share, StreamKeys, StreamName, WeightedTurns};
use crate::measure::{Expectation, Until};
use crate::protocol::media::Track;
use crate::protocol::session::{Course, SessionScript};
use crate::protocol::{ClientTemplates, S0S1S2_SIZE};

/// A worker's part of a run.
#[derive(Debug)]
pub struct WorkerPlan {
    /// The common start instant: offsets of arrivals and stages count from here.
    pub start: Time,
    /// When held connections are released at the latest; [`Nanos::MAX`] unless the load is bounded by time.
    pub hold_end: Nanos,
    /// The kinds of client, in the order of the recorder's layout.
    pub clients: Vec<Client>,
    /// What its attempts do, group by group.
    pub lanes: Vec<LaneSpec>,
    /// Number of targets, for what is learned about each.
    pub targets: u16,
    /// By target: its connections use TLS.
    pub tls: Box<[bool]>,
    /// What sessions say and send.
    pub session: SessionPlan,
    /// The headers of a load balancer, sent before C0.
    pub headers: Option<Headers>,
    /// Held connections released a second at the end; all at once without.
    pub release_per_s: Option<f64>,
    /// Chooses which attempts are verified.
    pub sampling: RandomStream,
    /// Draws exponentially distributed holds.
    pub holding: RandomStream,
}

/// What the sessions of all lanes use.
#[derive(Debug, Default)]
pub struct SessionPlan {
    /// The commands of a kind of client to a target.
    pub scripts: Vec<ScriptSpec>,
    /// What is published.
    pub tracks: Vec<MediaTrack>,
    /// Bytes of a send buffer.
    pub send_size: u32,
    /// Bytes of the longest name of a stream.
    pub name_size: u32,
    /// Local addresses as they stand in stream names, by source.
    pub source_names: Vec<String>,
    /// This worker's number among those of all machines.
    pub worker: u32,
    /// Workers of all machines.
    pub workers: u32,
}

/// What a kind of client says to a target.
#[derive(Clone, Debug)]
pub struct ScriptSpec {
    /// Its commands.
    pub script: Arc<SessionScript>,
    /// The query of its application, from `?` on, which may give access; empty without.
    pub app_query: Box<str>,
    /// The track that keeps a server content, for publishers.
    pub trickle: Option<u16>,
    /// The track of real size, which a part of the publishers sends.
    pub clip: Option<u16>,
}

/// Audio and video among the backend's media bytes, ready to be sent.
#[derive(Debug)]
pub struct MediaTrack {
    /// Its tags and their times.
    pub track: Arc<Track>,
    /// Where its bytes begin among the backend's media bytes.
    pub offset: u32,
    /// Messages leave at multiples of this on the run's clock: what is due in between leaves together, which saves a
    /// worker of many publishers most of its turns. 1 ns leaves every message its own time.
    pub tick: Nanos,
}

/// How the attempts of a lane go on after the handshake.
#[derive(Debug)]
pub struct SessionRules {
    /// What the session is for.
    pub course: Course,
    /// For each client of the lane, for each target: an index of [`SessionPlan::scripts`].
    pub scripts: Box<[u32]>,
    /// The streams' names, likewise.
    pub names: Box<[StreamName]>,
    /// Stream keys, one for each slot of the lane; empty without.
    pub keys: Arc<StreamKeys>,
    /// The number of this worker's first slot among all of the lane's.
    pub first_client: u32,
    /// Parts of the publishers that trickle, and that send the clip.
    pub clip_weights: [u32; 2],
}

/// Ready-made headers among the backend's shared bytes: for each target the same number, used in turn.
#[derive(Clone, Debug)]
pub struct Headers {
    /// Target 0's headers, then target 1's, and so on.
    pub ranges: Box<[SharedRange]>,
    /// Headers for each target.
    pub per_target: u32,
}

/// A part of the backend's shared bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedRange {
    /// Where it begins.
    pub offset: u32,
    /// Its length.
    pub len: u16,
}

/// What one kind of client sends.
#[derive(Debug)]
pub struct Client {
    /// Its C0C1s and the rule of its C2.
    pub templates: Arc<ClientTemplates>,
    /// Where the templates' bytes begin in the backend's shared bytes.
    pub templates_offset: u32,
    /// Send a C2 whose digest or echo is wrong.
    pub wrong_c2: bool,
    /// It wants no handshake: its attempts end in a reaction of the target.
    pub hostile: bool,
    /// It leaves Nagle's algorithm on, as its sockets are by default.
    pub nagle: bool,
    /// It acknowledges answers at once: no server's Nagle algorithm waits for it.
    pub acknowledges_at_once: bool,
}

/// Attempts of the same kind, as one worker sees them, with slots of their own.
#[derive(Debug)]
pub struct LaneSpec {
    /// When attempts start.
    pub load: Load,
    /// Attempts in flight plus connections held, at most, on this worker.
    pub slots: u32,
    /// Its kinds of client, as indices of [`WorkerPlan::clients`]; never empty.
    pub clients: Vec<u16>,
    /// Which of them makes the next attempt; it has an entry for each.
    pub turns: WeightedTurns,
    /// Which handshakes have their digests checked.
    pub verify: Verify,
    /// Targets and their weights, dealt by each kind of client on its own; never empty.
    pub targets: Vec<(TargetId, u32)>,
    /// Local addresses, taken in turn; never empty.
    pub sources: Vec<SourceId>,
    /// What completes an attempt.
    pub until: Until,
    /// How attempts go on after the handshake; `None` if they are complete with it.
    pub session: Option<SessionRules>,
    /// How long a completed connection is kept.
    pub hold: Hold,
    /// How it is closed then.
    pub close: ClosePolicy,
    /// Timeout of the TCP connect.
    pub connect_timeout: Nanos,
    /// Timeout from connected to complete; also of the wait for the server's FIN under [`ClosePolicy::Peer`], and how long
    /// hostile clients wait for the target's reaction.
    pub timeout: Nanos,
    /// What the target is to do with hostile clients.
    pub expect: Option<Expectation>,
    /// It goes on only as long as other lanes do.
    pub is_canary: bool,
}

/// When attempts start. Offsets count from [`WorkerPlan::start`].
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one for each lane, moved once")]
pub enum Load {
    /// Attempts start at planned instants, whatever the target does.
    Open {
        /// This worker's arrivals; their stages are indices of the recorder's layout.
        arrivals: Arrivals,
        /// When the planned load is over; [`Nanos::MAX`] if only the number of arrivals bounds it.
        end: Nanos,
    },
    /// A slot starts its next attempt when the last one is over, as long as the plan has use for it.
    Closed {
        /// This worker's share of the attempts.
        quota: QuotaShare,
        /// How many slots are in use, over all workers.
        plan: ConcurrencyPlan,
        /// This worker's part of them.
        part: Share,
    },
    /// Every slot is a client that has lost its connection and comes back by its own rule.
    Storm {
        /// When it tries again.
        rule: Reconnect,
        /// When the connections were lost.
        begin: Nanos,
        /// When no further attempt starts.
        end: Nanos,
        /// The stage of its attempts.
        stage: u16,
        /// Clients, over all machines and workers.
        fleet: u32,
        /// This worker's part of them.
        part: Share,
        /// Draws what differs from client to client, for the whole fleet.
        random: RandomStream,
    },
}

choices! {
    /// Which handshakes have their digests checked.
    pub enum Verify {
        /// Every handshake.
        All = "all",
        /// One in 64, chosen by the seed.
        Sample = "sample",
        /// None.
        None = "none",
    }
}

/// How long a completed connection is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// For this many nanoseconds; 0 closes at once.
    ForNs(u64),
    /// For an exponentially distributed time.
    Exponential {
        /// Its mean, nanoseconds.
        mean_ns: u64,
    },
    /// To the end of the run.
    Forever,
}

choices! {
    /// How a connection is closed after completion and hold.
    pub enum ClosePolicy {
        /// RST: no TIME_WAIT on either side.
        Rst = "rst",
        /// FIN first.
        Fin = "fin",
        /// Wait for the server's FIN.
        Peer = "peer",
    }
}

impl ScriptSpec {
    /// The tracks of its publishers: trickle and clip.
    pub(super) const fn tracks(&self) -> (Option<u16>, Option<u16>) {
        (self.trickle, self.clip)
    }
}

impl WorkerPlan {
    /// Bytes of a receive buffer: room for S0S1S2 and for the first bytes of the next protocol stage, which some
    /// servers send at once.
    pub const RECEIVE_SIZE: usize = S0S1S2_SIZE + 63;

    /// Slots of all lanes together.
    pub fn slots(&self) -> u32 {
        self.lanes.iter().map(|lane| lane.slots).sum()
    }
}
