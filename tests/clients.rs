//! Imitated clients from the request to the result, on the simulated network and against one worker.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use shakedown::base::{Nanos, Seed, StreamPurpose, Time};
use shakedown::engine::{ClosePolicy, Verify};
use shakedown::fleet::{Mailbox, Observer, Topology, run_turns};
use shakedown::io::sim::{Peer, PeerCounts, SimConfig, SimNetwork};
use shakedown::io::{Buffers, Completion, Destination, Engine, Io, Op, Payload, TargetId};
use shakedown::measure::{IntervalReport, Metric, Snapshot};
use shakedown::protocol::{
    C0C1_SIZE, C2_SIZE, C2Signing, C2Verdict, ClientProfile, DigestAt, HandshakeMode, Provenance, S0S1S2_SIZE,
    ServerHandshake, ServerState, ServerTemplates,
};
use shakedown::run::{Preparation, RunPlan, simulate};
use shakedown::scenario::{ClientRequest, Machine, Request, resolve};

#[test]
fn every_profile_completes_and_proves_itself_as_its_rule_says() {
    for profile in ClientProfile::ALL.into_iter().filter(|profile| !profile.is_hostile()) {
        let (snapshot, peers) = play(&plan(&[(profile, 1)], 8, 1));
        let spec = profile.spec();
        let complex = if spec.mode == HandshakeMode::Complex { 8 } else { 0 };
        let signed = if spec.c2.signing == C2Signing::Never { 0 } else { 8 };
        let modes = snapshot.measured().tally.modes;
        assert_eq!((modes.complex_verified, modes.simple), (complex, 8 - complex), "{profile}");
        assert_eq!((peers[0].complex, peers[0].simple), (complex, 8 - complex), "{profile}");
        assert_eq!((peers[0].c2_valid, peers[0].c2_echo), (signed, 8 - signed), "{profile}");
        assert!(snapshot.clients().is_empty(), "{profile}: one kind needs no rows");
    }
}

#[test]
fn weights_are_kept_exactly_at_every_target() {
    use ClientProfile::{Ffmpeg, Obs, Srs};
    let plan = plan(&[(Ffmpeg, 3), (Obs, 2), (Srs, 1)], 120, 2);
    let (snapshot, peers) = play(&plan);
    let completed: Vec<u64> = snapshot.clients().iter().map(|row| row.counts.completed).collect();
    assert_eq!(completed, [60, 40, 20]);
    for peer in peers {
        assert_eq!((peer.complex, peer.simple, peer.c2_valid, peer.c2_echo), (40, 20, 10, 50));
    }

    let result = shakedown::run::RunResult::assemble(simulate(Arc::new(plan)).parts);
    let rows: Vec<_> = result
        .by_client
        .iter()
        .map(|row| (row.name.as_str(), row.attempts.started, row.modes.complex_verified, row.modes.simple))
        .collect();
    assert_eq!(rows, [("ffmpeg", 60, 60, 0), ("obs", 40, 0, 40), ("srs", 20, 20, 0)]);
    let samples = |row: &shakedown::run::Row| row.latency.get(Metric::Service).map(|service| service.count);
    assert_eq!(result.by_client.iter().map(samples).collect::<Vec<_>>(), [Some(60), Some(40), Some(20)]);
}

#[test]
fn what_one_client_learns_of_a_target_is_not_taken_for_anothers() {
    use ClientProfile::{FfmpegPlay, Obs, Zlmediakit};
    let mut plan = plan(&[(Obs, 1), (FfmpegPlay, 1), (Zlmediakit, 1)], 90, 1);
    plan.populations[0].verify = Verify::None;
    plan.populations[0].lanes[0].concurrency = 3;
    let (snapshot, peers) = play(&plan);
    assert_eq!((peers[0].c2_valid, peers[0].c2_echo, peers[0].c2_invalid), (60, 30, 0));
    assert_eq!(snapshot.measured().tally.modes.complex_unverified, 60);
}

#[test]
fn c1_follows_c0_even_if_the_answer_overtakes_it() {
    let preparation = Preparation::new(Arc::new(plan(&[(ClientProfile::Zlmediakit, 1)], 1, 1))).unwrap();
    let (parts, io) = preparation.parts(0);
    let mut buffers = Buffers::new(io.buffers);
    let mut worker = preparation.worker(0, parts, Time::ZERO);
    let mut step = |completed: &[(Op, usize)], buffers: &mut Buffers| {
        let completions: Vec<_> = completed.iter().map(|(op, bytes)| completion(op, *bytes)).collect();
        let mut ops = Vec::new();
        worker.step(Time::from_nanos(1), &completions, buffers, &mut ops);
        ops
    };

    let open = step(&[], &mut buffers);
    let begun = step(&[(open[0], 0)], &mut buffers);
    let [c0, receive] = begun[..] else { panic!("{begun:?}") };
    assert_eq!(shared(&c0), Some((0, 1)));

    let mut server = ServerHandshake::new(0, true);
    let templates = ServerTemplates::sign(1, &mut Seed::new(1).stream(StreamPurpose::ServerTemplates, 0));
    let c0c1 = &io.shared_bytes[..C0C1_SIZE];
    server.advance(c0c1, &templates).unwrap();
    let mut answer = [0; S0S1S2_SIZE];
    server.write_s0s1s2(c0c1, &templates, &mut answer);
    let Op::Recv { into: Destination::Buffer { buffer, .. }, .. } = receive else { panic!("{receive:?}") };
    buffers.receive.bytes_mut(buffer)[..S0S1S2_SIZE].copy_from_slice(&answer);
    assert_eq!(step(&[(receive, S0S1S2_SIZE)], &mut buffers), [], "C2 waits for C0C1");

    let c1 = step(&[(c0, 1)], &mut buffers);
    assert_eq!(c1.iter().map(shared).collect::<Vec<_>>(), [Some((1, 1536))]);
    let c2 = step(&[(c1[0], 1536)], &mut buffers);
    let [Op::Send { payload: Payload::Buffer { buffer, len }, .. }] = c2[..] else { panic!("{c2:?}") };
    assert_eq!(len as usize, C2_SIZE);
    let sent = [c0c1, &buffers.send.bytes(buffer)[..C2_SIZE]].concat();
    assert_eq!(server.advance(&sent, &templates), Ok(ServerState::Done(C2Verdict::Valid)));
    assert!(matches!(step(&[(c2[0], C2_SIZE)], &mut buffers)[..], [Op::Close { .. }]));
}

#[test]
fn flags_that_contradict_a_client_are_refused_with_the_reason() {
    let refused = |clients, mode, digest_at| {
        let request = Request { mode, digest_at, ..request(clients, 1, 1) };
        resolve(&request, &MACHINE, &lookup).map(|_| ()).map_err(|error| error.to_string())
    };
    use ClientProfile::{Ffmpeg, Obs, Shakedown};
    let (simple, complex) = (Some(HandshakeMode::Simple), Some(HandshakeMode::Complex));
    let (first, second) = (Some(DigestAt::FirstHalf), Some(DigestAt::SecondHalf));
    let error = |text: &str| Err(text.to_owned());
    assert_eq!(
        refused(&[(Obs, 1), (Ffmpeg, 1)], simple, None),
        error("--client ffmpeg makes the complex handshake and --mode asks for the simple one; drop one of them")
    );
    assert_eq!(
        refused(&[(Obs, 1)], None, first),
        error("--digest places a digest and --client obs sends none; drop one of them")
    );
    assert_eq!(
        refused(&[(Ffmpeg, 1)], None, second),
        error(
            "--client ffmpeg has its digest in the first half and --digest asks for the second half; drop one of them"
        )
    );
    assert_eq!(
        refused(&[(Ffmpeg, 1), (Ffmpeg, 2)], None, None),
        error("--client names ffmpeg twice; give it one weight")
    );
    assert_eq!(refused(&[(Ffmpeg, 1)], complex, first), Ok(()), "what a client does anyway may be asked");
    assert_eq!(refused(&[(Shakedown, 1), (Ffmpeg, 1)], complex, None), Ok(()));
    assert_eq!(refused(&[(Shakedown, 1)], complex, second), Ok(()));
}

#[test]
fn the_page_says_how_each_profile_is_known() {
    let page = page();
    let (imitated, _) = page.split_once(SESSION_HEADING).unwrap();
    let expected: Vec<_> = ClientProfile::ALL
        .into_iter()
        .filter_map(|profile| {
            let spec = profile.spec();
            let known = match profile.provenance() {
                Provenance::Own => "own".to_owned(),
                Provenance::Captured(_) => "capture".to_owned(),
                Provenance::SameLibrary(other) => format!("same library as `{other}`"),
                Provenance::Source => "source".to_owned(),
                Provenance::Hostile => return None,
            };
            Some((format!("`{profile}`"), spec.mode.to_string(), known))
        })
        .collect();
    let stated: Vec<_> = rows(imitated).iter().map(|row| (row[0].into(), row[1].into(), row[8].into())).collect();
    assert_eq!(stated, expected);
}

#[test]
fn the_page_lists_every_hostile_client_with_its_bytes() {
    let page = page();
    let (_, hostile) = page.split_once(HOSTILE_HEADING).unwrap();
    let expected: Vec<_> = ClientProfile::ALL
        .into_iter()
        .filter(|profile| profile.is_hostile())
        .map(|profile| (format!("`{profile}`"), profile.spec().opening.size().to_string()))
        .collect();
    let stated: Vec<_> = rows(hostile).iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect();
    assert_eq!(stated, expected);
}

/// The table after it is checked against the recorded sessions, in `tests/sessions.rs`.
const SESSION_HEADING: &str = "\n## After the handshake\n";
const HOSTILE_HEADING: &str = "\n## Hostile and odd clients\n";

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients.md")).unwrap()
}

/// The cells of the tables whose rows begin with a client's name.
fn rows(page: &str) -> Vec<Vec<&str>> {
    page.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

const MACHINE: Machine = Machine { topology: Topology::UNKNOWN, cores: 1, descriptors: 1024, ports: 28_000 };

fn request(clients: &[(ClientProfile, u32)], attempts: u64, targets: u8) -> Request {
    Request {
        targets: (1..=targets).map(|last| format!("10.0.0.{last}:1935").parse().unwrap()).collect(),
        clients: clients.iter().map(|&(profile, weight)| ClientRequest { profile, weight }).collect(),
        attempts: Some(attempts),
        engine: Some(Engine::Sim),
        // An RST may overtake the reading of C2.
        close: Some(ClosePolicy::Fin),
        seed: Some(Seed::new(3)),
        ..Request::default()
    }
}

fn plan(clients: &[(ClientProfile, u32)], attempts: u64, targets: u8) -> RunPlan {
    resolve(&request(clients, attempts, targets), &MACHINE, &lookup).unwrap().plan
}

/// Targets are addresses here.
fn lookup(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    Ok(vec![SocketAddr::new(host.parse().unwrap(), port)])
}

/// Runs a plan; what the worker and what each target counted.
fn play(plan: &RunPlan) -> (Snapshot, Vec<PeerCounts>) {
    let preparation = Preparation::new(Arc::new(plan.clone())).unwrap();
    let (parts, io) = preparation.parts(0);
    let mut config = SimConfig::new(plan.seed);
    config.peers = plan.targets.iter().map(|_| Peer::default()).collect();
    let mut network = SimNetwork::new(io, config);
    let mut worker = preparation.worker(0, parts, network.now());
    run_turns(&mut network, &mut worker, &Mailbox::default(), &mut Unobserved).unwrap();
    let (snapshot, _) = worker.finish(network.now());
    // The last C2s are still on their way.
    let later = network.now() + Nanos::from_secs(1);
    network.submit_and_wait(&mut Vec::new(), later, &mut Vec::new()).unwrap();
    let peers = (0..plan.targets.len() as u16).map(|target| network.peer_counts(TargetId(target))).collect();
    (snapshot, peers)
}

struct Unobserved;

impl Observer for Unobserved {
    fn interval(&mut self, _: Box<IntervalReport>) -> Option<Box<IntervalReport>> {
        None
    }
}

fn completion(op: &Op, bytes: usize) -> Completion {
    let (Op::Open { token, .. } | Op::Send { token, .. } | Op::Recv { token, .. }) = op else { panic!("{op:?}") };
    Completion { token: *token, result: Ok(bytes as u32) }
}

/// The range of shared bytes that a send sends.
fn shared(op: &Op) -> Option<(u32, u32)> {
    match op {
        Op::Send { payload: Payload::Shared { offset, len }, .. } => Some((*offset, *len)),
        _ => None,
    }
}
