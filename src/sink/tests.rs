//! The sink on real sockets, against blocking clients.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use super::*;
use crate::protocol::{C1Spec, C2_SIZE, Check, ClientHandshake, ClientTemplates, DigestAt, S0S1S2_SIZE};

const ENGINES: [Engine; 2] = [Engine::IoUring, Engine::Epoll];

const SPECS: [C1Spec; 3] =
    [C1Spec::complex(DigestAt::FirstHalf), C1Spec::complex(DigestAt::SecondHalf), C1Spec::simple()];

fn plan(engine: Engine) -> SinkPlan {
    SinkPlan {
        listen: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
        engine,
        workers: 2,
        cpus: Vec::new(),
        verify: Verify::All,
        delay: Nanos::ZERO,
        slots_per_worker: 64,
        reject: Vec::new(),
        ping_every: Nanos::ZERO,
        tls: None,
        seed: Seed::new(3),
    }
}

fn templates(spec: C1Spec) -> ClientTemplates {
    ClientTemplates::sign(&spec, 4, &mut Seed::new(4).stream(StreamPurpose::ClientTemplates, 0))
}

/// A client that has checked S0S1S2 in full and not sent C2.
struct Answered {
    stream: TcpStream,
    c2: Vec<u8>,
}

fn ask(address: SocketAddr, templates: &ClientTemplates, index: usize) -> Answered {
    let index = index % templates.len();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(templates.c0c1(index)).unwrap();
    let mut answer = vec![0; S0S1S2_SIZE];
    stream.read_exact(&mut answer).unwrap();
    let mut handshake = ClientHandshake::new(index as u16, Check::Full);
    handshake.advance(&answer, templates).unwrap();
    let mut c2 = vec![0; C2_SIZE];
    handshake.write_c2(&answer, templates, 0, &mut c2);
    Answered { stream, c2 }
}

impl Answered {
    /// Closes by FIN and waits until the sink has closed, too.
    fn finish(mut self, c2: &[u8]) {
        self.stream.write_all(c2).unwrap();
        self.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(self.stream.read(&mut [0]).unwrap(), 0);
    }

    /// Sends C2 and an RST right behind it.
    fn reset_after(mut self, c2: &[u8]) {
        self.stream.write_all(c2).unwrap();
        close_by_reset(self.stream);
    }
}

fn close_by_reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn every_kind_of_client_is_served() {
    for engine in ENGINES {
        let sink = Sink::start(plan(engine)).unwrap();
        for spec in SPECS {
            let templates = templates(spec);
            for index in 0..4 {
                let client = ask(sink.address(), &templates, index);
                let c2 = client.c2.clone();
                client.finish(&c2);
            }
        }
        let expected =
            SinkCounts { accepted: 12, complex: 8, simple: 4, c2_valid: 8, c2_echo: 4, ..Default::default() };
        assert_eq!(sink.stop(), expected);
    }
}

#[test]
fn every_c2_is_counted_though_a_reset_follows_at_once() {
    for engine in ENGINES {
        const CLIENTS: usize = 4;
        const EACH: usize = 150;
        let sink = Sink::start(plan(engine)).unwrap();
        let templates = templates(SPECS[0]);
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    for index in 0..EACH {
                        let client = ask(sink.address(), &templates, index);
                        let c2 = client.c2.clone();
                        client.reset_after(&c2);
                    }
                });
            }
        });
        let all = (CLIENTS * EACH) as u64;
        let expected = SinkCounts { accepted: all, complex: all, c2_valid: all, reset: all, ..Default::default() };
        assert_eq!(sink.stop(), expected);
    }
}

#[test]
fn wrong_and_echoing_c2s_are_told_apart() {
    for engine in ENGINES {
        let sink = Sink::start(plan(engine)).unwrap();
        let templates = templates(SPECS[0]);
        let client = ask(sink.address(), &templates, 0);
        let mut wrong = client.c2.clone();
        wrong[3] ^= 1;
        client.finish(&wrong);

        let mut stream = TcpStream::connect(sink.address()).unwrap();
        stream.write_all(templates.c0c1(0)).unwrap();
        let mut answer = vec![0; S0S1S2_SIZE];
        stream.read_exact(&mut answer).unwrap();
        Answered { stream, c2: Vec::new() }.finish(&answer[1..=C2_SIZE]);

        let expected = SinkCounts { accepted: 2, complex: 2, c2_echo: 1, c2_invalid: 1, ..Default::default() };
        assert_eq!(sink.stop(), expected);
    }
}

#[test]
fn noise_behind_c2_is_answered_by_a_reset() {
    for engine in ENGINES {
        let sink = Sink::start(plan(engine)).unwrap();
        let mut client = ask(sink.address(), &templates(SPECS[0]), 0);
        let stream = [&client.c2[..], &[7; 600]].concat();
        client.stream.write_all(&stream).unwrap();
        assert_eq!(client.stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        let expected = SinkCounts { accepted: 1, complex: 1, c2_valid: 1, bad_messages: 1, ..Default::default() };
        assert_eq!(sink.stop(), expected);
    }
}

#[test]
fn bytes_may_come_one_by_one() {
    for engine in ENGINES {
        let sink = Sink::start(SinkPlan { workers: 1, ..plan(engine) }).unwrap();
        let templates = templates(SPECS[1]);
        let mut stream = TcpStream::connect(sink.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in templates.c0c1(0) {
            stream.write_all(&[*byte]).unwrap();
        }
        let mut answer = vec![0; S0S1S2_SIZE];
        stream.read_exact(&mut answer).unwrap();
        let mut handshake = ClientHandshake::new(0, Check::Full);
        handshake.advance(&answer, &templates).unwrap();
        let mut c2 = vec![0; C2_SIZE];
        handshake.write_c2(&answer, &templates, 0, &mut c2);
        for byte in c2.drain(..C2_SIZE - 1) {
            stream.write_all(&[byte]).unwrap();
        }
        Answered { stream, c2: Vec::new() }.finish(&c2);
        assert_eq!(sink.stop(), SinkCounts { accepted: 1, complex: 1, c2_valid: 1, ..Default::default() });
    }
}

#[test]
fn other_protocols_are_reset() {
    for engine in ENGINES {
        let sink = Sink::start(plan(engine)).unwrap();
        let mut stream = TcpStream::connect(sink.address()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: sink\r\n\r\n").unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(sink.stop(), SinkCounts { accepted: 1, violations: 1, ..Default::default() });
    }
}

#[test]
fn clients_that_give_up_are_counted_as_abandoned() {
    for engine in ENGINES {
        let sink = Sink::start(plan(engine)).unwrap();
        let templates = templates(SPECS[0]);

        let mut half = TcpStream::connect(sink.address()).unwrap();
        half.write_all(&templates.c0c1(0)[..800]).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        assert_eq!(half.read(&mut [0]).unwrap(), 0);

        let without_c2 = ask(sink.address(), &templates, 0);
        without_c2.finish(&[]);
        let reset_without_c2 = ask(sink.address(), &templates, 0);
        reset_without_c2.reset_after(&[]);

        assert_eq!(sink.stop(), SinkCounts { accepted: 3, complex: 2, abandoned: 3, reset: 1, ..Default::default() });
    }
}

#[test]
fn what_arrived_before_the_stop_is_counted() {
    for engine in ENGINES {
        let sink = Sink::start(SinkPlan { slots_per_worker: 200, ..plan(engine) }).unwrap();
        let templates = templates(SPECS[0]);
        let mut clients: Vec<Answered> = (0..100).map(|index| ask(sink.address(), &templates, index)).collect();
        for client in &mut clients {
            client.stream.write_all(&client.c2).unwrap();
        }
        let expected = SinkCounts { accepted: 100, complex: 100, c2_valid: 100, held: 100, ..Default::default() };
        assert_eq!(sink.stop(), expected);
    }
}

#[test]
fn a_client_may_leave_during_the_delay() {
    for engine in ENGINES {
        let sink = Sink::start(SinkPlan { workers: 1, delay: Nanos::from_secs(3600), ..plan(engine) }).unwrap();
        let templates = templates(SPECS[0]);
        let mut leaving = TcpStream::connect(sink.address()).unwrap();
        leaving.write_all(templates.c0c1(0)).unwrap();
        leaving.shutdown(Shutdown::Write).unwrap();
        assert_eq!(leaving.read(&mut [0]).unwrap(), 0, "the slot is given back before the delay is over");
        let mut waiting = TcpStream::connect(sink.address()).unwrap();
        waiting.write_all(templates.c0c1(0)).unwrap();

        let expected = SinkCounts { accepted: 2, complex: 2, abandoned: 1, held: 1, ..Default::default() };
        assert_eq!(sink.stop(), expected);
    }
}

#[test]
fn delayed_answers_come_in_the_end() {
    for engine in ENGINES {
        let sink = Sink::start(SinkPlan { delay: Nanos::from_millis(5), ..plan(engine) }).unwrap();
        let templates = templates(SPECS[0]);
        let client = ask(sink.address(), &templates, 0);
        let c2 = client.c2.clone();
        client.finish(&c2);
        assert_eq!(sink.stop(), SinkCounts { accepted: 1, complex: 1, c2_valid: 1, ..Default::default() });
    }
}

#[test]
fn more_clients_than_slots_are_served_in_turn() {
    for engine in ENGINES {
        let sink = Sink::start(SinkPlan { workers: 1, slots_per_worker: 4, ..plan(engine) }).unwrap();
        let templates = templates(SPECS[0]);
        let waiting: Vec<TcpStream> = (0..12).map(|_| TcpStream::connect(sink.address()).unwrap()).collect();
        for mut stream in waiting {
            stream.write_all(templates.c0c1(0)).unwrap();
            stream.read_exact(&mut [0; S0S1S2_SIZE]).unwrap();
            close_by_reset(stream);
        }
        let expected = SinkCounts { accepted: 12, complex: 12, abandoned: 12, reset: 12, ..Default::default() };
        let counts = sink.stop();
        assert!((1..=9).contains(&counts.full), "four slots, twelve clients: {counts:?}");
        assert_eq!(SinkCounts { full: 0, ..counts }, expected);
    }
}

#[test]
fn works_over_ipv6() {
    for engine in ENGINES {
        let listen = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
        let sink = Sink::start(SinkPlan { listen, ..plan(engine) }).unwrap();
        let client = ask(sink.address(), &templates(SPECS[2]), 0);
        let c2 = client.c2.clone();
        client.finish(&c2);
        assert_eq!(sink.stop(), SinkCounts { accepted: 1, simple: 1, c2_echo: 1, ..Default::default() });
    }
}

#[test]
fn an_address_in_use_is_an_error_with_a_remedy() {
    for engine in ENGINES {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let listen = taken.local_addr().unwrap();
        let error = Sink::start(SinkPlan { listen, ..plan(engine) }).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&listen.to_string()) && text.contains("choose another port"), "{text}");

        let sink = Sink::start(plan(engine)).unwrap();
        let listen = sink.address();
        assert!(matches!(Sink::start(SinkPlan { listen, ..plan(engine) }), Err(SinkError::Listen { .. })));
    }
}

#[test]
fn a_cpu_that_does_not_exist_is_an_error() {
    for engine in ENGINES {
        let error = Sink::start(SinkPlan { cpus: vec![1023], ..plan(engine) }).unwrap_err();
        assert!(matches!(error, SinkError::Pin { cpu: 1023, .. }), "{error}");
    }
}

#[test]
fn a_dropped_sink_gives_its_port_back() {
    for engine in ENGINES {
        let sink = Sink::start(plan(engine)).unwrap();
        let listen = sink.address();
        drop(sink);
        Sink::start(SinkPlan { listen, ..plan(engine) }).unwrap();
    }
}
