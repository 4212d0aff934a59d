//! Why a handshake failed, as far as that can be told from outside, and what to do about it.

use std::io::{self};

use super::stop::{Advice, Stop, Stopped, kind_of};
use super::{ProbeOutcome, ProbePlan};
use crate::base::Nanos;
use crate::inspect::text;
use crate::measure::{Failure, FailureDetail, FailureKind, Step};
use crate::protocol::{BLOCK_SIZE, ClientState, HandshakeMode, OtherProtocol, RTMP_VERSION, S0S1_SIZE, Violation};

/// Tells cause and remedy.
pub(super) fn diagnose(stopped: &Stopped<'_>) -> ProbeOutcome {
    let (failure, (cause, remedy)) = match &stopped.stop {
        Stop::Connect(error) => {
            let kind = kind_of(error);
            (Failure::new(Step::Connect, kind), connect_failure(kind, error, stopped.plan))
        }
        Stop::Timeout => (Failure::new(stopped.step(), FailureKind::Timeout), stopped.silence()),
        Stop::Closed => (Failure::new(stopped.step(), FailureKind::Closed), stopped.hang_up("closed")),
        Stop::Reset => (Failure::new(stopped.step(), FailureKind::Reset), stopped.hang_up("reset")),
        Stop::Violation(violation) => (Failure::from(*violation), stopped.violation(violation)),
        Stop::Tls(errno) => {
            let failure = Failure::of_tls(*errno);
            let cause = match failure.detail {
                FailureDetail::Tls(fault) => fault.to_string(),
                _ => io::Error::from(*errno).to_string(),
            };
            (failure, (cause, failure.advice(false).to_owned()))
        }
        Stop::Refused(refused) => (refused.failure, stopped.refused(refused, stopped.step())),
        Stop::TakenBack(after) => {
            (Failure::new(stopped.step(), FailureKind::Closed), stopped.taken_back(*after, stopped.step()))
        }
        Stop::BadMessage(violation) => {
            (Failure::new(stopped.step(), FailureKind::BadMessage), stopped.unreadable(violation))
        }
        Stop::Socket(error) => (
            Failure::new(stopped.step(), kind_of(error)),
            (
                format!("the connection broke {}: {error}", stopped.place()),
                "check the way to the server: routes, firewalls, the interface's state".into(),
            ),
        ),
    };
    ProbeOutcome::Failed { step: failure.step, kind: failure.kind, side: failure.side(), cause, remedy }
}

fn connect_failure(kind: FailureKind, error: &io::Error, plan: &ProbePlan) -> Advice {
    let address = plan.address;
    let port = address.port();
    match kind {
        FailureKind::Refused => (
            format!("nothing listens on {address}: the connection was refused"),
            "start the server, or correct the port (1935 is RTMP's own); for a server in a container check that the \
             port is published"
                .into(),
        ),
        FailureKind::Unreachable => (
            format!("{} cannot be reached: {error}", address.ip()),
            "check the address, this machine's routes, and firewalls that reject".into(),
        ),
        FailureKind::Timeout => (
            format!(
                "no answer to the connect within {}: a firewall drops the packets, the host is down, or the \
                 server's listen backlog is full",
                Nanos::from(plan.connect_timeout)
            ),
            format!(
                "check that the host is up and that firewalls and security groups let TCP port {port} in; if the \
                 server is under load, probe it again without"
            ),
        ),
        FailureKind::Reset => (
            "the server reset the connection as soon as it had accepted it".into(),
            "look into the server's log; a connection limit, an address list or a proxy without a backend does this"
                .into(),
        ),
        FailureKind::NoPorts => (
            format!("this machine has no local address or port for a connection to {address}: {error}"),
            "if the address is IPv6, check that this machine has IPv6; else wait for used ports to come free \
             (`ss -s` counts them)"
                .into(),
        ),
        FailureKind::NoDescriptors => {
            (format!("this process may open no more files: {error}"), "raise the limit with `ulimit -n`".into())
        }
        _ => (
            format!("this machine could not open a connection to {address}: {error}"),
            "`shakedown doctor` checks this machine".into(),
        ),
    }
}

impl Stopped<'_> {
    fn step(&self) -> Step {
        if !self.is_secured {
            return Step::Tls;
        }
        if let Some(step) = self.session_step {
            return step;
        }
        match self.state {
            ClientState::AwaitingS0 => Step::S0,
            ClientState::AwaitingS1 => Step::S1,
            ClientState::AwaitingS2 => Step::S2,
            ClientState::Done(_) => Step::SendC2,
        }
    }

    /// Where in the handshake it ended.
    fn place(&self) -> String {
        let received = self.received.len();
        if !self.is_secured {
            return "during the TLS handshake".into();
        }
        if self.session_step.is_some() {
            return "after the handshake".into();
        }
        match self.state {
            ClientState::AwaitingS0 => "after C0C1, without a byte of an answer".into(),
            ClientState::AwaitingS1 => format!("after S0 and {} of S1's {BLOCK_SIZE} bytes", received - 1),
            ClientState::AwaitingS2 => {
                format!("after S0S1 and {} of S2's {BLOCK_SIZE} bytes", received - S0S1_SIZE)
            }
            ClientState::Done(_) => "after S2, before it had C2".into(),
        }
    }

    /// The server keeps the connection and does not answer.
    fn silence(&self) -> Advice {
        let limit = Nanos::from(self.plan.timeout);
        let received = self.received.len();
        if !self.is_secured {
            let cause = format!("the server did not finish the TLS handshake within {limit}");
            return (cause, Failure::new(Step::Tls, FailureKind::Timeout).advice(false).to_owned());
        }
        if let Some(step) = self.session_step {
            return self.session_silence(step);
        }
        match self.state {
            ClientState::AwaitingS0 => (
                format!("the server accepted the connection and sent nothing within {limit}"),
                "check that this is the RTMP port and that the server process runs: a stopped process, a proxy \
                 whose backend hangs and a TLS port stay silent like this; raise --timeout if the server is only slow"
                    .into(),
            ),
            ClientState::AwaitingS1 => (
                format!("S1 did not become complete: {} of {BLOCK_SIZE} bytes arrived within {limit}", received - 1),
                "the server is stuck or dribbles, or the path loses large packets (check the MTU); raise --timeout \
                 if it is only slow"
                    .into(),
            ),
            ClientState::AwaitingS2 | ClientState::Done(_) => (
                format!(
                    "S2 did not become complete: {} of {BLOCK_SIZE} bytes arrived within {limit}, although the \
                     server had C2",
                    received - S0S1_SIZE
                ),
                "the server may wait for a C2 of another kind: try the other --mode; raise --timeout if it is only slow"
                    .into(),
            ),
        }
    }

    /// The server ended the connection.
    fn hang_up(&self, how: &str) -> Advice {
        if !self.is_secured {
            let cause = format!("the server {how} the connection during the TLS handshake");
            return (cause, Failure::new(Step::Tls, FailureKind::Closed).advice(false).to_owned());
        }
        if let Some(step) = self.session_step {
            return self.session_hang_up(how, step);
        }
        let cause = format!("the server {how} the connection {}", self.place());
        let remedy = match (self.state, self.plan.mode) {
            (ClientState::AwaitingS0, mode) => format!(
                "the server refuses this handshake or this client; its log names the reason. SRS hangs up so on a \
                 zero filler and nginx-rtmp on a version other than 3, but this C0C1 has neither: look for a \
                 connection limit, a list of allowed addresses, a proxy without a backend, a TLS port; and try \
                 --mode {}",
                other(mode)
            ),
            (ClientState::AwaitingS1 | ClientState::AwaitingS2, mode) => format!(
                "the server gave up in the middle: look into its log for a crash or a time limit, and try --mode {}",
                other(mode)
            ),
            (ClientState::Done(_), _) => "the server did not wait for C2: look into its log".into(),
        };
        (cause, remedy)
    }

    fn violation(&self, violation: &Violation) -> Advice {
        match *violation {
            Violation::NotRtmp { looks_like, .. } => {
                let shown = self.greeting().map_or(String::new(), |line| format!(" (it begins \"{line}\")"));
                let speaks = match looks_like {
                    OtherProtocol::Text => "a text protocol, not RTMP".into(),
                    other => other.to_string(),
                };
                let cause =
                    format!("the server answered {}: this port speaks {speaks}{shown}", self.version_byte_text());
                let remedy = match looks_like {
                    OtherProtocol::Http => {
                        "probe the server's RTMP port: usually 1935; 80, 443 and 8080 are for HTTP (and HLS, HTTP-FLV)"
                    }
                    OtherProtocol::Tls => {
                        "probe it as rtmps://, if it is RTMP over TLS, or the server's plain RTMP port, usually 1935"
                    }
                    OtherProtocol::Text => "probe the server's RTMP port, usually 1935",
                };
                (cause, remedy.into())
            }
            Violation::BadVersion { byte: 6 | 8 | 9 } => (
                format!(
                    "the server answered {}: encrypted RTMP (RTMPE) to a client that asked for version {RTMP_VERSION}",
                    self.version_byte_text()
                ),
                "allow plain RTMP in the server's configuration; RTMPE is not supported".into(),
            ),
            Violation::BadVersion { .. } => (
                format!("the server answered {}, RTMP's is {RTMP_VERSION}", self.version_byte_text()),
                "check that this is the RTMP port: another binary protocol begins like this, or a broken server".into(),
            ),
            Violation::BadEcho => (
                "S2 does not echo C1: bytes 8..1536 differ".into(),
                "a server that answers a simple C1 must repeat it in S2: look for a bug in the server, or for \
                 something on the way that changes bytes"
                    .into(),
            ),
            Violation::BadS1Digest => (
                "S1 holds no valid digest in either half, and S2 does not echo C1: this is neither a complex nor a \
                 simple answer"
                    .into(),
                "look for a bug in the server's handshake, or for something on the way that changes bytes; try \
                 --mode simple"
                    .into(),
            ),
            Violation::BadS2Digest => (
                "S1 is signed, but S2 neither holds a digest that verifies nor echoes C1".into(),
                "the server must sign S2 with C1's digest as key, wherever C1 holds it: try the other --digest half, \
                 then --mode simple"
                    .into(),
            ),
        }
    }

    fn version_byte_text(&self) -> String {
        self.received.first().map_or(String::new(), |&byte| text::version_byte(byte))
    }

    /// The first line of a text answer, if there is more of it than a letter.
    fn greeting(&self) -> Option<String> {
        const MOST: usize = 48;
        let line = self.received.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
        let printable = line.iter().all(|&byte| byte == b' ' || byte.is_ascii_graphic());
        (printable && line.len() > 1).then(|| line.iter().take(MOST).map(|&byte| char::from(byte)).collect())
    }
}

fn other(mode: HandshakeMode) -> HandshakeMode {
    match mode {
        HandshakeMode::Simple => HandshakeMode::Complex,
        HandshakeMode::Complex => HandshakeMode::Simple,
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use crate::protocol::transcript::Transcript;
    use std::time::Duration;

    use super::*;
    use crate::base::Seed;
    use crate::measure::Side;
    use crate::protocol::{ClientClock, ClientProfile, DigestAt};

    fn plan() -> ProbePlan {
        ProbePlan {
            target: "rtmp://ingest.example/live".into(),
            address: "10.0.0.5:1935".parse().unwrap(),
            tls: None,
            profile: ClientProfile::Shakedown,
            clock: ClientClock::default(),
            session: None,
            mode: HandshakeMode::Complex,
            digest_at: DigestAt::FirstHalf,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            linger: Duration::ZERO,
            seed: Seed::new(1),
        }
    }

    fn diagnosed(stop: Stop, state: ClientState, received: &[u8]) -> (Step, FailureKind, Side, String) {
        let stopped = Stopped {
            stop,
            plan: &plan(),
            state,
            is_secured: true,
            session_step: None,
            has_started: false,
            received,
            transcript: &Transcript::default(),
        };
        match diagnose(&stopped) {
            ProbeOutcome::Failed { step, kind, side, cause, remedy } => {
                (step, kind, side, format!("{cause} -> {remedy}"))
            }
            ProbeOutcome::Completed { .. } => panic!("a stop is no completion"),
        }
    }

    #[test]
    fn errors_of_the_connect_have_causes() {
        let os = io::Error::from_raw_os_error;
        for (error, expected, phrase) in [
            (os(libc::ECONNREFUSED), (FailureKind::Refused, Side::Target), "nothing listens on 10.0.0.5:1935"),
            (os(libc::EHOSTUNREACH), (FailureKind::Unreachable, Side::Network), "10.0.0.5 cannot be reached"),
            (os(libc::ENETUNREACH), (FailureKind::Unreachable, Side::Network), "routes"),
            (os(libc::EPERM), (FailureKind::Unreachable, Side::Network), "firewalls"),
            (os(libc::ETIMEDOUT), (FailureKind::Timeout, Side::Unattributed), "drops the packets"),
            (ErrorKind::TimedOut.into(), (FailureKind::Timeout, Side::Unattributed), "within 10.0 s"),
            (os(libc::ECONNRESET), (FailureKind::Reset, Side::Target), "as soon as it had accepted"),
            (os(libc::EADDRNOTAVAIL), (FailureKind::NoPorts, Side::Generator), "no local address or port"),
            (os(libc::EMFILE), (FailureKind::NoDescriptors, Side::Generator), "ulimit -n"),
            (os(libc::EINVAL), (FailureKind::Cancelled, Side::Generator), "shakedown doctor"),
        ] {
            let name = error.to_string();
            let (step, kind, side, text) = diagnosed(Stop::Connect(error), ClientState::AwaitingS0, &[]);
            assert_eq!((step, (kind, side)), (Step::Connect, expected), "{name}");
            assert!(text.contains(phrase), "{name}: {text}");
        }
    }

    #[test]
    fn errors_of_a_connection_are_told_from_the_servers_doing() {
        assert!(matches!(Stop::from(io::Error::from(ErrorKind::WouldBlock)), Stop::Timeout));
        assert!(matches!(Stop::from(io::Error::from_raw_os_error(libc::EPIPE)), Stop::Reset));
        let lost = Stop::from(io::Error::from_raw_os_error(libc::EHOSTUNREACH));
        let (step, kind, side, text) = diagnosed(lost, ClientState::AwaitingS1, &[3, 0, 0]);
        assert_eq!((step, kind, side), (Step::S1, FailureKind::Unreachable, Side::Network));
        assert!(text.contains("the connection broke after S0 and 2 of S1's 1536 bytes"), "{text}");
    }

    #[test]
    fn a_greeting_is_shown_only_if_it_is_text() {
        let greeting = |received| {
            let looks_like = OtherProtocol::Text;
            let stop = Stop::Violation(Violation::NotRtmp { first: b'2', looks_like });
            diagnosed(stop, ClientState::AwaitingS0, received).3
        };
        assert!(greeting(b"220 mail.example ESMTP\r\n250 ok\r\n").contains("(it begins \"220 mail.example ESMTP\")"));
        assert!(!greeting(b"2\x00\x01").contains("it begins"));
        assert!(!greeting(b"2").contains("it begins"));
        let long = greeting(&[b'2'; 5000]);
        assert!(long.contains(&format!("\"{}\"", "2".repeat(48))), "{long}");
    }
}
