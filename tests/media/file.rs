//! FLV files: written here, read and made by ffmpeg.

use std::path::Path;
use std::process::{Command, Stdio};

use super::wire::Received;
use crate::support::tool;

/// An FLV file of tags given by type, time and body.
pub fn flv<'a>(tags: impl IntoIterator<Item = (u8, u32, &'a [u8])>) -> Vec<u8> {
    let mut file = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
    for (tag_type, timestamp, body) in tags {
        let [upper, low @ ..] = timestamp.to_be_bytes();
        file.push(tag_type);
        file.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
        file.extend_from_slice(&low);
        file.extend_from_slice(&[upper, 0, 0, 0]);
        file.extend_from_slice(body);
        file.extend_from_slice(&(11 + body.len() as u32).to_be_bytes());
    }
    file
}

/// Messages as a server records them.
pub fn recorded(messages: &[Received]) -> Vec<u8> {
    let tags = messages.iter().map(|message| {
        let payload = message.payload.strip_prefix(b"\x02\0\x0d@setDataFrame").unwrap_or(&message.payload);
        (message.message_type, message.timestamp, payload)
    });
    flv(tags)
}

/// A file that ffmpeg makes: `seconds` of a test picture at 25 pictures a second with B-frames, and of a tone.
pub fn encoded(seconds: u32) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encoded.flv");
    let mut command = Command::new(tool("ffmpeg"));
    command.args(["-hide_banner", "-nostdin", "-loglevel", "error"]);
    command.args(["-f", "lavfi", "-i", "testsrc=size=160x120:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=44100"]);
    command.args(["-t", &seconds.to_string(), "-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "25"]);
    command.args(["-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "flv"]).arg(&path);
    finish(&mut command);
    std::fs::read(path).unwrap()
}

/// Decodes an FLV file with every check that ffmpeg has; what ffprobe tells about it.
///
/// # Panics
/// If ffmpeg has anything to complain about.
pub fn decoded(file: &[u8]) -> Decoded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recorded.flv");
    std::fs::write(&path, file).unwrap();
    let mut decode = Command::new(tool("ffmpeg"));
    decode.args(["-hide_banner", "-nostdin", "-loglevel", "warning", "-xerror", "-err_detect", "explode"]);
    finish(decode.arg("-i").arg(&path).args(["-fps_mode", "passthrough", "-f", "null", "-"]));
    Decoded { video: stream(&path, "v:0"), audio: stream(&path, "a:0") }
}

/// What ffprobe tells about the two streams of a file.
#[derive(Debug)]
pub struct Decoded {
    pub video: serde_json::Value,
    pub audio: serde_json::Value,
}

fn stream(path: &Path, selected: &str) -> serde_json::Value {
    let mut command = Command::new(tool("ffprobe"));
    command.args(["-loglevel", "error", "-count_frames", "-show_streams", "-of", "json", "-select_streams", selected]);
    let told: serde_json::Value = serde_json::from_slice(&finish(command.arg(path))).unwrap();
    told["streams"][0].clone()
}

/// Runs `command`, which succeeds without a word on stderr; its stdout.
fn finish(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{command:?}: {}\n{complaints}", output.status);
    output.stdout
}
