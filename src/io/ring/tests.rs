//! A real ring against blocking sockets of the standard library, on loopback.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt;

use super::*;
use crate::base::Nanos;
use crate::io::{BufferId, BufferPlan, CloseHow, ListenerId, SlotIndex, SourceId, TargetId};

/// Ends a test that waits for what never comes.
const PATIENCE: Nanos = Nanos::from_secs(60);

const BOTH: [Descriptors; 2] = [Descriptors::Direct, Descriptors::Ordinary];

const SHARED: &[u8; 1537] = &[0xab; 1537];

fn plan(slots: u32, targets: Vec<SocketAddr>) -> IoPlan {
    IoPlan {
        slots,
        targets,
        sources: Vec::new(),
        listeners: Vec::new(),
        nodelay: true,
        hold_check: None,
        shared_bytes: Bytes::from(SHARED.as_slice()),
        media: [].into(),
        buffers: BufferPlan { count: 8, receive_size: 3073, send_size: 1536 },
    }
}

/// A ring and the completions that nobody asked for yet.
struct Driver {
    ring: Ring,
    unclaimed: Vec<Completion>,
}

impl Driver {
    fn new(plan: IoPlan, descriptors: Descriptors) -> Self {
        let ring = Ring::with_descriptors(plan, descriptors).unwrap_or_else(|error| panic!("{error}"));
        Self { ring, unclaimed: Vec::new() }
    }

    /// Submits ops and takes what has completed by then.
    fn submit(&mut self, ops: &[Op]) {
        self.ring.submit_and_wait(&mut ops.to_vec(), Time::ZERO, &mut self.unclaimed).unwrap();
    }

    /// Waits for the op's completion.
    fn wait(&mut self, token: Token) -> Result<u32, Errno> {
        let deadline = self.ring.now() + PATIENCE;
        loop {
            if let Some(at) = self.unclaimed.iter().position(|completion| completion.token == token) {
                return self.unclaimed.remove(at).result;
            }
            assert!(self.ring.now() < deadline, "{token:?} does not complete");
            self.ring.submit_and_wait(&mut Vec::new(), deadline, &mut self.unclaimed).unwrap();
        }
    }

    fn run(&mut self, op: Op) -> Result<u32, Errno> {
        self.submit(&[op]);
        self.wait(token_of(op))
    }

    fn open(&mut self, slot: u32, generation: u32) -> Result<u32, Errno> {
        self.run(open(slot, generation, SourceId::ANY))
    }

    fn close(&mut self, slot: u32, generation: u32, how: CloseHow) -> Result<u32, Errno> {
        self.run(Op::Close { token: token(OpKind::Close, slot, generation), how })
    }

    /// Receives exactly `len` bytes into the buffer.
    fn receive_exact(&mut self, slot: u32, generation: u32, buffer: BufferId, len: u32) {
        let mut start = 0;
        while start < len {
            let into = Destination::Buffer { buffer, start, len: len - start };
            let received = self.run(Op::Recv { token: token(OpKind::Recv, slot, generation), into }).unwrap();
            assert_ne!(received, 0, "the peer closed");
            start += received;
        }
    }

    /// Everything that happened was asked for.
    fn assert_quiet(&mut self) {
        self.submit(&[]);
        assert_eq!(self.unclaimed, []);
    }

    /// An ordinary descriptor of the slot's socket.
    fn descriptor(&mut self, slot: u32) -> OwnedFd {
        if self.ring.descriptors() == Descriptors::Ordinary {
            return self.ring.sockets[slot as usize].as_ref().unwrap().try_clone().unwrap();
        }
        let entry = opcode::FixedFdInstall::new(types::Fixed(slot), 0).build().user_data(u64::MAX);
        self.ring.push_plain(&entry);
        loop {
            let now = self.ring.now();
            self.ring.queues.enter(1, now + PATIENCE, now).unwrap();
            let Some(entry) = self.ring.queues.next() else { continue };
            assert_eq!(entry.user_data(), u64::MAX);
            assert!(entry.result() >= 0, "{}", entry.result());
            // SAFETY: the kernel has just made this descriptor for nobody else.
            return unsafe { std::os::fd::FromRawFd::from_raw_fd(entry.result()) };
        }
    }
}

fn token(kind: OpKind, slot: u32, generation: u32) -> Token {
    Token::new(kind, SlotIndex(slot), generation)
}

fn token_of(op: Op) -> Token {
    match op {
        Op::Open { token, .. }
        | Op::Secure { token }
        | Op::Send { token, .. }
        | Op::Recv { token, .. }
        | Op::Close { token, .. }
        | Op::Accept { token, .. } => token,
        Op::Cancel { of } | Op::AcknowledgeAtOnce { of } => of,
    }
}

fn open(slot: u32, generation: u32, source: SourceId) -> Op {
    Op::Open { token: token(OpKind::Open, slot, generation), target: TargetId(0), source, nagle: false }
}

fn send_shared(slot: u32, generation: u32) -> Op {
    let payload = Payload::Shared { offset: 0, len: SHARED.len() as u32 };
    Op::Send { token: token(OpKind::Send, slot, generation), payload }
}

fn discard(slot: u32, generation: u32) -> Op {
    Op::Recv { token: token(OpKind::Recv, slot, generation), into: Destination::Discard }
}

fn watch(slot: u32, generation: u32) -> Op {
    Op::Recv { token: token(OpKind::Recv, slot, generation), into: Destination::Readable }
}

/// A blocking server: `each` runs for every one of `connections` in turn.
fn serve<T: Send + 'static>(
    connections: usize,
    each: impl Fn(TcpStream, SocketAddr) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<Vec<T>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accept = move || {
        let (stream, peer) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE.into())).unwrap();
        each(stream, peer)
    };
    (address, thread::spawn(move || (0..connections).map(|_| accept()).collect()))
}

/// What a peer reads when the connection ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Fin,
    Rst,
}

fn read_end(mut stream: &TcpStream) -> End {
    match stream.read(&mut [0; 1]) {
        Ok(0) => End::Fin,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Rst,
        other => panic!("neither end: {other:?}"),
    }
}

/// An address that refuses connections for as long as the socket is kept.
fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn carries_a_connection_from_open_to_close() {
    for descriptors in BOTH {
        let (address, server) = serve(1, |mut stream, _| {
            let mut received = [0; 1537];
            stream.read_exact(&mut received).unwrap();
            assert_eq!(received, *SHARED);
            stream.write_all(&[0x5a; 3073]).unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            rest
        });
        let mut driver = Driver::new(plan(4, vec![address]), descriptors);
        assert_eq!(driver.ring.descriptors(), descriptors);
        assert_eq!(driver.open(2, 1), Ok(0));
        assert_eq!(driver.run(send_shared(2, 1)), Ok(1537));

        let received = driver.ring.buffers().receive.take().unwrap();
        driver.receive_exact(2, 1, received, 3073);
        assert_eq!(driver.ring.buffers().receive.bytes(received), [0x5a; 3073]);
        driver.ring.buffers().receive.release(received);

        let sent = driver.ring.buffers().send.take().unwrap();
        driver.ring.buffers().send.bytes_mut(sent).fill(7);
        let payload = Payload::Buffer { buffer: sent, len: 100 };
        assert_eq!(driver.run(Op::Send { token: token(OpKind::Send, 2, 1), payload }), Ok(100));
        driver.ring.buffers().send.release(sent);

        assert_eq!(driver.close(2, 1, CloseHow::Fin), Ok(0));
        assert_eq!(server.join().unwrap(), [vec![7; 100]]);
        driver.assert_quiet();
        assert_eq!(driver.ring.completion_overflows(), 0);
    }
}

#[test]
fn ops_may_be_queued_behind_the_open() {
    for descriptors in BOTH {
        let (address, server) = serve(1, |mut stream, _| {
            let mut received = [0; 1537];
            stream.read_exact(&mut received).unwrap();
            stream.write_all(&[1]).unwrap();
            read_end(&stream)
        });
        let mut driver = Driver::new(plan(1, vec![address]), descriptors);
        driver.submit(&[open(0, 1, SourceId::ANY), send_shared(0, 1), discard(0, 1)]);
        assert_eq!(driver.wait(token(OpKind::Open, 0, 1)), Ok(0));
        assert_eq!(driver.wait(token(OpKind::Send, 0, 1)), Ok(1537));
        assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Ok(1));
        driver.close(0, 1, CloseHow::Fin).unwrap();
        assert_eq!(server.join().unwrap(), [End::Fin]);
    }
}

#[test]
fn reports_a_refused_connection_and_frees_its_slot() {
    for descriptors in BOTH {
        let (_guard, refusing) = refusing();
        let mut driver = Driver::new(plan(1, vec![refusing]), descriptors);
        for generation in 0..3 {
            assert_eq!(driver.open(0, generation), Err(Errno::CONNREFUSED));
            assert_eq!(driver.close(0, generation, CloseHow::Rst), Ok(0));
            driver.assert_quiet();
        }
    }
}

#[test]
fn a_batch_may_exceed_the_submission_queue() {
    const SLOTS: u32 = 600;
    for descriptors in BOTH {
        let (_guard, refusing) = refusing();
        let mut driver = Driver::new(
            IoPlan { sources: vec![IpAddr::from([127, 0, 0, 2])], ..plan(SLOTS, vec![refusing]) },
            descriptors,
        );
        driver.submit(&(0..SLOTS).map(|slot| open(slot, 9, SourceId(0))).collect::<Vec<_>>());
        for slot in 0..SLOTS {
            assert_eq!(driver.wait(token(OpKind::Open, slot, 9)), Err(Errno::CONNREFUSED));
        }
        driver.assert_quiet();
    }
}

#[test]
fn cancels_opens_that_nobody_answers() {
    for descriptors in BOTH {
        let (listener, address) = refusing();
        // One connection fits the backlog; further SYNs are dropped.
        listener.listen(0).unwrap();
        let mut driver = Driver::new(plan(8, vec![address]), descriptors);
        driver.submit(&(0..8).map(|slot| open(slot, 1, SourceId::ANY)).collect::<Vec<_>>());
        driver.submit(&(0..8).map(|slot| Op::Cancel { of: token(OpKind::Open, slot, 1) }).collect::<Vec<_>>());
        let results: Vec<_> = (0..8).map(|slot| driver.wait(token(OpKind::Open, slot, 1))).collect();
        assert!(results.iter().all(|result| matches!(result, Ok(0) | Err(Errno::CANCELED))), "{results:?}");
        assert!(results.contains(&Err(Errno::CANCELED)), "{results:?}");
        for slot in 0..8 {
            assert_eq!(driver.close(slot, 1, CloseHow::Rst), Ok(0));
        }
        driver.assert_quiet();
    }
}

#[test]
fn cancels_a_receive_from_a_silent_peer() {
    for descriptors in BOTH {
        let (address, server) = serve(1, |stream, _| read_end(&stream));
        let mut driver = Driver::new(plan(1, vec![address]), descriptors);
        driver.open(0, 1).unwrap();
        let buffer = driver.ring.buffers().receive.take().unwrap();
        let armed = token(OpKind::Recv, 0, 1);
        driver.submit(&[Op::Recv { token: armed, into: Destination::Buffer { buffer, start: 0, len: 3073 } }]);
        // The name of an older generation's op does not fit.
        driver.submit(&[Op::Cancel { of: token(OpKind::Recv, 0, 0) }]);
        driver.assert_quiet();
        driver.submit(&[Op::Cancel { of: armed }]);
        assert_eq!(driver.wait(armed), Err(Errno::CANCELED));
        assert_eq!(driver.ring.buffers().receive.bytes(buffer).len(), 3073);
        driver.ring.buffers().receive.release(buffer);
        // Nothing is left to cancel, and nobody is told.
        driver.submit(&[Op::Cancel { of: armed }]);
        driver.close(0, 1, CloseHow::Rst).unwrap();
        assert_eq!(server.join().unwrap(), [End::Rst]);
        driver.assert_quiet();
    }
}

#[test]
#[should_panic(expected = "is lent")]
fn a_buffer_is_the_kernels_while_a_receive_is_armed() {
    let (address, _server) = serve(1, |stream, _| read_end(&stream));
    let mut driver = Driver::new(plan(1, vec![address]), Descriptors::Ordinary);
    driver.open(0, 1).unwrap();
    let buffer = driver.ring.buffers().receive.take().unwrap();
    let into = Destination::Buffer { buffer, start: 0, len: 3073 };
    driver.submit(&[Op::Recv { token: token(OpKind::Recv, 0, 1), into }]);
    driver.ring.buffers().receive.bytes(buffer);
}

#[test]
#[should_panic(expected = "another op is in flight")]
fn a_close_is_refused_while_a_receive_is_armed() {
    let (address, _server) = serve(1, |stream, _| read_end(&stream));
    let mut driver = Driver::new(plan(1, vec![address]), Descriptors::Direct);
    driver.open(0, 1).unwrap();
    driver.submit(&[discard(0, 1)]);
    driver.submit(&[Op::Close { token: token(OpKind::Close, 0, 1), how: CloseHow::Rst }]);
}

#[test]
fn a_receive_ends_with_the_first_bytes() {
    for descriptors in BOTH {
        let (address, server) = serve(1, |mut stream, _| {
            stream.write_all(&[1; 10]).unwrap();
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.write_all(&[2; 20]).unwrap();
            read_end(&stream)
        });
        let mut driver = Driver::new(plan(1, vec![address]), descriptors);
        driver.open(0, 1).unwrap();
        let buffer = driver.ring.buffers().receive.take().unwrap();
        driver.receive_exact(0, 1, buffer, 10);
        driver.run(send_shared(0, 1)).unwrap();
        let into = Destination::Buffer { buffer, start: 10, len: 3000 };
        assert_eq!(driver.run(Op::Recv { token: token(OpKind::Recv, 0, 1), into }), Ok(20));
        assert_eq!(driver.ring.buffers().receive.bytes(buffer)[..30], [[1; 10].as_slice(), &[2; 20]].concat());
        driver.close(0, 1, CloseHow::Fin).unwrap();
        assert_eq!(server.join().unwrap(), [End::Fin]);
    }
}

#[test]
fn discarded_bytes_are_counted_and_the_end_is_seen() {
    for descriptors in BOTH {
        let (address, server) = serve(1, |mut stream, _| {
            stream.write_all(&[3; 5000]).unwrap();
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            read_end(&stream)
        });
        let mut driver = Driver::new(plan(1, vec![address]), descriptors);
        driver.open(0, 1).unwrap();
        let mut discarded = 0;
        while discarded < 5000 {
            discarded += driver.run(discard(0, 1)).unwrap();
        }
        assert_eq!(discarded, 5000);
        driver.run(send_shared(0, 1)).unwrap();
        assert_eq!(driver.run(discard(0, 1)), Ok(0));
        driver.close(0, 1, CloseHow::Rst).unwrap();
        assert_eq!(server.join().unwrap(), [End::Rst]);
    }
}

#[test]
fn a_watch_tells_of_bytes_and_of_the_end_and_takes_nothing() {
    for descriptors in BOTH {
        let (address, server) = serve(1, |mut stream, _| {
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.write_all(&[3; 500]).unwrap();
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            read_end(&stream)
        });
        let mut driver = Driver::new(plan(1, vec![address]), descriptors);
        let armed = token(OpKind::Recv, 0, 1);
        // Queued behind the open; a socket that is connecting has nothing to say.
        driver.submit(&[open(0, 1, SourceId::ANY), watch(0, 1)]);
        assert_eq!(driver.wait(token(OpKind::Open, 0, 1)), Ok(0));
        driver.assert_quiet();
        driver.run(send_shared(0, 1)).unwrap();
        assert_eq!(driver.wait(armed), Ok(1));
        assert_eq!(driver.run(watch(0, 1)), Ok(1), "the bytes are still there");
        let mut discarded = 0;
        while discarded < 500 {
            discarded += driver.run(discard(0, 1)).unwrap();
        }
        driver.submit(&[watch(0, 1)]);
        driver.assert_quiet();
        driver.run(send_shared(0, 1)).unwrap();
        assert_eq!(driver.wait(armed), Ok(1));
        assert_eq!(driver.run(discard(0, 1)), Ok(0));
        driver.close(0, 1, CloseHow::Rst).unwrap();
        assert_eq!(server.join().unwrap(), [End::Rst]);
        driver.assert_quiet();
    }
}

#[test]
fn a_watch_tells_of_an_error_and_leaves_it_to_the_receive() {
    for descriptors in BOTH {
        let (address, server) = serve(1, |mut stream, _| {
            stream.read_exact(&mut [0; 1537]).unwrap();
            sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        });
        let mut driver = Driver::new(plan(1, vec![address]), descriptors);
        driver.open(0, 1).unwrap();
        driver.submit(&[watch(0, 1), send_shared(0, 1)]);
        assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Ok(1));
        assert_eq!(driver.run(discard(0, 1)), Err(Errno::CONNRESET));
        server.join().unwrap();

        let (_guard, refusing) = refusing();
        let mut driver = Driver::new(plan(1, vec![refusing]), descriptors);
        driver.submit(&[open(0, 1, SourceId::ANY), watch(0, 1)]);
        assert_eq!(driver.wait(token(OpKind::Open, 0, 1)), Err(Errno::CONNREFUSED));
        assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Ok(1));
    }
}

#[test]
fn a_watch_is_cancelled_like_a_receive() {
    for descriptors in BOTH {
        let (address, server) = serve(2, |stream, _| read_end(&stream));
        let mut driver = Driver::new(plan(1, vec![address]), descriptors);
        for generation in 1..=2 {
            driver.open(0, generation).unwrap();
            driver.submit(&[watch(0, generation)]);
            driver.submit(&[Op::Cancel { of: token(OpKind::Recv, 0, generation) }]);
            assert_eq!(driver.wait(token(OpKind::Recv, 0, generation)), Err(Errno::CANCELED));
            driver.close(0, generation, CloseHow::Rst).unwrap();
        }
        assert_eq!(server.join().unwrap(), [End::Rst, End::Rst]);
        driver.assert_quiet();
    }
}

#[test]
fn a_reset_by_the_peer_is_an_error() {
    for descriptors in BOTH {
        let (address, server) = serve(1, |stream, _| {
            sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        });
        let mut driver = Driver::new(plan(1, vec![address]), descriptors);
        driver.open(0, 1).unwrap();
        assert_eq!(driver.run(discard(0, 1)), Err(Errno::CONNRESET));
        assert_eq!(driver.close(0, 1, CloseHow::Rst), Ok(0));
        server.join().unwrap();
        driver.assert_quiet();
    }
}

#[test]
fn a_send_that_cannot_finish_fails() {
    const LARGE: usize = 64 << 20;
    for descriptors in BOTH {
        let (address, server) = serve(1, |mut stream, _| {
            stream.read_exact(&mut [0; 1]).unwrap();
        });
        let large = IoPlan { shared_bytes: vec![0; LARGE].into(), ..plan(1, vec![address]) };
        let mut driver = Driver::new(large, descriptors);
        driver.open(0, 1).unwrap();
        let payload = Payload::Shared { offset: 0, len: LARGE as u32 };
        let result = driver.run(Op::Send { token: token(OpKind::Send, 0, 1), payload });
        assert!(matches!(result, Err(Errno::PIPE | Errno::CONNRESET)), "{result:?}");
        assert_eq!(driver.close(0, 1, CloseHow::Rst), Ok(0));
        server.join().unwrap();
    }
}

#[test]
fn the_peer_sees_how_a_connection_was_closed() {
    for descriptors in BOTH {
        let (address, server) = serve(4, |stream, _| read_end(&stream));
        let mut driver = Driver::new(plan(1, vec![address]), descriptors);
        for (generation, how) in [CloseHow::Rst, CloseHow::Fin, CloseHow::Fin, CloseHow::Rst].into_iter().enumerate() {
            assert_eq!(driver.open(0, generation as u32), Ok(0));
            assert_eq!(driver.close(0, generation as u32, how), Ok(0));
        }
        assert_eq!(server.join().unwrap(), [End::Rst, End::Fin, End::Fin, End::Rst]);
        driver.assert_quiet();
    }
}

#[test]
fn one_slot_serves_a_thousand_attempts() {
    const ATTEMPTS: u32 = 1000;
    for descriptors in BOTH {
        let (address, server) = serve(ATTEMPTS as usize, |mut stream, peer| {
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.write_all(&[9; 3073]).unwrap();
            (peer.port(), read_end(&stream))
        });
        let mut driver = Driver::new(plan(1, vec![address]), descriptors);
        let buffer = driver.ring.buffers().receive.take().unwrap();
        let mut sockets = HashSet::new();
        for generation in 0..ATTEMPTS {
            driver.open(0, generation).unwrap();
            let socket = driver.descriptor(0);
            assert!(sockopt::tcp_nodelay(&socket).unwrap());
            sockets.insert(sockopt::socket_cookie(&socket).unwrap());
            drop(socket);
            driver.run(send_shared(0, generation)).unwrap();
            driver.receive_exact(0, generation, buffer, 3073);
            assert_eq!(driver.close(0, generation, CloseHow::Rst), Ok(0));
        }
        let reused = descriptors == Descriptors::Direct;
        assert_eq!(sockets.len(), if reused { 1 } else { ATTEMPTS as usize });
        let seen = server.join().unwrap();
        assert!(seen.iter().all(|(_, end)| *end == End::Rst));
        assert!(seen.windows(2).all(|pair| pair[0].0 != pair[1].0), "each attempt has a port of its own");
        driver.assert_quiet();
    }
}

#[test]
fn each_open_has_its_own_say_on_nagle() {
    let asked = [false, true, true, false, true, false];
    for descriptors in BOTH {
        let (address, _server) = serve(asked.len(), |stream, _| read_end(&stream));
        let mut driver = Driver::new(plan(1, vec![address]), descriptors);
        let mut sockets = HashSet::new();
        for (generation, nagle) in (0..).zip(asked) {
            let token = token(OpKind::Open, 0, generation);
            driver.run(Op::Open { token, target: TargetId(0), source: SourceId::ANY, nagle }).unwrap();
            let socket = driver.descriptor(0);
            assert_eq!(sockopt::tcp_nodelay(&socket).unwrap(), !nagle, "{descriptors:?} {generation}");
            sockets.insert(sockopt::socket_cookie(&socket).unwrap());
            drop(socket);
            driver.close(0, generation, CloseHow::Rst).unwrap();
        }
        assert_eq!(sockets.len(), if descriptors == Descriptors::Direct { 1 } else { asked.len() });
        driver.assert_quiet();
    }
}

#[test]
fn a_hold_check_is_the_kernels_to_make() {
    for descriptors in BOTH {
        let (address, _server) = serve(2, |stream, _| read_end(&stream));
        let checked = IoPlan { hold_check: Some(Nanos::from_secs(30)), ..plan(1, vec![address]) };
        let mut driver = Driver::new(checked, descriptors);
        for generation in 0..2 {
            driver.open(0, generation).unwrap();
            let socket = driver.descriptor(0);
            assert!(sockopt::socket_keepalive(&socket).unwrap());
            let idle_and_interval = (sockopt::tcp_keepidle(&socket).unwrap(), sockopt::tcp_keepintvl(&socket).unwrap());
            assert_eq!(idle_and_interval, (Duration::from_secs(30), Duration::from_secs(3)));
            assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 39_000);
            drop(socket);
            driver.close(0, generation, CloseHow::Rst).unwrap();
        }
        driver.assert_quiet();
    }
}

#[test]
fn sources_are_kept_and_changed() {
    let sources: Vec<IpAddr> = vec![IpAddr::from([127, 0, 0, 2]), IpAddr::from([127, 0, 0, 3])];
    let attempts = [SourceId(0), SourceId(0), SourceId(1), SourceId::ANY, SourceId::ANY, SourceId(1)];
    for descriptors in BOTH {
        let (address, server) = serve(attempts.len(), |stream, peer| {
            read_end(&stream);
            peer.ip()
        });
        let mut driver = Driver::new(IoPlan { sources: sources.clone(), ..plan(1, vec![address]) }, descriptors);
        let mut cookies = Vec::new();
        for (generation, &source) in attempts.iter().enumerate() {
            let generation = generation as u32;
            driver.run(open(0, generation, source)).unwrap();
            cookies.push(sockopt::socket_cookie(driver.descriptor(0)).unwrap());
            driver.close(0, generation, CloseHow::Rst).unwrap();
        }
        let seen = server.join().unwrap();
        let any = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_eq!(seen, [sources[0], sources[0], sources[1], any, any, sources[1]]);
        if descriptors == Descriptors::Direct {
            let reused: Vec<_> = cookies.windows(2).map(|pair| pair[0] == pair[1]).collect();
            assert_eq!(reused, [true, false, false, true, false]);
        }
    }
}

/// Reuse relies on it: the socket of another origin goes away when the slot gets a new one.
#[test]
fn a_new_socket_in_an_occupied_slot_closes_the_old_one() {
    let (address, server) = serve(1, |stream, _| read_end(&stream));
    let mut driver = Driver::new(plan(1, vec![address]), Descriptors::Direct);
    driver.open(0, 1).unwrap();
    driver.ring.queue_socket(token(OpKind::Open, 0, 2), TargetId(0), SourceId::ANY, false);
    driver.submit(&[]);
    assert_eq!(server.join().unwrap(), [End::Fin]);
    driver.assert_quiet();
}

#[test]
fn a_source_that_is_not_ours_fails_the_open_once() {
    for descriptors in BOTH {
        let (address, _server) = serve(1, |stream, _| read_end(&stream));
        let foreign = IoPlan { sources: vec![IpAddr::from([192, 0, 2, 1])], ..plan(1, vec![address]) };
        let mut driver = Driver::new(foreign, descriptors);
        for generation in 0..2 {
            assert_eq!(driver.run(open(0, generation, SourceId(0))), Err(Errno::ADDRNOTAVAIL));
            assert_eq!(driver.close(0, generation, CloseHow::Rst), Ok(0));
            driver.assert_quiet();
        }
        assert_eq!(driver.ring.occupied, 0);
    }
}

/// What the choice of descriptors is about.
#[test]
fn a_close_is_seen_while_an_earlier_op_is_in_flight() {
    let (address, server) = serve(2, |stream, _| stream);
    let mut driver = {
        let ring = Ring::new(plan(2, vec![address])).unwrap_or_else(|error| panic!("{error}"));
        Driver { ring, unclaimed: Vec::new() }
    };
    driver.open(0, 1).unwrap();
    driver.open(1, 1).unwrap();
    driver.submit(&[discard(0, 1)]);
    driver.close(1, 1, CloseHow::Fin).unwrap();
    let accepted = server.join().unwrap();
    assert_eq!(read_end(&accepted[1]), End::Fin);
    drop(accepted);
    assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Ok(0));
}

fn accepting(slots: u32) -> (IoPlan, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (IoPlan { listeners: vec![listener.into()], ..plan(slots, Vec::new()) }, address)
}

const ACCEPT: Token = Token::new(OpKind::Accept, SlotIndex(0), 5);

impl Driver {
    fn listen(plan: IoPlan, descriptors: Descriptors) -> Self {
        let mut driver = Self::new(plan, descriptors);
        driver.submit(&[Op::Accept { token: ACCEPT, listener: ListenerId(0) }]);
        driver
    }
}

#[test]
fn accepts_echoes_and_closes() {
    const CLIENTS: u32 = 100;
    for descriptors in BOTH {
        let (plan, address) = accepting(CLIENTS);
        let mut driver = Driver::listen(plan, descriptors);
        let client = move |index: u8| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&[index; 512]).unwrap();
            let mut echoed = [0; 512];
            stream.read_exact(&mut echoed).unwrap();
            assert_eq!(echoed, [index; 512]);
            read_end(&stream)
        };
        let clients: Vec<_> = (0..4).map(|_| thread::spawn(move || (0..25).map(client).collect::<Vec<_>>())).collect();
        let input = driver.ring.buffers().receive.take().unwrap();
        let output = driver.ring.buffers().send.take().unwrap();
        for generation in 0..CLIENTS {
            let slot = driver.wait(ACCEPT).unwrap();
            assert!(sockopt::tcp_nodelay(driver.descriptor(slot)).unwrap());
            driver.receive_exact(slot, generation, input, 512);
            let Buffers { receive, send } = driver.ring.buffers();
            send.bytes_mut(output)[..512].copy_from_slice(&receive.bytes(input)[..512]);
            let payload = Payload::Buffer { buffer: output, len: 512 };
            assert_eq!(driver.run(Op::Send { token: token(OpKind::Send, slot, generation), payload }), Ok(512));
            let how = if generation % 2 == 0 { CloseHow::Rst } else { CloseHow::Fin };
            assert_eq!(driver.close(slot, generation, how), Ok(0));
        }
        let ends: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        assert_eq!(ends.iter().filter(|end| **end == End::Rst).count(), 50);
        driver.submit(&[Op::Cancel { of: ACCEPT }]);
        assert_eq!(driver.wait(ACCEPT), Err(Errno::CANCELED));
        driver.assert_quiet();
    }
}

#[test]
fn connections_wait_in_the_backlog_while_the_slots_are_full() {
    for (descriptors, slots) in [
        (Descriptors::Direct, 2),
        (Descriptors::Ordinary, 2),
        // Enough slots to begin with a multishot accept, which is slowed down when they get few.
        (Descriptors::Direct, 100),
    ] {
        let (plan, address) = accepting(slots);
        let mut driver = Driver::listen(plan, descriptors);
        let connect = || TcpStream::connect(address).unwrap();
        let mut clients = Vec::new();
        let mut taken = HashSet::new();
        for _ in 0..slots {
            clients.push(connect());
            assert!(taken.insert(driver.wait(ACCEPT).unwrap()));
        }
        let mut waiting = [connect(), connect()];
        driver.assert_quiet();
        for client in &mut waiting {
            let freed = *taken.iter().next().unwrap();
            driver.close(freed, 0, CloseHow::Fin).unwrap();
            assert_eq!(driver.wait(ACCEPT), Ok(freed));
            driver.run(send_shared(freed, 1)).unwrap();
            client.read_exact(&mut [0; 1537]).unwrap();
        }
        driver.submit(&[Op::Cancel { of: ACCEPT }]);
        assert_eq!(driver.wait(ACCEPT), Err(Errno::CANCELED));
        driver.assert_quiet();
    }
}

#[test]
fn an_accept_can_be_cancelled_and_begun_again() {
    for descriptors in BOTH {
        let (plan, address) = accepting(100);
        let mut driver = Driver::listen(plan, descriptors);
        let stale = Token::new(OpKind::Accept, SlotIndex(0), 4);
        driver.submit(&[Op::Cancel { of: stale }]);
        driver.assert_quiet();
        driver.submit(&[Op::Cancel { of: ACCEPT }]);
        assert_eq!(driver.wait(ACCEPT), Err(Errno::CANCELED));
        driver.submit(&[Op::Cancel { of: ACCEPT }]);
        let again = Token::new(OpKind::Accept, SlotIndex(0), 6);
        driver.submit(&[Op::Accept { token: again, listener: ListenerId(0) }]);
        let _client = TcpStream::connect(address).unwrap();
        assert!(driver.wait(again).is_ok());
        driver.assert_quiet();
    }
}

#[test]
fn waiting_ends_at_the_given_instant() {
    let mut ring = Ring::new(plan(1, Vec::new())).unwrap_or_else(|error| panic!("{error}"));
    let wake_at = ring.now() + Nanos::from_millis(5);
    let mut completions = Vec::new();
    ring.submit_and_wait(&mut Vec::new(), wake_at, &mut completions).unwrap();
    assert!(ring.now() >= wake_at);
    ring.submit_and_wait(&mut Vec::new(), Time::ZERO, &mut completions).unwrap();
    assert_eq!(completions, []);
}

/// A descriptor of the ring left registered with the thread would keep it, and its connections, alive.
#[test]
fn a_dropped_ring_takes_its_connections_with_it() {
    for descriptors in BOTH {
        let (address, server) = serve(1, |stream, _| read_end(&stream));
        let mut driver = Driver::new(plan(1, vec![address]), descriptors);
        driver.open(0, 1).unwrap();
        driver.submit(&[discard(0, 1)]);
        drop(driver);
        assert_eq!(server.join().unwrap(), [End::Fin]);
    }
}

#[test]
fn too_many_slots_are_refused_with_the_remedy() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.expect("a limit of open files");
    let slots = u32::try_from(limit + 1).expect("a limit below four thousand million");
    let refused = |descriptors| Ring::with_descriptors(plan(slots, Vec::new()), descriptors).err().unwrap().to_string();
    assert_eq!(
        refused(Descriptors::Direct),
        format!(
            "{slots} slots per ring asked, the file table is limited to RLIMIT_NOFILE = {limit}: raise `ulimit -n` or \
             use more workers"
        )
    );
    assert_eq!(
        refused(Descriptors::Ordinary),
        format!(
            "{slots} slots per ring asked, the number of open files is limited to RLIMIT_NOFILE = {limit}: raise \
             `ulimit -n` or use fewer connections"
        )
    );
}

#[test]
fn a_forbidden_ring_is_explained() {
    let explain = |errno: Errno, disabled| RingError::from_setup(errno.into(), disabled).to_string();
    for (errno, disabled, part) in [
        (Errno::PERM, Some(2), "kernel.io_uring_disabled = 2): switch it on with `sysctl"),
        (Errno::PERM, Some(1), "or run with CAP_SYS_ADMIN"),
        (Errno::PERM, Some(0), "--security-opt seccomp="),
        (Errno::PERM, None, "--security-opt seccomp="),
        (Errno::NOSYS, None, "gVisor"),
        (Errno::INVAL, None, "Linux 6.1"),
        (Errno::NOMEM, None, "ulimit -l"),
        (Errno::MFILE, None, "ulimit -n"),
        (Errno::ACCESS, None, "strace"),
    ] {
        let text = explain(errno, disabled);
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}
