use super::*;
use crate::measure::{
    Failure, FailureDetail, FailureKind, LatencyHistogram, MediaCounts, Metric, Step, TlsCounts, Until,
};
use crate::report::{csv, html, markdown};
use crate::run::fixtures::{OpenRun, closed_result, open_result, row};
use crate::run::{LatencyTable, Population, ReasonRow, Row, Signal, StormRow};

const PLAIN_80: Style = Style { color: false, width: 80 };

fn reset() -> Failure {
    Failure::new(Step::S0, FailureKind::Reset).with_detail(FailureDetail::Errno(104))
}

#[test]
fn an_open_loop_run_with_a_few_failures() {
    insta::assert_snapshot!(render(&open_result(&[]), PLAIN_80), @r"
    target     rtmp://127.0.0.1:1935/live
    load       complex, until handshake, close rst; open loop, 1000/s uniform for
               2s, 64 slots
               1 worker, io_uring, seed 7
    result     990/s completed: 1980 of 2000 due, 10 failed (0.50 %), 10 dropped
               (0.50 %)
    verdict    pass: no thresholds were set, 10 of 2000 attempts failed (0.50 %);
               the generator kept up, 10 arrivals found no free slot

    latency         p50      p90      p99  p99.9      max
      response   990 us  1.78 ms  1.96 ms      -  1.98 ms
      service    990 us  1.78 ms  1.96 ms      -  1.98 ms
      connect    495 us   891 us   980 us      -   990 us
      s0s1       495 us   891 us   982 us      -   990 us
      s2         495 us   891 us   982 us      -   990 us
      slot_wait    0 ns     0 ns     0 ns      -     0 ns
      lateness     0 ns     0 ns     0 ns      -     0 ns

    modes      1980 complex, verified
    network    syn_retransmits 3 (of the whole host)

    failures
      10 x s0 reset (the target's, at 2.0 s): Connection reset by peer (os error
        104)
        -> the server resets connections: its log names the reason (limits,
           overload)
    ");
}

#[test]
fn a_closed_loop_run_is_not_a_capacity() {
    insta::assert_snapshot!(render(&closed_result(&[], reset(), Some(97.0)), PLAIN_80), @r"
    target     rtmp://127.0.0.1:1935/live
    load       complex, until handshake, close rst; closed loop, 64 in flight for 2s
               1 worker, io_uring, seed 7
    result     495/s completed (not a capacity: 64 in flight / 496 us): 990 of 1000
               due, 10 failed (1.00 %)
    verdict    pass: no thresholds were set, 10 of 1000 attempts failed (1.00 %);
               closed loop asks no rate

    latency         p50     p90  p99  p99.9     max
      service    495 us  891 us    -      -  990 us
      connect    247 us  445 us    -      -  495 us
      s0s1       248 us  446 us    -      -  495 us
      s2         248 us  446 us    -      -  495 us

    modes      990 complex, verified
    workers    busy 97 %, 1.94 ms of CPU an attempt
    network    syn_retransmits 3 (of the whole host)

    failures
      10 x s0 reset (the target's, at 1.0 s): Connection reset by peer (os error
        104)
        -> the server resets connections: its log names the reason (limits,
           overload)

    findings
      warning worker_busy: 1 of 1 workers were busy 95 % of the time or more
        -> the generator may be what is measured: add cores and workers (-t), or a
           second machine (--share)
    ");
}

#[test]
fn a_missed_threshold_is_the_reason() {
    let result = open_result(&["response.p50<10ms", "failed<0.1%"]);
    let head = render(&result, PLAIN_80).lines().take(9).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(head, @r"
    target     rtmp://127.0.0.1:1935/live
    load       complex, until handshake, close rst; open loop, 1000/s uniform for
               2s, 64 slots
               1 worker, io_uring, seed 7
    result     990/s completed: 1980 of 2000 due, 10 failed (0.50 %), 10 dropped
               (0.50 %)
    verdict    fail: failed<0.1% is missed: 0.50 %

    thresholds           measured
    ");
}

#[test]
fn a_limited_generator_is_told_before_the_numbers() {
    let no_ports = Failure::new(Step::Connect, FailureKind::NoPorts).with_detail(FailureDetail::Errno(99));
    let run = OpenRun { lateness_ms: 9, dropped: 100, failure: no_ports, ..OpenRun::default() };
    insta::assert_snapshot!(render(&run.result(&["response.p50<10ms"]), PLAIN_80), @r"
    target     rtmp://127.0.0.1:1935/live
    load       complex, until handshake, close rst; open loop, 1000/s uniform for
               2s, 64 slots
               1 worker, io_uring, seed 7
    result     990/s completed: 1980 of 2090 due, 10 failed (0.48 %), 100 dropped
               (4.78 %)
    verdict    inconclusive: the generator was the limit, the numbers are a lower
               bound (see findings)

    latency          p50      p90      p99  p99.9      max
      response   9.99 ms  10.8 ms  11.0 ms      -  11.0 ms
      service     990 us  1.78 ms  1.96 ms      -  1.98 ms
      connect     495 us   891 us   980 us      -   990 us
      s0s1        495 us   891 us   982 us      -   990 us
      s2          495 us   891 us   982 us      -   990 us
      slot_wait     0 ns     0 ns     0 ns      -     0 ns
      lateness   9.00 ms  9.00 ms  9.00 ms      -  9.00 ms

    modes      1980 complex, verified
    network    syn_retransmits 3 (of the whole host)

    failures
      10 x connect no_ports (our own, at 2.0 s): Cannot assign requested address (os
        error 99)
        -> local ports ran out: add --source addresses or widen ip_local_port_range

    findings
      warning local_errors: 10 attempts failed at a limit of this machine (no_ports)
        -> local ports ran out: add --source addresses or widen ip_local_port_range
      warning late_starts: attempts of encoders started late although slots were
        free: lateness p99 9.00 ms, limit 5.00 ms
        -> lower the rate, or give the workers (-t) cores of their own; the numbers
           are a lower bound
      warning missed_starts: 100 of 2090 planned attempts of encoders never started
        although slots were free
        -> lower the rate, or give the workers (-t) cores of their own; the numbers
           are a lower bound
    ");
}

#[test]
fn nothing_completed_and_why() {
    let refused = Failure::new(Step::Connect, FailureKind::Refused).with_detail(FailureDetail::Errno(111));
    let run = OpenRun {
        completed: 0,
        dropped: 0,
        failure: refused,
        interrupted: Some(Signal::Interrupt),
        ..OpenRun::default()
    };
    insta::assert_snapshot!(render(&run.result(&[]), PLAIN_80), @r"
    target     rtmp://127.0.0.1:1935/live
    load       complex, until handshake, close rst; open loop, 1000/s uniform for
               2s, 64 slots
               1 worker, io_uring, seed 7
    result     0/s completed: 0 of 10 due, 10 failed (100 %), ended by SIGINT
    verdict    fail: nothing completed: the target or the way to it failed

    network    syn_retransmits 3 (of the whole host)

    failures
      10 x connect refused (the target's, at 0.0 s): Connection refused (os error
        111)
        -> nothing listens there: check that the server runs and that the port is
           right
    ");
}

#[test]
fn stages_have_a_table_and_long_lists_are_counted() {
    let mut result = open_result(&[]);
    let row = Row { name: "ramp".to_owned(), warmup: true, ..row(&result) };
    result.by_stage = vec![row; MOST_ROWS + 2];
    let page = render(&result, PLAIN_80);
    let from = page.find("by stage").unwrap();
    let table: Vec<_> = page[from..].lines().collect();
    insta::assert_snapshot!(table[..2].join("\n"), @r"
    by stage           due  completed  failed  response p50      p99
      ramp (warm-up)  2000      990/s  0.50 %        990 us  1.96 ms
    ");
    assert_eq!(table.len(), 1 + MOST_ROWS + 1);
    insta::assert_snapshot!(table.last().unwrap(), @"  and 2 more rows in the result file");
    result.by_client = vec![result.by_stage[0].clone(); MOST_CLIENTS];
    let page = render(&result, PLAIN_80);
    let clients = page.lines().skip_while(|line| !line.starts_with("by client"));
    assert_eq!(clients.count(), 1 + MOST_CLIENTS, "a mix of all clients is seen whole: {page}");
}

#[test]
fn a_page_fits_the_screen() {
    let no_ports = Failure::new(Step::Connect, FailureKind::NoPorts).with_detail(FailureDetail::Errno(99));
    let run = OpenRun { lateness_ms: 9, dropped: 100, failure: no_ports, ..OpenRun::default() };
    for width in [60, 80, 120] {
        let page = render(&run.result(&["response.p50<10ms", "failed<1%"]), Style { color: false, width });
        assert!(page.lines().all(|line| line.chars().count() <= usize::from(width).max(64)), "{page}");
        assert!(page.lines().count() <= 45, "{page}");
    }
}

#[test]
fn colour_changes_nothing_but_the_colour() {
    let result = OpenRun { lateness_ms: 9, ..OpenRun::default() }.result(&["failed<0.1%", "response.p50<20ms"]);
    let (plain, mut colored) = (render(&result, PLAIN_80), render(&result, Style { color: true, ..PLAIN_80 }));
    assert!(!plain.contains('\u{1b}'));
    assert!(colored.contains("\u{1b}[1m\u{1b}[33minconclusive\u{1b}[0m"), "{colored}");
    while let Some(start) = colored.find('\u{1b}') {
        let end = start + colored[start..].find('m').unwrap();
        colored.replace_range(start..=end, "");
    }
    assert_eq!(colored, plain);
}

/// The result of a simulated mix that has everything a report tells.
fn of_everything() -> RunResult {
    let text = r#"
        engine = "sim"
        seed = 1
        targets = ["rtmp://serve.sim/live", "rtmp://refuse.sim/live"]
        canary = "rtmp://serve.sim/live"
        thresholds = ["failed<90%", "overload.rate>1/s", "client:obs.failed<100%", "stage:closed:load.rate>1/s"]

        [[population]]
        name = "overload"
        hold = "500ms"
        clients = { obs = 1, ffmpeg = 1 }
        stages = [
            { rate = "1:20/s", for = "2s", warmup = true },
            { rate = 20, for = "2s" },
            { burst = 10 },
            { probe = 3, for = "3s" },
        ]

        [[population]]
        name = "closed"
        stages = [{ concurrency = "1:2", for = "1s", name = "load" }]

        [[population]]
        name = "fleet"
        targets = ["rtmp://serve.sim/live"]
        stages = [{ storm = { fleet = 5, reconnect = "obs" }, for = "5s" }]

        [[population]]
        name = "hostile"
        clients = "http"
        expect = "closed within 5s"
        stages = [{ rate = 2, for = "2s" }]
    "#;
    let request = crate::scenario::read(text, std::path::Path::new("all.toml")).unwrap();
    let machine = crate::scenario::Machine {
        topology: crate::fleet::Topology::of_cpus([0]),
        cores: 1,
        descriptors: 10_000,
        ports: 10_000,
    };
    let resolved = crate::scenario::resolve(&request, &machine, &|host, port| {
        let last = if host == "serve.sim" { 1 } else { 2 };
        Ok(vec![([10, 255, 0, last], port).into()])
    });
    RunResult::assemble(crate::run::simulate(resolved.unwrap().plan.into()).parts)
}

#[test]
fn a_mix_with_a_closed_loop_has_no_latency_to_divide_by() {
    let page = render(&of_everything(), PLAIN_80);
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("(not a capacity: a part of it is a closed loop)"), "{page}");
}

/// The places in a JSON value; of a list's entries, which are alike, the first two.
fn places(value: &serde_json::Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    match value {
        serde_json::Value::Array(list) => {
            let first = (0_u32..2).zip(list);
            first.for_each(|(index, value)| places(value, &format!("{here}/{index}"), found));
        }
        serde_json::Value::Object(parts) => {
            parts.iter().for_each(|(key, value)| places(value, &format!("{here}/{key}"), found));
        }
        _ => {}
    }
}

#[test]
fn no_edit_of_a_file_brings_a_report_or_a_merge_down() {
    let mut result = of_everything();
    result.timeline.truncate(6);
    // Latencies are alike everywhere: those of the whole do, and of them one.
    let response = result.latency.get(Metric::Response).cloned();
    result.latency = LatencyTable::default();
    result.latency.set(Metric::Response, response);
    let rows = [&mut result.by_population, &mut result.by_target, &mut result.by_client, &mut result.by_stage];
    rows.into_iter().flatten().for_each(|row| row.latency = LatencyTable::default());
    let share = |index| {
        let mut part = result.clone();
        part.plan.share = crate::load::Share { index, count: 2 };
        part
    };
    let other = share(1);
    let whole = serde_json::to_value(share(0)).unwrap();
    let mut all = Vec::new();
    places(&whole, "", &mut all);
    let fitting = |place: &str| match whole.pointer(place).unwrap() {
        serde_json::Value::Number(_) => vec![0.into(), (-1).into(), 65_535.into(), u64::MAX.into(), 1e300.into()],
        serde_json::Value::Array(_) => vec![serde_json::json!([])],
        _ => vec![serde_json::Value::Null, "".into(), 0.into()],
    };
    let mut read = 0;
    for place in &all {
        for edit in &fitting(place) {
            let mut edited = whole.clone();
            *edited.pointer_mut(place).unwrap() = edit.clone();
            // Only what is read at all can be rendered and merged.
            let Ok(result) = RunResult::parse(&edited.to_string(), std::path::Path::new("r.json")) else { continue };
            read += 1;
            let rendered = std::panic::catch_unwind(|| {
                render(&result, PLAIN_80);
                html::render_run(&result);
                markdown::render_run(&result);
                csv::timeline(&result);
                if let Ok(merged) = RunResult::merge(vec![result, other.clone()]) {
                    render(&merged, PLAIN_80);
                }
            });
            assert!(rendered.is_ok(), "{place} = {edit}");
        }
    }
    assert!(read > 100, "{read} edits at {} places", all.len());
}

#[test]
fn sessions_tell_who_answered_and_what_was_sent() {
    let mut result = open_result(&[]);
    result.plan.populations[0].until = Until::Publish;
    result.tls = TlsCounts { full: 64, resumed: 1_916 };
    result.media = MediaCounts {
        sent_messages: 12_000,
        sent_bytes: 3_456_789,
        late_messages: 3,
        received_messages: 1,
        received_bytes: 40,
        ..MediaCounts::default()
    };
    result.by_population = ["encoders", "viewers"].map(|name| Row { name: name.to_owned(), ..row(&result) }).into();
    result.by_population[0].media = MediaCounts { sent_messages: 12_000, sent_bytes: 3_456_789, ..result.media };
    result.by_population[0].media.received_messages = 0;
    result.by_population[1].media = MediaCounts { received_messages: 1, received_bytes: 40, ..MediaCounts::default() };
    let backend = |name: &str| Row { name: name.to_owned(), ..row(&result) };
    result.by_backend = vec![backend("SRS/7.0.1 10.0.0.5 pid 812"), backend("SRS/7.0.1 10.0.0.6 pid 97")];
    result.failures[0].reasons = [("busy", 2), ("NetStream.Publish.BadName: taken", 5), ("closed", 1), ("gone", 2)]
        .map(|(text, count)| ReasonRow { text: text.to_owned(), count })
        .into();
    let page = render(&result, PLAIN_80);
    let part = |from: &str, to: &str| page[page.find(from).unwrap()..page.find(to).unwrap_or(page.len())].to_owned();
    insta::assert_snapshot!(part("load ", "result "), @r"
    load       complex, until publish of shakedown-{id}, close rst; open loop,
               1000/s uniform for 2s, 64 slots
               1 worker, io_uring, seed 7
    ");
    insta::assert_snapshot!(part("modes ", "network "), @r"
    modes      1980 complex, verified
    tls        64 full handshakes, 1916 resumed
    media      12000 messages (3.46 MB) sent, 3 of them late (0.03 %); 1 message (40
               bytes) received
               encoders: 12000 messages (3.46 MB) sent, 3 of them late (0.03 %)
               viewers: 1 message (40 bytes) received
    ");
    insta::assert_snapshot!(part("failures", "\nby population"), @r#"
    failures
      10 x s0 reset (the target's, at 2.0 s): Connection reset by peer (os error
        104)
        5 x "NetStream.Publish.BadName: taken"
        2 x "busy"
        2 x "gone"
        and 1 more reason in the result file
        -> the server resets connections: its log names the reason (limits,
           overload)
    "#);
    insta::assert_snapshot!(part("by backend", "findings"), @r"
    by backend                    accepted  completed  failed  response p50      p99
      SRS/7.0.1 10.0.0.5 pid 812      2000      990/s  0.50 %        990 us  1.96 ms
      SRS/7.0.1 10.0.0.6 pid 97       2000      990/s  0.50 %        990 us  1.96 ms
    ");
    result.by_backend.truncate(1);
    result.tls.full = 1;
    let page = render(&result, PLAIN_80);
    assert!(page.contains("\ntls        1 full handshake, 1916 resumed\n"), "{page}");
    assert!(page.contains("\nbackend    SRS/7.0.1 10.0.0.5 pid 812\n") && !page.contains("by backend"), "{page}");
}

#[test]
fn a_storm_says_how_far_its_fleet_is_back() {
    let mut result = open_result(&[]);
    let time_to_back = LatencyHistogram::of_ages().summary();
    let storm = |population: &str| StormRow {
        population: population.to_owned(),
        stage: "storm 1".to_owned(),
        reconnect: crate::load::Reconnect::Obs,
        fleet: 10,
        back: 9,
        back_50_ns: Some(2_000_000_000),
        back_90_ns: Some(3_000_000_000),
        back_99_ns: None,
        back_100_ns: None,
        attempts: 12,
        attempts_per_success: Some(1.33),
        lost_again: 0,
        lost_again_after_ns: None,
        last_back_after_ns: None,
        time_to_back: time_to_back.clone(),
    };
    result.storms = vec![storm("encoders")];
    let table = |result: &RunResult| {
        let page = render(result, PLAIN_80);
        page[page.find("\nstorm").unwrap() + 1..].lines().take(2).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(table(&result), @r"
    storm                   back  50 % after    90 %   99 %  100 %  attempts each
      encoders: storm 1  9 of 10      2.00 s  3.00 s  never  never           1.33
    ");
    result.plan.populations[0].until = Until::Publish;
    insta::assert_snapshot!(table(&result), @r"
    storm                   back  50 % publish after    90 %   99 %  100 %  attempts each
      encoders: storm 1  9 of 10              2.00 s  3.00 s  never  never           1.33
    ");
    let players = Population { name: "players".to_owned(), until: Until::Play, ..result.plan.populations[0].clone() };
    result.plan.populations.push(players);
    result.storms.push(storm("players"));
    insta::assert_snapshot!(table(&result), @r"
    storm                                  back  50 % after    90 %   99 %  100 %  attempts each
      encoders: storm 1, until publish  9 of 10      2.00 s  3.00 s  never  never           1.33
    ");
}
