//! Opening and closing connections, and waiting.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::net::sockopt;

use super::driver::{
    BACKENDS, Backend, Driver, End, SHARED, discard, open, plan, read_end, refusing, send_shared, serve, token,
};
use crate::base::{Nanos, Time};
use crate::io::ring::Descriptors;
use crate::io::{CloseHow, Errno, IoPlan, Op, OpKind, Payload, SourceId, TargetId};

#[test]
fn carries_a_connection_from_open_to_close() {
    for backend in BACKENDS {
        let (address, server) = serve(1, |mut stream, _| {
            let mut received = [0; 1537];
            stream.read_exact(&mut received).unwrap();
            assert_eq!(received, *SHARED);
            stream.write_all(&[0x5a; 3073]).unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            rest
        });
        let mut driver = Driver::new(plan(4, vec![address]), backend);
        assert_eq!(driver.open(2, 1), Ok(0));
        assert_eq!(driver.run(send_shared(2, 1)), Ok(1537));

        let received = driver.io.buffers().receive.take().unwrap();
        driver.receive_exact(2, 1, received, 3073);
        assert_eq!(driver.io.buffers().receive.bytes(received), [0x5a; 3073]);
        driver.io.buffers().receive.release(received);

        let sent = driver.io.buffers().send.take().unwrap();
        driver.io.buffers().send.bytes_mut(sent).fill(7);
        let payload = Payload::Buffer { buffer: sent, len: 100 };
        assert_eq!(driver.run(Op::Send { token: token(OpKind::Send, 2, 1), payload }), Ok(100));
        driver.io.buffers().send.release(sent);

        assert_eq!(driver.close(2, 1, CloseHow::Fin), Ok(0));
        assert_eq!(server.join().unwrap(), [vec![7; 100]]);
        driver.assert_quiet();
        assert_eq!(driver.io.completion_overflows(), 0);
    }
}

#[test]
fn ops_may_be_queued_behind_the_open() {
    for backend in BACKENDS {
        let (address, server) = serve(1, |mut stream, _| {
            let mut received = [0; 1537];
            stream.read_exact(&mut received).unwrap();
            stream.write_all(&[1]).unwrap();
            read_end(&stream)
        });
        let mut driver = Driver::new(plan(1, vec![address]), backend);
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
    for backend in BACKENDS {
        let (_guard, refusing) = refusing();
        let mut driver = Driver::new(plan(1, vec![refusing]), backend);
        for generation in 0..3 {
            assert_eq!(driver.open(0, generation), Err(Errno::CONNREFUSED));
            assert_eq!(driver.close(0, generation, CloseHow::Rst), Ok(0));
            driver.assert_quiet();
        }
    }
}

#[test]
fn a_batch_may_exceed_a_submission_queue() {
    const SLOTS: u32 = 600;
    for backend in BACKENDS {
        let (_guard, refusing) = refusing();
        let mut driver =
            Driver::new(IoPlan { sources: vec![IpAddr::from([127, 0, 0, 2])], ..plan(SLOTS, vec![refusing]) }, backend);
        driver.submit(&(0..SLOTS).map(|slot| open(slot, 9, SourceId(0))).collect::<Vec<_>>());
        for slot in 0..SLOTS {
            assert_eq!(driver.wait(token(OpKind::Open, slot, 9)), Err(Errno::CONNREFUSED));
        }
        driver.assert_quiet();
    }
}

#[test]
fn cancels_opens_that_nobody_answers() {
    for backend in BACKENDS {
        let (listener, address) = refusing();
        // One connection fits the backlog; further SYNs are dropped.
        listener.listen(0).unwrap();
        let mut driver = Driver::new(plan(8, vec![address]), backend);
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

fn close_while_a_receive_is_armed(backend: Backend) {
    let (address, _server) = serve(1, |stream, _| read_end(&stream));
    let mut driver = Driver::new(plan(1, vec![address]), backend);
    driver.open(0, 1).unwrap();
    driver.submit(&[discard(0, 1)]);
    driver.submit(&[Op::Close { token: token(OpKind::Close, 0, 1), how: CloseHow::Rst }]);
}

#[test]
#[should_panic(expected = "another op is in flight")]
fn a_ring_refuses_a_close_while_a_receive_is_armed() {
    close_while_a_receive_is_armed(Backend::Ring(Descriptors::Direct));
}

#[test]
#[should_panic(expected = "another op is in flight")]
fn epoll_refuses_a_close_while_a_receive_is_armed() {
    close_while_a_receive_is_armed(Backend::Epoll);
}

#[test]
fn the_peer_sees_how_a_connection_was_closed() {
    for backend in BACKENDS {
        let (address, server) = serve(4, |stream, _| read_end(&stream));
        let mut driver = Driver::new(plan(1, vec![address]), backend);
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
    for backend in BACKENDS {
        let (address, server) = serve(ATTEMPTS as usize, |mut stream, peer| {
            stream.read_exact(&mut [0; 1537]).unwrap();
            stream.write_all(&[9; 3073]).unwrap();
            (peer.port(), read_end(&stream))
        });
        let mut driver = Driver::new(plan(1, vec![address]), backend);
        let buffer = driver.io.buffers().receive.take().unwrap();
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
        let reused = backend.reuses_sockets();
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
    for backend in BACKENDS {
        let (address, _server) = serve(asked.len(), |stream, _| read_end(&stream));
        let mut driver = Driver::new(plan(1, vec![address]), backend);
        let mut sockets = HashSet::new();
        for (generation, nagle) in (0..).zip(asked) {
            let token = token(OpKind::Open, 0, generation);
            driver.run(Op::Open { token, target: TargetId(0), source: SourceId::ANY, nagle }).unwrap();
            let socket = driver.descriptor(0);
            assert_eq!(sockopt::tcp_nodelay(&socket).unwrap(), !nagle, "{backend:?} {generation}");
            sockets.insert(sockopt::socket_cookie(&socket).unwrap());
            drop(socket);
            driver.close(0, generation, CloseHow::Rst).unwrap();
        }
        assert_eq!(sockets.len(), if backend.reuses_sockets() { 1 } else { asked.len() });
        driver.assert_quiet();
    }
}

#[test]
fn a_hold_check_is_the_kernels_to_make() {
    for backend in BACKENDS {
        let (address, _server) = serve(2, |stream, _| read_end(&stream));
        let checked = IoPlan { hold_check: Some(Nanos::from_secs(30)), ..plan(1, vec![address]) };
        let mut driver = Driver::new(checked, backend);
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
fn local_ports_are_of_the_planned_range() {
    const COUNT: u32 = 40;
    // More than half of them are needed, so those of one parity do not suffice; listeners may have some of the others.
    let ports = 59_900..=59_963;
    for backend in BACKENDS {
        let (address, _server) = serve(COUNT as usize, |stream, _| read_end(&stream));
        let mut planned = IoPlan { ports: Some(ports.clone()), ..plan(COUNT, vec![address]) };
        planned.sources = vec![IpAddr::from([127, 0, 0, 9])];
        let mut driver = Driver::new(planned, backend);
        for slot in 0..COUNT {
            driver.run(open(slot, 0, SourceId(0))).unwrap();
            let port = rustix::net::getsockname(driver.descriptor(slot)).unwrap();
            let port = SocketAddr::try_from(port).unwrap().port();
            assert!(ports.contains(&port), "{port}");
        }
        for slot in 0..COUNT {
            driver.close(slot, 0, CloseHow::Rst).unwrap();
        }
        driver.assert_quiet();
    }
}

#[test]
fn sources_are_kept_and_changed() {
    let sources: Vec<IpAddr> = vec![IpAddr::from([127, 0, 0, 2]), IpAddr::from([127, 0, 0, 3])];
    let attempts = [SourceId(0), SourceId(0), SourceId(1), SourceId::ANY, SourceId::ANY, SourceId(1)];
    for backend in BACKENDS {
        let (address, server) = serve(attempts.len(), |stream, peer| {
            read_end(&stream);
            peer.ip()
        });
        let mut driver = Driver::new(IoPlan { sources: sources.clone(), ..plan(1, vec![address]) }, backend);
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
        if backend.reuses_sockets() {
            let reused: Vec<_> = cookies.windows(2).map(|pair| pair[0] == pair[1]).collect();
            assert_eq!(reused, [true, false, false, true, false]);
        }
    }
}

#[test]
fn a_source_that_is_not_ours_fails_the_open_once() {
    for backend in BACKENDS {
        let (address, _server) = serve(1, |stream, _| read_end(&stream));
        let foreign = IoPlan { sources: vec![IpAddr::from([192, 0, 2, 1])], ..plan(1, vec![address]) };
        let mut driver = Driver::new(foreign, backend);
        for generation in 0..2 {
            assert_eq!(driver.run(open(0, generation, SourceId(0))), Err(Errno::ADDRNOTAVAIL));
            assert_eq!(driver.close(0, generation, CloseHow::Rst), Ok(0));
            driver.assert_quiet();
        }
        assert_eq!(driver.io.occupied(), 0);
    }
}

#[test]
fn waiting_ends_at_the_given_instant() {
    for backend in BACKENDS {
        let mut driver = Driver::new(plan(1, Vec::new()), backend);
        // Longer and shorter than what a wait in milliseconds can tell.
        for wait in [Nanos::from_millis(5), Nanos::from_micros(300)] {
            let wake_at = driver.io.now() + wait;
            let mut completions = Vec::new();
            driver.io.submit_and_wait(&mut Vec::new(), wake_at, &mut completions).unwrap();
            assert!(driver.io.now() >= wake_at);
            driver.io.submit_and_wait(&mut Vec::new(), Time::ZERO, &mut completions).unwrap();
            assert_eq!(completions, []);
        }
    }
}

/// A descriptor of the ring left registered with the thread would keep it, and its connections, alive.
#[test]
fn a_dropped_backend_takes_its_connections_with_it() {
    for backend in BACKENDS {
        let (address, server) = serve(1, |stream, _| read_end(&stream));
        let mut driver = Driver::new(plan(1, vec![address]), backend);
        driver.open(0, 1).unwrap();
        driver.submit(&[discard(0, 1)]);
        drop(driver);
        assert_eq!(server.join().unwrap(), [End::Fin]);
    }
}
