//! `ffmpeg -listen`: a server that knows only the simple handshake, and serves one connection.

use shakedown::measure::ModeCounts;

use super::nginx::assert_completed;
use crate::support::{FfmpegListen, run};

#[test]
fn answers_a_complex_client_in_simple_mode() {
    for options in ["", "--digest second-half", "--close fin"] {
        let server = FfmpegListen::start();
        let result = run(&format!("{} -c 1 -n 1 {options}", server.url()));
        assert_completed(&result, 1);
        assert_eq!(result.modes, ModeCounts { downgraded: 1, ..ModeCounts::default() }, "{options}");
    }
}

#[test]
fn answers_a_simple_client() {
    let server = FfmpegListen::start();
    let result = run(&format!("{} -c 1 -n 1 --mode simple", server.url()));
    assert_completed(&result, 1);
    assert_eq!(result.modes, ModeCounts { simple: 1, ..ModeCounts::default() });
}
