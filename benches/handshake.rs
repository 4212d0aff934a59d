//! What the bytes of a handshake cost: signing, verifying, echoing, answering. No connection, no engine.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shakedown::base::{Seed, StreamPurpose};
use shakedown::protocol::{
    C1Spec, C2_SIZE, Check, ClientHandshake, ClientTemplates, DigestAt, S0S1S2_SIZE, S1Digest, ServerHandshake,
    ServerTemplates,
};

const SEED: Seed = Seed::new(1935);
const TEMPLATES: usize = 64;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(40);
    targets = templates, client, server
}
criterion_main!(benches);

/// Per C0C1, its filler, its digest and the key of its S2 included: the start-up cost of a worker.
fn templates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("templates");
    group.throughput(Throughput::Elements(TEMPLATES as u64));
    for (name, spec) in kinds() {
        let mut random = SEED.stream(StreamPurpose::ClientTemplates, 0);
        group.bench_function(name, |bencher| bencher.iter(|| ClientTemplates::sign(&spec, TEMPLATES, &mut random)));
    }
    group.finish();
}

fn client(criterion: &mut Criterion) {
    let checks =
        [("full", Check::Full), ("locate", Check::Locate), ("trust", Check::Trust(S1Digest::At(DigestAt::FirstHalf)))];
    let mut group = criterion.benchmark_group("client");
    for (mode, spec) in kinds() {
        let templates = client_templates(&spec);
        let answer = answer_to(templates.c0c1(0));
        for (check_name, check) in checks {
            group.bench_function(format!("S0S1S2/{mode}/{check_name}"), |bencher| {
                bencher.iter(|| ClientHandshake::new(0, check).advance(black_box(&answer), &templates));
            });
        }
        let mut handshake = ClientHandshake::new(0, Check::Full);
        handshake.advance(&answer, &templates).expect("our own answer is right");
        let mut c2 = [0; C2_SIZE];
        group.bench_function(format!("C2/{mode}"), |bencher| {
            bencher.iter(|| handshake.write_c2(black_box(&answer), &templates, 1, black_box(&mut c2)));
        });
    }
    group.finish();
}

/// The answer includes what comes before it: C1's digest is looked for.
fn server(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("server");
    let templates = server_templates();
    for (mode, spec) in kinds() {
        let clients = client_templates(&spec);
        let c0c1 = clients.c0c1(0);
        let mut answer = [0; S0S1S2_SIZE];
        group.bench_function(format!("C0C1 and S0S1S2/{mode}"), |bencher| {
            bencher.iter(|| {
                let mut handshake = ServerHandshake::new(0, false);
                let state = handshake.advance(black_box(c0c1), &templates);
                handshake.write_s0s1s2(c0c1, &templates, black_box(&mut answer));
                state
            });
        });

        let mut client = ClientHandshake::new(0, Check::Full);
        client.advance(&answer, &clients).expect("our own answer is right");
        let mut received = [c0c1, &[0; C2_SIZE]].concat();
        client.write_c2(&answer, &clients, 1, &mut received[c0c1.len()..]);
        let mut awaiting_c2 = ServerHandshake::new(0, true);
        awaiting_c2.advance(c0c1, &templates).expect("C0C1 is right");
        group.bench_function(format!("C2/{mode}"), |bencher| {
            bencher.iter(|| { awaiting_c2 }.advance(black_box(&received), &templates));
        });
    }
    group.finish();
}

fn kinds() -> [(&'static str, C1Spec); 2] {
    [("complex", C1Spec::complex(DigestAt::FirstHalf)), ("simple", C1Spec::simple())]
}

fn client_templates(spec: &C1Spec) -> ClientTemplates {
    ClientTemplates::sign(spec, TEMPLATES, &mut SEED.stream(StreamPurpose::ClientTemplates, 0))
}

fn server_templates() -> ServerTemplates {
    ServerTemplates::sign(1, &mut SEED.stream(StreamPurpose::ServerTemplates, 0))
}

fn answer_to(c0c1: &[u8]) -> Vec<u8> {
    let templates = server_templates();
    let mut handshake = ServerHandshake::new(0, false);
    handshake.advance(c0c1, &templates).expect("C0C1 is right");
    let mut answer = vec![0; S0S1S2_SIZE];
    handshake.write_s0s1s2(c0c1, &templates, &mut answer);
    answer
}
