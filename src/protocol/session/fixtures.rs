//! Bytes for the tests of sessions.

use std::path::PathBuf;

use super::{Chunks, Control, MessageKind, Start, write_message};
use crate::protocol::amf0::Writer;

/// `bytes` in pieces of these sizes, and the rest.
pub(super) fn segments<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut segments: Vec<&[u8]> = sizes.iter().filter_map(|&size| bytes.split_off(..size.min(bytes.len()))).collect();
    segments.push(bytes);
    segments
}

/// A command on chunk stream 3, in chunks of 128 bytes.
pub(super) fn command(message_stream: u32, write: impl FnOnce(&mut Writer<&mut Vec<u8>>)) -> Vec<u8> {
    let mut payload = Vec::new();
    write(&mut Writer::new(&mut payload));
    message(MessageKind::CommandAmf0, message_stream, &payload)
}

pub(super) fn message(kind: MessageKind, message_stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 2 * payload.len() + 32];
    let start = Start::Full { timestamp: 0, message_stream };
    let size = write_message(&mut out, Chunks { stream: 3, size: 128 }, start, kind, payload);
    out.truncate(size);
    out
}

pub(super) fn connect(app: &str) -> Vec<u8> {
    command(0, |payload| {
        payload.string("connect").number(1.0).object().key("app").string(app).end();
    })
}

pub(super) fn create_stream(transaction: f64) -> Vec<u8> {
    command(0, |payload| {
        payload.string("createStream").number(transaction).null();
    })
}

pub(super) fn start(request: &str, name: &str) -> Vec<u8> {
    command(1, |payload| {
        payload.string(request).number(5.0).null().string(name).string("live");
    })
}

pub(super) fn control(control: Control) -> Vec<u8> {
    let mut out = vec![0; Control::MAX_SIZE];
    let size = control.write(&mut out);
    out.truncate(size);
    out
}

/// Bytes of `tests/vectors/session__CLIENT__nginx`.
pub(super) fn recorded(client: &str, file: &str) -> Vec<u8> {
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    std::fs::read(vectors.join(format!("session__{client}__nginx")).join(file)).unwrap()
}
