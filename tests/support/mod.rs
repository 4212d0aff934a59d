//! Real servers, scripted servers and captures for integration tests.
//!
//! Every fixture listens on a port that the system chose, is ready when its constructor returns, and ends its own
//! process when dropped. Nothing here sleeps or starts a test over.

// Each integration test is a crate of its own and uses only a part of this module.
#![allow(dead_code, unused_imports)]

mod authority;
mod capture;
mod captured_run;
mod ffmpeg;
mod hooks;
mod link;
mod load;
mod namespace;
mod nginx;
mod process;
mod rtmpsrv;
mod run_command;
mod scripted;
mod sink_process;

pub use authority::{Authority, Identity};
pub use capture::{Capture, malformed_packets, tshark};
pub use captured_run::{CapturedRun, Compared, Percentile};
pub use ffmpeg::{FfmpegListen, ffmpeg_publish, ffprobe, packets, record_flv};
pub use hooks::hook_server;
pub use link::{Carried, Link, LinkOptions, LostSyns};
pub use load::Load;
pub use namespace::Namespace;
pub use nginx::{Nginx, NginxOptions, streams};
pub use process::{PATIENCE, Server, tool};
pub use rtmpsrv::{Rtmpsrv, rtmpdump};
pub use run_command::{RunOutput, run, run_by, shakedown_command};
pub use scripted::{ScriptedPeer, scripted_peer};
pub use sink_process::SinkProcess;

/// The built binary.
pub fn shakedown() -> assert_cmd::Command {
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_shakedown"))
}
