//! Sessions on hand-made completions.

use super::*;
use crate::protocol::session::{ClientSession, Event, MessageStore};

/// The sink's policy with these rules.
pub(super) fn policy(reject: &[&str]) -> ServerPolicy {
    ServerPolicy {
        reject: reject.iter().map(|rule| rule.parse().unwrap()).collect(),
        track: Some(Arc::new(Track::played_trickle(ServerSession::CHUNK_SIZE))),
        answers_goodbye: false,
        ..ServerPolicy::default()
    }
}

/// The client's side of a session: what it says to each answer, and what happened to it.
struct Talker {
    script: SessionScript,
    machine: ClientSession,
    store: MessageStore,
    happened: Vec<&'static str>,
    media_bytes: u64,
}

impl Talker {
    fn new(course: Course) -> Self {
        let spec = ClientProfile::Shakedown.session().unwrap();
        Self {
            script: SessionScript::new(&spec, "live", "rtmp://sink/live", course, ScriptOptions::default()),
            machine: ClientSession::new(course),
            store: MessageStore::for_answers(),
            happened: Vec::new(),
            media_bytes: 0,
        }
    }

    fn says(&mut self) -> Vec<u8> {
        let mut out = vec![0; ClientSession::max_output(&self.script, 1)];
        let len = self.machine.write(&self.script, b"a", &mut out);
        out.truncate(len);
        out
    }

    fn hears(&mut self, mut bytes: &[u8]) {
        while let Some(event) = self.machine.receive(&mut bytes, &mut self.store, &self.script).expect("it is RTMP") {
            self.happened.push(match event {
                Event::Connected(_) => "connected",
                Event::StreamCreated => "created",
                Event::Started => "started",
                Event::Rejected { .. } => "rejected",
                Event::Pinged => "pinged",
                Event::Ended(_) => "ended",
                Event::Announced(_) => "announced",
                Event::Media { bytes, .. } => {
                    self.media_bytes += u64::from(bytes);
                    "media"
                }
                Event::Acknowledged(_) => "acknowledged",
                Event::Other | Event::Unused(_) => continue,
            });
        }
    }

    /// Talks to the sink until both have nothing to say.
    fn talk(&mut self, bench: &mut Bench, slot: u32) {
        loop {
            let said = self.says();
            bench.deliver(slot, &said);
            if bench.sending(slot).is_none() && said.is_empty() {
                return bench.check_books();
            }
            while bench.sending(slot).is_some() {
                let heard = bench.sent(slot);
                self.hears(&heard);
            }
        }
    }

    fn happened(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.happened)
    }
}

fn in_session(bench: &mut Bench, slot: u32, course: Course) -> Talker {
    bench.handshake(slot, &Client::complex());
    let mut player = Talker::new(course);
    player.talk(bench, slot);
    player
}

#[test]
fn a_publisher_owns_no_buffer_between_its_messages() {
    let mut bench = Bench::with_policy(PLAN, policy(&[]));
    let mut publisher = in_session(&mut bench, 1, Course::Publish);
    assert_eq!(publisher.happened(), ["connected", "created", "started"]);
    assert_eq!(free_buffers(&mut bench.buffers.receive), 4);
    assert!(matches!(bench.op(OpKind::Recv, 1), Some(Op::Recv { into: Destination::Readable, .. })));

    let track = Track::trickle(4096);
    bench.deliver(1, &said(Course::Publish).media);
    assert_eq!(free_buffers(&mut bench.buffers.receive), 4);
    let counts = bench.counts();
    assert_eq!((counts.connected, counts.published, counts.played, counts.rejected), (1, 1, 0, 0));
    assert_eq!(counts.media_messages, 4 + 2, "metadata, two sequence headers, a picture and two tags");
    let tags: u32 = track.tags()[..2].iter().map(|tag| tag.payload).sum();
    assert_eq!(
        counts.media_bytes,
        track.intro_amount().payload + u64::from(tags),
        "payload, as the generator counts it"
    );

    bench.deliver(1, &said(Course::Publish).goodbye);
    assert_eq!(bench.sending(1), None, "an answer would meet a closed socket");
    bench.complete(OpKind::Recv, 1, Ok(1));
    bench.complete(OpKind::Recv, 1, Ok(0));
    bench.closed(1);
    assert_eq!((bench.counts().held, bench.counts().reset, bench.counts().abandoned), (0, 0, 0));
    bench.check_books();
}

#[test]
fn commands_that_come_with_c2_are_answered_at_once() {
    let client = Client::complex();
    let mut bench = Bench::with_policy(PLAN, policy(&[]));
    bench.accept(0);
    bench.deliver(0, &client.c0c1());
    let mut publisher = Talker::new(Course::Publish);
    let answer = bench.sending(0).unwrap();
    let opening = [client.c2(&answer), publisher.says()].concat();
    assert!(opening.len() < (RECEIVE_SIZE - C0C1_SIZE as u32) as usize, "it fits what is left of the buffer");
    bench.deliver(0, &opening);
    assert_eq!(bench.counts().connected, 1);
    assert_eq!(bench.sent(0), answer);
    publisher.hears(&bench.sent(0));
    assert_eq!(publisher.happened(), ["connected"]);
    publisher.talk(&mut bench, 0);
    assert_eq!(publisher.happened(), ["created", "started"]);
}

#[test]
fn commands_longer_than_the_buffer_are_read_next() {
    let client = Client::complex();
    let mut bench = Bench::with_policy(PLAN, policy(&[]));
    bench.accept(0);
    bench.deliver(0, &client.c0c1());
    let c2 = client.c2(&bench.sent(0));
    let Said { connect, after_connect, start, media, .. } = said(Course::Publish);
    bench.deliver(0, &[c2, connect, after_connect, start, media].concat());
    assert_eq!((bench.counts().published, bench.counts().media_messages), (1, 6));
    bench.check_books();
}

#[test]
fn players_are_sent_the_trickle_at_its_times() {
    let mut bench = Bench::with_policy(PLAN, policy(&[]));
    assert_eq!(bench.worker.next_wakeup(), Time::MAX);
    let mut player = in_session(&mut bench, 2, Course::Play);
    assert_eq!(player.happened(), ["connected", "created", "started", "media", "media", "media", "media"]);
    assert_eq!(bench.counts().played, 1);
    assert_eq!(bench.counts().media_bytes, 0, "what players get is not what publishers sent");
    let start = bench.now;
    for second in 1..=20 {
        let mut due = bench.worker.next_wakeup();
        while bench.sending(2).is_none() {
            assert!(due < start + Nanos::from_millis(1_000 * second + 10), "second {second}");
            bench.now = due;
            bench.step(&[]);
            due = bench.worker.next_wakeup();
        }
        assert!(bench.now >= start + Nanos::from_millis(1_000 * second), "second {second}");
        player.hears(&bench.sent(2));
        let pictures = usize::from(second % 4 == 0);
        assert_eq!(player.happened().len(), 1 + pictures, "second {second}");
        assert_eq!(free_buffers(&mut bench.buffers.send), 4);
    }
    // It says that it leaves, and gets nothing any more.
    bench.deliver(2, &said(Course::Play).goodbye);
    bench.complete(OpKind::Recv, 2, Ok(1));
    bench.complete(OpKind::Recv, 2, Ok(0));
    bench.closed(2);
    assert_eq!(bench.worker.next_wakeup(), Time::MAX);
    bench.check_books();
}

#[test]
fn a_player_that_does_not_read_is_closed_when_it_leaves() {
    let mut bench = Bench::with_policy(PLAN, policy(&[]));
    in_session(&mut bench, 0, Course::Play);
    while bench.sending(0).is_none() {
        bench.now = bench.worker.next_wakeup();
        bench.step(&[]);
    }
    let send = bench.op(OpKind::Send, 0).unwrap().token();
    bench.now += Nanos::from_secs(100);
    bench.step(&[]);
    bench.complete(OpKind::Recv, 0, Ok(1));
    bench.complete(OpKind::Recv, 0, Ok(0));
    assert_eq!(bench.last_cancel, Some(send));
    bench.complete(OpKind::Send, 0, Err(Errno::CANCELED));
    assert_eq!(bench.close_how(0), Some(CloseHow::Fin));
    bench.closed(0);
    assert_eq!((bench.counts().reset, bench.counts().held), (0, 0));
    bench.check_books();
}

#[test]
fn what_a_rule_refuses_is_said_and_counted() {
    for (rule, course, connected, stays) in [
        ("connect:rejected", Course::Publish, 0, false),
        ("connect:redirect=rtmp://b/live", Course::Publish, 0, false),
        ("publish:name=a:name-taken", Course::Publish, 1, true),
        ("publish:unauthorized", Course::Publish, 1, true),
        ("play:not-found", Course::Play, 1, true),
    ] {
        let mut bench = Bench::with_policy(PLAN, policy(&[rule]));
        let mut client = in_session(&mut bench, 0, course);
        assert_eq!(client.happened().last(), Some(&"rejected"), "{rule}");
        let counts = bench.counts();
        assert_eq!(
            (counts.connected, counts.published, counts.played, counts.rejected),
            (connected, 0, 0, 1),
            "{rule}"
        );
        assert_eq!(bench.close_how(0), (!stays).then_some(CloseHow::Fin), "{rule}");
        assert_eq!(bench.op(OpKind::Recv, 0).is_some(), stays, "{rule}");
        if !stays {
            bench.closed(0);
        }
        bench.check_books();
    }
}

#[test]
fn a_client_may_be_turned_away_without_a_word() {
    for (rule, course) in [("connect:close", Course::Connect), ("publish:close", Course::Publish)] {
        let mut bench = Bench::with_policy(PLAN, policy(&[rule]));
        let client = in_session(&mut bench, 0, course);
        assert!(!client.happened.contains(&"rejected") && !client.happened.contains(&"started"), "{rule}");
        assert_eq!(bench.close_how(0), Some(CloseHow::Fin), "{rule}");
        bench.closed(0);
        assert_eq!((bench.counts().rejected, bench.counts().held), (1, 0));
        bench.check_books();
    }
}

#[test]
fn a_client_that_breaks_the_protocol_is_reset() {
    for early in [false, true] {
        let client = Client::complex();
        let mut bench = Bench::with_policy(PLAN, policy(&[]));
        bench.accept(0);
        bench.deliver(0, &client.c0c1());
        let c2 = client.c2(&bench.sending(0).unwrap());
        let garbage = [7; 600];
        if early {
            // The answer is still on its way.
            bench.deliver(0, &[&c2[..], &garbage].concat());
            assert_eq!(bench.close_how(0), None);
            bench.sent(0);
        } else {
            bench.sent(0);
            bench.deliver(0, &c2);
            bench.deliver(0, &garbage);
        }
        assert_eq!(bench.close_how(0), Some(CloseHow::Rst));
        bench.closed(0);
        assert_eq!(
            bench.counts(),
            counts(|c| (c.accepted, c.complex, c.c2_valid, c.bad_messages) = (1, 1, 1, 1)),
            "a bad message is no violation of the handshake"
        );
        bench.check_books();
    }
}

#[test]
fn clients_are_pinged_from_their_connect_on() {
    let every = Nanos::from_secs(5);
    let mut bench = Bench::with_policy(WorkerPlan { ping_every: every, ..PLAN }, policy(&[]));
    bench.handshake(1, &Client::complex());
    assert_eq!(bench.worker.next_wakeup(), Time::MAX, "who says nothing is not asked");
    let mut client = in_session(&mut bench, 0, Course::Connect);
    assert_eq!(client.happened(), ["connected"]);
    for ping in 1..=3 {
        let due = bench.now + every;
        while bench.sending(0).is_none() {
            bench.now = bench.worker.next_wakeup();
            bench.step(&[]);
        }
        assert!(bench.now >= due && bench.now < due + Nanos::from_millis(3), "ping {ping}");
        client.hears(&bench.sent(0));
        assert_eq!(client.happened(), ["pinged"]);
        let pong = client.says();
        assert!(!pong.is_empty());
        bench.deliver(0, &pong);
    }
    assert_eq!(bench.counts().bad_messages, 0);
}

#[test]
fn sessions_that_lack_a_buffer_go_on_when_there_is_one() {
    let mut bench = Bench::with_policy(PLAN, policy(&[]));
    bench.handshake(0, &Client::complex());
    let receive: Vec<BufferId> = std::iter::from_fn(|| bench.buffers.receive.take()).collect();
    let send: Vec<BufferId> = std::iter::from_fn(|| bench.buffers.send.take()).collect();
    let mut client = Talker::new(Course::Connect);
    let connect = client.says();
    assert_eq!(bench.deliver_if_read(0, &connect), connect, "there is no room to read it");
    assert_eq!(bench.op(OpKind::Recv, 0), None);

    receive.into_iter().rev().for_each(|buffer| bench.buffers.receive.release(buffer));
    bench.step(&[]);
    bench.deliver(0, &connect);
    assert_eq!((bench.counts().connected, bench.sending(0)), (1, None));
    send.into_iter().rev().for_each(|buffer| bench.buffers.send.release(buffer));
    bench.step(&[]);
    client.hears(&bench.sent(0));
    assert_eq!(client.happened(), ["connected"]);
    bench.check_books();
}

#[test]
fn a_handshake_that_lacks_a_send_buffer_is_answered_when_there_is_one() {
    let client = Client::complex();
    let mut bench = Bench::new(PLAN);
    let send: Vec<BufferId> = std::iter::from_fn(|| bench.buffers.send.take()).collect();
    bench.accept(0);
    bench.deliver(0, &client.c0c1());
    assert_eq!((bench.counts().complex, bench.sending(0)), (1, None));
    send.into_iter().rev().for_each(|buffer| bench.buffers.send.release(buffer));
    bench.step(&[]);
    let c2 = client.c2(&bench.sent(0));
    bench.deliver(0, &c2);
    assert_eq!(bench.counts().c2_valid, 1);
    bench.check_books();
}
