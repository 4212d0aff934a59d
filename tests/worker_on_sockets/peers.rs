//! The scripts of the simulated network's peers, played by real sockets.

use std::any::Any;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use shakedown::base::{Seed, StreamPurpose};
use shakedown::io::sim::PeerScript;
use shakedown::protocol::{
    BLOCK_SIZE, C0C1_SIZE, C2_SIZE, S0S1_SIZE, S0S1S2_SIZE, ServerHandshake, ServerState, ServerTemplates,
};
use socket2::{Domain, Socket, Type};

use crate::support::scripted_peer;

/// A peer on loopback.
pub struct RealPeer {
    address: SocketAddr,
    /// Its server or sockets; it serves as long as they live.
    _alive: Box<dyn Any>,
}

impl RealPeer {
    /// Plays `script` for every connection.
    ///
    /// # Panics
    /// If `script` needs more than a server: a router, or a lack of ports or descriptors.
    pub fn start(script: PeerScript) -> Self {
        match script {
            PeerScript::Refuse => {
                let socket = bound();
                Self { address: address_of(&socket), _alive: Box::new(socket) }
            }
            PeerScript::DropSyn => {
                let listener = bound();
                // One connection fits; the SYNs of further ones are dropped.
                listener.listen(0).expect("a bound socket listens");
                let address = address_of(&listener);
                let first = TcpStream::connect(address).expect("the backlog has room for one");
                Self { address, _alive: Box::new((listener, first)) }
            }
            PeerScript::Unreachable
            | PeerScript::NoRoute
            | PeerScript::Vanishes { .. }
            | PeerScript::NoPorts { .. }
            | PeerScript::NoDescriptors { .. } => panic!("{script:?} cannot be played by a server"),
            script => {
                let templates = ServerTemplates::sign(4, &mut Seed::new(4).stream(StreamPurpose::ServerTemplates, 0));
                // The client may be gone at any moment: what fails then is of no interest.
                let peer = scripted_peer(move |stream| drop(play(&script, stream, &templates)));
                Self { address: peer.address(), _alive: Box::new(peer) }
            }
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn bound() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("loopback has a free port");
    socket
}

fn address_of(socket: &Socket) -> SocketAddr {
    socket.local_addr().expect("a bound socket has an address").as_socket().expect("an IP address")
}

fn play(script: &PeerScript, mut stream: TcpStream, templates: &ServerTemplates) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    match script {
        PeerScript::Silent => return drain(stream),
        PeerScript::CloseAfterConnect => return finish(stream),
        PeerScript::EndlessGarbage => return garbage(stream),
        _ => {}
    }
    let mut c0c1 = [0; C0C1_SIZE];
    stream.read_exact(&mut c0c1)?;
    let mut s0s1s2 = answer(script, &mut c0c1, templates);
    match script {
        PeerScript::Serve { segments, tail, s2_after_c2, .. } => {
            s0s1s2.extend(tail);
            return serve(stream, &s0s1s2, segments, *s2_after_c2);
        }
        PeerScript::OneByteAtATime { .. } => return serve(stream, &s0s1s2, &[1; S0S1S2_SIZE], false),
        PeerScript::ServeSimpleOnly => stream.write_all(&s0s1s2)?,
        PeerScript::Version(byte) => {
            s0s1s2[0] = *byte;
            stream.write_all(&s0s1s2)?;
        }
        PeerScript::WrongS1Digest => {
            s0s1s2[S0S1_SIZE - 1] ^= 1;
            stream.write_all(&s0s1s2)?;
        }
        PeerScript::WrongS2Digest | PeerScript::WrongEcho => {
            s0s1s2[S0S1S2_SIZE - 1] ^= 1;
            stream.write_all(&s0s1s2)?;
        }
        PeerScript::Http => {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
            return finish(stream);
        }
        PeerScript::CloseAfterC0C1 => return finish(stream),
        PeerScript::ResetAfterC0C1 => return reset(&stream),
        PeerScript::HalfOfS1 => stream.write_all(&s0s1s2[..1 + BLOCK_SIZE / 2])?,
        PeerScript::HalfOfS1ThenClose => {
            stream.write_all(&s0s1s2[..1 + BLOCK_SIZE / 2])?;
            return finish(stream);
        }
        PeerScript::Endless => {
            stream.write_all(&s0s1s2)?;
            return garbage(stream);
        }
        PeerScript::ResetAfterS0S1S2 => {
            stream.write_all(&s0s1s2)?;
            return reset(&stream);
        }
        PeerScript::CloseHeldAfter { .. } | PeerScript::ClosesWithFin => {
            stream.write_all(&s0s1s2)?;
            stream.read_exact(&mut [0; C2_SIZE])?;
            return finish(stream);
        }
        script => unreachable!("{script:?} is played before C0C1"),
    }
    drain(stream)
}

/// S0S1S2 for C0C1, which is changed for servers that know no digests.
fn answer(script: &PeerScript, c0c1: &mut [u8; C0C1_SIZE], templates: &ServerTemplates) -> Vec<u8> {
    if matches!(script, PeerScript::ServeSimpleOnly | PeerScript::WrongEcho) {
        // A C1 of version zero asks for a simple handshake.
        c0c1[5..9].fill(0);
    }
    let mut handshake = ServerHandshake::new(0, false);
    assert_eq!(handshake.advance(c0c1, templates), Ok(ServerState::AwaitingC2));
    let mut s0s1s2 = vec![0; S0S1S2_SIZE];
    handshake.write_s0s1s2(c0c1, templates, &mut s0s1s2);
    s0s1s2
}

/// Writes `answer` in pieces of these sizes and a last one of what is left; S2, if the client must come first, when C2
/// is in.
fn serve(mut stream: TcpStream, answer: &[u8], segments: &[usize], s2_after_c2: bool) -> std::io::Result<()> {
    let mut rest = answer;
    if s2_after_c2 {
        stream.write_all(&rest[..S0S1_SIZE])?;
        stream.read_exact(&mut [0; C2_SIZE])?;
        rest = &rest[S0S1_SIZE..];
    }
    for &size in segments {
        let (segment, later) = rest.split_at(size.min(rest.len()));
        stream.write_all(segment)?;
        rest = later;
    }
    stream.write_all(rest)?;
    drain(stream)
}

/// FIN, and then everything is read: unread bytes would turn the close into an RST.
fn finish(stream: TcpStream) -> std::io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    drain(stream)
}

fn reset(stream: &TcpStream) -> std::io::Result<()> {
    Ok(set_socket_linger(stream, Some(Duration::ZERO))?)
}

/// Bytes with the value 3 until the client closes.
fn garbage(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        stream.write_all(&[3; 4096])?;
    }
}

fn drain(mut stream: TcpStream) -> std::io::Result<()> {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes)? > 0 {}
    Ok(())
}
