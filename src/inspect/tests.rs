//! Captures built byte by byte.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::protocol::ClientProfile;
use crate::protocol::transcript::Said;

/// ffmpeg against nginx-rtmp.
const C0C1: &[u8] = include_bytes!("../../tests/vectors/ffmpeg__nginx/c0c1.bin");
const S0S1S2: &[u8] = include_bytes!("../../tests/vectors/ffmpeg__nginx/s0s1s2.bin");
const C2: &[u8] = include_bytes!("../../tests/vectors/ffmpeg__nginx/c2.bin");

/// What they said then.
const SAID: [&[u8]; 2] = [
    include_bytes!("../../tests/vectors/session__ffmpeg__nginx/client.bin"),
    include_bytes!("../../tests/vectors/session__ffmpeg__nginx/server.bin"),
];

const CLIENT: &str = "10.0.0.1:40000";
const SERVER: &str = "10.0.0.2:1935";
/// Sequence numbers wrap within the handshake.
const CLIENT_ISN: u32 = u32::MAX - 600;
const SERVER_ISN: u32 = u32::MAX - 2000;

const LARGER_THAN_ANY_PACKET: usize = 17 << 20;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

#[test]
fn a_handshake_is_timed_and_explained() {
    let found = inspect(&handshake());
    let [handshake] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(handshake.outcome, Outcome::Completed { mode: Negotiated::ComplexVerified });
    let ends = Endpoints { client: CLIENT.parse().unwrap(), server: SERVER.parse().unwrap() };
    assert_eq!(handshake.endpoints, Some(ends));
    assert_eq!((&handshake.c0c1_segments[..], &handshake.s0s1s2_segments[..]), (&[1537][..], &[1537, 1536][..]));
    assert_eq!(handshake.likely_servers, ["nginx-rtmp"]);
    let at = StepTimes {
        began_unix_ns: Some(1_000_000_000),
        syn_ns: Some(0),
        syn_ack_ns: Some(1),
        c0c1_ns: Some(3),
        s0_ns: Some(4),
        s1_ns: Some(4),
        c2_ns: Some(5),
        s2_ns: Some(6),
        ended_ns: Some(8),
    };
    assert_eq!(handshake.at, at);
    let timings = Timings {
        connect_ns: Some(1),
        s0_ns: Some(1),
        s0s1_ns: Some(1),
        s2_ns: Some(3),
        c2_ns: Some(1),
        total_ns: Some(6),
    };
    assert_eq!(handshake.timings, timings);
    assert_eq!(handshake.ending, Some(Ending { how: EndingKind::Rst, by: Some(Side::Client) }));
    assert_eq!(handshake.behind_c2, Trailing { bytes: 2, first_hex: "0200".into() });
    assert_eq!(handshake.delivery, Delivery::default());
}

#[test]
fn headers_are_enough_to_time_a_handshake() {
    let whole = inspect(&handshake());
    let headers = pcap(1, &handshake(), |packet| ethernet(&packet.ipv4()), 54);
    let times = step_times(&headers[..], 1935);
    assert_eq!(times.handshakes, [whole[0].at]);
    let nothing = Skipped { packets: 10, ..Skipped::default() };
    assert_eq!((times.skipped, times.damage.is_none()), (nothing.clone(), true));
    let elsewhere = step_times(&headers[..], 1936);
    assert_eq!((elsewhere.handshakes, elsewhere.skipped), (Vec::new(), nothing));
}

#[test]
fn the_text_of_a_recorded_handshake() {
    insta::assert_snapshot!(inspect(&handshake())[0].render(80, false), @r"
    10.0.0.1:40000 -> 10.0.0.2:1935: complex handshake completed

      0 ns  SYN        the client connects
      1 ns  SYN-ACK    the server accepts
      3 ns  C0C1       1537 bytes sent: version byte 0x03, complex C1
                       time 0, version 9.0.124.2
                       digest in the first half, at byte 494
      4 ns  S0         version byte 0x03: RTMP
      4 ns  S1         time 917881, version 13.14.10.13
                       digest in the first half, at byte 564: it verifies
      5 ns  C2         1536 bytes sent: the echo of S1
      6 ns  S2         signed from C1's digest: it verifies
      8 ns  RST        the client resets the connection

            mode       asked complex, negotiated complex: both digests verify
            C0C1 in    1537 bytes in one piece (the network may have joined more)
            S0S1S2 in  3073 bytes in 2 pieces: 1537 + 1536 (the network may join or
                       split what a server writes)
            behind C2  2 bytes, of the next stage of the protocol: 02 00
            client     speaks like ffmpeg: the handshake is the same
            server     answers like nginx-rtmp
            timings    connect 1 ns, complete after 6 ns
                       since C0C1: S0 1 ns, S1 1 ns, S2 3 ns
                       since S1: C2 1 ns
    ");
    let streams = streams(C0C1, S0S1S2, None).render(80, false);
    assert!(streams.starts_with("recorded streams: incomplete, 0 of 1536 bytes of C2\n"), "{streams}");
}

#[test]
fn a_session_is_told_in_the_order_in_which_it_was_said() {
    let found = inspect(&session(&[], 100));
    let told = found[0].session.as_ref().unwrap();
    assert_eq!((told.client.bytes, told.server.bytes), (SAID[0].len() as u64, SAID[1].len() as u64));
    assert_eq!((told.client.missing, told.left_out), (0, 0));
    assert!(told.messages.is_sorted_by_key(|said| said.at_ns) && told.messages[0].at_ns > found[0].at.s2_ns);
    let names: Vec<&str> = told.messages.iter().map(|said| &*said.name).collect();
    let place =
        |name: &str| names.iter().position(|known| *known == name).unwrap_or_else(|| panic!("{name}: {names:?}"));
    assert!(place("connect") < place("_result") && place("publish") < place("onStatus"), "{names:?}");
    let guess = &found[0].likely_clients;
    assert_eq!(
        (&guess.clients[..], guess.by_handshake, guess.by_commands),
        (&[ClientProfile::Ffmpeg][..], Some(true), Some(true))
    );
    let text = found[0].render(80, false);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for phrase in [
        "client connect (1): app live, type nonprivate, flashVer FMLE/3.0",
        "server onStatus: NetStream.Publish.Start (status): \"Start publishing\"",
        "client speaks like ffmpeg: handshake and commands are the same",
    ] {
        assert!(words.contains(phrase), "{phrase}\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn what_a_capture_misses_of_a_session_is_said() {
    // Of the client: in the middle of its commands, and within its audio and video.
    let lost = |index: usize| inspect(&session(&[index], 100)).remove(0).session.unwrap();
    let in_commands = lost(1);
    let said: Vec<&Said> = in_commands.messages.iter().filter(|said| said.from == Side::Client).collect();
    assert_eq!(said.iter().map(|said| &*said.name).collect::<Vec<_>>(), ["unreadable"]);
    assert!(said[0].text.starts_with("100 bytes before these are missing; "), "{:?}", said[0]);
    assert_eq!(in_commands.client.missing, 100);
    assert!(in_commands.messages.iter().any(|said| said.name == "onStatus"), "the server's side is told all the same");
    let in_media = lost(4);
    assert!(in_media.messages.iter().all(|said| said.name != "unreadable"), "{:?}", in_media.messages);
    assert_eq!(in_media.client.missing, 100);

    for (kept, name) in [(CLIENT, "publish"), (SERVER, "onStatus")] {
        let one_way: Vec<Packet> =
            session(&[], 100).into_iter().filter(|packet| packet.source == kept.parse().unwrap()).collect();
        let told = inspect(&one_way).remove(0).session.unwrap();
        assert!(told.messages.iter().any(|said| said.name == name), "{:?}", told.messages);
        assert!([told.client.bytes, told.server.bytes].contains(&0));
    }
    // Without its beginning, the place of a session is known by a handshake that fits, and only then.
    assert!(inspect(&session(&[], 100)[3..])[0].session.is_some());
    let late = capture(&pcap(101, &session(&[], 100)[5..], Packet::ipv4, usize::MAX)[..], Some(1935)).handshakes;
    assert!(late[0].session.is_none(), "{:?}", late[0].session);
}

#[test]
fn nothing_that_gives_access_is_shown() {
    let key = &b"stream"[..];
    let found = inspect(&session(&[], 100));
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = format!("{}\n{}", serde_json::to_string(&found).unwrap(), found[0].render(300, false));
    assert!(!shown.contains(&hex), "{shown}");
    assert!(!shown.contains("\"stream\":\"stream\""), "{shown}");
    assert!(found[0].behind_c2.first_hex.contains("**") && found[0].behind_c2.first_hex.starts_with("030000000000"));
    let http = others_of(b"GET /live/k3y.flv?token=t0ken HTTP/1.1\r\n\r\n");
    assert_eq!(
        (http.looks_like, http.first_hex.get(..8), http.first_hex.contains("6b3379")),
        (Appearance::Http, Some("47455420"), false)
    );
    let middle = others_of(b"\x07key k3y");
    assert_eq!(middle.first_hex, "07**************");
    let packets = [from_client(5000, b"\x07key k3y")];
    let late = capture(&pcap(101, &packets, Packet::ipv4, usize::MAX)[..], None).others.remove(0);
    assert_eq!((late.looks_like, late.first_hex), (Appearance::Uncaptured, middle.first_hex));
}

#[test]
fn segments_out_of_order_and_repeated_are_put_together() {
    let mut packets = handshake();
    packets.truncate(3);
    let answer = cut(S0S1S2, 600);
    // The first last, some twice, one overlapping its neighbours by 100 bytes.
    for index in [1, 0, 0, 5, 4, 3, 5] {
        packets.push(from_server(index * 600, &answer[index]));
    }
    packets.push(from_server(1100, &S0S1S2[1100..1900]));
    for index in [2, 1, 0] {
        packets.push(from_client(index * 600, &cut(C0C1, 600)[index]));
    }
    packets.push(from_client(1537, C2));
    // The answer may also be captured before what it answers.
    for _ in 0..2 {
        let found = inspect(&packets);
        assert_eq!(found[0].outcome, Outcome::Completed { mode: Negotiated::ComplexVerified });
        assert_eq!(found[0].c0c1_segments, [600, 600, 337]);
        assert_eq!(found[0].s0s1s2_segments, [600, 600, 600, 600, 600, 73]);
        let delivery = &found[0].delivery;
        assert_eq!((delivery.retransmits, delivery.out_of_order, delivery.gaps.len()), (2, 6, 0));
        packets[3..].rotate_right(4);
    }
}

#[test]
fn missing_segments_are_gaps() {
    let mut packets = handshake();
    packets.truncate(4);
    packets.push(from_server(0, &S0S1S2[..1448]));
    packets.push(from_server(2896, &S0S1S2[2896..]));
    let found = inspect(&packets);
    assert_eq!(found[0].outcome, Outcome::Incomplete { missing: Part::S1, received: 1447 });
    let gap = Gap { from: Side::Server, start: 1448, bytes: 1448, acknowledged: false };
    assert_eq!(found[0].delivery.gaps, [gap]);
    assert_eq!((found[0].at.s0_ns, found[0].at.s1_ns), (Some(4), None));

    packets.push(Packet::new(
        [CLIENT, SERVER],
        [CLIENT_ISN.wrapping_add(1538), SERVER_ISN.wrapping_add(3074)],
        ACK,
        b"",
    ));
    let found = inspect(&packets);
    assert_eq!(found[0].delivery.gaps, [Gap { acknowledged: true, ..gap }]);
    assert!(
        found[0].render(80, false).contains("1448 bytes of the server are missing"),
        "{}",
        found[0].render(80, false)
    );
}

#[test]
fn a_capture_that_missed_c0c1_tells_so() {
    let mut packets = handshake();
    packets.remove(3);
    let found = inspect(&packets);
    let gap = Gap { from: Side::Client, start: 0, bytes: 1537, acknowledged: true };
    assert_eq!(found[0].delivery.gaps, [gap]);
    assert_eq!(found[0].outcome, Outcome::Incomplete { missing: Part::C0c1, received: 0 });
}

#[test]
fn a_capture_that_begins_late_tells_so() {
    let found = inspect(&handshake()[3..]);
    assert_eq!(found[0].outcome, Outcome::Completed { mode: Negotiated::ComplexVerified });
    assert!(found[0].delivery.began_before_capture);
    assert_eq!((found[0].timings.connect_ns, found[0].timings.s2_ns), (None, Some(3)));
}

#[test]
fn packets_cut_by_the_snap_length_are_named() {
    let pcap = pcap(1, &handshake(), |packet| ethernet(&packet.ipv4()), 96);
    let found = capture(&pcap[..], None).handshakes;
    let handshake = &found[0];
    assert_eq!(handshake.outcome, Outcome::Incomplete { missing: Part::C0c1, received: 96 - 54 });
    assert_eq!(handshake.delivery.cut_by_snaplen, 2 * 3073 - 4 * (96 - 54));
    assert_eq!((&handshake.s0s1s2_segments[..], handshake.timings.s2_ns), (&[1537, 1536][..], Some(3)));
    assert!(handshake.render(80, false).contains("tcpdump -s 0"), "{}", handshake.render(80, false));

    let headers_cut = self::pcap(1, &self::handshake(), |packet| ethernet(&packet.ipv4()), 40);
    let inspection = capture(&headers_cut[..], None);
    assert_eq!((inspection.handshakes.len(), inspection.skipped.cut_headers), (0, 10));
}

#[test]
fn every_link_type_is_read() {
    let cooked = |header: usize, protocol_at: usize| {
        move |packet: &Packet| {
            let mut bytes = vec![0; header];
            bytes[protocol_at..protocol_at + 2].copy_from_slice(&[0x08, 0x00]);
            [bytes, packet.ipv4()].concat()
        }
    };
    let tagged = |packet: &Packet| {
        let tags = [0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 0x08, 0];
        [&[0; 12][..], &tags, &packet.ipv4()].concat()
    };
    let hop_by_hop = |packet: &Packet| packet.ipv6();
    type Link<'a> = (u32, &'a dyn Fn(&Packet) -> Vec<u8>);
    let links: [Link; 9] = [
        (0, &|packet| [&[2, 0, 0, 0], &packet.ipv4()[..]].concat()),
        (108, &|packet| [&[0, 0, 0, 2], &packet.ipv4()[..]].concat()),
        (1, &|packet| ethernet(&packet.ipv4())),
        (1, &tagged),
        (101, &|packet| packet.ipv4()),
        (101, &hop_by_hop),
        (229, &hop_by_hop),
        (113, &cooked(16, 14)),
        (276, &cooked(20, 0)),
    ];
    for (link, frame) in links {
        let inspection = capture(&pcap(link, &handshake(), frame, usize::MAX)[..], None);
        assert!(inspection.damage.is_none(), "{link}");
        let outcomes: Vec<Outcome> = inspection.handshakes.iter().map(|handshake| handshake.outcome).collect();
        assert_eq!(outcomes, [Outcome::Completed { mode: Negotiated::ComplexVerified }], "{link}");
    }
    let unknown = capture(&pcap(105, &handshake(), |packet| packet.ipv4(), usize::MAX)[..], None);
    assert_eq!((unknown.handshakes.len(), unknown.skipped.unknown_links), (0, 10));
    assert!(unknown.skipped.findings()[0].contains("link type 105"), "{:?}", unknown.skipped.findings());
}

fn big_endian(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap().to_be_bytes()
}

/// An IPv4 packet of `protocol` between tunnel ends.
fn tunnel_ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = big_endian(20 + payload.len());
    let ends = [10, 9, 9, 1, 10, 9, 9, 2];
    [&[0x45, 0][..], &total, &[0, 0, 0, 0, 64, protocol, 0, 0], &ends, payload].concat()
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = big_endian(8 + payload.len());
    tunnel_ipv4(17, &[&[0xc3, 0x50][..], &port.to_be_bytes(), &length, &[0, 0], payload].concat())
}

/// An Ethernet frame without padding, which a tunnel's header would count.
fn frame(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &ether_type.to_be_bytes(), payload].concat()
}

#[test]
fn handshakes_are_found_within_tunnels() {
    type Wrap = fn(&[u8]) -> Vec<u8>;
    let inner: Wrap = |packet| frame(0x0800, packet);
    let tunnels: [(&str, Wrap); 17] = [
        ("VXLAN", |packet| udp(4789, &[&[8, 0, 0, 0, 0, 0, 1, 0][..], &frame(0x0800, packet)].concat())),
        ("VXLAN on Linux's old port", |packet| {
            udp(8472, &[&[8, 0, 0, 0, 0, 0, 1, 0][..], &frame(0x0800, packet)].concat())
        }),
        ("Geneve", |packet| udp(6081, &[&[0, 0, 0x65, 0x58, 0, 0, 1, 0][..], &frame(0x0800, packet)].concat())),
        ("Geneve with an option", |packet| udp(6081, &[&[1, 0, 0x08, 0, 0, 0, 1, 0, 9, 9, 9, 9][..], packet].concat())),
        ("GTP-U", |packet| udp(2152, &[&[0x30, 0xff, 0, 0, 0, 0, 0, 1][..], packet].concat())),
        ("GTP-U with a sequence number", |packet| {
            udp(2152, &[&[0x32, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0][..], packet].concat())
        }),
        ("GRE", |packet| tunnel_ipv4(47, &[&[0, 0, 0x08, 0][..], packet].concat())),
        ("GRE with key and sequence number", |packet| {
            tunnel_ipv4(47, &[&[0x30, 0, 0x08, 0][..], &[7; 8], packet].concat())
        }),
        ("GRE with a checksum", |packet| tunnel_ipv4(47, &[&[0x80, 0, 0x08, 0][..], &[7; 4], packet].concat())),
        ("GRE that carries Ethernet", |packet| {
            tunnel_ipv4(47, &[&[0, 0, 0x65, 0x58][..], &frame(0x0800, packet)].concat())
        }),
        ("ERSPAN I", |packet| tunnel_ipv4(47, &[&[0, 0, 0x88, 0xbe][..], &frame(0x0800, packet)].concat())),
        ("ERSPAN II", |packet| {
            tunnel_ipv4(47, &[&[0x10, 0, 0x88, 0xbe][..], &[7; 4], &[0; 8], &frame(0x0800, packet)].concat())
        }),
        ("ERSPAN III", |packet| {
            tunnel_ipv4(47, &[&[0x10, 0, 0x22, 0xeb][..], &[7; 4], &[0; 12], &frame(0x0800, packet)].concat())
        }),
        ("IP in IP", |packet| tunnel_ipv4(4, packet)),
        ("VXLAN in GRE", |packet| {
            let vxlan = udp(4789, &[&[8, 0, 0, 0, 0, 0, 1, 0][..], &frame(0x0800, packet)].concat());
            tunnel_ipv4(47, &[&[0, 0, 0x08, 0][..], &vxlan].concat())
        }),
        ("no tunnel", <[u8]>::to_vec),
        ("IPv6 in IP", |packet| tunnel_ipv4(41, packet)),
    ];
    for (name, wrap) in tunnels {
        let file = pcap(1, &handshake(), |packet| inner(&wrap(&packet.ipv4())), usize::MAX);
        let found = capture(&file[..], None);
        assert_eq!(found.handshakes.len(), 1, "{name}: {:?}", found.skipped);
        assert_eq!(found.handshakes[0].outcome, Outcome::Completed { mode: Negotiated::ComplexVerified }, "{name}");
        assert!(found.skipped.other_packets.is_empty(), "{name}");
    }
    let links: [(&str, u16, &[u8]); 3] = [
        ("MPLS", 0x8847, &[0, 1, 0, 64, 0, 2, 1, 64]),
        ("PPPoE", 0x8864, &[0x11, 0, 0, 1, 0, 0, 0, 0x21]),
        ("two VLANs", 0x88a8, &[0, 1, 0x81, 0, 0, 2, 0x08, 0]),
    ];
    for (name, ether_type, header) in links {
        let wrap = |packet: &Packet| frame(ether_type, &[header, &packet.ipv4()].concat());
        assert_eq!(capture(&pcap(1, &handshake(), wrap, usize::MAX)[..], None).handshakes.len(), 1, "{name}");
    }
}

#[test]
fn what_is_not_looked_into_is_named() {
    let contents = |wrap: fn(&Packet) -> Vec<u8>| {
        let found = capture(&pcap(1, &handshake(), wrap, usize::MAX)[..], None);
        assert!(found.handshakes.is_empty());
        found.skipped.contents()
    };
    for (wrap, named) in [
        ((|_| frame(0x0806, &[0; 28])) as fn(&Packet) -> Vec<u8>, "10 packets, without TCP 10 of ARP"),
        (|packet| frame(0x0800, &udp(4433, &packet.ipv4())), "10 packets, without TCP 10 of UDP"),
        (
            |packet| frame(0x0800, &tunnel_ipv4(50, &packet.ipv4())),
            "10 packets, without TCP 10 of IPsec (ESP), which is encrypted",
        ),
        (|packet| frame(0x9999, &packet.ipv4()), "10 packets, without TCP 10 of EtherType 0x9999"),
        (
            |packet| frame(0x0800, &(0..20).fold(packet.ipv4(), |inner, _| tunnel_ipv4(4, &inner))),
            "10 packets, without TCP 10 of more tunnels within each other than are opened",
        ),
    ] {
        assert_eq!(contents(wrap), named);
    }
    let empty = capture(&pcap(1, &[], Packet::ipv4, usize::MAX)[..], None);
    assert_eq!(empty.skipped.contents(), "the capture holds no packets");
}

#[test]
fn nesting_without_end_is_no_danger() {
    // A megabyte of headers, each of which begins the next.
    let nested = [0x65, 0x58].repeat(1 << 19);
    let file = pcap(1, &handshake()[..1], |_| frame(0x6558, &nested), usize::MAX);
    assert_eq!(capture(&file[..], None).skipped.other_packets.len(), 1);
}

#[test]
fn a_packet_that_is_captured_twice_is_a_copy_and_not_sent_again() {
    let twice: Vec<Packet> = (0_u16..)
        .zip(handshake())
        .flat_map(|(id, packet)| {
            let packet = Packet { id: Some(id), ..packet };
            [packet.clone(), packet]
        })
        .collect();
    let found = capture(&pcap(101, &twice, Packet::ipv4, usize::MAX)[..], None);
    assert_eq!((found.skipped.packets, found.skipped.copies), (20, 10));
    let delivery = &found.handshakes[0].delivery;
    assert_eq!((delivery.retransmits, delivery.syn_retransmits, delivery.out_of_order), (0, 0, 0));
    // The same segment in another packet is a retransmission.
    let again: Vec<Packet> = handshake().into_iter().flat_map(|packet| [packet.clone(), packet]).collect();
    let found = capture(&pcap(101, &again, Packet::ipv4, usize::MAX)[..], None);
    assert_eq!((found.skipped.copies, found.handshakes[0].delivery.syn_retransmits), (0, 1));
}

#[test]
fn other_protocols_are_no_handshakes_unless_the_port_says_so() {
    let speak = |bytes: &[u8]| {
        let mut packets = handshake();
        packets.truncate(3);
        packets.push(from_client(0, bytes));
        packets
    };
    let tpkt = [&[3, 0, 0, 19, 14, 0xe0][..], &[0; 13]].concat();
    for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 2, 0], &[6; 40], &tpkt] {
        let packets = speak(other);
        let inspection = capture(&pcap(101, &packets, Packet::ipv4, usize::MAX)[..], None);
        assert_eq!((inspection.handshakes.len(), inspection.skipped.other_connections), (0, 1), "{other:?}");
        let of_port = |port| capture(&pcap(101, &packets, Packet::ipv4, usize::MAX)[..], Some(port)).handshakes;
        assert_eq!((of_port(1935).len(), of_port(40000).len(), of_port(1936).len()), (1, 0, 0), "{other:?}");
    }
    let others = |packets: &[Packet]| capture(&pcap(101, packets, Packet::ipv4, usize::MAX)[..], None).others;
    let looks = |packets: &[Packet]| {
        let [other] = &others(packets)[..] else { panic!("{:?}", others(packets)) };
        (other.looks_like, other.first_from)
    };
    for (bytes, looks_like) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], Appearance::Http),
        (&[0x16, 3, 1, 2, 0], Appearance::Tls),
        (b"SSH-2.0-OpenSSH_9.2", Appearance::Ssh),
        (b"PROXY TCP4 10.9.0.0 10.0.0.2 1024 1935\r\n", Appearance::ProxyHeader),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", Appearance::ProxyHeader),
        (&tpkt, Appearance::Tpkt),
        (&[6; 40], Appearance::BeginsLikeRtmp),
        (&[0x20; 1537], Appearance::OtherVersion),
        (&[0xff; 9], Appearance::Unknown),
    ] {
        let mut packets = speak(bytes);
        if bytes == [6; 40] {
            packets.push(from_server(0, b"no"));
        }
        assert_eq!(looks(&packets), (looks_like, Some(Side::Client)), "{bytes:?}");
    }
    assert_eq!(looks(&handshake()[..3]), (Appearance::Silent, None));
    assert_eq!(looks(&[&handshake()[..3], &[from_server(0, b"220 mail")]].concat()).1, Some(Side::Server));
    assert_eq!(looks(&[&handshake()[..3], &[from_client(100, &[1; 9])]].concat()), (Appearance::Uncaptured, None));
    let tls = others(&speak(&[0x16, 3, 1, 2, 0])).remove(0);
    insta::assert_snapshot!(tls.render(80), @"10.0.0.1:40000 -> 10.0.0.2:1935: no handshake, looks like TLS (16 03 01 02 00)");
    insta::assert_snapshot!(tls.render(60), @r"
    10.0.0.1:40000 -> 10.0.0.2:1935:
      no handshake, looks like TLS (16 03 01 02 00)
    ");
    let half = inspect(&speak(&C0C1[..700]));
    assert_eq!(half[0].outcome, Outcome::Incomplete { missing: Part::C0c1, received: 700 });
}

#[test]
fn an_address_pair_used_again_is_another_connection() {
    let mut again = handshake();
    for packet in &mut again {
        let client = packet.source == CLIENT.parse().unwrap();
        let [own, other] = if client { [7000, 9000] } else { [9000, 7000] };
        packet.sequence = packet.sequence.wrapping_add(own);
        packet.acknowledgement = packet.acknowledgement.wrapping_add(other);
    }
    let found = inspect(&[handshake(), again].concat());
    let outcomes: Vec<Outcome> = found.iter().map(|handshake| handshake.outcome).collect();
    assert_eq!(outcomes, [Outcome::Completed { mode: Negotiated::ComplexVerified }; 2]);
    assert_eq!(found[1].at.began_unix_ns, Some(1_000_000_010));
}

#[test]
fn streams_that_keep_too_much_are_given_up_and_counted() {
    let lone_bytes = (0..20).map(|index| {
        let client = format!("10.0.0.1:{}", 41_000 + index);
        [Packet::new([&client, SERVER], [7, 0], SYN, b""), Packet::new([&client, SERVER], [3_008, 0], ACK, b"x")]
    });
    let packets: Vec<Packet> = handshake().into_iter().chain(lone_bytes.flatten()).collect();
    let file = pcap(1, &packets, |packet| ethernet(&packet.ipv4()), usize::MAX);
    let mut connections = connections::Connections::new(None).keeping_at_most(40_000);
    capture_file::read_records(&file[..], |record| connections.take(&record)).unwrap();
    let found = connections.finish(None);
    assert_eq!((found.handshakes.len(), found.others.len(), found.skipped.beyond_limit), (1, 10, 10));
    assert_eq!(found.handshakes[0].delivery, Delivery::default());
}

#[test]
fn damage_is_told_with_its_place_after_what_was_read() {
    let whole = pcap(101, &handshake(), Packet::ipv4, usize::MAX);
    let cut = capture(&whole[..whole.len() - 1], None);
    assert!(matches!(cut.damage, Some(CaptureError::CutShort { offset }) if offset == whole.len() - 16 - 40));
    assert_eq!(cut.handshakes[0].ending.unwrap().how, EndingKind::Rst);

    let mut absurd = whole.clone();
    absurd[24 + 8..24 + 12].copy_from_slice(&[0xff; 4]);
    assert!(matches!(capture(&absurd[..], None).damage, Some(CaptureError::CutShort { offset: 24 })));
    absurd.resize(LARGER_THAN_ANY_PACKET, 0);
    let absurd = capture(&absurd[..], None).damage.unwrap().to_string();
    assert_eq!(absurd, "the record at byte 24 is damaged: it claims to be larger than any packet");
    assert!(matches!(capture(&whole[..10], None).damage, Some(CaptureError::CutShort { offset: 0 })));
    assert!(matches!(capture(&b"GIF89a"[..], None).damage, Some(CaptureError::NotACapture)));
    assert!(matches!(capture(&b""[..], None).damage, Some(CaptureError::NotACapture)));
}

#[test]
fn pcapng_says_how_fine_its_clock_is() {
    for (resolution, unit_ns) in [(9, 1), (6, 1000), (0x80 | 10, 976_562)] {
        let file = pcapng(&handshake(), resolution);
        let inspection = capture(&file[..], None);
        assert!(inspection.damage.is_none(), "{:?}", inspection.damage);
        let timings = inspection.handshakes[0].timings;
        assert_eq!(timings.connect_ns.map(|ns| ns / unit_ns), Some(1), "{resolution}");
        assert_eq!(inspection.handshakes[0].outcome, Outcome::Completed { mode: Negotiated::ComplexVerified });
    }
    let mut stray = pcapng(&handshake(), 9);
    let first_packet = 28 + 32;
    stray[first_packet + 8] = 7;
    let damage = capture(&stray[..], None).damage.unwrap().to_string();
    assert_eq!(damage, "the record at byte 60 is damaged: it belongs to an interface that the file does not describe");
}

#[test]
fn raw_streams_may_be_cut_and_c2_may_follow_c1() {
    let whole = [C0C1, C2, b"tail"].concat();
    let told = streams(&whole, S0S1S2, None);
    assert_eq!(told.outcome, Outcome::Completed { mode: Negotiated::ComplexVerified });
    assert_eq!(told.behind_c2.bytes, 4);
    assert_eq!((told.endpoints, told.at), (None, StepTimes::default()));
    for (c0c1, s0s1s2, c2, missing, received) in [
        (&C0C1[..5], S0S1S2, C2, Part::C0c1, 5),
        (C0C1, &S0S1S2[..0], C2, Part::S0, 0),
        (C0C1, &S0S1S2[..9], C2, Part::S1, 8),
        (C0C1, &S0S1S2[..1540], C2, Part::S2, 3),
        (C0C1, S0S1S2, &C2[..7], Part::C2, 7),
    ] {
        assert_eq!(streams(c0c1, s0s1s2, Some(c2)).outcome, Outcome::Incomplete { missing, received });
    }
    let mut wrong = S0S1S2.to_vec();
    wrong[3000] ^= 1;
    assert_eq!(streams(C0C1, &wrong, Some(C2)).outcome, Outcome::Invalid);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_it_panic(
        magic in prop::sample::select(vec![[0xd4, 0xc3, 0xb2, 0xa1], [0xa1, 0xb2, 0x3c, 0x4d], [0x34, 0xcd, 0xb2, 0xa1],
                                           [0x0a, 0x0d, 0x0d, 0x0a], [1, 2, 3, 4]]),
        rest in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        explain_all(&[&magic[..], &rest].concat());
    }

    #[test]
    fn no_damage_to_a_capture_makes_it_panic(
        ng in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        end in any::<prop::sample::Index>(),
        near_headers in any::<bool>(),
    ) {
        let mut file = if ng { pcapng(&handshake(), 9) } else { pcap(1, &handshake(), |packet| ethernet(&packet.ipv4()), usize::MAX) };
        let reach = if near_headers { 400 } else { file.len() };
        for (place, byte) in changes {
            let place = place.index(reach);
            file[place] = byte;
        }
        let end = file.len() - end.index(file.len()) / 4;
        explain_all(&file[..end]);
    }

    #[test]
    fn any_order_and_any_cut_gives_the_same_handshake(
        mut order in Just((0..6).collect::<Vec<usize>>()).prop_shuffle(),
        size in 513_usize..900,
        twice in 0..6_usize,
    ) {
        let mut packets = handshake();
        packets.truncate(4);
        let pieces = cut(S0S1S2, size);
        order.retain(|&index| index < pieces.len());
        order.push(twice.min(pieces.len() - 1));
        packets.extend(order.iter().map(|&index| from_server(index * size, &pieces[index])));
        packets.push(from_client(1537, C2));
        let found = inspect(&packets);
        prop_assert_eq!(&found[0].explanation, &streams(C0C1, S0S1S2, Some(C2)).explanation);
        prop_assert_eq!(&found[0].s0s1s2_segments, &pieces.iter().map(Vec::len).collect::<Vec<_>>());
        prop_assert_eq!(found[0].delivery.retransmits, 1);
    }
}

/// Everything that is done with a file.
fn explain_all(file: &[u8]) {
    for port in [None, Some(1935)] {
        let inspection = capture(file, port);
        inspection.skipped.findings();
        assert!(inspection.others.len() <= inspection.skipped.other_connections);
        for other in inspection.others {
            other.render(80);
        }
        for handshake in inspection.handshakes {
            handshake.render(80, false);
            serde_json::to_string(&handshake).unwrap();
        }
    }
}

/// The connection whose client says `bytes`, which are no handshake.
fn others_of(bytes: &[u8]) -> OtherConnection {
    let packets = [&handshake()[..3], &[from_client(0, bytes)]].concat();
    capture(&pcap(101, &packets, Packet::ipv4, usize::MAX)[..], None).others.remove(0)
}

/// A handshake and what follows it: segments of `size` bytes, of both sides in turn, without those of the client that are
/// `lost`.
fn session(lost: &[usize], size: usize) -> Vec<Packet> {
    let mut packets = handshake();
    packets.truncate(7);
    let [client, server] = SAID.map(|bytes| cut(bytes, size));
    for index in 0..client.len().max(server.len()) {
        let at = S0S1S2_SIZE + index * size;
        packets.extend(client.get(index).filter(|_| !lost.contains(&index)).map(|bytes| from_client(at, bytes)));
        packets.extend(server.get(index).map(|bytes| from_server(at, bytes)));
    }
    packets
}

fn inspect(packets: &[Packet]) -> Vec<Handshake> {
    let inspection = capture(&pcap(101, packets, Packet::ipv4, usize::MAX)[..], None);
    assert!(inspection.damage.is_none(), "{:?}", inspection.damage);
    inspection.handshakes
}

#[derive(Clone)]
struct Packet {
    source: SocketAddr,
    destination: SocketAddr,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    payload: Vec<u8>,
    /// The IP identification; `None`: another one in each packet of a file.
    id: Option<u16>,
}

/// A whole connection, a packet each nanosecond.
fn handshake() -> Vec<Packet> {
    let [client, server] = [CLIENT_ISN.wrapping_add(1), SERVER_ISN.wrapping_add(1)];
    vec![
        Packet::new([CLIENT, SERVER], [CLIENT_ISN, 0], SYN, b""),
        Packet::new([SERVER, CLIENT], [SERVER_ISN, client], SYN | ACK, b""),
        Packet::new([CLIENT, SERVER], [client, server], ACK, b""),
        from_client(0, C0C1),
        from_server(0, &S0S1S2[..1537]),
        from_client(1537, C2),
        from_server(1537, &S0S1S2[1537..]),
        from_client(3073, &[2, 0]),
        Packet::new([CLIENT, SERVER], [client.wrapping_add(3075), server.wrapping_add(3073)], RST | ACK, b""),
        Packet::new([SERVER, CLIENT], [server.wrapping_add(3073), client.wrapping_add(3075)], FIN | ACK, b""),
    ]
}

fn from_client(at: usize, payload: &[u8]) -> Packet {
    let sequence = CLIENT_ISN.wrapping_add(1 + u32::try_from(at).unwrap());
    Packet::new([CLIENT, SERVER], [sequence, SERVER_ISN.wrapping_add(1)], ACK, payload)
}

fn from_server(at: usize, payload: &[u8]) -> Packet {
    let sequence = SERVER_ISN.wrapping_add(1 + u32::try_from(at).unwrap());
    Packet::new([SERVER, CLIENT], [sequence, CLIENT_ISN.wrapping_add(1538)], ACK, payload)
}

fn cut(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
    bytes.chunks(size).map(<[u8]>::to_vec).collect()
}

impl Packet {
    fn new([source, destination]: [&str; 2], [sequence, acknowledgement]: [u32; 2], flags: u8, payload: &[u8]) -> Self {
        let [source, destination] = [source, destination].map(|address| address.parse().unwrap());
        Self { source, destination, sequence, acknowledgement, flags, payload: payload.to_vec(), id: None }
    }

    fn tcp(&self) -> Vec<u8> {
        let ports = [self.source.port().to_be_bytes(), self.destination.port().to_be_bytes()].concat();
        let numbers = [self.sequence.to_be_bytes(), self.acknowledgement.to_be_bytes()].concat();
        [&ports[..], &numbers, &[5 << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0], &self.payload].concat()
    }

    fn addresses(&self) -> [[u8; 4]; 2] {
        [self.source, self.destination].map(|address| match address {
            SocketAddr::V4(address) => address.ip().octets(),
            SocketAddr::V6(_) => panic!("the tests use IPv4 addresses"),
        })
    }

    fn ipv4(&self) -> Vec<u8> {
        let tcp = self.tcp();
        let total = u16::try_from(20 + tcp.len()).unwrap().to_be_bytes();
        let id = self.id.unwrap_or_default().to_be_bytes();
        let header = [&[0x45, 0][..], &total, &id, &[0x40, 0, 64, 6, 0, 0], &self.addresses().concat()].concat();
        [header, tcp].concat()
    }

    /// With hop-by-hop options, an atomic fragment header, and the addresses in the last four bytes.
    fn ipv6(&self) -> Vec<u8> {
        let tcp = self.tcp();
        let length = u16::try_from(16 + tcp.len()).unwrap().to_be_bytes();
        let addresses = self.addresses().map(|octets| [&[0xfd; 12][..], &octets].concat()).concat();
        let extensions = [44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 1];
        [&[0x60, 0, 0, 0][..], &length, &[0, 64], &addresses, &extensions, &tcp].concat()
    }
}

/// Padded to the shortest frame.
fn ethernet(packet: &[u8]) -> Vec<u8> {
    let mut frame = [&[0; 12][..], &[0x08, 0], packet].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// A pcap file with nanoseconds, little-endian.
fn pcap(link: u32, packets: &[Packet], frame: impl Fn(&Packet) -> Vec<u8>, snaplen: usize) -> Vec<u8> {
    let mut file = [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 0x0004_0000, link].map(u32::to_le_bytes).concat();
    for (nanosecond, packet) in (0_u32..).zip(packets) {
        let id = packet.id.unwrap_or(nanosecond as u16);
        let frame = frame(&Packet { id: Some(id), ..packet.clone() });
        let captured = frame.len().min(snaplen);
        let sizes = [captured, frame.len()].map(|size| u32::try_from(size).unwrap());
        file.extend([1, nanosecond, sizes[0], sizes[1]].map(u32::to_le_bytes).concat());
        file.extend(&frame[..captured]);
    }
    file
}

/// A big-endian pcapng file whose clock counts in units of `resolution`, one a packet.
fn pcapng(packets: &[Packet], resolution: u8) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let padding = vec![0; body.len().wrapping_neg() % 4];
        let size = u32::try_from(12 + body.len() + padding.len()).unwrap().to_be_bytes();
        [&kind.to_be_bytes()[..], &size, body, &padding, &size].concat()
    };
    let mut file = block(0x0a0d_0d0a, &[&[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0][..], &[0xff; 8]].concat());
    file.extend(block(1, &[0, 101, 0, 0, 0, 4, 0, 0, 0, 9, 0, 1, resolution, 0, 0, 0, 0, 0, 0, 0]));
    for (unit, packet) in (0_u32..).zip(packets) {
        let bytes = packet.ipv4();
        let size = u32::try_from(bytes.len()).unwrap();
        file.extend(block(6, &[&[0, 0, unit, size, size].map(u32::to_be_bytes).concat()[..], &bytes].concat()));
    }
    file
}
