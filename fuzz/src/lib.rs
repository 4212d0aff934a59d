//! Everything that reads what others wrote, as functions of bytes. None of them may panic, hang or take much memory,
//! whatever the bytes are.
//!
//! Each is a fuzz target of its name; `tests/corpus.rs` gives them the inputs below `corpus/` in every test run.

use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::read::ZlibEncoder;
use serde_json::Value;
use shakedown::base::{DurationText, Rate, RateRange, Seed, StreamPurpose, redact_url};
use shakedown::bench::Suite;
use shakedown::capacity::{CapacityResult, Deadline, GoalRequest};
use shakedown::compare::{Limit, Measured, Rules, Side, compare};
use shakedown::fleet::{CpuList, Topology};
use shakedown::inspect;
use shakedown::load::{Reconnect, Share, StreamName};
use shakedown::measure::{Expectation, HistogramError, LatencyHistogram, Metric};
use shakedown::protocol::amf0::{Reader, Value as Amf0};
use shakedown::protocol::media::Track;
use shakedown::protocol::session::{
    ChunkReader, ClientSession, Course, MessageStore, Piece, RejectRule, ScriptOptions, ServerPolicy, ServerSession,
    SessionScript,
};
use shakedown::protocol::{
    C2_SIZE, Check, ClientHandshake, ClientProfile, ClientState, ClientTemplates, S0S1S2_SIZE, ServerHandshake,
    ServerState, ServerTemplates,
};
use shakedown::report::{self, Style};
use shakedown::run::{AbortCondition, LatencyTable, RunResult, Threshold};
use shakedown::scenario::{
    BitRate, ClientRequest, HoldRequest, Machine, Percent, Request, SourceRange, TargetText, parse_stream_keys, read,
    resolve,
};

/// A reader of bytes from others.
pub type Reads = fn(&[u8]);

/// Every reader by the name of its fuzz target.
pub const READERS: [(&str, Reads); 16] = [
    ("amf0", amf0),
    ("capacity", capacity),
    ("capacity_edited", capacity_edited),
    ("capture", capture),
    ("chunks", chunks),
    ("exporter", exporter),
    ("flv", flv),
    ("handshake", handshake),
    ("histogram", histogram),
    ("result", result),
    ("result_edited", result_edited),
    ("scenario", scenario),
    ("session", session),
    ("stream_keys", stream_keys),
    ("suite", suite),
    ("words", words),
];

const STYLES: [Style; 2] = [Style { color: false, width: 80 }, Style { color: true, width: 1 }];

/// A result file: rendered in every format, compared and merged with itself.
pub fn result(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(result) = RunResult::parse(text, Path::new("result.json")) {
        STYLES.iter().for_each(|style| drop(report::text::render(&result, *style)));
        report::markdown::render_run(&result);
        report::html::render_run(&result);
        report::csv::timeline(&result);
        report::csv::latency(&result);
        percentiles(&result.latency);
        let again = RunResult::parse(&report::json::render(&result), Path::new("again.json"));
        assert_eq!(again.expect("what was read can be read again"), result);
        let _refused = RunResult::merge(vec![result.clone(), result]);
    }
    compared(text);
}

/// A capacity file, likewise.
pub fn capacity(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(result) = CapacityResult::parse(text, Path::new("capacity.json")) {
        STYLES.iter().for_each(|style| drop(report::capacity::render(&result, *style)));
        report::markdown::render_capacity(&result);
        report::html::render_capacity(&result);
        report::csv::trials(&result);
        if let Some(confirmation) = &result.confirmation {
            percentiles(&confirmation.latency);
        }
        let again = CapacityResult::parse(&result.to_text(), Path::new("again.json"));
        assert_eq!(again.expect("what was read can be read again"), result);
    }
    compared(text);
}

/// A result file of a simulated run some of whose values are others.
pub fn result_edited(data: &[u8]) {
    result(edited(include_str!("../corpus/result/storm.json"), data).as_bytes());
}

/// A capacity file, likewise.
pub fn capacity_edited(data: &[u8]) {
    capacity(edited(include_str!("../corpus/capacity/searched.json"), data).as_bytes());
}

fn percentiles(latency: &LatencyTable) {
    let summaries = Metric::ALL.into_iter().filter_map(|metric| latency.get(metric));
    summaries.for_each(|summary| drop(report::hgrm::render(summary).expect("it was read, so its histogram can be")));
}

/// Two results a side, which differ by their file's name and seed.
fn compared(text: &str) {
    let side = |name: &str| {
        let one = Measured::parse(text, Path::new("1.json")).ok()?;
        let mut other: Value = serde_json::from_str(text).ok()?;
        *other.pointer_mut("/plan/seed")? = 24_301.into();
        let other = Measured::parse(&other.to_string(), Path::new("2.json")).ok()?;
        Some(Side { name: name.to_owned(), results: vec![one, other] })
    };
    let (Some(old), Some(new)) = (side("old"), side("new")) else { return };
    let rules = Rules { anyway: true, regression: Some(Limit { limit: 0.05, strict: false }) };
    if let Ok(comparison) = compare(&[old, new], rules) {
        STYLES.iter().for_each(|style| drop(report::compare::text(&comparison, *style)));
        report::compare::markdown(&comparison);
        report::compare::json(&comparison);
    }
}

/// The JSON `seed` with edits: of each, two bytes choose a value, one says what becomes of it, and eight what it is.
fn edited(seed: &str, data: &[u8]) -> String {
    let mut whole: Value = serde_json::from_str(seed).expect("the corpus holds a whole file");
    for edit in data.chunks_exact(11).take(8) {
        let mut places = Vec::new();
        places_in("", &whole, &mut places);
        let place = &places[usize::from(u16::from_le_bytes([edit[0], edit[1]])) % places.len()];
        let bytes: [u8; 8] = edit[3..].try_into().expect("eight bytes are left");
        let value = whole.pointer_mut(place).expect("it was found there");
        match edit[2] % 8 {
            0 => *value = Value::Null,
            1 => *value = u64::from_le_bytes(bytes).into(),
            2 => *value = i64::from(bytes[0] as i8).into(),
            3 => *value = f64::from_le_bytes(bytes).into(),
            4 => *value = String::from_utf8_lossy(&bytes).into(),
            5 => *value = Value::Array(vec![value.take(); usize::from(bytes[0] % 4)]),
            6 => match value {
                Value::Array(list) => list.truncate(usize::from(bytes[0])),
                other => *other = Value::Bool(bytes[0].is_multiple_of(2)),
            },
            _ => {
                let from = &places[usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % places.len()];
                let copy = whole.pointer(from).expect("it was found there").clone();
                *whole.pointer_mut(place).expect("it was found there") = copy;
            }
        }
    }
    whole.to_string()
}

/// The JSON pointers of all values in `value`, itself the first.
fn places_in(at: &str, value: &Value, places: &mut Vec<String>) {
    places.push(at.to_owned());
    match value {
        Value::Array(list) => {
            (0..).zip(list).for_each(|(index, part): (usize, _)| places_in(&format!("{at}/{index}"), part, places));
        }
        Value::Object(parts) => parts.iter().for_each(|(key, part)| {
            places_in(&format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), part, places);
        }),
        _ => {}
    }
}

/// The payload of a distribution: what is inflated, and the file's bytes themselves.
pub fn histogram(data: &[u8]) {
    let mut deflated = vec![0x1c, 0x84, 0x93, 0x14, 0, 0, 0, 0];
    std::io::copy(&mut ZlibEncoder::new(data, Compression::fast()), &mut deflated).expect("a Vec takes all");
    let length = deflated.len() as u32 - 8;
    deflated[4..8].copy_from_slice(&length.to_be_bytes());
    for bytes in [&deflated, data] {
        let mut summary = LatencyHistogram::new().summary();
        summary.hdr_v2_base64 = BASE64.encode(bytes);
        // How many samples it holds says the refusal of any other number.
        let held = match summary.histogram() {
            Err(HistogramError::OtherCount { held, .. }) => held,
            _ => 0,
        };
        summary.count = held;
        if let Ok(histogram) = summary.histogram() {
            assert_eq!(histogram.summary().count, held);
            histogram.points(5).for_each(drop);
            let mut twice = histogram.clone();
            twice.merge(&histogram);
            twice.summary();
        }
    }
}

/// A pcap or pcapng file.
pub fn capture(data: &[u8]) {
    for port in [None, Some(1935)] {
        let found = inspect::capture(data, port);
        found.skipped.findings();
        found.handshakes.iter().for_each(|handshake| drop(handshake.render(80, true)));
        found.others.iter().for_each(|other| drop(other.render(80)));
        serde_json::to_string(&(found.handshakes, found.others)).expect("they have string keys only");
    }
    inspect::step_times(data, 1935);
}

/// The raw streams of a handshake, and both sides of one that receive them.
pub fn handshake(data: &[u8]) {
    let [client, server] = halves(data);
    for c2 in [None, Some(data)] {
        let handshake = inspect::streams(client, server, c2);
        handshake.render(80, true);
    }
    let random = || Seed::new(1).stream(StreamPurpose::ServerTemplates, 0);
    let templates = ServerTemplates::sign(1, &mut random());
    let mut receiving = ServerHandshake::new(0, true);
    for end in [client.len() / 2, client.len()] {
        match receiving.advance(&client[..end], &templates) {
            Ok(ServerState::AwaitingC2) => {
                receiving.write_s0s1s2(&client[..end], &templates, &mut [0; S0S1S2_SIZE]);
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    let templates = ClientTemplates::from_recorded(&vec![3; 1537]).expect("it is as long as C0C1");
    let mut sending = ClientHandshake::new(0, Check::Full);
    for end in [server.len() / 2, server.len()] {
        match sending.advance(&server[..end], &templates) {
            Ok(ClientState::AwaitingS2 | ClientState::Done(_)) => {
                sending.write_c2(&server[..end], &templates, 1, &mut [0; C2_SIZE]);
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
}

/// An FLV file.
pub fn flv(data: &[u8]) {
    for chunk_size in [128, 65_536] {
        let _refused = Track::from_flv(data, chunk_size);
    }
}

/// A scenario, up to its plan.
pub fn scenario(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(mut request) = read(text, Path::new("scenario.toml")) else { return };
    // Other files are others' inputs.
    request.media = None;
    request.populations.iter_mut().for_each(|population| population.stream_keys = None);
    planned(&request);
}

fn planned(request: &Request) {
    let topology = Topology::read(Path::new("/nonexistent"), &[0, 1]);
    let machine = Machine { topology, cores: 2, descriptors: 1 << 16, ports: 28_232 };
    let lookup = |host: &str, port: u16| match host.parse() {
        Ok(address) => Ok(vec![SocketAddr::new(address, port)]),
        Err(_) if host.len().is_multiple_of(7) => Err(Error::new(ErrorKind::NotFound, "no such host")),
        Err(_) => Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]),
    };
    if let Ok(resolved) = resolve(request, &machine, &lookup) {
        serde_json::to_string(&resolved.plan).expect("a plan has string keys only");
    }
}

/// A suite, up to its measurements.
pub fn suite(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(suite) = Suite::parse(text, Path::new("suite.toml")) {
        suite.measurements().iter().for_each(|measurement| drop(measurement.command_line()));
    }
}

/// A file of stream keys.
pub fn stream_keys(data: &[u8]) {
    if let Ok(keys) = parse_stream_keys(data) {
        assert!((0..keys.len()).all(|place| keys.get(place).is_some()));
    }
}

/// What a node_exporter says.
pub fn exporter(data: &[u8]) {
    shakedown::observe::read_exposition(&String::from_utf8_lossy(data));
}

/// Values of AMF0.
pub fn amf0(data: &[u8]) {
    let mut reader = Reader::new(data);
    while let Ok(value) = reader.value() {
        match value {
            Amf0::Object(properties) => {
                properties.get_text("code");
                properties.get_number("level");
                properties.into_iter().for_each(drop);
            }
            Amf0::StrictArray(elements) => elements.into_iter().for_each(drop),
            _ => {}
        }
    }
    let mut skipping = Reader::new(data);
    while skipping.skip().is_ok() {}
}

/// A chunk stream in two segmentations, which hold the same.
pub fn chunks(data: &[u8]) {
    let whole = commands([data].into_iter());
    let bytes = commands(data.chunks(1));
    assert_eq!(whole, bytes);
}

fn commands<'a>(segments: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let (mut reader, mut store, mut found) = (ChunkReader::new(), MessageStore::for_answers(), Vec::new());
    'all: for mut segment in segments {
        loop {
            match reader.next(&mut segment, &mut store) {
                Ok(Some(Piece::Command { payload, .. })) => found.push(payload.to_vec()),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => break 'all,
            }
        }
    }
    reader.release(&mut store);
    assert_eq!(store.taken(), 0);
    found
}

/// What a client is told in a session, and what a server is.
pub fn session(data: &[u8]) {
    let Some((course, data)) = data.split_first() else { return };
    let course = [Course::Reply, Course::Connect, Course::Publish, Course::Play][usize::from(course % 4)];
    client_session(course, data);
    server_session(data);
}

fn client_session(course: Course, data: &[u8]) {
    let spec = ClientProfile::Shakedown.session().expect("it has a session");
    let script = SessionScript::new(&spec, "live", "rtmp://a/live", course, ScriptOptions::default());
    let (mut session, mut store) = (ClientSession::new(course), MessageStore::for_answers());
    let mut out = vec![0; ClientSession::max_output(&script, 4)];
    session.write(&script, b"name", &mut out);
    'all: for mut segment in data.chunks(200) {
        loop {
            match session.receive(&mut segment, &mut store, &script) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => break 'all,
            }
        }
        if session.has_output() {
            session.write(&script, b"name", &mut out);
        }
    }
    session.say_goodbye(&script);
    session.write(&script, b"name", &mut out);
    session.release(&mut store);
    assert_eq!(store.taken(), 0);
}

fn server_session(data: &[u8]) {
    let policy = ServerPolicy { reject: rules(), ..ServerPolicy::default() };
    let (mut session, mut store) = (ServerSession::new(&policy), MessageStore::for_requests());
    let mut out = [0; ServerSession::MAX_OUTPUT];
    'all: for mut segment in data.chunks(200) {
        loop {
            match session.receive(&mut segment, &mut store, &policy) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => break 'all,
            }
        }
        if session.has_output() {
            session.write(&policy, &mut out);
        }
    }
    session.release(&mut store);
    assert_eq!(store.taken(), 0);
}

fn rules() -> Vec<RejectRule> {
    ["connect:app=private:no", "publish:name=banned:no"].iter().filter_map(|rule| rule.parse().ok()).collect()
}

/// Words of a command line: everything that is parsed out of one.
pub fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let text = text.as_ref();
    redact_url(text);
    if let Ok(target) = text.parse::<TargetText>() {
        let request = Request { targets: vec![target], engine: Some(shakedown::io::Engine::Sim), ..Request::default() };
        planned(&request);
    }
    macro_rules! parsed {
        ($($kind:ty),*) => { $(drop(text.parse::<$kind>());)* };
    }
    parsed!(
        Rate,
        RateRange,
        DurationText,
        Share,
        StreamName,
        Reconnect,
        Threshold,
        AbortCondition,
        CpuList,
        Deadline,
        GoalRequest,
        Expectation,
        ClientRequest,
        HoldRequest,
        BitRate,
        Percent,
        SourceRange,
        RejectRule
    );
}

/// `data` in two, parted where its first two bytes say.
fn halves(data: &[u8]) -> [&[u8]; 2] {
    let Some((at, rest)) = data.split_first_chunk::<2>() else { return [data, &[]] };
    let (one, two) = rest.split_at(usize::from(u16::from_le_bytes(*at)).min(rest.len()));
    [one, two]
}
