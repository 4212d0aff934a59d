//! Scenario files as their users meet them: `check`, flags over a file, and what is said of a wrong one.

use std::path::Path;

use super::command::{Ended, ended_in, finished, prepared};

/// What `shakedown WORDS` does where `wrong.toml` has this content.
pub fn with_file(content: impl AsRef<[u8]>, words: &str) -> Ended {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("wrong.toml"), content).expect("a writable folder");
    ended_in(folder.path(), words)
}

/// The error about a wrong file; `run` and `check` have the same.
#[track_caller]
fn error(content: impl AsRef<[u8]>) -> String {
    let check = with_file(&content, "check wrong.toml");
    assert_eq!((check.code, check.stdout.as_str()), (Some(2), ""), "{check:#?}");
    assert_eq!(check.stderr.lines().count(), 1, "one line: {check:#?}");
    let run = with_file(&content, "run wrong.toml --engine sim");
    assert_eq!((run.code, &run.stderr), (Some(2), &check.stderr), "{run:#?}");
    check.stderr
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_at_every_level() {
    insta::assert_snapshot!(error("stagse = []"), @"error: wrong.toml:1:1: unknown key 'stagse'; did you mean 'stages'?");
    insta::assert_snapshot!(error("[[population]]\nname = \"a\"\nclient = \"obs\""), @"error: wrong.toml:3:1: unknown key 'client'; did you mean 'clients'?");
    insta::assert_snapshot!(error("stages = [\n    { rate = 5, for = \"1s\" },\n    { ratee = 5, for = \"1s\" },\n]"), @"error: wrong.toml:3:7: unknown key 'ratee'; did you mean 'rate'?");
    insta::assert_snapshot!(error("stages = [{ storm = { fleets = 5, reconnect = \"obs\" }, for = \"1s\" }]"), @"error: wrong.toml:1:23: unknown key 'fleets'; did you mean 'fleet'?");
    insta::assert_snapshot!(error("targets = [{ uri = \"rtmp://127.0.0.1/live\" }]"), @"error: wrong.toml:1:14: unknown key 'uri'; did you mean 'url'?");
    insta::assert_snapshot!(error("[[threshold]]\nmetrics = \"failed\"\nbelow = \"1%\""), @"error: wrong.toml:2:1: unknown key 'metrics'; did you mean 'metric'?");
    insta::assert_snapshot!(error("stages = [{ bandwidth = 5, for = \"1s\" }]"), @"error: wrong.toml:1:13: unknown key 'bandwidth' in a stage; its keys are rate, burst, concurrency, storm, probe, for, name, warmup, every");
    insta::assert_snapshot!(error("stages = [{ rate = 5, for = \"1s\", hold = \"5s\" }]"), @"error: wrong.toml:1:35: 'hold' is not a key of a stage but of a population; move it there");
}

#[test]
fn a_value_of_the_wrong_type_is_answered_with_an_example() {
    insta::assert_snapshot!(error("stages = \"20k/s\""), @r#"error: wrong.toml:1:10: stages: a text cannot stand here; write for example stages = [{ rate = "20k/s", for = "60s" }]"#);
    insta::assert_snapshot!(error("stages = [{ rate = [5], for = \"1s\" }]"), @r#"error: wrong.toml:1:20: rate: a list cannot stand here; write for example rate = "20k/s""#);
    insta::assert_snapshot!(error("stages = [{ rate = 5, for = 10 }]"), @"error: wrong.toml:1:29: for: '10' lacks a unit of time after 10: write for example 90s, 1m30s, 500ms or 250us");
    insta::assert_snapshot!(error("[population]\nname = \"a\""), @"error: wrong.toml:1:1: population: a table cannot stand here; write for example [[population]] with a name and stages");
}

#[test]
fn a_wrong_value_is_answered_with_its_grammar() {
    insta::assert_snapshot!(error("stages = [{ rate = \"20 k\", for = \"1s\" }]"), @"error: wrong.toml:1:20: rate: '20 k' is not a rate: write a number above zero, for example 20000, 1.5k/s, 600/m or 36k/h");
    insta::assert_snapshot!(error("stages = [{ concurrency = \"some\", for = \"1s\" }]"), @r#"error: wrong.toml:1:27: concurrency: 'some' is not a number of clients; write for example 64, or "10:500" for a ramp"#);
    insta::assert_snapshot!(error("stages = [{ storm = { fleet = 5, reconnect = \"flat\" }, for = \"1s\" }]"), @"error: wrong.toml:1:46: reconnect: 'flat' is not a reconnect rule (it lacks its delay): write obs, nginx-rtmp, or flat and a delay, for example flat 3s");
    insta::assert_snapshot!(error("clients = { ffmpg = 60, obs = 40 }"), @"error: wrong.toml:1:13: clients: 'ffmpg' is not a client; did you mean 'ffmpeg'?");
    insta::assert_snapshot!(error("clients = { obs = 0 }"), @"error: wrong.toml:1:19: clients: '0' is not a whole number from 1 to 1000000");
    insta::assert_snapshot!(error("close = \"fni\""), @"error: wrong.toml:1:9: close: 'fni' is unknown here; did you mean 'fin'?");
    insta::assert_snapshot!(error("hold = \"always\""), @"error: wrong.toml:1:8: hold: 'always' is not a duration (expected number at 0): write for example 90s, 1m30s, 500ms or 250us, 'exp:' and a mean such as exp:20m, or 'forever'");
    insta::assert_snapshot!(error("expect = \"closed\""), @"error: wrong.toml:1:10: expect: 'closed' is not an expectation: write 'closed within 5s', 'reset within 5s', 'answered within 2s' or 'open for 30s'");
    insta::assert_snapshot!(error("thresholds = [\"failed<1%\", \"fialed<1%\"]"), @"error: wrong.toml:1:28: thresholds: threshold 'fialed<1%' names no metric: there is failed, lost, stalled, unsent, dropped, downgraded, rate, outage, and with a statistic response, service, connect, tls, s0s1, s2, reply, app_connect, publish, first_frame, confirm, slot_wait, lateness");
    insta::assert_snapshot!(error("[[threshold]]\nmetric = \"failed\"\nbelow = \"50ms\""), @"error: wrong.toml:3:9: below: threshold 'failed<50ms' has the value '50ms': a share of the due attempts is written as 1% or 0.05%");
    insta::assert_snapshot!(error("abort_if = \"failed>5%\""), @"error: wrong.toml:1:12: abort_if: the condition 'failed>5%' to end the run does not say for how long: write for example 'failed>5% for 5s'");
    insta::assert_snapshot!(error("client_ips = \"10.0.0.0/33\"\nproxy_protocol = \"v1\""), @"error: wrong.toml:1:14: client_ips: '10.0.0.0/33' is not a range of addresses; write for example 10.9.0.0/16");
}

#[test]
fn keys_that_contradict_each_other_are_both_named() {
    insta::assert_snapshot!(error("stages = [{ rate = 5, for = \"1s\", burst = 3 }]"), @"error: wrong.toml:1:35: 'rate' and 'burst' contradict each other; a stage does one thing, write two stages");
    insta::assert_snapshot!(error("stages = [{ for = \"1s\" }]"), @"error: wrong.toml:1:11: the stage does nothing; give it one of rate, burst, concurrency, storm, probe");
    insta::assert_snapshot!(error("stages = [{ rate = 5 }]"), @r#"error: wrong.toml:1:11: a stage needs 'for'; give for example for = "60s""#);
    insta::assert_snapshot!(error("stages = [{ probe = 5, for = \"1s\", warmup = true }]"), @"error: wrong.toml:1:36: 'warmup' and 'probe' contradict each other: a probe is measured; drop one");
    insta::assert_snapshot!(error("stages = [{ rate = 1, for = \"1h\" }, { burst = 5, for = \"10s\", every = \"5s\" }]"), @"error: wrong.toml:1:71: every: 5s is shorter than the 10s that the event lasts; lengthen it, or shorten 'for'");
    insta::assert_snapshot!(error("stages = [{ rate = 1, for = \"1h\" }, { burst = 5, every = \"2h\" }]"), @"error: wrong.toml:1:58: every: the first event would come after 2h, and the other stages end after 1h; shorten it");
    insta::assert_snapshot!(error("arrival = \"poisson\"\nstages = [{ storm = { fleet = 5, reconnect = \"obs\" }, for = \"1s\" }]"), @"error: wrong.toml:1:1: 'arrival' spaces the arrivals of a rate and no stage has one: storms, bursts and concurrency have times of their own; drop it");
    insta::assert_snapshot!(error("hold = \"5s\"\n\n[[population]]\nname = \"a\""), @"error: wrong.toml:1:1: 'hold' here makes this scenario a single population, and line 3 begins [[population]]; move it below there");
    insta::assert_snapshot!(error("[[population]]\nname = \"a\"\n[[population]]\nname = \"a\""), @"error: wrong.toml:4:8: name: 'a' is already the name of the population in line 2; give each a name of its own");
    insta::assert_snapshot!(error("[[threshold]]\nmetric = \"failed\"\nbelow = \"1%\"\nat_least = \"0\""), @"error: wrong.toml:4:1: 'below' and 'at_least' contradict each other; a threshold has one limit, write two thresholds");
}

#[test]
fn what_is_not_toml_is_answered_with_its_place() {
    insta::assert_snapshot!(error("stages = [{ rate = 5, for = \"1s\" }"), @"error: wrong.toml:1:35: this is not TOML: unclosed array, expected `]`");
    insta::assert_snapshot!(error("name = evening"), @"error: wrong.toml:1:8: this is not TOML: string values must be quoted, expected literal string");
    insta::assert_snapshot!(error("seed = 1\nseed = 2"), @"error: wrong.toml:2:1: this is not TOML: duplicate key");
    insta::assert_snapshot!(error(""), @r#"error: wrong.toml:1:1: the scenario is empty; give at least stages, such as stages = [{ rate = "100/s", for = "10s" }]"#);
    insta::assert_snapshot!(error("# caf\u{e9}\nname = \"caf".as_bytes().iter().copied().chain([0xe9, b'"']).collect::<Vec<u8>>()), @"error: wrong.toml:2:12: this is not UTF-8; save the file as UTF-8");
}

#[test]
fn what_is_no_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("folder.toml")).expect("a writable folder");
    let error = |words: &str| {
        let ended = ended_in(folder.path(), words);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:#?}");
        ended.stderr
    };
    insta::assert_snapshot!(error("check missing.toml"), @"error: missing.toml: cannot be read: No such file or directory (os error 2); give a scenario file");
    insta::assert_snapshot!(error("run folder.toml --engine sim"), @"error: folder.toml: cannot be read: Is a directory (os error 21); give a scenario file");
    insta::assert_snapshot!(error("run missing.toml folder.toml"), @"error: missing.toml and folder.toml are two scenarios, and a run is of one; put their populations into one file");
}

#[test]
fn what_flags_cannot_change_is_refused() {
    let two = "[[population]]\nname = \"a\"\nstages = [{ rate = 5, for = \"1s\" }]\n\
               [[population]]\nname = \"b\"\nstages = [{ concurrency = 5, for = \"1s\" }]";
    let refused = |words: &str| {
        let ended = with_file(two, &format!("run wrong.toml --engine sim {words}"));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:#?}");
        ended.stderr
    };
    insta::assert_snapshot!(refused("-R 5k"), @"error: -R replaces the stages of a scenario's only population, and this one has 2: a, b; edit their stages in the file, or write a scenario with one of them");
    insta::assert_snapshot!(refused("-n 100"), @"error: -n belongs to a load that flags describe, and the scenario's stages describe this one; add -R to replace them, or use -d to end them earlier");
    insta::assert_snapshot!(refused("-d 0s"), @"error: -d 0s leaves no time for load; give it a length, such as 10s");
}

#[test]
fn flags_go_before_the_file() {
    let file = "seed = 3\nthresholds = \"failed<1%\"\nstages = [{ rate = \"100/s\", for = \"1h\" }]\nclients = \"obs\"";
    let result =
        with_file(file, "run wrong.toml --engine sim --json -q rtmp://simple.sim/live -d 2s --threshold rate>5/s");
    assert_eq!(result.code, Some(0), "{result:#?}");
    let result = result.json();
    assert_eq!(result["attempts"]["due"], 200);
    let plan = &result["plan"];
    assert_eq!((&plan["scenario"], &plan["seed"]), (&"wrong".into(), &3.into()));
    assert_eq!(plan["targets"][0]["name"], "rtmp://simple.sim/live");
    assert_eq!(plan["populations"][0]["clients"][0]["profile"], "obs");
    assert_eq!(plan["thresholds"], serde_json::json!(["failed<1%", "rate>5/s"]));
    let replaced = with_file(file, "run wrong.toml --engine sim --json -q -R 50 -n 20 --client vlc --seed 4").json();
    assert_eq!(replaced["attempts"]["due"], 20);
    assert_eq!(
        (&replaced["plan"]["seed"], &replaced["plan"]["populations"][0]["clients"][0]["profile"]),
        (&4.into(), &"vlc".into())
    );
}

const EVENING: &str = r#"
engine = "sim"
seed = 7
thresholds = ["encoders.failed<1% in 10s"]
release = "500/s"
stages = []
"#;

#[test]
fn check_prints_the_effective_plan_and_its_curves() {
    let text = EVENING.replace(
        "stages = []",
        r#"
        [[population]]
        name = "encoders"
        targets = [{ url = "rtmp://serve.sim/live", weight = 3 }, "rtmp://slow.sim/live"]
        stages = [
            { rate = "0:200/s", for = "20s", warmup = true },
            { name = "evening", rate = "200/s", for = "1m" },
            { name = "goal", burst = 300, every = "25s" },
            { probe = "5/s", for = "20s" },
        ]
        arrival = "poisson"
        clients = { ffmpeg = 60, obs = 40 }
        concurrency = 1000
        hold = "exp:2s"
        close = "fin"
        sources = "10.0.1.2-10.0.1.9"

        [[population]]
        name = "fleet"
        stages = [{ storm = { fleet = 500, reconnect = "obs" }, for = "1m" }]

        [[population]]
        name = "slow"
        stages = [{ concurrency = "0:50", for = "30s" }, { concurrency = 50, for = "30s" }]
        clients = "half-c1"
        expect = "closed within 60s"
        "#,
    );
    let ended = with_file(&text, "check wrong.toml");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:#?}");
    insta::with_settings!({ filters => vec![
        (r"which have \d+ ports", "which have [PORTS] ports"),
        (r"which may have\s+\d+", "which may have [DESCRIPTORS]"),
        (r"(?s)  memory .*?\n  engine", "  memory      [MEMORY]\n  engine"),
    ]}, {
        insta::assert_snapshot!(ended.stdout, @r#"
wrong: 3 populations, 1m40s

encoders
  clients     ffmpeg 60.0 %, obs 40.0 %
  targets     rtmp://serve.sim/live 75.0 %, rtmp://slow.sim/live 25.0 %
  sources     8 addresses, 10.0.1.2 to 10.0.1.9
  conduct     until handshake, all verified, held 2s on average, closed by FIN,
              Poisson arrivals; 10s to connect, 10s to complete

  begins     stage    load          for     attempts  slots
  0s         warm-up  0/s to 200/s  20s   about 2000   1000
  20s        evening  200/s          1m  about 12000   same
  1m20s      probe 4  probe, 5/s    20s    about 100   1000
  every 25s  goal     300 at once    1s      3 x 300   1000

  planned arrivals per second
     488/s │            ⣿           ⡇          ⢸⡇
           │            ⣿           ⡇          ⢸⡇
           │         ⣀⣀⣀⣿⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣇⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣸⣇⣀
           │    ⢀⣠⠤⠖⠋⠁                           ⠘⡆
         0 │⣠⠤⠖⠋⠉                                 ⣇⣀⣀⣀⣀⣀⣀⣀⣀⣀
            0s                                         1m40s

fleet
  clients     shakedown
  targets     rtmp://serve.sim/live
  sources     the kernel's choice
  conduct     until handshake, all verified, held to the end, closed by RST; 10s
              to connect, 10s to complete

  begins  stage    load                       for     attempts  slots
  0s      storm 1  storm of 500, back by obs   1m  500 or more    500

slow
  clients     half-c1
  targets     rtmp://serve.sim/live
  sources     the kernel's choice
  conduct     until handshake, all verified, not held, closed by RST; 10s to
              connect, 1m15s to complete
  expects     closed within 1m

  begins  stage          load               for  attempts  slots
  0s      concurrency 1  0 to 50 at a time  30s         -     50
  30s     concurrency 2  50 at a time       30s         -   same

  planned clients at a time
        50 │                    ⢀⡠⠤⠒⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉
           │               ⢀⡠⠤⠒⠉⠁
           │          ⢀⡠⠤⠒⠉⠁
           │     ⢀⡠⠤⠒⠉⠁
         0 │⣀⡠⠤⠒⠉⠁
            0s                                            1m

in all
  length      1m40s
  attempts    about 15500 or more, and those of the closed loop
  peak rate   200/s, and 300 at once
  connections at most 3550
  ports       at most 500 from a source to a target, which have [PORTS] ports
  descriptors at most 3550 in each of 1 worker, which may have [DESCRIPTORS]
  memory      [MEMORY]
  engine      sim
  seed        7
  threshold   encoders.failed<1% in 10s
  release     500/s of the connections held at the end
"#);
    });
}

#[test]
fn check_says_what_memory_the_plan_takes() {
    let file = "targets = \"10.0.0.5:1935\"\nworkers = 2\nstages = [{ concurrency = 101, for = \"1s\" }]";
    let memory = &with_file(file, "check wrong.toml --json").json()["memory"];
    let number = |key: &str| memory[key].as_u64().unwrap_or_else(|| panic!("{key}: {memory}"));
    let worker = memory["worker"].as_object().unwrap();
    let parts: u64 = worker.values().map(|part| part.as_u64().unwrap()).sum();
    assert!(["slots", "buffers", "templates", "histograms", "rings"].iter().all(|part| worker[*part] != 0), "{memory}");
    assert_eq!((number("workers"), number("worker_bytes")), (2, parts));
    assert_eq!(number("total_bytes"), 2 * parts + number("shared_bytes"));
    assert!(number("kernel_bytes") > 101 * 4_000, "{memory}");
    let text = with_file(file, "check wrong.toml").stdout;
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.join(" ").contains("for each of 2 workers (slots "), "{text}");
}

#[test]
fn cpus_of_a_file_are_checked_at_their_place() {
    let stages = "stages = [{ concurrency = 1, for = \"1s\" }]";
    for (cpus, says) in [
        ("\"4095\"", "wrong.toml:1:8: 'cpus': CPU 4095 is not in this process's cpuset, which is"),
        ("\"3-1\"", "wrong.toml:1:8: cpus: '3-1' is not a list of CPUs"),
        ("\"\"", "wrong.toml:1:8: cpus: the list of CPUs is empty"),
        ("true", "write for example cpus = \"2-15\""),
    ] {
        let told = check_error(&format!("cpus = {cpus}\ntargets = \"10.0.0.5:1935\"\n{stages}"));
        assert!(told.contains(says), "{told}");
    }
    let file = format!("cpus = \"4095\"\n{stages}");
    let rehearsed = with_file(&file, "check wrong.toml --engine sim rtmp://serve.sim/live");
    assert_eq!(rehearsed.code, Some(0), "a rehearsal pins nobody: {rehearsed:#?}");
}

#[test]
fn check_looks_no_name_up() {
    let file =
        "targets = [\"rtmp://nowhere.invalid/live\", \"rtmp://10.0.0.5/live\"]\nstages = [{ rate = 5, for = \"1s\" }]";
    let ended = with_file(file, "check wrong.toml");
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.stdout.contains("rtmp://nowhere.invalid/live (not looked up) 50.0 %"), "{ended:#?}");
    let plan = with_file(file, "check wrong.toml --json").json();
    assert_eq!(plan["targets"][0]["address"], "0.0.0.0:1935");
    assert_eq!(plan["targets"][1]["address"], "10.0.0.5:1935");
    let replaced = with_file(file, "check wrong.toml 127.0.0.1:1936 -d 500ms --json").json();
    assert_eq!(replaced["targets"][0]["address"], "127.0.0.1:1936");
    assert_eq!(replaced["populations"][0]["lanes"][0]["load"]["stages"][0]["duration_ns"], 500_000_000);
}

/// What `check`, and only that, says of a wrong file: `run --engine sim` rehearses without workers and ports.
#[track_caller]
fn check_error(content: &str) -> String {
    let check = with_file(content, "check wrong.toml");
    assert_eq!((check.code, check.stdout.as_str()), (Some(2), ""), "{check:#?}");
    assert_eq!(check.stderr.lines().count(), 1, "one line: {check:#?}");
    check.stderr
}

#[test]
fn a_plan_that_cannot_be_is_refused_at_its_value() {
    let to = |rest: &str| check_error(&format!("targets = \"10.0.0.5:1935\"\n{rest}"));
    let rate = "stages = [{ rate = 5, for = \"1s\" }]";
    let storm =
        "[[population]]\nname = \"fleet\"\nstages = [{ storm = { fleet = 500, reconnect = \"obs\" }, for = \"5s\" }]";
    // What clients do.
    insta::assert_snapshot!(to(&format!("{storm}\nclients = \"half-c1\"")), @"error: wrong.toml:5:11: the fleet of fleet comes back to stay, and hostile clients do not; give them a population of their own");
    insta::assert_snapshot!(to(&format!("{rate}\nexpect = \"closed within 5s\"")), @"error: wrong.toml:3:10: clients expects a reaction to hostile clients and has none; give it one (such as half-c1), or use thresholds");
    insta::assert_snapshot!(to(&format!("{rate}\nclients = \"tls\"\ntimeout = \"1s\"\nexpect = \"closed within 5s\"")), @"error: wrong.toml:4:11: clients expects 'closed within 5s' and waits only 1.00 s for it; give it a longer 'timeout', or none");
    insta::assert_snapshot!(to(&format!("{rate}\nclients = {{ obs = 1 }}\nmode = \"complex\"")), @"error: wrong.toml:4:8: obs makes the simple handshake and 'mode' asks for the complex one; drop one of them");
    insta::assert_snapshot!(to(&format!("{rate}\nclients = \"tls\"\nmode = \"simple\"")), @"error: wrong.toml:4:8: tls makes no handshake, so 'mode' does not apply; drop one of them");
    insta::assert_snapshot!(to(&format!("{rate}\ndigest = \"first-half\"\nmode = \"simple\"")), @r#"error: wrong.toml:3:10: 'digest' places a digest and mode = "simple" has none; drop one of them"#);
    insta::assert_snapshot!(to(&format!("{rate}\nclients = \"zlmediakit\"\ndigest = \"first-half\"")), @"error: wrong.toml:4:10: zlmediakit has its digest in the second half and 'digest' asks for the first half; drop one of them");
    insta::assert_snapshot!(to("arrival = \"poisson\""), @"error: wrong.toml:2:11: 'arrival' spaces planned arrivals and a closed loop has none; give a rate with 'stages'");
    // Sizes.
    insta::assert_snapshot!(to(&format!("{rate}\nworkers = 5000")), @"error: wrong.toml:3:11: workers = 5000 is too many workers; the most is 4096");
    insta::assert_snapshot!(to("engine = \"sim\"\nworkers = 2\nstages = [{ rate = 5, for = \"1s\" }]"), @"error: wrong.toml:3:11: the simulated network runs one worker; drop 'workers'");
    insta::assert_snapshot!(to("engine = \"sim\"\nstages = [{ rate = 5, for = \"1s\" }, { storm = { fleet = 2000000, reconnect = \"obs\" }, for = \"1s\" }]"), @"error: wrong.toml:3:37: the simulated network has room for 1048576 connections, not 2000001; make the fleet smaller");
    insta::assert_snapshot!(to("engine = \"sim\"\nconcurrency = 2_000_000\nstages = [{ rate = 5, for = \"1s\" }]"), @"error: wrong.toml:3:15: the simulated network has room for 1048576 connections, not 2000000; lower 'concurrency'");
    insta::assert_snapshot!(to("stages = [{ rate = 5, for = \"1s\" }, { rate = \"2000M/s\", for = \"1s\" }]"), @"error: wrong.toml:2:37: stage 2: 2000000000 arrivals per second is not a rate: it must be from 0 to 1000M/s");
    insta::assert_snapshot!(to("stages = [{ rate = 5, for = \"1h\" }, { burst = 5, for = \"1ms\", every = \"1ms\" }]"), @"error: wrong.toml:2:37: population 'clients': stage 2 would come 3599999 times; the most is 10000, so make `every` longer");
    insta::assert_snapshot!(to("stages = [{ storm = { fleet = 5, reconnect = \"obs\" }, for = \"1s\", warmup = true }, { rate = 5, for = \"1s\" }]"), @"error: wrong.toml:2:11: population 'clients': stage 1 is a storm or a probe, which nothing needs to warm up for; drop its warmup");
    // Addresses.
    insta::assert_snapshot!(check_error(&format!("targets = [\"10.0.0.5:1935\", \"203.0.113.7:1935\"]\n{rate}")), @r#"error: wrong.toml:1:29: target '203.0.113.7:1935' is 203.0.113.7, a public address; if the server is yours to load, allow it with allow = "203.0.113.7""#);
    insta::assert_snapshot!(to(&format!("canary = \"203.0.113.7:1935\"\n{rate}")), @r#"error: wrong.toml:2:10: target '203.0.113.7:1935' is 203.0.113.7, a public address; if the server is yours to load, allow it with allow = "203.0.113.7""#);
    insta::assert_snapshot!(to(&format!("engine = \"sim\"\n{rate}\ncanary = \"nowhere.sim:1935\"")), @"error: wrong.toml:4:10: cannot resolve 'nowhere.sim' of target 'nowhere.sim:1935': the simulated network has the hosts serve.sim, slow.sim, queue.sim, hiccups.sim, noisy.sim, stalls.sim, backlog.sim, split.sim, tail.sim, s2-after-c2.sim, drip.sim, simple.sim, refuse.sim, unreachable.sim, no-route.sim, drop.sim, silent.sim, version.sim, http.sim, close-at-once.sim, close.sim, reset.sim, half.sim, half-close.sim, bad-s1.sim, bad-s2.sim, bad-echo.sim, endless.sim, garbage.sim, reset-after-s2.sim, close-after-c2.sim, close-held.sim, no-ports.sim, no-descriptors.sim, overload.sim, vanish.sim, connect-rejected.sim, unauthorized.sim, redirect.sim, name-taken.sim, no-stream.sim, hook-says-no.sim, slow-hook.sim, no-connect.sim, no-publish.sim, close-after-connect.sim, reset-after-publish.sim, ping.sim, noise-after-s2.sim, name-taken-late.sim, stream-failed.sim, unpublish.sim, reconnect.sim, stops-reading.sim; check the name or give an address");
    insta::assert_snapshot!(to(&format!("{rate}\nsources = [\"::1\"]")), @"error: wrong.toml:3:11: source ::1 and target 10.0.0.5:1935 are of different address families; give sources of the target's family");
    insta::assert_snapshot!(to(&format!("{rate}\nproxy_protocol = \"v1\"")), @r#"error: wrong.toml:3:18: 'proxy_protocol' names clients and no addresses are given for them; add for example client_ips = "10.9.0.0/16""#);
    insta::assert_snapshot!(to(&format!("{rate}\nresolve = \"500ms\"")), @"error: wrong.toml:3:11: 'resolve' asks the resolver more than once a second; give it 1s or more");
    insta::assert_snapshot!(to(&format!("{rate}\nengine = \"sim\"\nresolve = \"5s\"")), @"error: wrong.toml:4:11: the names of the simulated network do not change; drop 'resolve'");
    insta::assert_snapshot!(to(&format!("canary = \"10.0.0.5:1935\"\n[[population]]\nname = \"canary\"\n{rate}")), @"error: wrong.toml:4:8: 'canary' is the name of the population that 'canary' makes; give this one another");
    // Conditions.
    insta::assert_snapshot!(to(&format!("{rate}\nthresholds = [\"failed<1%\", \"others.failed<1%\"]")), @"error: wrong.toml:3:28: threshold 'others.failed<1%' names no population of the plan: there is clients");
    insta::assert_snapshot!(to(&format!("{rate}\nthresholds = \"failed<1%\"\n[[threshold]]\nmetric = \"stage:night.failed\"\nbelow = \"1%\"")), @"error: wrong.toml:5:10: threshold 'stage:night.failed<1%' names no stage of the plan: there is rate 1");
    insta::assert_snapshot!(to("stages = [{ concurrency = 5, for = \"1s\" }]\nthresholds = \"response.p99<1s\""), @"error: wrong.toml:3:14: threshold 'response.p99<1s' needs planned arrivals, and closed loop has none: use service.p99, or give a rate (-R, or a stage's rate)");
    insta::assert_snapshot!(to(&format!("{rate}\nabort_if = [\"others.failed>5% for 5s\"]")), @"error: wrong.toml:3:13: the condition 'others.failed>5% for 5s' to end the run names no population of the plan: there is clients");
    insta::assert_snapshot!(to(&format!("{rate}\nthresholds = \"failed<1% in 5m\"")), @"error: wrong.toml:3:14: threshold 'failed<1% in 5m' has windows of 5m and the load is measured for 1s: shorten the window, or lengthen the load");
}

#[test]
fn ports_that_do_not_suffice_are_refused_at_what_needs_them() {
    let to = "targets = \"10.0.0.5:1935\"\n";
    insta::with_settings!({ filters => vec![
        (r"there are \d+ \(\d+ for", "there are [PORTS] ([PORTS] for"),
        (r"give \d+ source", "give [COUNT] source"),
    ]}, {
        insta::assert_snapshot!(check_error(&format!("{to}stages = [{{ storm = {{ fleet = 70000, reconnect = \"obs\" }}, for = \"5s\" }}]")), @"error: wrong.toml:2:11: 70000 connections need 70000 local ports and there are [PORTS] ([PORTS] for each source and target); give [COUNT] source addresses with 'sources', widen net.ipv4.ip_local_port_range, or make the fleet smaller");
        insta::assert_snapshot!(check_error(&format!("{to}stages = [{{ concurrency = \"1:70000\", for = \"5s\" }}]")), @"error: wrong.toml:2:11: 70000 connections need 70000 local ports and there are [PORTS] ([PORTS] for each source and target); give [COUNT] source addresses with 'sources', widen net.ipv4.ip_local_port_range, or lower the stage's concurrency");
        insta::assert_snapshot!(check_error(&format!("{to}stages = [{{ rate = 5, for = \"5s\" }}]\nconcurrency = 70000")), @"error: wrong.toml:3:15: 70000 connections need 70000 local ports and there are [PORTS] ([PORTS] for each source and target); give [COUNT] source addresses with 'sources', widen net.ipv4.ip_local_port_range, or lower 'concurrency'");
    });
}

#[test]
fn what_flags_have_replaced_is_not_the_files_fault() {
    let file = "targets = \"10.0.0.5:1935\"\nstages = [{ storm = { fleet = 5, reconnect = \"obs\" }, for = \"5s\" }]\n\
                clients = \"obs\"\nmode = \"simple\"";
    let refused = |words: &str| {
        let ended = with_file(file, &format!("run wrong.toml {words}"));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:#?}");
        ended.stderr
    };
    insta::assert_snapshot!(refused("--client half-c1 --mode complex"), @"error: the fleet of clients comes back to stay, and hostile clients do not; give them a population of their own");
    insta::assert_snapshot!(refused("--client ffmpeg"), @"error: wrong.toml:4:8: --client ffmpeg makes the complex handshake and 'mode' asks for the simple one; drop one of them");
    insta::assert_snapshot!(refused("--mode complex"), @"error: wrong.toml:3:11: obs makes the simple handshake and --mode asks for the complex one; drop one of them");
    insta::assert_snapshot!(refused("203.0.113.7:1935"), @"error: target '203.0.113.7:1935' is 203.0.113.7, a public address; if the server is yours to load, allow it with --allow-target 203.0.113.7");
    insta::assert_snapshot!(refused("--threshold others.failed<1%"), @"error: threshold 'others.failed<1%' names no population of the plan: there is clients");
    insta::assert_snapshot!(refused("-t 5000"), @"error: -t 5000 is too many workers; the most is 4096");
    insta::assert_snapshot!(refused("--source 192.0.2.1"), @"error: source 192.0.2.1 is not an address of this host; give one that `ip address` shows, or add it there");
    insta::assert_snapshot!(refused("--weights 1,2"), @"error: 2 weights for 1 targets; give one for each target, in their order");
    let closed = "targets = \"10.0.0.5:1935\"\nsources = \"192.0.2.1\"\nstages = [{ concurrency = 5, for = \"5s\" }]";
    insta::assert_snapshot!(with_file(closed, "run wrong.toml --share 0/2").stderr, @"error: wrong.toml:3:11: --share deals out planned arrivals and a stage of 'concurrency' has none; give it a rate, or drop --share");
    insta::assert_snapshot!(with_file(closed, "run wrong.toml").stderr, @"error: wrong.toml:2:11: source 192.0.2.1 is not an address of this host; give one that `ip address` shows, or add it there");
}

#[test]
fn a_stage_that_a_flag_has_cut_keeps_its_place() {
    let file = "targets = \"10.0.0.5:1935\"\nstages = [\n    { burst = 5, every = \"30s\" },\n    \
                { rate = 5, for = \"1h\" },\n    { burst = 5, for = \"1ms\", every = \"1ms\" },\n]";
    let ended = with_file(file, "check wrong.toml -d 20s");
    ended.assert_error(2, &["wrong.toml:5:5: ", "would come 19999 times"]);
}

#[test]
fn what_is_no_value_is_not_taken_for_one() {
    insta::assert_snapshot!(error("sources = []"), @"error: wrong.toml:1:11: sources: the list is empty; name an address, or leave the key out for the kernel's choice");
    insta::assert_snapshot!(error("stages = [{ burst = \"3\" }]"), @"error: wrong.toml:1:21: burst: '3' is a text; write the number without quotes: 3");
    insta::assert_snapshot!(error("workers = \"2\""), @"error: wrong.toml:1:11: workers: '2' is a text; write the number without quotes: 2");
    insta::assert_snapshot!(error("clients = { obs = \"many\" }"), @"error: wrong.toml:1:19: clients: a text cannot stand here; write for example clients = { ffmpeg = 60, obs = 40 }");
    insta::assert_snapshot!(error("stages = [{ concurrency = \"64\", for = \"1s\" }]"), @"error: wrong.toml:1:27: concurrency: '64' is a text; write the number without quotes: 64");
    insta::assert_snapshot!(error("hold = \"exp:0s\""), @"error: wrong.toml:1:8: hold: 'exp:' has a mean of nothing; give one such as exp:20m, or 0s to hold none");
    insta::assert_snapshot!(error("stages = [{ rate = 5, for = \"99999999999d\" }]"), @r#"error: wrong.toml:1:29: for: '99999999999d' is longer than 584 years; write for example for = "60s""#);
}

#[test]
fn check_refuses_what_cannot_be_resolved() {
    let public = with_file("targets = \"203.0.113.7:1935\"\nstages = [{ rate = 5, for = \"1s\" }]", "check wrong.toml");
    public.assert_error(2, &["a public address"]);
    let expecting =
        with_file("expect = \"closed within 5s\"\nstages = [{ rate = 5, for = \"1s\" }]", "check wrong.toml");
    expecting.assert_error(2, &["expects a reaction to hostile clients"]);
    finished(prepared("check")).assert_error(2, &["<SCENARIO.toml>"]);
    assert!(!Path::new("wrong.toml").exists(), "files are made in folders of their own");
}

/// The line of the plan on paper that begins with `label`.
fn line_of<'a>(checked: &'a Ended, label: &str) -> &'a str {
    checked.stdout.lines().find(|line| line.trim_start().starts_with(label)).unwrap_or_else(|| panic!("{checked:#?}"))
}

#[test]
fn a_plan_on_paper_has_as_many_attempts_as_the_run() {
    for stages in [
        "{ rate = 7.3, for = \"9500ms\" }",
        "{ rate = 0.3, for = \"1s\" }, { rate = 0.3, for = \"1s\" }",
        "{ rate = \"1:9/s\", for = \"3300ms\" }, { burst = 7 }",
        "{ rate = 1, for = \"8s\" }, { rate = 2.5, for = \"1s\", every = \"3s\" }",
    ] {
        let file = format!("stages = [{stages}]");
        let due = with_file(&file, "run wrong.toml --engine sim --json").json()["attempts"]["due"].to_string();
        let checked = with_file(&file, "check wrong.toml");
        assert_eq!(
            line_of(&checked, "attempts").split_whitespace().nth(1),
            Some(due.as_str()),
            "{stages}: {checked:#?}"
        );
    }
}

#[test]
fn the_canary_is_in_no_sum_on_paper_and_in_the_run() {
    let file = "engine = \"sim\"\ntargets = \"rtmp://serve.sim/live\"\ncanary = \"rtmp://serve.sim/other\"\n\
                stages = [{ rate = 5, for = \"2s\" }]";
    let checked = with_file(file, "check wrong.toml");
    insta::assert_snapshot!(line_of(&checked, "attempts"), @"  attempts    10 planned; the canary's are in no sum");
    insta::assert_snapshot!(line_of(&checked, "peak rate"), @"  peak rate   5/s");
    let result = with_file(file, "run wrong.toml --json").json();
    assert_eq!((&result["attempts"]["due"], &result["rate"]["intended_per_s"]), (&10.into(), &5.0.into()));
    let timeline = result["timeline"].as_array().expect("rows");
    assert_eq!(timeline.iter().map(|row| row["due"].as_u64().expect("a count")).sum::<u64>(), 10);
}

#[test]
fn a_canary_that_fails_has_its_failures_in_its_own_row() {
    let file = "engine = \"sim\"\ntargets = \"rtmp://serve.sim/live\"\ncanary = \"rtmp://refuse.sim/live\"\n\
                stages = [{ rate = 5, for = \"9s\" }]";
    let result = with_file(file, "run wrong.toml --json").json();
    assert_eq!(result["failures"], serde_json::json!([]));
    let canary = &result["by_population"][1];
    assert_eq!((&canary["failures"][0]["kind"], &canary["failures"][0]["count"]), (&"refused".into(), &4.into()));
    let report = with_file(file, "run wrong.toml").stdout;
    assert!(report.contains("failures of canary, which are in no sum\n  4 x connect refused"), "{report}");
    assert!(!report.contains("by target"), "the canary's target has nothing to tell: {report}");
}

#[test]
fn a_fleet_that_is_lost_again_is_told() {
    let file = "engine = \"sim\"\ntargets = \"rtmp://close-held.sim/live\"\n\
                stages = [{ storm = { fleet = 20, reconnect = \"flat 3s\" }, for = \"10200ms\" }]";
    let report = with_file(file, "run wrong.toml --seed 1").stdout;
    let from = report.find("storm ").expect("a table of storms");
    insta::assert_snapshot!(report[from..].lines().take(5).collect::<Vec<_>>().join("\n"), @r"
    storm                   back  50 % after    90 %    99 %   100 %  attempts each
      clients: storm 1  20 of 20      3.00 s  3.00 s  3.00 s  3.00 s           1.00
      clients: storm 1: 40 lost again, most of the fleet at once after 7.00 s: times
        count from there; last back 10.0 s after the beginning
    ");
}
