//! Accepting connections.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use rustix::net::sockopt;

use super::driver::{ACCEPT, BACKENDS, Driver, End, accepting, read_end, send_shared, token};
use crate::io::{Buffers, CloseHow, Errno, ListenerId, Op, OpKind, Payload, SlotIndex, Token};

#[test]
fn accepts_echoes_and_closes() {
    const CLIENTS: u32 = 100;
    for backend in BACKENDS {
        let (plan, address) = accepting(CLIENTS);
        let mut driver = Driver::listen(plan, backend);
        let client = move |index: u8| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&[index; 512]).unwrap();
            let mut echoed = [0; 512];
            stream.read_exact(&mut echoed).unwrap();
            assert_eq!(echoed, [index; 512]);
            read_end(&stream)
        };
        let clients: Vec<_> = (0..4).map(|_| thread::spawn(move || (0..25).map(client).collect::<Vec<_>>())).collect();
        let input = driver.io.buffers().receive.take().unwrap();
        let output = driver.io.buffers().send.take().unwrap();
        for generation in 0..CLIENTS {
            let slot = driver.wait(ACCEPT).unwrap();
            assert!(sockopt::tcp_nodelay(driver.descriptor(slot)).unwrap());
            driver.receive_exact(slot, generation, input, 512);
            let Buffers { receive, send, .. } = driver.io.buffers();
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
    // A hundred slots are enough to begin with a multishot accept, which is slowed down when they get few.
    for (backend, slots) in BACKENDS.into_iter().flat_map(|backend| [(backend, 2), (backend, 100)]) {
        let (plan, address) = accepting(slots);
        let mut driver = Driver::listen(plan, backend);
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
    for backend in BACKENDS {
        let (plan, address) = accepting(100);
        let mut driver = Driver::listen(plan, backend);
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
