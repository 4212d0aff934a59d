//! Sending and receiving.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use rustix::net::sockopt;

use super::driver::{
    BACKENDS, Backend, Driver, End, discard, open, plan, read_end, refusing, send_shared, serve, token, watch,
};
use crate::io::ring::Descriptors;
use crate::io::{BufferPlan, CloseHow, Destination, Errno, IoPlan, Op, OpKind, Payload, SourceId};

#[test]
fn cancels_a_receive_from_a_silent_peer() {
    for backend in BACKENDS {
        let (address, server) = serve(1, |stream, _| read_end(&stream));
        let mut driver = Driver::new(plan(1, vec![address]), backend);
        driver.open(0, 1).unwrap();
        let buffer = driver.io.buffers().receive.take().unwrap();
        let armed = token(OpKind::Recv, 0, 1);
        driver.submit(&[Op::Recv { token: armed, into: Destination::Buffer { buffer, start: 0, len: 3073 } }]);
        // The name of an older generation's op does not fit.
        driver.submit(&[Op::Cancel { of: token(OpKind::Recv, 0, 0) }]);
        driver.assert_quiet();
        driver.submit(&[Op::Cancel { of: armed }]);
        assert_eq!(driver.wait(armed), Err(Errno::CANCELED));
        assert_eq!(driver.io.buffers().receive.bytes(buffer).len(), 3073);
        driver.io.buffers().receive.release(buffer);
        // Nothing is left to cancel, and nobody is told.
        driver.submit(&[Op::Cancel { of: armed }]);
        driver.close(0, 1, CloseHow::Rst).unwrap();
        assert_eq!(server.join().unwrap(), [End::Rst]);
        driver.assert_quiet();
    }
}

fn read_a_buffer_while_a_receive_is_armed(backend: Backend) {
    let (address, _server) = serve(1, |stream, _| read_end(&stream));
    let mut driver = Driver::new(plan(1, vec![address]), backend);
    driver.open(0, 1).unwrap();
    let buffer = driver.io.buffers().receive.take().unwrap();
    let into = Destination::Buffer { buffer, start: 0, len: 3073 };
    driver.submit(&[Op::Recv { token: token(OpKind::Recv, 0, 1), into }]);
    driver.io.buffers().receive.bytes(buffer);
}

#[test]
#[should_panic(expected = "is lent")]
fn a_buffer_is_the_rings_while_a_receive_is_armed() {
    read_a_buffer_while_a_receive_is_armed(Backend::Ring(Descriptors::Ordinary));
}

#[test]
#[should_panic(expected = "is lent")]
fn a_buffer_is_epolls_while_a_receive_is_armed() {
    read_a_buffer_while_a_receive_is_armed(Backend::Epoll);
}

#[test]
fn a_receive_ends_with_the_first_bytes() {
    for backend in BACKENDS {
        let (address, server) = serve(1, |mut stream, _| {
            stream.write_all(&[1; 10]).unwrap();
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.write_all(&[2; 20]).unwrap();
            read_end(&stream)
        });
        let mut driver = Driver::new(plan(1, vec![address]), backend);
        driver.open(0, 1).unwrap();
        let buffer = driver.io.buffers().receive.take().unwrap();
        driver.receive_exact(0, 1, buffer, 10);
        driver.run(send_shared(0, 1)).unwrap();
        let into = Destination::Buffer { buffer, start: 10, len: 3000 };
        assert_eq!(driver.run(Op::Recv { token: token(OpKind::Recv, 0, 1), into }), Ok(20));
        assert_eq!(driver.io.buffers().receive.bytes(buffer)[..30], [[1; 10].as_slice(), &[2; 20]].concat());
        driver.close(0, 1, CloseHow::Fin).unwrap();
        assert_eq!(server.join().unwrap(), [End::Fin]);
    }
}

#[test]
fn discarded_bytes_are_counted_and_the_end_is_seen() {
    for backend in BACKENDS {
        let (address, server) = serve(1, |mut stream, _| {
            stream.write_all(&[3; 5000]).unwrap();
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            read_end(&stream)
        });
        let mut driver = Driver::new(plan(1, vec![address]), backend);
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
    for backend in BACKENDS {
        let (address, server) = serve(1, |mut stream, _| {
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.write_all(&[3; 500]).unwrap();
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            read_end(&stream)
        });
        let mut driver = Driver::new(plan(1, vec![address]), backend);
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
    for backend in BACKENDS {
        let (address, server) = serve(1, |mut stream, _| {
            stream.read_exact(&mut [0; 1537]).unwrap();
            sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        });
        let mut driver = Driver::new(plan(1, vec![address]), backend);
        driver.open(0, 1).unwrap();
        driver.submit(&[watch(0, 1), send_shared(0, 1)]);
        assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Ok(1));
        assert_eq!(driver.run(discard(0, 1)), Err(Errno::CONNRESET));
        server.join().unwrap();

        let (_guard, refusing) = refusing();
        let mut driver = Driver::new(plan(1, vec![refusing]), backend);
        driver.submit(&[open(0, 1, SourceId::ANY), watch(0, 1)]);
        assert_eq!(driver.wait(token(OpKind::Open, 0, 1)), Err(Errno::CONNREFUSED));
        assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Ok(1));
    }
}

#[test]
fn a_watch_is_cancelled_like_a_receive() {
    for backend in BACKENDS {
        let (address, server) = serve(2, |stream, _| read_end(&stream));
        let mut driver = Driver::new(plan(1, vec![address]), backend);
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
    for backend in BACKENDS {
        // A reset that overtakes the end of `connect` would be the error of the open.
        let (address, server) = serve(1, |mut stream, _| {
            stream.read_exact(&mut [0; 1537]).unwrap();
            sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        });
        let mut driver = Driver::new(plan(1, vec![address]), backend);
        driver.open(0, 1).unwrap();
        driver.run(send_shared(0, 1)).unwrap();
        assert_eq!(driver.run(discard(0, 1)), Err(Errno::CONNRESET));
        assert_eq!(driver.close(0, 1, CloseHow::Rst), Ok(0));
        server.join().unwrap();
        driver.assert_quiet();
    }
}

#[test]
fn a_send_that_cannot_finish_fails() {
    const LARGE: usize = 64 << 20;
    for backend in BACKENDS {
        let (address, server) = serve(1, |mut stream, _| {
            stream.read_exact(&mut [0; 1]).unwrap();
        });
        let large = IoPlan { shared_bytes: vec![0; LARGE].into(), ..plan(1, vec![address]) };
        let mut driver = Driver::new(large, backend);
        driver.open(0, 1).unwrap();
        let payload = Payload::Shared { offset: 0, len: LARGE as u32 };
        let result = driver.run(Op::Send { token: token(OpKind::Send, 0, 1), payload });
        assert!(matches!(result, Err(Errno::PIPE | Errno::CONNRESET)), "{result:?}");
        assert_eq!(driver.close(0, 1, CloseHow::Rst), Ok(0));
        server.join().unwrap();
    }
}

/// A send waits for the peer to read, and what is received meanwhile is not held up.
#[test]
fn a_send_goes_on_as_the_peer_reads() {
    const LARGE: usize = 16 << 20;
    for backend in BACKENDS {
        let (address, server) = serve(1, |mut stream, _| {
            stream.write_all(&[1]).unwrap();
            let mut first = [0; 1];
            stream.read_exact(&mut first).unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            rest.len() + 1
        });
        let large = IoPlan { shared_bytes: vec![0; LARGE].into(), ..plan(1, vec![address]) };
        let mut driver = Driver::new(large, backend);
        driver.open(0, 1).unwrap();
        let payload = Payload::Shared { offset: 0, len: LARGE as u32 };
        driver.submit(&[Op::Send { token: token(OpKind::Send, 0, 1), payload }, discard(0, 1)]);
        assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Ok(1));
        assert_eq!(driver.wait(token(OpKind::Send, 0, 1)), Ok(LARGE as u32));
        driver.close(0, 1, CloseHow::Fin).unwrap();
        assert_eq!(server.join().unwrap(), [LARGE]);
        driver.assert_quiet();
    }
}

#[test]
fn a_send_that_the_peer_does_not_read_is_cancelled() {
    const LARGE: usize = 64 << 20;
    for backend in BACKENDS {
        let (address, server) = serve(1, |stream, _| stream);
        let buffer = BufferPlan { count: 1, receive_size: 1, send_size: LARGE as u32 };
        let mut driver = Driver::new(IoPlan { buffers: buffer, ..plan(1, vec![address]) }, backend);
        driver.open(0, 1).unwrap();
        let buffer = driver.io.buffers().send.take().unwrap();
        let sent = token(OpKind::Send, 0, 1);
        driver.submit(&[Op::Send { token: sent, payload: Payload::Buffer { buffer, len: LARGE as u32 } }]);
        driver.assert_quiet();
        driver.submit(&[Op::Cancel { of: sent }]);
        // A part of it has been sent, and how much is not told.
        assert_eq!(driver.wait(sent), Err(Errno::PIPE));
        driver.io.buffers().send.release(buffer);
        driver.close(0, 1, CloseHow::Rst).unwrap();
        drop(server.join().unwrap());
        driver.assert_quiet();
    }
}

/// Bytes and FIN come together, before anybody asks; they are asked for one by one.
#[test]
fn what_came_before_it_was_asked_for_is_not_forgotten() {
    for backend in BACKENDS {
        let (address, server) = serve(1, |mut stream, _| {
            stream.write_all(&[4; 100]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            read_end(&stream)
        });
        let mut driver = Driver::new(plan(1, vec![address]), backend);
        driver.open(0, 1).unwrap();
        let buffer = driver.io.buffers().receive.take().unwrap();
        let receive =
            |len| Op::Recv { token: token(OpKind::Recv, 0, 1), into: Destination::Buffer { buffer, start: 0, len } };
        let mut left = 100;
        while left > 0 {
            assert_eq!(driver.run(watch(0, 1)), Ok(1));
            left -= driver.run(receive(left.min(30))).unwrap();
        }
        assert_eq!(driver.run(watch(0, 1)), Ok(1));
        assert_eq!(driver.run(receive(30)), Ok(0));
        assert_eq!(driver.run(discard(0, 1)), Ok(0), "an end is an end for ever");
        driver.close(0, 1, CloseHow::Rst).unwrap();
        assert_eq!(server.join().unwrap(), [End::Rst]);
        driver.assert_quiet();
    }
}

/// A receive that took exactly what there was says nothing about what comes.
#[test]
fn a_watch_after_a_full_buffer_waits() {
    for backend in BACKENDS {
        let (address, server) = serve(1, |mut stream, _| {
            stream.write_all(&[5; 8]).unwrap();
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.write_all(&[6; 8]).unwrap();
            read_end(&stream)
        });
        let mut driver = Driver::new(plan(1, vec![address]), backend);
        driver.open(0, 1).unwrap();
        let buffer = driver.io.buffers().receive.take().unwrap();
        driver.receive_exact(0, 1, buffer, 8);
        driver.submit(&[watch(0, 1)]);
        driver.assert_quiet();
        driver.run(send_shared(0, 1)).unwrap();
        assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Ok(1));
        driver.receive_exact(0, 1, buffer, 8);
        driver.submit(&[discard(0, 1)]);
        driver.assert_quiet();
        driver.submit(&[Op::Cancel { of: token(OpKind::Recv, 0, 1) }]);
        assert_eq!(driver.wait(token(OpKind::Recv, 0, 1)), Err(Errno::CANCELED));
        driver.close(0, 1, CloseHow::Fin).unwrap();
        assert_eq!(server.join().unwrap(), [End::Fin]);
    }
}
