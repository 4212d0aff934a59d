//! The harness: a backend, and what its sockets look like from outside.

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};

use crate::base::{Nanos, Time};
use crate::io::epoll::Epoll;
use crate::io::ring::{Descriptors, Ring};
use crate::io::{
    BufferId, BufferPlan, Bytes, CloseHow, Completion, Destination, Errno, Io, IoPlan, ListenerId, Op, OpKind, Payload,
    SlotIndex, SourceId, TargetId, Token,
};

/// A backend on the kernel's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum Backend {
    Ring(Descriptors),
    Epoll,
}

pub(in crate::io) const BACKENDS: [Backend; 3] =
    [Backend::Ring(Descriptors::Direct), Backend::Ring(Descriptors::Ordinary), Backend::Epoll];

impl Backend {
    fn make(self, plan: IoPlan) -> Box<dyn Exposed> {
        match self {
            Self::Ring(descriptors) => {
                let ring = Ring::with_descriptors(plan, descriptors).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(ring.descriptors(), descriptors);
                Box::new(ring)
            }
            Self::Epoll => Box::new(Epoll::new(plan).unwrap_or_else(|error| panic!("{error}"))),
        }
    }

    /// A connection that was reset leaves its socket to the slot's next one.
    pub(in crate::io) fn reuses_sockets(self) -> bool {
        self != Self::Ring(Descriptors::Ordinary)
    }
}

/// A backend that shows its sockets.
pub(in crate::io) trait Exposed: Io {
    /// Another descriptor of the slot's socket.
    fn descriptor(&mut self, slot: u32) -> OwnedFd;

    /// Slots that hold a socket.
    fn occupied(&self) -> u32;
}

/// Ends a test that waits for what never comes.
pub(in crate::io) const PATIENCE: Nanos = Nanos::from_secs(60);

pub(in crate::io) const SHARED: &[u8; 1537] = &[0xab; 1537];

pub(in crate::io) fn plan(slots: u32, targets: Vec<SocketAddr>) -> IoPlan {
    IoPlan {
        slots,
        targets,
        sources: Vec::new(),
        listeners: Vec::new(),
        nodelay: true,
        arrival_times: true,
        hold_check: None,
        ports: None,
        shared_bytes: Bytes::from(SHARED.as_slice()),
        media: [].into(),
        buffers: BufferPlan { count: 8, receive_size: 3073, send_size: 1536 },
    }
}

/// A backend and the completions that nobody asked for yet.
pub(in crate::io) struct Driver<I: Io + ?Sized = dyn Exposed> {
    pub(in crate::io) io: Box<I>,
    pub(in crate::io) unclaimed: Vec<Completion>,
}

impl Driver {
    pub(in crate::io) fn new(plan: IoPlan, backend: Backend) -> Self {
        Self::over(backend.make(plan))
    }

    /// A driver whose listener accepts.
    pub(in crate::io) fn listen(plan: IoPlan, backend: Backend) -> Self {
        let mut driver = Self::new(plan, backend);
        driver.submit(&[Op::Accept { token: ACCEPT, listener: ListenerId(0) }]);
        driver
    }

    /// An ordinary descriptor of the slot's socket.
    pub(in crate::io) fn descriptor(&mut self, slot: u32) -> OwnedFd {
        self.io.descriptor(slot)
    }
}

impl<I: Io + ?Sized> Driver<I> {
    pub(in crate::io) fn over(io: Box<I>) -> Self {
        Self { io, unclaimed: Vec::new() }
    }

    /// Submits ops and takes what has completed by then.
    pub(in crate::io) fn submit(&mut self, ops: &[Op]) {
        self.io.submit_and_wait(&mut ops.to_vec(), Time::ZERO, &mut self.unclaimed).unwrap();
    }

    /// Waits for the op's completion.
    pub(in crate::io) fn wait(&mut self, token: Token) -> Result<u32, Errno> {
        let deadline = self.io.now() + PATIENCE;
        loop {
            if let Some(at) = self.unclaimed.iter().position(|completion| completion.token == token) {
                return self.unclaimed.remove(at).result;
            }
            assert!(self.io.now() < deadline, "{token:?} does not complete");
            self.io.submit_and_wait(&mut Vec::new(), deadline, &mut self.unclaimed).unwrap();
        }
    }

    pub(in crate::io) fn run(&mut self, op: Op) -> Result<u32, Errno> {
        self.submit(&[op]);
        self.wait(op.token())
    }

    pub(in crate::io) fn open(&mut self, slot: u32, generation: u32) -> Result<u32, Errno> {
        self.run(open(slot, generation, SourceId::ANY))
    }

    pub(in crate::io) fn close(&mut self, slot: u32, generation: u32, how: CloseHow) -> Result<u32, Errno> {
        self.run(Op::Close { token: token(OpKind::Close, slot, generation), how })
    }

    /// Receives exactly `len` bytes into the buffer.
    pub(in crate::io) fn receive_exact(&mut self, slot: u32, generation: u32, buffer: BufferId, len: u32) {
        let mut start = 0;
        while start < len {
            let into = Destination::Buffer { buffer, start, len: len - start };
            let received = self.run(Op::Recv { token: token(OpKind::Recv, slot, generation), into }).unwrap();
            assert_ne!(received, 0, "the peer closed");
            start += received;
        }
    }

    /// Everything that happened was asked for.
    pub(in crate::io) fn assert_quiet(&mut self) {
        self.submit(&[]);
        assert_eq!(self.unclaimed, []);
    }
}

pub(in crate::io) const ACCEPT: Token = Token::new(OpKind::Accept, SlotIndex(0), 5);

pub(in crate::io) fn token(kind: OpKind, slot: u32, generation: u32) -> Token {
    Token::new(kind, SlotIndex(slot), generation)
}

pub(in crate::io) fn open(slot: u32, generation: u32, source: SourceId) -> Op {
    Op::Open { token: token(OpKind::Open, slot, generation), target: TargetId(0), source, nagle: false }
}

pub(in crate::io) fn send_shared(slot: u32, generation: u32) -> Op {
    let payload = Payload::Shared { offset: 0, len: SHARED.len() as u32 };
    Op::Send { token: token(OpKind::Send, slot, generation), payload }
}

pub(in crate::io) fn discard(slot: u32, generation: u32) -> Op {
    Op::Recv { token: token(OpKind::Recv, slot, generation), into: Destination::Discard }
}

pub(in crate::io) fn watch(slot: u32, generation: u32) -> Op {
    Op::Recv { token: token(OpKind::Recv, slot, generation), into: Destination::Readable }
}

pub(in crate::io) fn accepting(slots: u32) -> (IoPlan, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (IoPlan { listeners: vec![listener.into()], ..plan(slots, Vec::new()) }, address)
}

/// A blocking server: `each` runs for every one of `connections` in turn.
pub(in crate::io) fn serve<T: Send + 'static>(
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
pub(in crate::io) enum End {
    Fin,
    Rst,
}

pub(in crate::io) fn read_end(mut stream: &TcpStream) -> End {
    match stream.read(&mut [0; 1]) {
        Ok(0) => End::Fin,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Rst,
        other => panic!("neither end: {other:?}"),
    }
}

/// An address that refuses connections for as long as the socket is kept.
pub(in crate::io) fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}
