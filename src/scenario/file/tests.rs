use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::base::Seed;
use crate::engine::{ClosePolicy, Verify};
use crate::io::Engine;
use crate::load::{ArrivalPattern, Reconnect};
use crate::protocol::{ClientProfile, DigestAt, HandshakeMode};
use crate::run::ProxyVersion;
use crate::scenario::request::{HoldRequest, PopulationRequest, StageLoad, StageRequest};
use crate::scenario::{Machine, resolve};

fn scenario(text: &str) -> Request {
    read(text, Path::new("folder/evening.toml")).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn only(text: &str) -> PopulationRequest {
    let [population] = <[_; 1]>::try_from(scenario(text).populations).expect("one population");
    population
}

fn error(text: &str) -> String {
    match read(text, Path::new("s.toml")) {
        Ok(request) => panic!("{text} is read as {request:?}"),
        Err(error) => error.to_string(),
    }
}

/// The shipped scenarios.
fn shipped() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn every_key_of_the_whole_is_read() {
    let request = scenario(
        r#"
        name = "an evening"
        description = "what it brings"
        targets = [{ url = "rtmp://10.0.0.5/live", weight = 3 }, "10.0.0.6:1935"]
        allow = ["203.0.113.0/24", "Ingest.example"]
        workers = 2
        seed = 7
        engine = "sim"
        thresholds = ["failed<1%"]
        abort_if = "failed>5% for 5s"
        canary = "10.0.0.7:1935"
        release = "5k/s"
        resolve = "30s"
        proxy_protocol = "v2"
        client_ips = "10.9.0.0/16"
        sources = "10.0.1.2-10.0.1.33,10.0.2.1"
        stages = [{ rate = 5, for = "1s" }]

        [[threshold]]
        metric = "response.p99"
        at_most = "50ms"

        [[threshold]]
        metric = "rate"
        at_least = 4
        "#,
    );
    assert_eq!(request.scenario.as_deref(), Some("an evening"));
    assert_eq!(request.targets.iter().map(|target| target.port).collect::<Vec<_>>(), [1935, 1935]);
    assert_eq!(request.weights, [3, 1]);
    assert_eq!(request.allowed, ["203.0.113.0/24".into(), "ingest.example".into()]);
    assert_eq!((request.workers, request.seed, request.engine), (Some(2), Some(Seed::new(7)), Some(Engine::Sim)));
    assert_eq!(request.thresholds, ["failed<1%", "response.p99<=50ms", "rate>=4"]);
    assert_eq!(request.abort_if, ["failed>5% for 5s"]);
    assert_eq!(request.canary.unwrap().host, "10.0.0.7");
    assert_eq!(request.release.unwrap().as_per_second(), 5_000.0);
    assert_eq!(request.resolve_every, Some(Duration::from_secs(30)));
    assert_eq!(request.proxy_protocol, Some(ProxyVersion::V2));
    assert_eq!(request.client_ips.unwrap().to_string(), "10.9.0.0/16");
    assert_eq!(request.sources.iter().map(|range| range.addresses().count()).collect::<Vec<_>>(), [32, 1]);
    let [population] = request.populations.as_slice() else { panic!("one population") };
    assert_eq!(population.name, "clients", "the name is the scenario's");
    assert!(population.sources.is_empty() && population.targets.is_empty(), "they are the scenario's");
}

#[test]
fn every_key_of_a_population_is_read() {
    let population = only(
        r#"
        [[population]]
        name = "encoders"
        stages = [{ rate = "5", for = "1s" }]
        arrival = "poisson"
        concurrency = 2_000
        clients = { obs = 40, half-c1 = 60 }
        mode = "simple"
        digest = "second-half"
        verify = "sample"
        until = "handshake"
        hold = "exp:20m"
        close = "peer"
        sources = ["10.0.1.2"]
        targets = ["10.0.0.6:1935"]
        connect_timeout = "3s"
        timeout = "70s"
        expect = "closed within 60s"
        "#,
    );
    assert_eq!(population.name, "encoders");
    assert_eq!((population.arrival, population.concurrency), (Some(ArrivalPattern::Poisson), Some(2_000)));
    let clients: Vec<_> = population.clients.iter().map(|client| (client.profile, client.weight)).collect();
    assert_eq!(clients, [(ClientProfile::Obs, 40), (ClientProfile::HalfC1, 60)]);
    assert_eq!((population.mode, population.digest_at), (Some(HandshakeMode::Simple), Some(DigestAt::SecondHalf)));
    assert_eq!(population.verify, Some(Verify::Sample));
    assert_eq!(population.hold, Some(HoldRequest::Exponential(Duration::from_secs(1_200))));
    assert_eq!(population.close, Some(ClosePolicy::Peer));
    assert_eq!((population.sources.len(), population.targets.len(), population.weights.len()), (1, 1, 0));
    assert_eq!(population.connect_timeout, Some(Duration::from_secs(3)));
    assert_eq!(population.timeout, Some(Duration::from_secs(70)));
    assert_eq!(population.expect, "closed within 60s".parse().ok());
}

#[test]
fn every_kind_of_stage_is_read() {
    let stages = only(
        r#"stages = [
            { rate = "0:20k/s", for = "10s", warmup = true },
            { rate = 20_000, for = "1m", name = "peak" },
            { burst = 500 },
            { burst = 500, for = "3s", every = "10s" },
            { concurrency = 64, for = "1s" },
            { concurrency = "10:500", for = "1s" },
            { storm = { fleet = 20, reconnect = "flat 3s" }, for = "1s" },
            { probe = 0.5, for = "1s" },
        ]"#,
    )
    .stages;
    let loads: Vec<_> = stages.iter().map(|stage| stage.load).collect();
    assert_eq!(
        loads,
        [
            StageLoad::Rate("0:20k/s".parse().unwrap()),
            StageLoad::Rate("20k".parse().unwrap()),
            StageLoad::Burst(500),
            StageLoad::Burst(500),
            StageLoad::Concurrency { from: 64, to: 64 },
            StageLoad::Concurrency { from: 10, to: 500 },
            StageLoad::Storm { fleet: 20, reconnect: Reconnect::Flat { delay_ns: 3_000_000_000 } },
            StageLoad::Probe("0.5".parse().unwrap()),
        ]
    );
    let seconds: Vec<_> = stages.iter().map(|stage| stage.length.as_secs()).collect();
    assert_eq!(seconds, [10, 60, 1, 3, 1, 1, 1, 1]);
    let which = |of: fn(&StageRequest) -> bool| stages.iter().position(of);
    assert_eq!(which(|stage| stage.warmup), Some(0));
    assert_eq!(which(|stage| stage.name.as_deref() == Some("peak")), Some(1));
    assert_eq!(which(|stage| stage.every == Some(Duration::from_secs(10))), Some(3));
}

#[test]
fn values_have_the_forms_that_flags_have() {
    let clients = |text: &str| only(text).clients.iter().map(|client| client.profile.name()).collect::<Vec<_>>();
    assert_eq!(clients("clients = \"obs\""), ["obs"]);
    assert_eq!(clients("clients = \"vlc=2, obs=1\""), ["vlc", "obs"]);
    assert_eq!(clients("clients = [\"vlc=2\", \"obs\"]"), ["vlc", "obs"]);
    assert_eq!(clients("clients = { vlc = 1, obs = 1 }"), ["vlc", "obs"], "in the order of the file");
    assert_eq!(clients("clients.vlc = 1\nclients.ffmpeg = 0x10"), ["vlc", "ffmpeg"]);
    assert_eq!(only("stages = [{ rate = 1e3, for = \"1s\" }]").stages[0].load, StageLoad::Rate("1k".parse().unwrap()));
    assert_eq!(scenario("targets = \"10.0.0.5:1935\"").targets.len(), 1);
    assert_eq!(scenario("seed = 0x7").seed, Some(Seed::new(7)));
    assert_eq!(scenario("seed = 7").scenario.as_deref(), Some("evening"), "a scenario without a name has its file's");
}

#[test]
fn stages_may_be_written_below_their_population() {
    let text =
        "[[population]]\nname = \"a\"\n[[population.stages]]\nrate = 5\nfor = \"1s\"\n[[population.stages]]\nburst = 5";
    assert_eq!(only(text).stages.len(), 2);
    assert!(error(&text.replace("for", "far")).starts_with("s.toml:5:1: unknown key 'far'; did you mean 'for'?"));
}

#[test]
fn places_count_characters() {
    assert!(
        error("\n  # \u{e9}\u{e9}\n\tname = \"\u{e9}\", x").starts_with("s.toml:3:12: "),
        "{}",
        error("\n  # éé\n\tname = \"é\", x")
    );
    assert!(error("seed = 1\r\nseel = 2").starts_with("s.toml:2:1: unknown key 'seel'"));
}

#[test]
fn a_number_that_is_none_is_named() {
    for (text, cause) in [
        ("seed = -1", "seed: '-1' is not a whole number from 0 to 18446744073709551615"),
        ("seed = 1.5", "seed: '1.5' is not a whole number"),
        ("workers = 0xffffffffffffffffff", "workers: 0xffffffffffffffffff is too large"),
        ("stages = [{ rate = inf, for = \"1s\" }]", "rate: 'inf' is not a rate"),
        ("stages = [{ rate = -5, for = \"1s\" }]", "rate: '-5' is not a rate"),
        ("stages = [{ rate = 5, for = \"0s\" }]", "for: it must be longer than nothing"),
        ("stages = [{ burst = 1e3 , for = \"0s\" }]", "for: it must be longer than nothing"),
    ] {
        assert!(error(text).contains(cause), "{}", error(text));
    }
}

#[test]
fn paths_begin_at_the_folder_of_the_file() {
    let request = scenario(
        "media = \"clip.flv\"\ntls = { ca = \"/etc/ca.pem\" }\nuntil = \"publish\"\nstream_keys = \"keys/all.csv\"",
    );
    assert_eq!(request.media.as_deref(), Some(Path::new("folder/clip.flv")));
    assert_eq!(request.tls.ca.as_deref(), Some(Path::new("/etc/ca.pem")));
    assert_eq!(request.populations[0].stream_keys.as_deref(), Some(Path::new("folder/keys/all.csv")));
    assert!(error("media = \"\"").contains("media: the path is empty"));
}

#[test]
fn what_is_wrong_with_a_stream_is_said_without_it() {
    for text in ["stream = \"S3CRET{idd}\"", "stream = \"S3CRET{\"", "stream = [\"S3CRET\"]"] {
        let error = error(text);
        assert!(error.contains("stream: ") && !error.contains("S3CRET"), "{error}");
    }
    let targets = ["rtmp://h:99999/live/S3CRET", "http://h/live/S3CRET?token=S3CRET", "rtmp://h/live/S3CRET{"];
    for target in targets {
        let error = error(&format!("targets = \"{target}\""));
        assert!(error.contains("targets: ") && !error.contains("S3CRET"), "{error}");
    }
}

#[test]
fn the_reference_names_every_key_and_its_examples_are_scenarios() {
    let page = include_str!("../../../docs/scenarios.md");
    for level in [&ALONE, &THRESHOLD, &TARGET, &TLS, &stage::STAGE, &stage::STORM] {
        for key in level.keys.iter().flat_map(|keys| keys.iter()) {
            assert!(page.contains(&format!("`{}`", key.name)), "docs/scenarios.md does not name `{}`", key.name);
        }
    }
    for (heading, keys) in [("## Keys of the whole", SCENARIO_KEYS), ("## Keys of a population", POPULATION_KEYS)] {
        let section = page.split("\n## ").map(|section| format!("## {section}")).find(|text| text.starts_with(heading));
        let rows = section.unwrap_or_else(|| panic!("no section {heading}"));
        let cells = rows.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next().map(str::to_owned));
        let mut told: Vec<String> =
            cells.flat_map(|cell| cell.replace('`', "").split(", ").map(str::to_owned).collect::<Vec<_>>()).collect();
        let mut known: Vec<&str> = keys.iter().map(|key| key.name).collect();
        told.sort_unstable();
        known.sort_unstable();
        assert_eq!(told, known, "{heading}");
    }
    let examples: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() > 8, "only {} examples", examples.len());
    for example in examples {
        scenario(example);
    }
}

#[test]
fn the_examples_in_errors_are_values() {
    // What an error proposes for a key of the whole or of a population can be written there.
    for key in ALONE.keys.iter().flat_map(|keys| keys.iter()).filter(|key| !key.example.starts_with("[[")) {
        let with_it = match key.name {
            "arrival" | "concurrency" => {
                format!("stages = [{{ rate = 1, for = \"1s\" }}]\n{} = {}", key.name, key.example)
            }
            "client_ips" => format!("proxy_protocol = \"v1\"\n{} = {}", key.name, key.example),
            _ => format!("{} = {}", key.name, key.example),
        };
        scenario(&with_it);
    }
    for key in stage::STAGE.keys.iter().flat_map(|keys| keys.iter()) {
        let other = match key.name {
            "rate" | "concurrency" | "storm" | "probe" => "for = \"1s\"",
            "burst" => "for = \"1s\"",
            "for" => "rate = 1",
            _ => "burst = 1",
        };
        scenario(
            &format!("stages = [{{ rate = 1, for = \"2h\" }}, {{ {other}, {} = {} }}]", key.name, key.example).replace(
                "stages = [{ rate = 1, for = \"2h\" }, { burst = 1, warmup = true }]",
                "stages = [{ burst = 1, warmup = true }, { rate = 1, for = \"2h\" }]",
            ),
        );
    }
}

/// Any text is a scenario or one line of error with a place inside it.
fn never_panics(text: &str) -> Result<(), TestCaseError> {
    if let Err(error) = read(text, Path::new("s.toml")) {
        let error = error.to_string();
        let mut parts = error.splitn(4, ':');
        prop_assert_eq!(parts.next(), Some("s.toml"));
        let line: usize = parts.next().unwrap_or_default().parse().expect("a line");
        let column: usize = parts.next().unwrap_or_default().parse().expect("a column");
        let length = text.split('\n').nth(line - 1).map(|line| line.chars().count());
        prop_assert!(length.is_some_and(|length| column <= length + 2), "{error:?} is no place of {text:?}");
        prop_assert!(!error.chars().any(char::is_control), "{error:?}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        never_panics(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn no_toml_panics(lines in prop::collection::vec(line(), 0..8)) {
        never_panics(&lines.join("\n"))?;
    }

    #[test]
    fn no_mutated_scenario_panics(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, piece()), 1..4),
    ) {
        let shipped = shipped();
        let mut text: Vec<char> = which.get(&shipped).chars().collect();
        for (at, length, piece) in edits {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, piece.chars());
            if text.is_empty() {
                break;
            }
        }
        let text = text.into_iter().collect::<String>();
        never_panics(&text)?;
        refused_with_a_place(&text)?;
    }

    #[test]
    fn whatever_cannot_be_planned_is_refused_at_its_place(
        values in prop::sample::subsequence(VALUES, 0..8),
        stages in prop::sample::subsequence(STAGES, 1..3),
    ) {
        refused_with_a_place(&format!("{}\nstages = [{}]\n", values.join("\n"), stages.join(", ")))?;
    }
}

/// Values that are right alone and wrong in some company.
const VALUES: &[&str] = &[
    "targets = [\"10.0.0.5:1935\", \"10.0.0.6:1935\"]",
    "targets = \"203.0.113.7:1935\"",
    "targets = [\"10.0.0.5:1935\", \"nowhere.example:1935\"]",
    "canary = \"203.0.113.7:1935\"",
    "canary = \"10.0.0.7:1935\"",
    "name = \"canary\"",
    "sources = \"10.0.1.1-10.0.1.9\"",
    "sources = [\"::1\"]",
    "engine = \"sim\"",
    "workers = 2",
    "workers = 4097",
    "concurrency = 7",
    "concurrency = 4_000_000_000",
    "resolve = \"500ms\"",
    "resolve = \"5s\"",
    "proxy_protocol = \"v2\"",
    "client_ips = \"10.9.0.0/16\"",
    "thresholds = [\"failed<1%\", \"outage<5s\"]",
    "thresholds = [\"failed<1%\", \"failed<1% in 1h\"]",
    "thresholds = \"response.p99<1s\"",
    "thresholds = \"others.failed<1%\"",
    "abort_if = \"stage:night.failed>1% for 5s\"",
    "arrival = \"poisson\"",
    "clients = \"obs\"",
    "clients = { ffmpeg = 2, tls = 1 }",
    "clients = \"half-c1\"",
    "mode = \"simple\"",
    "mode = \"complex\"",
    "digest = \"second-half\"",
    "hold = \"forever\"",
    "timeout = \"1s\"",
    "expect = \"closed within 5s\"",
];

const STAGES: &[&str] = &[
    "{ rate = \"1:50/s\", for = \"10s\", warmup = true }",
    "{ rate = 50, for = \"10s\" }",
    "{ rate = \"5000M/s\", for = \"10s\" }",
    "{ rate = \"900M/s\", for = \"500y\" }",
    "{ rate = 1, for = \"500y\" }",
    "{ burst = 500 }",
    "{ burst = 5, for = \"1ms\", every = \"1ms\" }",
    "{ concurrency = \"0:1\", for = \"10s\" }",
    "{ concurrency = \"10:50\", for = \"500y\" }",
    "{ storm = { fleet = 50, reconnect = \"obs\" }, for = \"10s\" }",
    "{ storm = { fleet = 50, reconnect = \"obs\" }, for = \"10s\", warmup = true }",
    "{ storm = { fleet = 4_000_000_000, reconnect = \"obs\" }, for = \"10s\" }",
    "{ probe = 5, for = \"10s\" }",
];

/// The text is a plan, or has an error with its place.
fn refused_with_a_place(text: &str) -> Result<(), TestCaseError> {
    let machine =
        Machine { topology: crate::fleet::Topology::of_cpus([0, 1]), cores: 2, descriptors: 20_000, ports: 28_232 };
    let lookup = |host: &str, port: u16| match host.parse::<IpAddr>() {
        Ok(address) => Ok(vec![SocketAddr::new(address, port)]),
        Err(_) if host.ends_with(".sim") => Ok(vec![SocketAddr::from(([10, 255, 0, 1], port))]),
        Err(_) => Err(std::io::Error::other("no such host")),
    };
    let refusal = match read(text, Path::new("s.toml")) {
        Err(error) => error.to_string(),
        Ok(request) => match resolve(&request, &machine, &lookup) {
            Ok(_) => return Ok(()),
            Err(error) => error.to_string(),
        },
    };
    let mut parts = refusal.splitn(4, ':');
    prop_assert_eq!(parts.next(), Some("s.toml"), "{} of {}", &refusal, text);
    let place: Vec<usize> = parts.take(2).filter_map(|part| part.parse().ok()).collect();
    prop_assert!(place.len() == 2 && place[0] <= text.split('\n').count(), "{refusal}");
    Ok(())
}

/// A key that exists, and a value of some type.
fn line() -> impl Strategy<Value = String> {
    let names: Vec<&str> = [&ALONE, &THRESHOLD, &TARGET, &stage::STAGE, &stage::STORM]
        .into_iter()
        .flat_map(|level| level.keys.iter().flat_map(|keys| keys.iter().map(|key| key.name)))
        .chain(["[[population]]\nname", "[[threshold]]\nmetric", "[[population.stages]]\nrate", "clients.obs"])
        .collect();
    (prop::sample::select(names), value()).prop_map(|(name, value)| format!("{name} = {value}"))
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}").replace("NaN", "nan")),
        Just("true".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
        piece().prop_map(|text| format!("{text:?}")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|values| format!("[{}]", values.join(", "))),
            (prop::sample::select(vec!["rate", "for", "storm", "fleet", "obs", "url", "burst", "every"]), inner)
                .prop_map(|(key, value)| format!("{{ {key} = {value} }}")),
        ]
    })
}

/// Texts that mean something somewhere, and some that do not.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "",
            "=",
            "[",
            "]",
            "{",
            "}",
            "\"",
            "\"\"\"",
            "\n",
            ",",
            ".",
            "#",
            "-",
            ":",
            "0",
            "9",
            "s",
            "10s",
            "5k/s",
            "0:5/s",
            "obs",
            "exp:1s",
            "forever",
            "\u{e9}",
            "\u{0}",
            "true",
            "inf",
            "closed within 5s",
            "10.0.0.1-10.0.0.9",
            "rate",
            "[[population]]",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ]
}
