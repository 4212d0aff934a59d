//! Why attempts fail: a closed taxonomy, counted by index; text is made at the end.

use std::fmt;

use rustix::io::Errno;

use super::reaction::{Ending, Reaction};
use crate::base::Nanos;
use crate::base::table::named;
use crate::protocol::amf0::Text;
use crate::protocol::session::Status;
use crate::protocol::{S0S1_SIZE, S0S1S2_SIZE, TlsFault, Violation};

/// One failed attempt, or one held connection that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// How far the attempt had come: what it was doing.
    pub step: Step,
    /// What went wrong.
    pub kind: FailureKind,
    /// The evidence, where there is any.
    pub detail: FailureDetail,
}

named! {
    /// What an attempt was doing when it failed.
    pub enum Step {
        /// Creating or binding the socket.
        Socket = "socket",
        /// The TCP handshake.
        Connect = "connect",
        /// The TLS handshake.
        Tls = "tls",
        /// Sending C0 and C1.
        SendC0c1 = "send_c0c1",
        /// Waiting for S0.
        S0 = "s0",
        /// Waiting for S1.
        S1 = "s1",
        /// Waiting for S2.
        S2 = "s2",
        /// Sending C2.
        SendC2 = "send_c2",
        /// Waiting for the answer to `connect`.
        Reply = "reply",
        /// Waiting for the server to accept the stream that is published.
        Publish = "publish",
        /// Waiting for the stream that is played, and for its first frame.
        Play = "play",
        /// Completed and held open.
        Hold = "hold",
    }
}

named! {
    /// What went wrong.
    pub enum FailureKind {
        /// The target answered SYN with RST.
        Refused = "refused",
        /// No route, or a firewall said no.
        Unreachable = "unreachable",
        /// The connect timeout, or the time limit of the attempt.
        Timeout = "timeout",
        /// The peer reset the connection.
        Reset = "reset",
        /// The peer closed the connection before the attempt was complete.
        Closed = "closed",
        /// S0 names a version other than 3.
        BadVersion = "bad_version",
        /// The first bytes are another protocol's.
        NotRtmp = "not_rtmp",
        /// S2 does not repeat C1 (simple handshake).
        BadEcho = "bad_echo",
        /// S1 carries no valid digest, and S2 is no echo either.
        BadS1Digest = "bad_s1_digest",
        /// S1 is signed, but S2 neither verifies nor repeats C1.
        BadS2Digest = "bad_s2_digest",
        /// The server answered the RTMP command with an error.
        Rejected = "rejected",
        /// Somebody else publishes a stream of this name, says the server.
        NameTaken = "name_taken",
        /// The server does not let this client in: credentials or a hook said no.
        Unauthorized = "unauthorized",
        /// The server sends the client to another one.
        Redirected = "redirected",
        /// What the server answered could not be read, or was not understood.
        BadMessage = "bad_message",
        /// The flow was dropped without a word: nothing came back for as long as the hold check waits.
        LostSilently = "lost_silently",
        /// The server said that the stream or the session is over while it was held.
        Ended = "ended",
        /// The stream that a held player got is over, says the server without an error: its publisher may have left.
        Unpublished = "unpublished",
        /// The server's certificate does not prove that it is the right server.
        BadCertificate = "bad_certificate",
        /// The server does not speak TLS, or not as this client does; or it ended TLS by an alert.
        TlsRefused = "tls_refused",
        /// The target did something else with a hostile client than the scenario expects.
        Unexpected = "unexpected",
        /// No local port is free for the connection.
        NoPorts = "no_ports",
        /// The limit of open descriptors is reached.
        NoDescriptors = "no_descriptors",
        /// The kernel has no memory for the socket or the operation.
        NoMemory = "no_memory",
        /// io_uring's completion queue overflowed.
        CqOverflow = "cq_overflow",
        /// The generator's worker did not run when the operation's time was over, or when the connection had to be kept alive: it
        /// was stopped, or had no CPU.
        GeneratorPaused = "generator_paused",
        /// This side ended the operation: the run was over, or the kernel refused it with an error that has no kind of its
        /// own (then the detail names the error).
        Cancelled = "cancelled",
    }
}

named! {
    /// Whose failure it is. Blame needs evidence: where there is none, the side is `Unattributed`.
    pub enum Side {
        /// The server under test.
        Target = "target",
        /// The path to it.
        Network = "network",
        /// This machine.
        Generator = "generator",
        /// Cannot be told from here.
        Unattributed = "unattributed",
    }
}

/// The evidence of a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureDetail {
    /// Nothing beyond step and kind.
    #[default]
    None,
    /// The version in S0.
    VersionByte(u8),
    /// The first byte of something that is not RTMP.
    FirstByte(u8),
    /// The kernel's error number.
    Errno(i32),
    /// Bytes received up to the failure.
    Received(u32),
    /// What the target did with a hostile client, and after how many milliseconds.
    Ended(Ending, u32),
    /// What was wrong with TLS.
    Tls(TlsFault),
}

impl Failure {
    /// A failure without further evidence.
    pub const fn new(step: Step, kind: FailureKind) -> Self {
        Self { step, kind, detail: FailureDetail::None }
    }

    /// This failure with its evidence.
    pub const fn with_detail(self, detail: FailureDetail) -> Self {
        Self { detail, ..self }
    }

    /// The failure that an operation's error number means in `step`; the number, or the fault of TLS that it stands for, is
    /// kept as detail.
    pub fn from_errno(step: Step, errno: Errno) -> Self {
        if let Some(fault) = TlsFault::from_number(errno.raw_os_error()) {
            let kind = if fault.is_of_certificate() { FailureKind::BadCertificate } else { FailureKind::TlsRefused };
            return Self::new(step, kind).with_detail(FailureDetail::Tls(fault));
        }
        Self { step, kind: FailureKind::from_errno(errno), detail: FailureDetail::Errno(errno.raw_os_error()) }
    }

    /// A held connection broke. The kernel gives a flow up (ETIMEDOUT) when nothing came back for as long as the hold check
    /// waits.
    pub fn lost(errno: Errno) -> Self {
        let failure = Self::from_errno(Step::Hold, errno);
        match failure.kind {
            FailureKind::Timeout => Self::new(Step::Hold, FailureKind::LostSilently),
            _ => failure,
        }
    }

    /// TLS did not come to be; the error numbers are those of [`Op::Secure`](crate::io::Op::Secure).
    pub fn of_tls(errno: Errno) -> Self {
        match errno {
            Errno::NOTCONN => Self::new(Step::Tls, FailureKind::Closed),
            _ => Self::from_errno(Step::Tls, errno),
        }
    }

    /// The server refused a command. The codes are those of nginx-rtmp, SRS, Wowza and Adobe's server.
    pub fn refused(step: Step, status: &Status<'_>) -> Self {
        let texts = [status.code, status.description].map(Text::as_bytes);
        let says = |word: &str| texts.iter().any(|text| contains_word(text, word));
        let kind = if status.redirect.is_some() {
            FailureKind::Redirected
        } else if says("BadName") || says("already publishing") || says("already exists") {
            FailureKind::NameTaken
        } else if ["Unauthorized", "Unauthorised", "authmod", "authfail", "Denied", "permission"].into_iter().any(says)
        {
            FailureKind::Unauthorized
        } else {
            FailureKind::Rejected
        };
        Self::new(step, kind)
    }

    /// The server ended in words what was held. What is no refusal is the end of a stream; that of one that was `played` is
    /// no error of the server's.
    pub fn ended(status: &Status<'_>, played: bool) -> Self {
        let refused = Self::refused(Step::Hold, status);
        let is_verdict = ["Rejected", "InvalidApp"].into_iter().any(|word| contains_word(status.code.as_bytes(), word));
        let kind = match refused.kind {
            _ if played && !status.is_refusal() => FailureKind::Unpublished,
            FailureKind::Rejected if !is_verdict => FailureKind::Ended,
            kind => kind,
        };
        Self { kind, ..refused }
    }

    /// The server took back in words what it had granted, while it was held. Conditions on `failed` count it: had its words
    /// come a moment earlier, the attempt would have failed.
    pub fn is_taken_back(&self) -> bool {
        use FailureKind::{Ended, NameTaken, Rejected, Unauthorized};
        self.step == Step::Hold && matches!(self.kind, Rejected | NameTaken | Unauthorized | Ended)
    }

    /// The server ended what was held and left the connection open.
    pub fn leaves_open(&self) -> bool {
        self.is_taken_back() || self.step == Step::Hold && self.kind == FailureKind::Unpublished
    }

    /// The target did something else with a hostile client than was expected.
    pub fn unexpected(reaction: &Reaction) -> Self {
        let step = match reaction.received as usize {
            _ if reaction.ending == Ending::NotConnected => Step::Connect,
            0 => Step::S0,
            1..S0S1_SIZE => Step::S1,
            S0S1_SIZE..S0S1S2_SIZE => Step::S2,
            _ => Step::Hold,
        };
        let after_ms = u32::try_from(reaction.after.as_u64() / 1_000_000).unwrap_or(u32::MAX);
        Self::new(step, FailureKind::Unexpected).with_detail(FailureDetail::Ended(reaction.ending, after_ms))
    }

    /// The server ended the connection without a word.
    pub const fn is_hang_up(&self) -> bool {
        matches!(self.kind, FailureKind::Closed | FailureKind::Reset)
    }

    /// Whose failure it is.
    pub const fn side(&self) -> Side {
        use FailureKind as Kind;
        if let FailureDetail::Tls(fault) = self.detail
            && fault.may_be_ours()
        {
            return Side::Unattributed;
        }
        match (self.step, self.kind) {
            (
                _,
                Kind::NoPorts
                | Kind::NoDescriptors
                | Kind::NoMemory
                | Kind::CqOverflow
                | Kind::GeneratorPaused
                | Kind::Cancelled,
            ) => Side::Generator,
            (_, Kind::Unreachable) => Side::Network,
            // Dropped on the path, or by a target that is gone.
            (_, Kind::LostSilently) => Side::Unattributed,
            // The publisher may be one of this load, whose hold was over.
            (_, Kind::Unpublished) => Side::Unattributed,
            // It answered; what, is known only by its first bytes.
            (_, Kind::BadMessage) => Side::Unattributed,
            // A SYN without an answer: dropped on the path, or by a full backlog.
            (Step::Socket | Step::Connect, Kind::Timeout) => Side::Unattributed,
            _ => Side::Target,
        }
    }

    /// What to do about it, one line; it depends on whether other attempts completed.
    pub const fn advice(&self, others_completed: bool) -> &'static str {
        use FailureKind as Kind;
        match self.kind {
            Kind::Refused if others_completed => {
                "others were accepted: a target may be down (by_target) or a limit reached; one per source address vanishes with more --source"
            }
            Kind::Refused => "nothing listens there: check that the server runs and that the port is right",
            Kind::Unreachable => "the target is unreachable: check address, routes and firewalls",
            Kind::Timeout => self.advice_on_silence(),
            Kind::Closed | Kind::Reset => self.advice_on_hang_up(),
            Kind::BadVersion => "S0 must name version 3: is this an RTMP server, and plain RTMP?",
            Kind::NotRtmp => match self.detail {
                FailureDetail::FirstByte(b'H') => "the port speaks HTTP: RTMP usually listens on 1935",
                FailureDetail::FirstByte(0x14..=0x17) => "the port speaks TLS: use the server's plain RTMP port",
                _ => "the port speaks another protocol: RTMP usually listens on 1935",
            },
            Kind::BadEcho => "S2 does not repeat C1: look for a server bug, or use --verify none",
            Kind::BadS1Digest => "S1's digest is wrong: the server lacks the complex handshake, try --mode simple",
            Kind::BadS2Digest => "S2's digest is wrong: look for a server bug, or try --mode simple",
            Kind::Rejected if matches!(self.step, Step::Hold) => {
                "the server accepted it and then rejected it: check application, name and credentials"
            }
            Kind::Rejected => "the server refused the command: check application, stream name and credentials",
            Kind::NameTaken => {
                "a stream of this name is published already: give each client its own, --stream '...{id}'"
            }
            Kind::Unauthorized => "the server wants credentials: give a token or keys with --stream or --stream-keys",
            Kind::Redirected => "the server sends clients elsewhere: load the address that it names",
            Kind::BadMessage => "its answer was not understood: is there a proxy in between, or another protocol?",
            Kind::LostSilently => "the flow vanished: look for a firewall or balancer that forgets idle connections",
            Kind::Ended => "the server ended them and said why, as quoted; its log may say more",
            Kind::Unpublished => "the played stream ended: its publisher left, or the server took it off the air",
            Kind::BadCertificate | Kind::TlsRefused => match self.detail {
                FailureDetail::Tls(fault) => fault.advice(),
                _ => "`shakedown probe` shows what the server says",
            },
            Kind::Unexpected => {
                "the target did not treat this client as expected: compare by_client or correct `expect`"
            }
            Kind::NoPorts => "local ports ran out: add --source addresses or widen ip_local_port_range",
            Kind::NoDescriptors => "raise the descriptor limit (ulimit -n) or lower -c",
            Kind::NoMemory => "the kernel is out of socket memory: lower -c, or raise ulimit -l and tcp_mem",
            Kind::CqOverflow => "completions outrun the workers: add workers (-t) or lower -c",
            Kind::GeneratorPaused => "this program was stopped or had no CPU meanwhile: run it again undisturbed",
            Kind::Cancelled => match self.detail {
                FailureDetail::Errno(errno) if errno != Errno::CANCELED.raw_os_error() => {
                    "the kernel refused the operation: `shakedown doctor` checks this machine"
                }
                _ => "the run ended first: nothing to do",
            },
        }
    }

    const fn advice_on_silence(&self) -> &'static str {
        match self.step {
            Step::Socket | Step::Connect => {
                "SYNs stay unanswered: look for a full listen backlog (somaxconn) or loss on the path"
            }
            Step::Tls => "nothing answers the TLS handshake: check that the port is the one for rtmps://",
            Step::Reply => "nothing answers `connect`: look for a hook that hangs, or lower the load",
            Step::Publish => "the stream does not start: look for a hook that hangs, or lower the load",
            Step::Play => "nothing is played: is it published, under this name and application?",
            Step::Hold => IDLE_CONNECTIONS_END,
            Step::SendC0c1 | Step::S0 | Step::S1 | Step::S2 | Step::SendC2 => match self.detail {
                FailureDetail::Received(1..) => "the answer stops halfway or dribbles: `shakedown probe` shows how",
                _ => "the server accepts but answers too late: lower the load or raise --timeout",
            },
        }
    }

    const fn advice_on_hang_up(&self) -> &'static str {
        match self.step {
            Step::Tls => "the server hangs up during the TLS handshake: is it rtmps there?",
            Step::Reply => "the server hangs up on `connect`: check the application's name; its log names the reason",
            Step::Publish | Step::Play => {
                "the server hangs up on the stream: check name and credentials; its log names the reason"
            }
            Step::Hold => IDLE_CONNECTIONS_END,
            _ if matches!(self.kind, FailureKind::Reset) => {
                "the server resets connections: its log names the reason (limits, overload)"
            }
            _ => "the server hangs up during the handshake: its log names the reason",
        }
    }
}

const IDLE_CONNECTIONS_END: &str =
    "the server ends idle connections: shorten --hold, or raise the server's idle timeout";

impl FailureKind {
    /// The kind that an error number of a socket operation means. Numbers without a kind of their own are `Cancelled`:
    /// they are refusals by this machine's kernel (EINVAL, EBADF, ...), never the target's doing.
    pub fn from_errno(errno: Errno) -> Self {
        match errno {
            Errno::CONNREFUSED => Self::Refused,
            // EPERM and EACCES come from a packet filter on the way out.
            Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::NETDOWN
            | Errno::NONET
            | Errno::ACCESS
            | Errno::PERM
            | Errno::AFNOSUPPORT => Self::Unreachable,
            Errno::TIMEDOUT | Errno::TIME => Self::Timeout,
            Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED | Errno::NETRESET | Errno::NOTCONN => Self::Reset,
            // connect() says EADDRNOTAVAIL without a free port, EADDRINUSE if the four-tuple is taken.
            Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => Self::NoPorts,
            Errno::MFILE | Errno::NFILE => Self::NoDescriptors,
            Errno::NOMEM | Errno::NOBUFS => Self::NoMemory,
            _ => Self::Cancelled,
        }
    }

    /// A limit of this machine was hit (no ports, no descriptors, no memory, CQ overflow): the generator could not do
    /// what it was asked to.
    pub const fn is_local_limit(self) -> bool {
        matches!(self, Self::NoPorts | Self::NoDescriptors | Self::NoMemory | Self::CqOverflow)
    }
}

/// Whether `word` occurs in `text`, whatever the case.
fn contains_word(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::BadVersion { byte } => {
                Self::new(Step::S0, FailureKind::BadVersion).with_detail(FailureDetail::VersionByte(byte))
            }
            Violation::NotRtmp { first, .. } => {
                Self::new(Step::S0, FailureKind::NotRtmp).with_detail(FailureDetail::FirstByte(first))
            }
            Violation::BadEcho => Self::new(Step::S2, FailureKind::BadEcho),
            Violation::BadS1Digest => Self::new(Step::S1, FailureKind::BadS1Digest),
            Violation::BadS2Digest => Self::new(Step::S2, FailureKind::BadS2Digest),
        }
    }
}

impl fmt::Display for FailureDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::VersionByte(byte) => write!(f, "version byte {byte}"),
            Self::FirstByte(byte) if byte.is_ascii_graphic() => write!(f, "first byte '{}'", char::from(*byte)),
            Self::FirstByte(byte) => write!(f, "first byte {byte:#04x}"),
            Self::Errno(errno) => std::io::Error::from_raw_os_error(*errno).fmt(f),
            Self::Tls(fault) => fault.fmt(f),
            Self::Received(bytes) => write!(f, "{bytes} bytes received"),
            Self::Ended(ending, after_ms) => write!(f, "{ending} after {}", Nanos::from_millis(u64::from(*after_ms))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::OtherProtocol;

    #[test]
    fn names_in_files_and_in_text_are_the_same() {
        for step in Step::ALL {
            assert_eq!(serde_json::to_value(step).unwrap(), step.to_string());
        }
        for kind in FailureKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
        }
        for side in [Side::Target, Side::Network, Side::Generator, Side::Unattributed] {
            assert_eq!(serde_json::to_value(side).unwrap(), side.to_string());
        }
    }

    #[test]
    fn lists_are_complete_and_in_order() {
        assert!(Step::ALL.iter().enumerate().all(|(index, step)| *step as usize == index));
        assert!(FailureKind::ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index));
    }

    #[test]
    fn blame_follows_the_evidence() {
        for (step, kind, side) in [
            (Step::Connect, FailureKind::Refused, Side::Target),
            (Step::Connect, FailureKind::Unreachable, Side::Network),
            (Step::Connect, FailureKind::Timeout, Side::Unattributed),
            (Step::Publish, FailureKind::BadMessage, Side::Unattributed),
            (Step::S1, FailureKind::Timeout, Side::Target),
            (Step::S0, FailureKind::Reset, Side::Target),
            (Step::S0, FailureKind::Closed, Side::Target),
            (Step::S2, FailureKind::BadEcho, Side::Target),
            (Step::Hold, FailureKind::Closed, Side::Target),
            (Step::Connect, FailureKind::NoPorts, Side::Generator),
            (Step::Socket, FailureKind::NoDescriptors, Side::Generator),
            (Step::S1, FailureKind::Cancelled, Side::Generator),
        ] {
            assert_eq!(Failure::new(step, kind).side(), side, "{step} {kind}");
        }
    }

    #[test]
    fn error_numbers_have_a_kind() {
        for (errno, kind) in [
            (Errno::CONNREFUSED, FailureKind::Refused),
            (Errno::NETUNREACH, FailureKind::Unreachable),
            (Errno::PERM, FailureKind::Unreachable),
            (Errno::TIMEDOUT, FailureKind::Timeout),
            (Errno::CONNRESET, FailureKind::Reset),
            (Errno::PIPE, FailureKind::Reset),
            (Errno::ADDRNOTAVAIL, FailureKind::NoPorts),
            (Errno::MFILE, FailureKind::NoDescriptors),
            (Errno::NOBUFS, FailureKind::NoMemory),
            (Errno::CANCELED, FailureKind::Cancelled),
            (Errno::INVAL, FailureKind::Cancelled),
        ] {
            assert_eq!(FailureKind::from_errno(errno), kind, "{errno}");
        }
    }

    #[test]
    fn an_unknown_error_keeps_its_number_and_its_own_advice() {
        let unknown = Failure::from_errno(Step::Connect, Errno::INVAL);
        assert_eq!(unknown.detail.to_string(), "Invalid argument (os error 22)");
        assert!(unknown.advice(false).contains("doctor"));
        assert!(Failure::from_errno(Step::S1, Errno::CANCELED).advice(false).contains("ended first"));
    }

    #[test]
    fn violations_name_the_step_they_were_found_in() {
        let http = Failure::from(Violation::NotRtmp { first: b'H', looks_like: OtherProtocol::Http });
        assert_eq!((http.step, http.kind), (Step::S0, FailureKind::NotRtmp));
        assert_eq!(http.detail.to_string(), "first byte 'H'");
        assert!(http.advice(false).contains("HTTP"));
        let version = Failure::from(Violation::BadVersion { byte: 6 });
        assert_eq!(version.detail, FailureDetail::VersionByte(6));
        assert_eq!(Failure::from(Violation::BadS1Digest).step, Step::S1);
        assert_eq!(Failure::from(Violation::BadS2Digest).step, Step::S2);
        assert_eq!(Failure::from(Violation::BadEcho).step, Step::S2);
    }

    #[test]
    fn what_ends_a_hold_in_words_has_a_name() {
        let of = |level, code, played| {
            let (level, code) = (Text::new(level), Text::new(code));
            let failure = Failure::ended(&Status { level, code, ..Status::default() }, played);
            assert_eq!(failure.step, Step::Hold);
            (failure.kind, failure.side(), failure.is_taken_back())
        };
        for (level, code, kind) in [
            ("error", "NetStream.Publish.BadName", FailureKind::NameTaken),
            ("error", "NetStream.Publish.Unauthorized", FailureKind::Unauthorized),
            ("error", "NetConnection.Connect.Rejected", FailureKind::Rejected),
            ("error", "NetStream.Failed", FailureKind::Ended),
            ("status", "NetConnection.Connect.AppShutdown", FailureKind::Ended),
            ("error", "NetStream.Play.StreamNotFound", FailureKind::Ended),
            ("error", "", FailureKind::Ended),
        ] {
            for played in [false, true] {
                assert_eq!(of(level, code, played), (kind, Side::Target, true), "{code}");
            }
        }
        assert_eq!(
            of("status", "NetStream.Unpublish.Success", false),
            (FailureKind::Ended, Side::Target, true),
            "nobody asked it to stop"
        );
        for code in ["NetStream.Play.Stop", "NetStream.Play.UnpublishNotify", "Stream EOF"] {
            assert_eq!(of("status", code, true), (FailureKind::Unpublished, Side::Unattributed, false), "{code}");
        }
    }

    #[test]
    fn advice_fits_a_line() {
        for step in Step::ALL {
            for kind in FailureKind::ALL {
                let advice = Failure::new(step, kind).advice(false);
                assert!(advice.len() <= 90, "{step} {kind}: {} characters", advice.len());
            }
        }
    }

    #[test]
    fn failures_stay_small() {
        assert!(size_of::<Failure>() <= 12);
    }
}
