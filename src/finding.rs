//! What was found out beside the numbers, and what to do about it: one form for runs, searches and `doctor`.

use serde::{Deserialize, Serialize};

use crate::base::table::named;

/// Something to know beside the numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub code: FindingCode,
    /// How much it matters.
    pub severity: Severity,
    /// The property that was looked at, in a few words; findings about a load have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What was found, with the numbers, and what it means.
    pub message: String,
    /// What to do about it; null where nothing need be done.
    pub remedy: Option<String>,
}

named! {
    /// How much a finding matters, the worst last.
    pub enum Severity {
        /// As it should be.
        Ok = "ok",
        /// Good to know when the numbers are read.
        Info = "info",
        /// Limits or distorts what is measured.
        Warning = "warning",
        /// Nothing can be measured like this.
        Blocking = "blocking",
    }
}

named! {
    /// The stable names of all findings.
    pub enum FindingCode {
        /// The generator stood still: stopped, or without a CPU.
        GeneratorPaused = "generator_paused",
        /// Attempts failed at a limit of this machine.
        LocalErrors = "local_errors",
        /// Attempts started late although slots were free.
        LateStarts = "late_starts",
        /// Attempts never started although slots were free.
        MissedStarts = "missed_starts",
        /// Attempts never started: the plan needs more slots than it has.
        PoolTooSmall = "pool_too_small",
        /// Attempts never started: the target kept all slots busy.
        SlotsHeldByTarget = "slots_held_by_target",
        /// Workers were busy nearly all the time.
        WorkerBusy = "worker_busy",
        /// Other threads had the workers' CPUs.
        CpuContention = "cpu_contention",
        /// The program's CPU quota was used up.
        CpuThrottled = "cpu_throttled",
        /// The hypervisor took CPU time from this machine.
        CpuSteal = "cpu_steal",
        /// The machine slept while the load ran.
        MachineSuspended = "machine_suspended",
        /// Completions did not fit into the completion queue.
        CqOverflow = "cq_overflow",
        /// The load began later than at `--start-at`.
        LateBegin = "late_begin",
        /// Every target refused every connection, so the load was ended.
        RefusedByAll = "refused_by_all",
        /// Nothing completed of a whole target, population or kind of client.
        Unserved = "unserved",
        /// Only one address family of a name serves.
        OneFamily = "one_family",
        /// No attempt went to a target or kind of client.
        Untried = "untried",
        /// A hostile client never got a connection.
        NeverConnected = "never_connected",
        /// Audio and video that was due never left.
        MediaUnsent = "media_unsent",
        /// Refusals vanish with more source addresses.
        PerSourceLimit = "per_source_limit",
        /// Delayed acknowledgements meet Nagle's algorithm.
        NaglePlateau = "nagle_plateau",
        /// SYNs were sent again.
        SynRetries = "syn_retries",
        /// The target runs on the machine that loads it.
        TargetOnThisMachine = "target_on_this_machine",
        /// The built-in sink and the workers share a core.
        SinkSharesCore = "sink_shares_core",
        /// Clients delay their own `connect`.
        ConnectWaits = "connect_waits",
        /// The kernel searches long for a free port.
        PortSearch = "port_search",
        /// Ports are used up by TIME_WAIT.
        TimeWait = "time_wait",
        /// Address pairs are used again while the peer may remember them.
        TupleReuse = "tuple_reuse",
        /// The baseline of a search met a stall.
        BaselineStalled = "baseline_stalled",
        /// A rate held once and not again.
        NotRepeated = "not_repeated",
        /// The target shares cores with the generator.
        TargetSharesCores = "target_shares_cores",

        /// io_uring can be used.
        IoUring = "io_uring",
        /// The administrator's switch of io_uring.
        UringSwitch = "uring_switch",
        /// The kernel's version.
        Kernel = "kernel",
        /// The limit of open files of a process.
        OpenFiles = "open_files",
        /// The limit of files that epoll watches.
        EpollWatches = "epoll_watches",
        /// System calls are filtered.
        Seccomp = "seccomp",
        /// The limit of open files of the system.
        SystemFiles = "system_files",
        /// The range of local ports.
        Ports = "ports",
        /// The limit of connections in TIME_WAIT.
        TwSockets = "tw_sockets",
        /// The limit of listen backlogs.
        Backlog = "backlog",
        /// The connection tracker's table.
        Conntrack = "conntrack",
        /// The memory that TCP may use.
        TcpMemory = "tcp_memory",
        /// Free memory.
        Memory = "memory",
        /// The CPUs that this process may use.
        Cpus = "cpus",
        /// The governor of the CPUs' frequency.
        Governor = "governor",
        /// The source of time.
        Clock = "clock",
        /// CPU time that the hypervisor took since the machine started.
        Steal = "steal",
        /// The container around this process.
        Container = "container",
        /// Memory for held connections.
        HeldMemory = "held_memory",
        /// Ports for held connections.
        HeldPorts = "held_ports",
        /// Descriptors for held connections.
        HeldDescriptors = "held_descriptors",
        /// The system's open files for held connections.
        HeldSystemFiles = "held_system_files",
        /// The connection tracker's table for held connections.
        HeldConntrack = "held_conntrack",
        /// TCP memory for held connections.
        HeldTcpMemory = "held_tcp_memory",
    }
}

impl Finding {
    /// Without a value and a remedy.
    pub fn new(code: FindingCode, severity: Severity, message: impl Into<String>) -> Self {
        Self { code, severity, value: None, message: message.into(), remedy: None }
    }

    /// A warning and its remedy.
    pub fn warning(code: FindingCode, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(code, Severity::Warning, message) }
    }

    /// Good to know, and what can be done about it.
    pub fn info(code: FindingCode, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(code, Severity::Info, message) }
    }

    /// The CPU time that the workers needed went elsewhere: to other programs, to other machines of the host, or to
    /// nobody because of a quota.
    pub fn is_lost_cpu_time(&self) -> bool {
        matches!(self.code, FindingCode::CpuContention | FindingCode::CpuSteal | FindingCode::CpuThrottled)
    }
}
