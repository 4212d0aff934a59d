//! The reports of simulated runs: the same command and seed give the same text, so the text is pinned.

use super::command::simulated;

/// Both streams and the exit code, as a person sees them.
fn seen(words: &str) -> String {
    let ended = simulated(words);
    format!("{}{}exit {}", ended.stderr, ended.stdout, ended.code.expect("no signal"))
}

#[test]
fn closed_loop() {
    insta::assert_snapshot!(seen("rtmp://noisy.sim/live -n 2000 -c 32"), @r"
    target rtmp://noisy.sim/live (10.255.0.5:1935), engine sim, seed 1
    closed loop, at most 32 connections at once, 1 worker of 32 slots, as shakedown
    target     rtmp://noisy.sim/live
    load       complex, until handshake, close rst; closed loop, 32 in flight up to
               2000 attempts
               1 worker, sim, seed 1
    result     39925/s completed (not a capacity: 32 in flight / 794 us): 2000 of
               2000 due, 0 failed (0 %)
    verdict    pass: no thresholds were set; closed loop asks no rate

    latency         p50     p90      p99  p99.9      max
      service    772 us  948 us  1.18 ms      -  1.44 ms
      connect    200 us  200 us   200 us      -   200 us
      s0s1       571 us  748 us   984 us      -  1.23 ms
      s2         571 us  748 us   984 us      -  1.23 ms

    modes      2000 complex, verified
    exit 0
    ");
}

#[test]
fn open_loop_with_conditions_met() {
    insta::assert_snapshot!(seen("rtmp://noisy.sim/live -R 1k -d 2s --threshold response.p99<50ms --threshold failed<1%"), @r"
    target rtmp://noisy.sim/live (10.255.0.5:1935), engine sim, seed 1
    peak rate 1000/s, at most 2000 connections at once, 1 worker of 2000 slots, as shakedown
    target     rtmp://noisy.sim/live
    load       complex, until handshake, close rst; open loop, 1000/s uniform for
               2s, 2000 slots
               1 worker, sim, seed 1
    result     1000/s completed: 2000 of 2000 due, 0 failed (0 %)
    verdict    pass: both thresholds are met; the generator kept the plan

    thresholds           measured
      response.p99<50ms    965 us  met
      failed<1%               0 %  met

    latency         p50     p90     p99  p99.9      max
      response   568 us  729 us  965 us      -  1.21 ms
      service    568 us  729 us  965 us      -  1.21 ms
      connect    200 us  200 us  200 us      -   200 us
      s0s1       368 us  528 us  764 us      -  1.01 ms
      s2         368 us  528 us  764 us      -  1.01 ms
      slot_wait    0 ns    0 ns    0 ns      -     0 ns
      lateness     0 ns    0 ns    0 ns      -     0 ns

    modes      2000 complex, verified
    exit 0
    ");
}

#[test]
fn open_loop_with_a_condition_missed() {
    insta::assert_snapshot!(seen("rtmp://noisy.sim/live -R 1k -d 2s --threshold response.p50<50us"), @r"
    target rtmp://noisy.sim/live (10.255.0.5:1935), engine sim, seed 1
    peak rate 1000/s, at most 2000 connections at once, 1 worker of 2000 slots, as shakedown
    target     rtmp://noisy.sim/live
    load       complex, until handshake, close rst; open loop, 1000/s uniform for
               2s, 2000 slots
               1 worker, sim, seed 1
    result     1000/s completed: 2000 of 2000 due, 0 failed (0 %)
    verdict    fail: response.p50<50us is missed: 568 us

    latency         p50     p90     p99  p99.9      max
      response   568 us  729 us  965 us      -  1.21 ms
      service    568 us  729 us  965 us      -  1.21 ms
      connect    200 us  200 us  200 us      -   200 us
      s0s1       368 us  528 us  764 us      -  1.01 ms
      s2         368 us  528 us  764 us      -  1.01 ms
      slot_wait    0 ns    0 ns    0 ns      -     0 ns
      lateness     0 ns    0 ns    0 ns      -     0 ns

    modes      2000 complex, verified
    exit 3
    ");
}

#[test]
fn open_loop_after_a_warm_up_as_a_ramp_of_poisson_arrivals() {
    insta::assert_snapshot!(seen("rtmp://noisy.sim/live -R 100:1k -w 500ms -d 2s --arrival poisson"), @r"
    target rtmp://noisy.sim/live (10.255.0.5:1935), engine sim, seed 1
    peak rate 1000/s, at most 2500 connections at once, 1 worker of 2500 slots, as shakedown
    target     rtmp://noisy.sim/live
    load       complex, until handshake, close rst; open loop, 100/s to 1000/s
               poisson for 2s after a warm-up of 500ms, 2500 slots
               1 worker, sim, seed 1
    result     542/s completed: 1084 of 1084 due, 0 failed (0 %)
    verdict    pass: no thresholds were set; the generator kept the plan

    latency         p50     p90      p99  p99.9      max
      response   569 us  724 us  1.00 ms      -  1.21 ms
      service    569 us  724 us  1.00 ms      -  1.21 ms
      connect    200 us  200 us   200 us      -   200 us
      s0s1       368 us  524 us   804 us      -  1.01 ms
      s2         368 us  524 us   804 us      -  1.01 ms
      slot_wait    0 ns    0 ns     0 ns      -     0 ns
      lateness     0 ns    0 ns     0 ns      -     0 ns

    modes      1084 complex, verified

    by stage      due  completed  failed  response p50      p99
      warm-up      69      138/s     0 %        587 us        -
      load       1084      542/s     0 %        569 us  1.00 ms
    exit 0
    ");
}

#[test]
fn held_connections() {
    insta::assert_snapshot!(seen("rtmp://serve.sim/live -R 100 -n 300 --hold 1s --close fin"), @r"
    target rtmp://serve.sim/live (10.255.0.1:1935), engine sim, seed 1
    peak rate 100/s, at most 300 connections at once, 1 worker of 300 slots, as shakedown
    target     rtmp://serve.sim/live
    load       complex, until handshake, hold 1s, close fin; open loop, 100/s
               uniform up to 300 attempts, 300 slots
               1 worker, sim, seed 1
    result     100/s completed: 300 of 300 due, 0 failed (0 %)
    verdict    pass: no thresholds were set; the generator kept the plan

    latency         p50     p90  p99  p99.9     max
      response   600 us  600 us    -      -  600 us
      service    600 us  600 us    -      -  600 us
      connect    200 us  200 us    -      -  200 us
      s0s1       400 us  400 us    -      -  400 us
      s2         400 us  400 us    -      -  400 us
      slot_wait    0 ns    0 ns    -      -    0 ns
      lateness     0 ns    0 ns    -      -    0 ns

    modes      300 complex, verified
    held       101 at most, 101 when the load ended
    exit 0
    ");
}

#[test]
fn connections_lost_while_held() {
    insta::assert_snapshot!(seen("rtmp://close-held.sim/live -R 10 -d 3s --hold 2s"), @r"
    target rtmp://close-held.sim/live (10.255.0.32:1935), engine sim, seed 1
    peak rate 10/s, at most 64 connections at once, 1 worker of 64 slots, as shakedown
    note: connections are to be held 2s, and the load is over after 3s, which cuts most holds: lengthen the load, or let it wait for them (--drain)
    target     rtmp://close-held.sim/live
    load       complex, until handshake, hold 2s, close rst; open loop, 10/s uniform
               for 3s, 64 slots
               1 worker, sim, seed 1
    result     10/s completed: 30 of 30 due, 0 failed (0 %), 25 of 30 lost while
               held
    verdict    pass: no thresholds were set, 25 of 30 lost while held; the generator
               kept the plan

    latency       n     min    mean     p50     max
      response   30  600 us  600 us  600 us  600 us
      service    30  600 us  600 us  600 us  600 us
      connect    30  200 us  200 us  200 us  200 us
      s0s1       30  400 us  400 us  400 us  400 us
      s2         30  400 us  400 us  400 us  400 us
      slot_wait  30    0 ns    0 ns    0 ns    0 ns
      lateness   30    0 ns    0 ns    0 ns    0 ns

    modes      30 complex, verified
    held       6 at most, 6 when the load ended, 25 lost (median age 500 ms); the
               end of the load cut their holds

    failures
      25 x hold closed (the target's, 0.5 s to 2.9 s)
        -> the server ends idle connections: shorten --hold, or raise the server's
           idle timeout
    exit 0
    ");
}

#[test]
fn every_handshake_downgraded() {
    insta::assert_snapshot!(seen("rtmp://simple.sim/live -n 100 --threshold downgraded<1%"), @r"
    target rtmp://simple.sim/live (10.255.0.12:1935), engine sim, seed 1
    closed loop, at most 64 connections at once, 1 worker of 64 slots, as shakedown
    target     rtmp://simple.sim/live
    load       complex, until handshake, close rst; closed loop, 64 in flight up to
               100 attempts
               1 worker, sim, seed 1
    result     33333/s completed (not a capacity: 64 in flight / 1.41 ms): 100 of
               100 due, 0 failed (0 %)
    verdict    fail: downgraded<1% is missed: 100 %

    latency          p50      p90  p99  p99.9      max
      service    1.60 ms  1.80 ms    -      -  2.00 ms
      connect     200 us   200 us    -      -   200 us
      s0s1       1.40 ms  1.60 ms    -      -  1.80 ms
      s2         1.40 ms  1.60 ms    -      -  1.80 ms

    modes      100 downgraded to simple
    exit 3
    ");
}

#[test]
fn slots_exhausted_by_a_slow_target() {
    insta::assert_snapshot!(seen("rtmp://slow.sim/live -R 100 -d 5s -c 10 --threshold dropped<1%"), @r"
    target rtmp://slow.sim/live (10.255.0.2:1935), engine sim, seed 1
    peak rate 100/s, at most 10 connections at once, 1 worker of 10 slots, as shakedown
    target     rtmp://slow.sim/live
    load       complex, until handshake, close rst; open loop, 100/s uniform for 5s,
               10 slots
               1 worker, sim, seed 1
    result     51.8/s completed: 259 of 500 due, 0 failed (0 %), 241 dropped
               (48.2 %)
    verdict    inconclusive: the generator was the limit, the numbers are a lower
               bound (see findings)

    latency         p50     p90  p99  p99.9     max
      response   1.31 s  2.35 s    -      -  2.60 s
      service    200 ms  200 ms    -      -  200 ms
      connect    200 us  200 us    -      -  200 us
      s0s1       200 ms  200 ms    -      -  200 ms
      s2         200 ms  200 ms    -      -  200 ms
      slot_wait  1.11 s  2.15 s    -      -  2.40 s
      lateness     0 ns    0 ns    -      -    0 ns

    modes      259 complex, verified

    over time
      completed per second; dotted: due
         100/s │⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈
               │
               │⠤⠤⠤⠤⠤⠤⠤⠤⠤⠴⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒
               │
             0 │
                0s                                            5s

    findings
      warning pool_too_small: 241 of 500 planned attempts of clients never started:
        all 10 slots were busy, and the plan may need 500
        -> raise -c to rate x (timeout + hold), or shorten --timeout or --hold; the
           numbers are a lower bound
    exit 4
    ");
}

#[test]
fn nothing_answers() {
    insta::assert_snapshot!(seen("rtmp://silent.sim/live -n 20 -c 20 --timeout 200ms"), @r"
    target rtmp://silent.sim/live (10.255.0.17:1935), engine sim, seed 1
    closed loop, at most 20 connections at once, 1 worker of 20 slots, as shakedown
    target     rtmp://silent.sim/live
    load       complex, until handshake, close rst; closed loop, 20 in flight up to
               20 attempts
               1 worker, sim, seed 1
    result     0/s completed (not a capacity: 20 in flight): 0 of 20 due, 20 failed
               (100 %)
    verdict    fail: nothing completed: the target or the way to it failed

    failures
      20 x s0 timeout (the target's, at 0.2 s): 0 bytes received
        -> the server accepts but answers too late: lower the load or raise
           --timeout
    exit 5
    ");
}

#[test]
fn one_of_two_targets_refuses() {
    insta::assert_snapshot!(seen("rtmp://serve.sim/live rtmp://refuse.sim/live -R 100 -d 2s"), @r"
    target rtmp://serve.sim/live (10.255.0.1:1935), rtmp://refuse.sim/live (10.255.0.13:1935), engine sim, seed 1
    peak rate 100/s, at most 200 connections at once, 1 worker of 200 slots, as shakedown
    target     rtmp://serve.sim/live, rtmp://refuse.sim/live
    load       complex, until handshake, close rst; open loop, 100/s uniform for 2s,
               200 slots
               1 worker, sim, seed 1
    result     50/s completed: 100 of 200 due, 100 failed (50.0 %)
    verdict    fail: target rtmp://refuse.sim/live (10.255.0.13:1935): none of 100
               attempts completed

    latency         p50     p90  p99  p99.9     max
      response   600 us  600 us    -      -  600 us
      service    600 us  600 us    -      -  600 us
      connect    200 us  200 us    -      -  200 us
      s0s1       400 us  400 us    -      -  400 us
      s2         400 us  400 us    -      -  400 us
      slot_wait    0 ns    0 ns    -      -    0 ns
      lateness     0 ns    0 ns    -      -    0 ns

    modes      100 complex, verified

    failures
      100 x connect refused (the target's, 0.0 s to 2.0 s): Connection refused (os
        error 111)
        -> others were accepted: a target may be down (by_target) or a limit
           reached; one per source address vanishes with more --source

    by target                                    due  completed  failed  response p50     max
      rtmp://serve.sim/live (10.255.0.1:1935)    100       50/s     0 %        600 us  600 us
      rtmp://refuse.sim/live (10.255.0.13:1935)  100        0/s   100 %             -       -

    findings
      warning unserved: target rtmp://refuse.sim/live (10.255.0.13:1935): none of
        100 attempts completed
        -> all of its attempts failed, so the run does not pass: find out why, or
           leave it out
    exit 3
    ");
}

#[test]
fn this_machine_is_the_limit() {
    insta::assert_snapshot!(seen("rtmp://no-ports.sim/live -R 100 -d 5s --hold 1s"), @r"
    target rtmp://no-ports.sim/live (10.255.0.33:1935), engine sim, seed 1
    peak rate 100/s, at most 500 connections at once, 1 worker of 500 slots, as shakedown
    target     rtmp://no-ports.sim/live
    load       complex, until handshake, hold 1s, close rst; open loop, 100/s
               uniform for 5s, 500 slots
               1 worker, sim, seed 1
    result     16/s completed: 80 of 500 due, 420 failed (84.0 %)
    verdict    inconclusive: the generator was the limit, the numbers are a lower
               bound (see findings)

    latency       n     min    mean     p50     max
      response   80  600 us  600 us  600 us  600 us
      service    80  600 us  600 us  600 us  600 us
      connect    80  200 us  200 us  200 us  200 us
      s0s1       80  400 us  400 us  400 us  400 us
      s2         80  400 us  400 us  400 us  400 us
      slot_wait  80    0 ns    0 ns    0 ns    0 ns
      lateness   80    0 ns    0 ns    0 ns    0 ns

    modes      80 complex, verified
    held       16 at most, 16 when the load ended

    over time
      completed per second; dotted: due; x: failures
         100/s │⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈ ⠁⠈
               │
               │
               │
             0 │⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉
                xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
                0s                                            5s
      held
            16 │⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉
               │
               │
               │
             0 │
                0s                                            5s

    failures
      420 x connect no_ports (our own, 0.2 s to 5.0 s): Cannot assign requested
        address (os error 99)
        -> local ports ran out: add --source addresses or widen ip_local_port_range

    findings
      warning local_errors: 420 attempts failed at a limit of this machine
        (no_ports)
        -> local ports ran out: add --source addresses or widen ip_local_port_range
    exit 4
    ");
}

#[test]
fn a_closed_loop_is_plotted_over_its_length() {
    let report = simulated("rtmp://slow.sim/live -c 2 -d 5s -q").stdout;
    let plot = report.split("over time\n").nth(1).unwrap_or_else(|| panic!("no plot: {report}"));
    let axis = plot.lines().find(|line| line.trim_start().starts_with("0s")).unwrap_or_else(|| panic!("{plot}"));
    assert!(axis.ends_with("  5s"), "{plot}");
}

#[test]
fn every_kind_of_failure_is_named_with_its_step_and_advice() {
    let hosts = [
        "refuse",
        "unreachable",
        "no-route",
        "drop",
        "silent",
        "version",
        "http",
        "close-at-once",
        "close",
        "reset",
        "half",
        "half-close",
        "bad-s1",
        "bad-s2",
        "bad-echo",
        "garbage",
    ];
    let words = |host: &str| format!("rtmp://{host}.sim/live -q -n 1 --timeout 100ms --connect-timeout 100ms");
    let lines = |host: &str| {
        let report = simulated(&words(host)).stdout;
        let failure = report.split("\nfailures\n").nth(1).unwrap_or_else(|| panic!("no failure of {host}: {report}"));
        format!("{host}\n{}", failure.split("\n\n").next().unwrap_or_default().trim_end())
    };
    insta::assert_snapshot!(hosts.map(lines).join("\n"), @r"
    refuse
      1 x connect refused (the target's, at 0.0 s): Connection refused (os error
        111)
        -> nothing listens there: check that the server runs and that the port is
           right
    unreachable
      1 x connect unreachable (the network's, at 0.0 s): No route to host (os error
        113)
        -> the target is unreachable: check address, routes and firewalls
    no-route
      1 x connect unreachable (the network's, at 0.0 s): Network is unreachable (os
        error 101)
        -> the target is unreachable: check address, routes and firewalls
    drop
      1 x connect timeout (whose cannot be told, at 0.1 s)
        -> SYNs stay unanswered: look for a full listen backlog (somaxconn) or loss
           on the path
    silent
      1 x s0 timeout (the target's, at 0.1 s): 0 bytes received
        -> the server accepts but answers too late: lower the load or raise
           --timeout
    version
      1 x s0 bad_version (the target's, at 0.0 s): version byte 6
        -> S0 must name version 3: is this an RTMP server, and plain RTMP?
    http
      1 x s0 not_rtmp (the target's, at 0.0 s): first byte 'H'
        -> the port speaks HTTP: RTMP usually listens on 1935
    close-at-once
      1 x s0 closed (the target's, at 0.0 s): 0 bytes received
        -> the server hangs up during the handshake: its log names the reason
    close
      1 x s0 closed (the target's, at 0.0 s): 0 bytes received
        -> the server hangs up during the handshake: its log names the reason
    reset
      1 x s0 reset (the target's, at 0.0 s): 0 bytes received
        -> the server resets connections: its log names the reason (limits,
           overload)
    half
      1 x s1 timeout (the target's, at 0.1 s): 769 bytes received
        -> the answer stops halfway or dribbles: `shakedown probe` shows how
    half-close
      1 x s1 closed (the target's, at 0.0 s): 769 bytes received
        -> the server hangs up during the handshake: its log names the reason
    bad-s1
      1 x s1 bad_s1_digest (the target's, at 0.0 s)
        -> S1's digest is wrong: the server lacks the complex handshake, try --mode
           simple
    bad-s2
      1 x s2 bad_s2_digest (the target's, at 0.0 s)
        -> S2's digest is wrong: look for a server bug, or try --mode simple
    bad-echo
      1 x s1 bad_s1_digest (the target's, at 0.0 s)
        -> S1's digest is wrong: the server lacks the complex handshake, try --mode
           simple
    garbage
      1 x s1 bad_s1_digest (the target's, at 0.0 s)
        -> S1's digest is wrong: the server lacks the complex handshake, try --mode
           simple
    ");
}

#[test]
fn hosts_that_serve_in_odd_ways_are_served_by() {
    for host in ["serve", "noisy", "stalls", "backlog", "split", "tail", "s2-after-c2", "endless", "close-after-c2"] {
        let ended = simulated(&format!("rtmp://{host}.sim/live -q -n 10 -c 2 --json"));
        assert_eq!((ended.code, &ended.json()["attempts"]["completed"]), (Some(0), &10.into()), "{host}");
    }
}

#[test]
fn publishers_that_stay() {
    let words = "rtmp://slow-hook.sim/live/cam-{slot}?token=x -R 100 -n 100 --until publish --hold 10s --hold-check 5s \
                 --bitrate 800k --media-clients 50% --enhanced-rtmp";
    insta::assert_snapshot!(seen(words), @r"
    target rtmp://slow-hook.sim/live/***?*** (10.255.0.43:1935), engine sim, seed 1
    peak rate 100/s, at most 100 connections at once, 1 worker of 100 slots, as shakedown
    connects and publishes cam-{slot}?***
    audio and video: 800 kbit/s by 50 % of the publishers, a sound a second by the others
    held connections are checked by TCP keepalive after 5s of silence
    target     rtmp://slow-hook.sim/live/***?***
    load       complex, until publish of cam-{slot}?***, hold 10s, close rst; open
               loop, 100/s uniform up to 100 attempts, 100 slots
               1 worker, sim, seed 1
    result     100/s completed: 100 of 100 due, 0 failed (0 %)
    verdict    pass: no thresholds were set; the generator kept the plan

    latency           p50     p90  p99  p99.9     max
      response     301 ms  301 ms    -      -  301 ms
      service      301 ms  301 ms    -      -  301 ms
      connect      200 us  200 us    -      -  200 us
      s0s1         400 us  400 us    -      -  400 us
      s2           400 us  400 us    -      -  400 us
      reply        200 us  200 us    -      -  200 us
      app_connect  200 us  200 us    -      -  200 us
      publish      300 ms  300 ms    -      -  300 ms
      confirm      301 ms  301 ms    -      -  301 ms
      slot_wait      0 ns    0 ns    -      -    0 ns
      lateness       0 ns    0 ns    -      -    0 ns

    modes      100 complex, verified
    backend    FMS/3,0,1,123
    held       100 at most, 100 when the load ended
    media      39350 messages (50.0 MB) sent, none late

    over time
      completed per second; dotted: due
         100/s │⠁⠈ ⠁
               │⠤⠤⠤⠤⢤
               │    ⢸
               │    ⠘⠒⠒⠒⢲
             0 │    ⢀ ⡀⢀⢸⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀
                0s                                           11s
      held
           100 │    ⢸⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⡇
               │⠤⠤⠤⠤⠼                                      ⡇
               │                                           ⡇
               │                                           ⠓⠒⠒⠒⠒
             0 │
                0s                                           11s
    exit 0
    ");
}

#[test]
fn players_of_streams() {
    insta::assert_snapshot!(seen("rtmp://serve.sim/live --client vlc=2,mpv -n 90 -c 3 --until play --hold 2s"), @r"
    target rtmp://serve.sim/live (10.255.0.1:1935), engine sim, seed 1
    closed loop, at most 3 connections at once, 1 worker of 3 slots, as vlc=2,mpv=1
    connects and plays shakedown-{id}
    target     rtmp://serve.sim/live
    load       complex as vlc=2 mpv=1, until play of shakedown-{id}, hold 2s, close
               rst; closed loop, 3 in flight up to 90 attempts
               1 worker, sim, seed 1
    result     1.55/s completed (not a capacity: a closed loop of connections that
               stay): 90 of 90 due, 0 failed (0 %)
    verdict    pass: no thresholds were set; closed loop asks no rate

    latency         n      min     mean      p50      max
      service      90  1.20 ms  1.20 ms  1.20 ms  1.20 ms
      connect      90   200 us   200 us   200 us   200 us
      s0s1         90   400 us   400 us   400 us   400 us
      s2           90   400 us   400 us   400 us   400 us
      reply        90   200 us   200 us   200 us   200 us
      app_connect  90   200 us   200 us   200 us   200 us
      publish      90   400 us   400 us   400 us   400 us
      first_frame  90     0 ns     0 ns     0 ns     0 ns
      confirm      90   600 us   600 us   600 us   600 us

    modes      90 complex, verified
    backend    FMS/3,0,1,123
    held       3 at most, 3 when the load ended
    media      534 messages (28.0 kB) received

    over time
      completed per second
           3/s │⠉⣿⢹⡏⡇⣿⢸⡇⡏⣿⢹⢸⡇⣿⢸⢹⡏⣿⢹⢸⡇⣿⢸⢹⡏⡇⣿⢸⡇⡏⣿⢹⡏⡇⣿⢸⡇⡏⣿⢹⢸⡇⣿⢸⢹⡏⣿⠉
               │ ⣿⢸⡇⡇⣿⢸⡇⡇⣿⢸⢸⡇⣿⢸⢸⡇⣿⢸⢸⡇⣿⢸⢸⡇⡇⣿⢸⡇⡇⣿⢸⡇⡇⣿⢸⡇⡇⣿⢸⢸⡇⣿⢸⢸⡇⣿
               │ ⣿⢸⡇⡇⣿⢸⡇⡇⣿⢸⢸⡇⣿⢸⢸⡇⣿⢸⢸⡇⣿⢸⢸⡇⡇⣿⢸⡇⡇⣿⢸⡇⡇⣿⢸⡇⡇⣿⢸⢸⡇⣿⢸⢸⡇⣿
               │ ⣿⢸⡇⡇⣿⢸⡇⡇⣿⢸⢸⡇⣿⢸⢸⡇⣿⢸⢸⡇⣿⢸⢸⡇⡇⣿⢸⡇⡇⣿⢸⡇⡇⣿⢸⡇⡇⣿⢸⢸⡇⣿⢸⢸⡇⣿
             0 │ ⣿⢸⡇⣇⣿⣸⣇⡇⣿⢸⣸⣇⣿⣸⢸⡇⣿⢸⣸⣇⣿⣸⢸⡇⣇⣿⣸⣇⡇⣿⢸⡇⣇⣿⣸⣇⡇⣿⢸⣸⣇⣿⣸⢸⡇⣿
                0s                                           59s
      held
             3 │⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⢹
               │                                              ⢸
               │                                              ⢸
               │                                              ⢸
             0 │                                              ⢸⣀
                0s                                           59s

    by client    due  completed  failed  service p50      max
      vlc         60    1.034/s     0 %      1.20 ms  1.20 ms
      mpv         30   0.5168/s     0 %      1.20 ms  1.20 ms
    exit 0
    ");
}

#[test]
fn what_servers_say_stands_below_the_failure() {
    let of = |words: &str| {
        let text = seen(&format!("{words} -n 10 -c 2"));
        text[1 + text.find("\nfailures\n").unwrap_or_else(|| panic!("{text}"))..].to_owned()
    };
    insta::assert_snapshot!(of("rtmp://name-taken.sim/live --until publish --stream cam"), @r#"
    failures
      10 x publish name_taken (the target's, at 0.0 s)
        10 x "NetStream.Publish.BadName: Already publishing"
        -> a stream of this name is published already: give each client its own,
           --stream '...{id}'
    exit 5
    "#);
    insta::assert_snapshot!(of("rtmp://unauthorized.sim/live --until publish"), @r#"
    failures
      10 x publish unauthorized (the target's, at 0.0 s)
        10 x "NetStream.Publish.Unauthorized: Not authorized to publish"
        -> the server wants credentials: give a token or keys with --stream or
           --stream-keys
    exit 5
    "#);
    insta::assert_snapshot!(of("rtmp://connect-rejected.sim/live --until connect"), @r#"
    failures
      10 x reply rejected (the target's, at 0.0 s)
        10 x "NetConnection.Connect.Rejected: No such application"
        -> the server refused the command: check application, stream name and
           credentials
    exit 5
    "#);
    insta::assert_snapshot!(of("rtmp://redirect.sim/live --until connect"), @r#"
    failures
      10 x reply redirected (the target's, at 0.0 s)
        10 x "NetConnection.Connect.Rejected: RTMP 302 Redirect ->
          rtmp://serve.sim/live"
        -> the server sends clients elsewhere: load the address that it names
    exit 5
    "#);
    insta::assert_snapshot!(of("rtmp://no-stream.sim/live --until play"), @r#"
    failures
      10 x play rejected (the target's, at 0.0 s)
        10 x "NetStream.Play.StreamNotFound: No such stream"
        -> the server refused the command: check application, stream name and
           credentials
    exit 5
    "#);
    insta::assert_snapshot!(of("rtmp://hook-says-no.sim/live --until publish"), @r"
    failures
      10 x publish closed (the target's, at 0.0 s): 3365 bytes received
        -> the server hangs up on the stream: check name and credentials; its log
           names the reason
    exit 5
    ");
    insta::assert_snapshot!(of("rtmp://no-publish.sim/live --until publish"), @r"
    failures
      10 x publish timeout (the target's, 10.0 s to 50.0 s): 3365 bytes received
        -> the stream does not start: look for a hook that hangs, or lower the load
    exit 5
    ");
    insta::assert_snapshot!(of("rtmp://noise-after-s2.sim/live --until reply"), @r#"
    failures
      10 x reply bad_message (whose cannot be told, at 0.0 s)
        10 x "chunk stream 3 begins with a fmt 3 header, which repeats an earlier
          one (c3 c3 c3 c3 c3 c3 c3 c3 c3 c3 c3 c3 c3 c3 c3 c3)"
        -> its answer was not understood: is there a proxy in between, or another
           protocol?
    exit 5
    "#);
}
