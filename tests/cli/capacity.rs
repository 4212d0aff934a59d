//! `shakedown capacity` on the simulated network: whole searches in virtual time, the same every time.

use std::path::Path;

use serde_json::Value;

use super::command::{Ended, ended, ended_in};

/// A search with seed 1 in `folder`.
fn searched(folder: &Path, words: &str) -> Ended {
    ended_in(folder, &format!("capacity --engine sim --seed 1 {words}"))
}

/// Its result, by `--json`.
#[track_caller]
fn result(code: i32, words: &str) -> Value {
    let ended = ended(&format!("capacity --engine sim --seed 1 --json -q {words}"));
    assert_eq!(ended.stderr, "", "{words}");
    let result = ended.json();
    assert_eq!(ended.code, Some(code), "{words}: {}", result["statement"]);
    result
}

#[track_caller]
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The highest rate of any trial.
fn highest(result: &Value) -> f64 {
    let trials = result["trials"].as_array().expect("a list");
    trials.iter().map(|trial| number(&trial["rate_per_s"])).fold(0.0, f64::max)
}

/// A short search: trials of 2 s, 5 s of confirmation.
const SHORT: &str = "--budget 90s --trial 2s --confirm 5s --width 3%";

#[test]
fn a_target_alone_is_enough_for_the_whole_report() {
    let folder = tempfile::tempdir().unwrap();
    let ended = searched(folder.path(), "rtmp://slow.sim/live -o slow.json");
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    // It serves 50 a second.
    let first: String = ended.stdout.lines().take(3).collect::<Vec<_>>().join(" ");
    assert!(
        first.starts_with("capacity   rtmp://slow.sim/live, simulated: 49.7/s complex handshakes confirmed"),
        "{first}"
    );
    for part in ["verdict    pass", "goal ", "trials ", "latency at", "past the limit", "it served again at once"] {
        assert!(ended.stdout.contains(part), "'{part}' is not in {}", ended.stdout);
    }
    assert!(ended.stderr.contains("time plan: baseline"), "{}", ended.stderr);
    let plan = ended.stderr.find("time plan").unwrap();
    assert!(plan < ended.stderr.find("climb   ").unwrap(), "the plan comes first: {}", ended.stderr);
    let saved: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("slow.json")).unwrap()).unwrap();
    assert_eq!(saved["schema"], "shakedown.capacity/2");
    assert_eq!(
        (&saved["until"], &saved["close"], &saved["deadline_ns"]),
        (&"reply".into(), &"rst".into(), &100_000_000.into())
    );
    let goal = &saved["goals"][0];
    let [lower, upper, confirmed] =
        ["lower_bound_per_s", "upper_bound_per_s", "confirmed_per_s"].map(|key| number(&goal[key]));
    assert!(confirmed <= 50.0 && confirmed > 48.5 && lower < upper, "{goal}");
    assert!(saved["time"]["total_s"].as_f64().unwrap() <= 300.0, "{}", saved["time"]);
    assert_eq!(saved["loads"].as_array().unwrap().len(), 3);
    assert_eq!((&saved["recovered"], &saved["verdict"]), (&true.into(), &"pass".into()));
}

#[test]
fn the_budget_that_a_refusal_names_is_enough() {
    for flags in ["", "--confirm 10m", "--goal strict=0.1% --trial 3s"] {
        let refused = ended(&format!("capacity rtmp://queue.sim/live --engine sim --budget 1s {flags}"));
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        let named = refused.stderr.split("at least --budget ").nth(1).and_then(|rest| rest.split(',').next());
        let named = named.unwrap_or_else(|| panic!("{refused:#?}")).to_owned();
        let taken = ended(&format!("capacity rtmp://queue.sim/live --engine sim --seed 1 --budget {named} {flags}"));
        assert_ne!(taken.code, Some(2), "{named}: {taken:#?}");
    }
}

#[test]
fn the_same_seed_finds_the_same() {
    let words = format!("rtmp://queue.sim/live {SHORT}");
    assert!(result(0, &words) == result(0, &words), "{words}");
}

#[test]
fn a_stalling_target_is_called_unstable() {
    let found = result(4, "rtmp://hiccups.sim/live --max-rate 600 --budget 3m --confirm 20s");
    assert_eq!(found["goals"][0]["outcome"], "unstable", "{}", found["statement"]);
    assert!(found["statement"].as_str().unwrap().contains("unstable"), "{}", found["statement"]);
}

#[test]
fn what_limits_the_search_is_said() {
    let range = result(0, &format!("rtmp://queue.sim/live --max-rate 200 {SHORT}"));
    assert_eq!(range["goals"][0]["limited_by"], "range", "{}", range["statement"]);
    assert!(highest(&range) <= 200.0);
    assert!(range["statement"].as_str().unwrap().contains("at least 200/s"), "{}", range["statement"]);
    let undecided = result(4, "rtmp://queue.sim/live --budget 25s --confirm 5s --trial 1s");
    assert!(number(&undecided["time"]["total_s"]) <= 25.0, "{}", undecided["time"]);
    let goal = &undecided["goals"][0];
    assert_eq!((&goal["outcome"], &goal["limited_by"]), (&"undecided".into(), &"unattributed".into()), "{goal}");
    assert!(undecided["statement"].as_str().unwrap().contains("at least"), "{}", undecided["statement"]);
}

#[test]
fn a_need_is_answered_without_ever_offering_more() {
    let met = result(0, &format!("rtmp://queue.sim/live --need 500 {SHORT}"));
    assert_eq!(met["qualification"]["qualified"], true, "{}", met["statement"]);
    assert!(highest(&met) <= 600.0, "the default margin is 1.2: {}", highest(&met));
    assert!(met["statement"].as_str().unwrap().contains("yes, it takes 500/s"), "{}", met["statement"]);
    let missed = result(3, &format!("rtmp://queue.sim/live --need 1500 --margin 1.5 {SHORT}"));
    assert_eq!(missed["qualification"]["qualified"], false, "{}", missed["statement"]);
    assert!(highest(&missed) <= 2250.0);
    assert_eq!(missed["advice"][0], "the same command without the need finds what it does take");
    // 1 000 clients that wait 2 s first, back within 4 s: 500 a second.
    let fleet = result(0, &format!("rtmp://queue.sim/live --fleet 1000 --recover-in 4s {SHORT}"));
    assert_eq!(number(&fleet["qualification"]["need_per_s"]), 500.0);
    assert_eq!(fleet["qualification"]["fleet"]["reconnect"], "obs");
}

#[test]
fn fleets_of_a_few_dozen_get_an_answer() {
    // It serves 50 a second.
    for (words, code, need) in [
        ("--need 2", 0, 2.0),
        ("--need 5", 0, 5.0),
        ("--need 40 --budget 60s", 0, 40.0),
        ("--fleet 20 --recover-in 10s", 0, 2.5),
        ("--fleet 50 --recover-in 10s", 0, 6.25),
        ("--need 50 --budget 60s", 3, 50.0),
        ("--fleet 500 --recover-in 10s", 3, 62.5),
    ] {
        let found = result(code, &format!("rtmp://slow.sim/live {words}"));
        let answer = &found["qualification"];
        assert_eq!((number(&answer["need_per_s"]), &answer["qualified"]), (need, &(code == 0).into()), "{words}");
        assert!(highest(&found) <= need * 1.2 * 1.001, "{words}: {}", highest(&found));
        assert!(number(&found["baseline"]["rate_per_s"]) <= need * 1.2 * 1.001, "{words}: {}", found["baseline"]);
        assert!(number(&found["time"]["total_s"]) <= number(&found["time"]["budget_s"]), "{words}: {}", found["time"]);
        let statement = found["statement"].as_str().unwrap();
        if code == 0 {
            assert!(number(&found["confirmation"]["attempts"]) >= 600.0, "{words}: {statement}");
            assert!(statement.contains("attempts lost: at most 0."), "{words}: {statement}");
        }
    }
}

#[test]
fn a_budget_that_cannot_tell_is_refused_with_one_that_can_and_a_goal_that_this_one_tells() {
    for (asked, offered) in
        [("--need 2", "a need of 2/s with a margin of 1.2 is 2.4/s"), ("--max-rate 3", "3/s is allowed")]
    {
        let refused = searched(Path::new("."), &format!("rtmp://slow.sim/live {asked} --budget 60s -q"));
        refused.assert_error(
            2,
            &[offered, "the 600 attempts that tell a loss of 0.5 % take", "a budget of 1m is too short"],
        );
        let after = |part: &str| {
            let rest = refused.stderr.split_whitespace().skip_while(|word| *word != part).nth(1);
            rest.map(|word| word.trim_end_matches(',').to_owned()).unwrap_or_else(|| panic!("{part}: {refused:#?}"))
        };
        result(0, &format!("rtmp://slow.sim/live {asked} --budget {}", after("--budget")));
        result(0, &format!("rtmp://slow.sim/live {asked} --budget 60s --goal {}", after("--goal")));
    }
}

#[test]
fn a_target_that_completes_nothing_ends_at_once_with_5() {
    for host in ["refuse", "close", "unreachable"] {
        let found = result(5, &format!("rtmp://{host}.sim/live"));
        assert_eq!(found["trials"], Value::Array(Vec::new()), "{host}");
        assert!(found["statement"].as_str().unwrap().contains("nothing completes"), "{}", found["statement"]);
        assert!(found["time"]["total_s"].as_f64().unwrap() < 5.0, "{host}: {}", found["time"]);
    }
}

#[test]
fn limits_of_this_machine_are_never_the_targets() {
    let found = result(4, &format!("rtmp://no-ports.sim/live --hold 100ms {SHORT}"));
    assert_eq!(found["goals"][0]["outcome"], "generator_limited", "{}", found["statement"]);
    assert_eq!(found["goals"][0]["limited_by"], "generator");
    assert!(found["statement"].as_str().unwrap().contains("at least"), "{}", found["statement"]);
}

#[test]
fn a_deadline_may_be_over_the_baseline_and_not_below_it() {
    // An unloaded attempt takes 1.6 ms here, and 20.6 ms there.
    let over = result(0, &format!("rtmp://queue.sim/live --deadline +100ms {SHORT}"));
    let deadline = over["deadline_ns"].as_u64().unwrap();
    assert!((101_500_000..101_700_000).contains(&deadline), "{deadline}");
    let told = searched(Path::new("."), "-q rtmp://slow.sim/live --deadline 30ms");
    told.assert_error(2, &["below twice what the unloaded target takes", "--deadline 42", "--deadline +100ms"]);
}

#[test]
fn a_search_goes_on_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let words = "rtmp://queue.sim/live --trial 2s --confirm 5s --width 3%";
    let first = searched(folder.path(), &format!("{words} --budget 40s -o first.json"));
    assert_eq!(first.code, Some(4), "{first:#?}");
    let second = searched(folder.path(), &format!("{words} --budget 150s --resume first.json --json -q"));
    assert_eq!(second.code, Some(0), "{second:#?}");
    let (first, second) = (
        serde_json::from_str::<Value>(&std::fs::read_to_string(folder.path().join("first.json")).unwrap()).unwrap(),
        second.json(),
    );
    let (before, after) = (first["searched"].as_array().unwrap(), second["searched"].as_array().unwrap());
    assert_eq!(&after[..before.len()], before.as_slice());
    assert_eq!(second["asked"]["resumed_from"], "first.json");
    let other = searched(folder.path(), "rtmp://slow.sim/live -q --resume first.json");
    other.assert_error(2, &["first.json", "queue.sim", "slow.sim"]);
    let later = searched(folder.path(), &format!("{words} -q --deadline 1s --resume first.json"));
    later.assert_error(2, &["first.json", "deadline"]);
}

#[test]
fn what_the_file_of_a_search_says_need_not_be_said_again() {
    let folder = tempfile::tempdir().unwrap();
    let words = "rtmp://queue.sim/live --trial 2s --confirm 5s --width 3% --mode simple --goal lax=1% --close fin";
    let first = searched(folder.path(), &format!("{words} --budget 40s -o found.json"));
    let told = first.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("`shakedown capacity --resume found.json --budget 1m20s`"), "{told}");
    let read = || -> Value {
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("found.json")).unwrap()).unwrap()
    };
    let before = read();
    // Neither engine nor target nor flags nor -o.
    let second = ended_in(folder.path(), "capacity --resume found.json --budget 150s");
    assert_eq!(second.code, Some(0), "{second:#?}");
    let after = read();
    for key in ["target", "clients", "until", "close", "deadline_ns"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert_eq!(after["goals"][0]["name"], "lax");
    assert_eq!(after["goals"][0]["outcome"], "confirmed", "{}", after["statement"]);
    // The trials go on where they ended, in the file, on stderr and in the time plan.
    let trials = before["trials"].as_array().unwrap();
    assert_eq!(&after["trials"].as_array().unwrap()[..trials.len()], trials.as_slice());
    let number = format!("\n{:>3}  ", trials.len() + 1);
    assert!(second.stderr.contains(&number) && !second.stderr.contains("\n  1  "), "{second:#?}");
    let searched_before = before["searched"].as_array().unwrap().len();
    let told = second.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains(&format!("after the {searched_before} that took")), "{told}");
    let concurrent = ended_in(folder.path(), "capacity --resume found.json --find concurrent");
    concurrent.assert_error(2, &["found.json", "--find concurrent", "without --resume"]);
}

#[test]
fn a_fleet_is_known_when_its_search_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let words =
        format!("rtmp://queue.sim/live --fleet 1000 --recover-in 4s --reconnect nginx-rtmp {SHORT} -q -o fleet.json");
    let first = searched(folder.path(), &words);
    assert_eq!(first.code, Some(3), "1000 within the second that is left: {first:#?}");
    let again = ended_in(folder.path(), "capacity --resume fleet.json -q --json").json();
    let fleet = &again["qualification"]["fleet"];
    assert_eq!((&fleet["clients"], &fleet["reconnect"]), (&1000.into(), &"nginx-rtmp".into()), "{again}");
    let told = ended_in(folder.path(), "capacity --resume fleet.json --budget 91s");
    assert!(told.stderr.contains("no more trials"), "{told:#?}");
}

#[test]
fn a_file_that_no_search_can_have_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    searched(folder.path(), &format!("rtmp://queue.sim/live {SHORT} -q -o found.json"));
    let whole: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("found.json")).unwrap()).unwrap();
    for (place, value, told) in [
        ("/trials/0/rate_per_s", Value::from(-5), "trials[0].rate_per_s is -5"),
        ("/trials/0/lost", Value::from(1_000_000), "lost of"),
        ("/searched/0/lost", Value::from(1_000_000), "lost of"),
        ("/plan/populations", Value::Array(Vec::new()), "plan.populations asks for nothing"),
        ("/confirmation/timeline/1/t_s", Value::from(0), "timeline goes from 0 s to 0 s"),
    ] {
        let mut edited = whole.clone();
        *edited.pointer_mut(place).unwrap_or_else(|| panic!("{place} is missing")) = value;
        std::fs::write(folder.path().join("edited.json"), edited.to_string()).unwrap();
        ended_in(folder.path(), "report edited.json").assert_error(2, &["edited.json", told, "edited by hand"]);
        ended_in(folder.path(), "capacity --resume edited.json -q").assert_error(2, &["edited.json", told]);
    }
}

#[test]
fn goals_that_only_a_high_rate_decides_are_said_beforehand() {
    let ended = searched(Path::new("."), &format!("rtmp://queue.sim/live --goal strict {SHORT}"));
    let told = ended.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    let note = "to tell a loss of 0.001 % takes 300000 attempts, so a confirmation of 5s decides the goal strict above 60000/s";
    assert!(told.contains(note), "{told}");
    let usual = searched(Path::new("."), &format!("rtmp://queue.sim/live {SHORT}"));
    assert!(!usual.stderr.contains("to tell a loss"), "{usual:#?}");
}

#[test]
fn how_long_connections_are_held_is_part_of_the_number() {
    let held = result(0, &format!("rtmp://queue.sim/live --hold 100ms {SHORT}"));
    assert!(held["statement"].as_str().unwrap().contains(", held for 100ms,"), "{}", held["statement"]);
}

#[test]
fn conditions_hold_for_the_confirmation() {
    let missed = result(3, &format!("rtmp://queue.sim/live {SHORT} --threshold response.p50<1ms"));
    assert_eq!(missed["thresholds"][0]["pass"], false, "{}", missed["thresholds"]);
    assert_eq!(missed["thresholds"].as_array().unwrap().len(), 1);
}

#[test]
fn several_goals_share_the_trials() {
    let found = result(0, &format!("rtmp://queue.sim/live --goal slo=0.5% --goal lax=5% {SHORT}"));
    let goals = found["goals"].as_array().unwrap();
    assert_eq!(goals.len(), 2);
    assert!(number(&goals[1]["confirmed_per_s"]) >= number(&goals[0]["confirmed_per_s"]), "{goals:?}");
    // Some 5 000 attempts cannot tell 0.001 % from none.
    let strict = result(4, &format!("rtmp://queue.sim/live --goal strict {SHORT}"));
    assert_eq!(strict["goals"][0]["outcome"], "not_decidable", "{}", strict["statement"]);
    assert!(strict["statement"].as_str().unwrap().contains("300000 are needed"), "{}", strict["statement"]);
}

#[test]
fn connections_are_counted_apart_from_the_idle_timeout() {
    let idle = result(4, "rtmp://close-held.sim/live --find concurrent --max-rate 200 --budget 60s");
    let concurrent = &idle["concurrent"];
    assert!((number(&concurrent["idle_timeout_s"]) - 0.5).abs() < 0.1, "{concurrent}");
    assert_eq!(concurrent["lost_while_held"], 0, "{concurrent}");
    let full = result(0, "rtmp://overload.sim/live --find concurrent --max-rate 400 --budget 90s");
    let concurrent = &full["concurrent"];
    assert_eq!(
        (&concurrent["idle_timeout_s"], &concurrent["limited_by"]),
        (&Value::Null, &"target".into()),
        "{concurrent}"
    );
    assert!((990..=1000).contains(&concurrent["held_peak"].as_u64().unwrap()), "{concurrent}");
}

#[test]
fn rfc_9411_has_a_table_of_its_own() {
    let words = "rtmp://queue.sim/live --rfc9411 --max-rate 100 --goal slo --confirm 20s -q";
    let ended = searched(Path::new("."), words);
    for part in ["FIN close", "RFC 9411, 7.2.3.3", "less than 0.001 %", "not decidable", "at least 300 s"] {
        assert!(ended.stdout.contains(part), "'{part}' is not in {}", ended.stdout);
    }
    let told =
        searched(Path::new("."), "rtmp://queue.sim/live --rfc9411 --max-rate 100 --goal slo --confirm 20s").stderr;
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("a sustain phase of 300 s, and the confirmation takes 20s"), "{told}");
    // Its own goal needs more attempts than 100 a second are in 15 minutes.
    let strict = searched(Path::new("."), "rtmp://queue.sim/live --rfc9411 --max-rate 100 -q");
    strict.assert_error(2, &["the 300000 attempts that tell a loss of 0.001 % take 50m", "--budget"]);
}

#[test]
fn what_a_search_decides_itself_is_refused() {
    for (words, parts) in [
        ("rtmp://slow.sim/live -R 100", &["-R", "--need"][..]),
        ("rtmp://slow.sim/live -d 10s", &["-d", "--budget"]),
        ("rtmp://slow.sim/live -n 10", &["-n", "`run`"]),
        ("rtmp://slow.sim/live --resolve 5s", &["--resolve"]),
        ("rtmp://slow.sim/live --hold forever", &["--find concurrent"]),
        ("rtmp://slow.sim/live --client half-c1", &["half-c1", "drop one of them"]),
        ("rtmp://slow.sim/live --client half-c1 --until handshake", &["half-c1", "`run`"]),
        ("rtmp://slow.sim/live --margin 0.5 --need 5", &["--margin 0.5"]),
        ("rtmp://slow.sim/live --margin 2", &["--need"]),
        ("rtmp://slow.sim/live --need 5 --fleet 5 --recover-in 9s", &["drop one of them"]),
        ("rtmp://slow.sim/live --fleet 5 --recover-in 1s", &["--recover-in"]),
        ("rtmp://slow.sim/live --observe pid:1", &["--observe"]),
        ("rtmp://slow.sim/live --budget 10s --confirm 20s", &["a budget of 10s", "at least --budget", "--confirm"]),
        (
            "rtmp://slow.sim/live --need 5 --confirm 30s",
            &["a confirmation of 30s is too short", "--confirm 1m40s or more"],
        ),
        ("rtmp://slow.sim/live --goal a=1% --goal a=2%", &["same name"]),
    ] {
        searched(Path::new("."), &format!("-q {words}")).assert_error(2, parts);
    }
}

#[test]
fn a_scenario_describes_the_clients_and_not_the_load() {
    let folder = tempfile::tempdir().unwrap();
    let clients = "targets = \"rtmp://queue.sim/live\"\n[[population]]\nname = \"encoders\"\nclients = { ffmpeg = 60, obs = 40 }\n";
    std::fs::write(folder.path().join("clients.toml"), clients).unwrap();
    let found = searched(folder.path(), &format!("clients.toml --json -q {SHORT}"));
    assert_eq!(found.code, Some(0), "{found:#?}");
    let found = found.json();
    assert_eq!(found["clients"], "ffmpeg, obs");
    assert_eq!(found["until"], "reply");
    let staged = format!("{clients}stages = [{{ rate = 5, for = \"10s\" }}]\n");
    std::fs::write(folder.path().join("staged.toml"), staged).unwrap();
    let refused = searched(folder.path(), "staged.toml -q");
    refused.assert_error(2, &["chooses the rates itself", "staged.toml", "stages"]);
}

#[test]
fn a_saved_search_is_rendered_again_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let first = searched(folder.path(), &format!("rtmp://queue.sim/live --need 2000 -o missed.json -q {SHORT}"));
    let again = ended_in(folder.path(), "report missed.json");
    assert_eq!((again.code, again.stdout), (Some(3), first.stdout));
}
