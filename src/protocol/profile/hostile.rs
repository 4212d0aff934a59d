//! Clients that break the rules, each in one way. What counts of them is how the server reacts.
//!
//! The reactions mentioned were measured in November 2026 with nginx-rtmp 1.2.2, SRS 7.0, node-media-server 4.4,
//! lal 0.37, xiu 0.14, ZLMediaKit, rml_rtmp 0.8, librtmp's rtmpsrv and `ffmpeg -listen`; `docs/clients.md` has the table.

use super::{Afterwards, C1Digest, ClientSpec, Filler, Opening, Pacing};
use crate::base::Nanos;
use crate::protocol::{DigestAt, HandshakeMode};

/// By the rules but for what each client changes.
const COMPLEX: ClientSpec = ClientSpec::shakedown(HandshakeMode::Complex, DigestAt::FirstHalf);

/// Asks for no handshake, so its mode is the one that promises nothing.
const NO_HANDSHAKE: ClientSpec = ClientSpec {
    opening: Opening::Bytes(&[]),
    afterwards: Afterwards::Nothing,
    ..ClientSpec::shakedown(HandshakeMode::Simple, DigestAt::FirstHalf)
};

/// An outdated or foreign client, or one for an encrypted variant: C0 is `c0`, then a right C1. Some servers ignore C0,
/// some close without a byte, `ffmpeg -listen` resets; pyrtmp repeats it as S0.
pub(super) const fn version(c0: u8) -> ClientSpec {
    ClientSpec { c0, ..COMPLEX }
}

/// A client with a broken implementation, or bytes damaged on the way: one bit of C1's digest is inverted. Servers take
/// C1 for a simple one and echo it; rml_rtmp signs its S1 all the same; rtmpsrv closes after S0S1.
pub(super) const WRONG_DIGEST: ClientSpec = ClientSpec { digest: C1Digest::OneBitWrong, ..COMPLEX };

/// A lazy implementation: signed, but all filler is zero, the key block included, and zero is no Diffie-Hellman public
/// value. SRS closes without a byte; others do not look.
pub(super) const ZERO_FILLER: ClientSpec = ClientSpec { filler: Filler::Zero, ..COMPLEX };

/// A client that died or whose network broke in the middle of C1: C0 and half of C1, then silence. It shows the server's
/// deadline for a handshake, if it has one.
pub(super) const HALF_C1: ClientSpec =
    ClientSpec { opening: Opening::HalfC1, afterwards: Afterwards::Nothing, ..COMPLEX };

/// A slow-loris attack, or a network that barely lives: a right C0C1 at one byte a second, so 25 minutes 36 seconds from
/// the first byte to the last. Where every byte renews the deadline (nginx-rtmp, SRS), or where there is none, it keeps
/// its slot all that time; ZLMediaKit's deadline is absolute.
pub(super) const DRIP: ClientSpec =
    ClientSpec { pacing: Pacing::Drip { gap: Nanos::from_secs(1) }, afterwards: Afterwards::Nothing, ..COMPLEX };

/// A client that stops at the last step: it reads S0S1S2 and never sends C2. Servers wait for it as long as for C1.
pub(super) const NO_C2: ClientSpec = ClientSpec { afterwards: Afterwards::WithoutC2, ..COMPLEX };

/// A client that cannot sign: the digest of its C2, or the echo where S1 holds no digest, is inverted. Of the servers
/// measured only rtmpsrv reads C2, and closes.
pub(super) const WRONG_C2: ClientSpec = ClientSpec { afterwards: Afterwards::WrongC2, ..COMPLEX };

/// A port scanner, a load balancer's TCP check that lingers, or an attack on the number of connections: it connects and
/// says nothing. Reactions are those to half of C1.
pub(super) const SILENT: ClientSpec = NO_HANDSHAKE;

/// A client that changes its mind, or a check that hangs up: C0C1, then FIN at once, so that the answer meets a closed
/// connection. A server that computes a complex answer has done it for nobody.
pub(super) const CLOSE_AFTER_C1: ClientSpec = ClientSpec { afterwards: Afterwards::Close, ..COMPLEX };

/// A browser or an HTTP health check on the wrong port. It is shorter than C0C1, and most servers wait for the rest in
/// silence; rml_rtmp closes, `ffmpeg -listen` resets.
pub(super) const HTTP: ClientSpec = ClientSpec { opening: Opening::Bytes(HTTP_GET), ..NO_HANDSHAKE };

/// An encoder set to `rtmps://` on a plain port. Reactions are those to an HTTP request.
pub(super) const TLS: ClientSpec = ClientSpec { opening: Opening::Bytes(TLS_CLIENT_HELLO), ..NO_HANDSHAKE };

/// Legal, but unlucky on the network: C1's last byte comes 50 ms after the others. xiu closes when the cut lies after 1536
/// bytes, which is C1's size but not that of C0C1.
pub(super) const SPLIT_1536: ClientSpec =
    ClientSpec { pacing: Pacing::Split { first: 1536, gap: Nanos::from_millis(50) }, ..COMPLEX };

/// A client that does not wait for S0S1: C0, C1 and a C2 in one send. Its C2 is random, for S1 is unknown; nothing follows
/// the answer. xiu hangs, rtmpsrv closes.
pub(super) const EARLY_C2: ClientSpec =
    ClientSpec { opening: Opening::C0C1C2, afterwards: Afterwards::WithoutC2, ..COMPLEX };

/// A request by RFC 9112.
const HTTP_GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: shakedown\r\nAccept: */*\r\n\r\n";

/// The 517 bytes with which OpenSSL 3.0 opens a connection with its default settings: one record (RFC 8446, section 5.1)
/// that holds a ClientHello for TLS 1.3 or 1.2, without a server's name. Recorded once, so its random and its key share
/// are always the same.
const TLS_CLIENT_HELLO: &[u8] = include_bytes!("tls_client_hello.bin");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{RandomStream, Seed, StreamPurpose};
    use crate::protocol::digest::Signer;
    use crate::protocol::wire::{self, Block};
    use crate::protocol::{
        C0C1_SIZE, C2_SIZE, C2Verdict, Check, ClientClock, ClientHandshake, ClientProfile, ClientState,
        ClientTemplates, Negotiated, S0S1S2_SIZE, ServerHandshake, ServerState, ServerTemplates,
    };

    fn random() -> RandomStream {
        Seed::new(5).stream(StreamPurpose::ClientTemplates, 0)
    }

    fn templates(profile: ClientProfile) -> ClientTemplates {
        ClientTemplates::of_client(&profile.spec(), ClientClock::default(), 4, &mut random())
    }

    /// C1 of a client's first template.
    fn c1(templates: &ClientTemplates) -> &Block {
        wire::opening_block(templates.c0c1(0)).unwrap()
    }

    #[test]
    fn each_opening_has_its_size_in_every_template() {
        for profile in ClientProfile::ALL {
            let size = match profile {
                ClientProfile::HalfC1 => 769,
                ClientProfile::EarlyC2 => 3073,
                ClientProfile::Silent => 0,
                ClientProfile::Http => 71,
                ClientProfile::Tls => 517,
                _ => C0C1_SIZE,
            };
            let templates = templates(profile);
            assert_eq!(templates.opening_len(), size, "{profile}");
            assert_eq!(templates.bytes().len(), templates.len() * size, "{profile}");
            let alike = (1..templates.len()).all(|index| templates.opening(index) == templates.opening(0));
            assert_eq!(alike, templates.len() == 1, "{profile}: templates differ, or there is one");
        }
    }

    #[test]
    fn only_the_version_differs_in_the_wrong_versions() {
        use ClientProfile::{Version0x00, Version0x01, Version0x06, Version0x20};
        for (profile, c0) in [(Version0x00, 0), (Version0x01, 1), (Version0x06, 6), (Version0x20, 0x20)] {
            let templates = templates(profile);
            assert_eq!(templates.c0c1(0)[0], c0, "{profile}");
            assert!(Signer::Player.verifies(c1(&templates), DigestAt::FirstHalf), "{profile}");
            assert_eq!(ClientSpec { c0: 3, ..profile.spec() }, ClientProfile::Shakedown.spec(), "{profile}");
        }
        let threes = ClientProfile::ALL.into_iter().filter(|profile| profile.spec().c0 == 3).count();
        assert_eq!(threes, ClientProfile::ALL.len() - 4);
    }

    #[test]
    fn one_bit_of_the_wrong_digest_is_wrong() {
        let templates = templates(ClientProfile::WrongDigest);
        for index in 0..templates.len() {
            let mut c1 = *wire::opening_block(templates.c0c1(index)).unwrap();
            assert_eq!(Signer::Player.find(&c1, DigestAt::FirstHalf), None);
            let digest = DigestAt::FirstHalf.digest_range(&c1);
            c1[digest.start] ^= 1;
            assert!(Signer::Player.verifies(&c1, DigestAt::FirstHalf));
        }
    }

    #[test]
    fn zero_filler_is_zero_but_for_its_digest() {
        let templates = templates(ClientProfile::ZeroFiller);
        let c1 = c1(&templates);
        assert!(Signer::Player.verifies(c1, DigestAt::FirstHalf));
        assert_eq!(DigestAt::FirstHalf.digest_range(c1), 12..44);
        assert_eq!(c1[..8], [0, 0, 0, 0, 0x80, 0, 7, 2]);
        assert!(c1[8..12].iter().chain(&c1[44..]).all(|&byte| byte == 0));
    }

    #[test]
    fn half_a_c1_and_an_early_c2_begin_as_the_whole_does() {
        let whole = templates(ClientProfile::Shakedown);
        assert_eq!(templates(ClientProfile::HalfC1).opening(0), &whole.c0c1(0)[..769]);
        let early = templates(ClientProfile::EarlyC2);
        assert_eq!(early.c0c1(0), whole.c0c1(0));
        let c2 = |index| &early.opening(index)[C0C1_SIZE..];
        assert_eq!(c2(0).len(), C2_SIZE);
        assert!(c2(0) != c2(1) && c2(0) != &early.c0c1(0)[1..] && c2(0).iter().any(|&byte| byte != 0));
    }

    #[test]
    fn other_protocols_open_with_real_bytes() {
        let http = templates(ClientProfile::Http);
        let request = std::str::from_utf8(http.opening(0)).unwrap();
        assert!(request.starts_with("GET / HTTP/1.1\r\nHost: ") && request.ends_with("\r\n\r\n"), "{request:?}");
        assert_eq!(request.matches("\r\n\r\n").count(), 1);

        let tls = templates(ClientProfile::Tls);
        let hello = tls.opening(0);
        let number = |range: std::ops::Range<usize>| hello[range].iter().fold(0, |n, &byte| n << 8 | usize::from(byte));
        assert_eq!((number(0..1), number(1..3)), (0x16, 0x0301), "a handshake record of the compatible version");
        assert_eq!(number(3..5), hello.len() - 5, "one record");
        assert_eq!((number(5..6), number(6..9)), (1, hello.len() - 9), "one ClientHello");
        let offers_both = [0x00, 0x2b, 0x00, 0x05, 0x04, 0x03, 0x04, 0x03, 0x03];
        assert!(hello.windows(9).any(|bytes| bytes == offers_both), "supported_versions: 1.3, 1.2");
    }

    #[test]
    fn what_follows_the_opening_is_data() {
        use Afterwards::{Close, Handshake, Nothing, WithoutC2, WrongC2};
        for profile in ClientProfile::ALL {
            let afterwards = match profile {
                ClientProfile::NoC2 | ClientProfile::EarlyC2 => WithoutC2,
                ClientProfile::WrongC2 => WrongC2,
                ClientProfile::HalfC1 | ClientProfile::Drip | ClientProfile::Silent => Nothing,
                ClientProfile::Http | ClientProfile::Tls => Nothing,
                ClientProfile::CloseAfterC1 => Close,
                _ => Handshake,
            };
            let pacing = match profile {
                ClientProfile::Zlmediakit => Pacing::Split { first: 1, gap: Nanos::ZERO },
                ClientProfile::Drip => Pacing::Drip { gap: Nanos::from_secs(1) },
                ClientProfile::Split1536 => Pacing::Split { first: 1536, gap: Nanos::from_millis(50) },
                _ => Pacing::AtOnce,
            };
            let templates = templates(profile);
            assert_eq!((templates.afterwards(), templates.pacing()), (afterwards, pacing), "{profile}");
        }
    }

    #[test]
    fn those_that_read_the_answer_judge_it() {
        let server_templates = ServerTemplates::sign(1, &mut random());
        for profile in ClientProfile::ALL.into_iter().filter(|profile| profile.is_hostile()) {
            let templates = templates(profile);
            if matches!(templates.afterwards(), Afterwards::Nothing | Afterwards::Close) {
                continue;
            }
            // A server that does not look at C0.
            let c0c1 = [&[3], &templates.c0c1(0)[1..]].concat();
            let mut server = ServerHandshake::new(0, true);
            server.advance(&c0c1, &server_templates).unwrap();
            let mut answer = [0; S0S1S2_SIZE];
            server.write_s0s1s2(&c0c1, &server_templates, &mut answer);

            let mut client = ClientHandshake::new(0, Check::Full);
            let (negotiated, proof) = match profile {
                ClientProfile::WrongDigest => (Negotiated::Downgraded, C2Verdict::Echo),
                _ => (Negotiated::ComplexVerified, C2Verdict::Valid),
            };
            assert_eq!(client.advance(&answer, &templates), Ok(ClientState::Done(negotiated)), "{profile}");
            let mut c2 = [0; C2_SIZE];
            client.write_c2(&answer, &templates, 0, &mut c2);
            let sent = [&c0c1[..], &c2].concat();
            assert_eq!(server.advance(&sent, &server_templates), Ok(ServerState::Done(proof)), "{profile}");
        }
    }
}
