//! A receiver of chunks, written after the specification alone.

use std::collections::HashMap;

use shakedown::protocol::media::Track;

/// A message as a server gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub chunk_stream: u8,
    pub message_stream: u32,
    pub message_type: u8,
    pub timestamp: u32,
    pub payload: Vec<u8>,
}

/// The intro for message stream 7, and `rounds` times the tags.
pub fn sent(track: &Track, rounds: usize) -> Vec<u8> {
    let mut bytes = vec![0; track.intro_len()];
    assert_eq!(track.write_intro(7, 0, &mut bytes), bytes.len());
    bytes.extend(track.bytes().repeat(rounds));
    bytes
}

/// The messages in `bytes`, all of which are complete.
pub fn received(bytes: &[u8], chunk_size: usize) -> Vec<Received> {
    /// What the last header on a chunk stream said; and what is missing of the current message.
    struct State {
        message: Received,
        delta: u32,
        length: usize,
        extended: bool,
    }
    let mut states: HashMap<u8, State> = HashMap::new();
    let mut messages = Vec::new();
    let mut rest = bytes;
    let mut take = |count: usize| {
        let (taken, after) = rest.split_at(count);
        rest = after;
        taken.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
    };
    let mut left = bytes.len();
    while left > 0 {
        let basic = take(1) as u8;
        let (fmt, chunk_stream) = (basic >> 6, basic & 0x3f);
        assert!(chunk_stream >= 2, "a basic header of one byte");
        let mut used = 1;
        if fmt < 3 {
            let field = take(3);
            let (length, message_type) = if fmt < 2 { (take(3), take(1)) } else { panic!("fmt 2 is not sent") };
            used += 7;
            let message_stream = match fmt {
                0 => take(4).swap_bytes(),
                _ => states[&chunk_stream].message.message_stream,
            };
            used += if fmt == 0 { 4 } else { 0 };
            let extended = field == 0xff_ffff;
            let time = if extended { take(4) } else { field };
            used += if extended { 4 } else { 0 };
            let timestamp = match fmt {
                0 => time,
                _ => states[&chunk_stream].message.timestamp.wrapping_add(time),
            };
            let before = states.get(&chunk_stream);
            assert!(before.is_none_or(|state| state.message.payload.len() == state.length), "a message is cut short");
            let message_type = message_type as u8;
            let message = Received { chunk_stream, message_stream, message_type, timestamp, payload: Vec::new() };
            states.insert(chunk_stream, State { message, delta: time, length: length as usize, extended });
        } else {
            let state = &states[&chunk_stream];
            assert!(state.message.payload.len() < state.length, "fmt 3 is sent only within messages");
            if state.extended {
                assert_eq!(take(4), state.delta, "repeated in each chunk");
                used += 4;
            }
        }
        let state = states.get_mut(&chunk_stream).unwrap();
        let count = chunk_size.min(state.length - state.message.payload.len());
        state.message.payload.extend((0..count).map(|_| take(1) as u8));
        if state.message.payload.len() == state.length {
            messages.push(state.message.clone());
        }
        left -= used + count;
    }
    messages
}
