//! Laws of the chunk stream, whatever its segmentation.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::protocol::session::fixtures::segments;

/// A [`Piece`] that owns its bytes; the parts of a media message that follow each other are one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Read {
    Control(Control),
    ShortControl(MessageKind),
    Command { kind: MessageKind, timestamp: u32, message_stream: u32, payload: Vec<u8> },
    Media { kind: MessageKind, timestamp: u32, bytes: u32, first: bool, last: bool },
}

fn command(timestamp: u32, message_stream: u32, payload: &[u8]) -> Read {
    Read::Command { kind: MessageKind::CommandAmf0, timestamp, message_stream, payload: payload.to_vec() }
}

fn media(kind: MessageKind, timestamp: u32, bytes: u32) -> Read {
    Read::Media { kind, timestamp, bytes, first: true, last: true }
}

/// Reads `segments` with one reader; all bytes must be taken, and no block stays behind.
fn read<'a>(segments: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Read>, Option<ChunkViolation>) {
    let (mut reader, mut store) = (ChunkReader::new(), MessageStore::for_answers());
    let mut pieces = Vec::new();
    let violation =
        segments.into_iter().try_for_each(|segment| read_segment(&mut reader, &mut store, segment, &mut pieces));
    assert!(store.allocated() <= MAX_CHUNK_STREAMS, "one block for each chunk stream");
    reader.release(&mut store);
    assert_eq!(store.taken(), 0);
    (pieces, violation.err())
}

fn read_segment(
    reader: &mut ChunkReader,
    store: &mut MessageStore,
    mut input: &[u8],
    pieces: &mut Vec<Read>,
) -> Result<(), ChunkViolation> {
    while let Some(piece) = reader.next(&mut input, store)? {
        let piece = match piece {
            Piece::Control(control) => Read::Control(control),
            Piece::ShortControl { kind } => Read::ShortControl(kind),
            Piece::Command { kind, timestamp, message_stream, payload } => {
                Read::Command { kind, timestamp, message_stream, payload: payload.to_vec() }
            }
            Piece::Media { kind, timestamp, bytes, first, last } => Read::Media { kind, timestamp, bytes, first, last },
        };
        match (pieces.last_mut(), piece) {
            (
                Some(Read::Media { kind, timestamp, bytes, last: last @ false, .. }),
                Read::Media { kind: same, timestamp: at, bytes: more, first: false, last: ends },
            ) if (*kind, *timestamp) == (same, at) => {
                *bytes += more;
                *last = ends;
            }
            (_, piece) => pieces.push(piece),
        }
    }
    assert!(input.is_empty(), "all bytes are taken");
    Ok(())
}

/// Whole, byte by byte, and cut at `cuts`: the same pieces and the same end.
fn read_anyhow(bytes: &[u8], cuts: &[usize]) -> (Vec<Read>, Option<ChunkViolation>) {
    let whole = read([bytes]);
    assert_eq!(read(bytes.chunks(1)), whole, "byte by byte");
    assert_eq!(read(segments(bytes, cuts)), whole, "cut");
    whole
}

fn pieces_of(bytes: &[u8]) -> Vec<Read> {
    let (pieces, violation) = read_anyhow(bytes, &[]);
    assert_eq!(violation, None);
    pieces
}

fn violation_of(bytes: &[u8]) -> ChunkViolation {
    read_anyhow(bytes, &[]).1.expect("a violation")
}

/// A message to write.
#[derive(Clone, Debug)]
struct Message {
    kind: MessageKind,
    start: Start,
    payload: Vec<u8>,
}

impl Message {
    fn command(payload: &[u8]) -> Self {
        let start = Start::Full { timestamp: 0, message_stream: 0 };
        Self { kind: MessageKind::CommandAmf0, start, payload: payload.to_vec() }
    }

    fn written(&self, stream: u32, size: u32) -> Vec<u8> {
        let chunks = Chunks { stream, size };
        let size = message_size(chunks, self.start, self.payload.len());
        let mut out = vec![0; size];
        assert_eq!(write_message(&mut out, chunks, self.start, self.kind, &self.payload), size);
        out
    }

    /// The message as chunks, each with its headers.
    fn chunks(&self, chunk_stream: u32, chunk_size: u32) -> Vec<Vec<u8>> {
        let size = |length| message_size(Chunks { stream: chunk_stream, size: chunk_size }, self.start, length);
        let (length, most) = (self.payload.len(), chunk_size as usize);
        let bytes = self.written(chunk_stream, chunk_size);
        let ends: Vec<usize> = (1..length.div_ceil(most).max(1)).map(|n| size(n * most)).chain([bytes.len()]).collect();
        let begins = [0].into_iter().chain(ends.iter().copied());
        begins.zip(&ends).map(|(begin, &end)| bytes[begin..end].to_vec()).collect()
    }
}

/// A chunk, and the message that it completes.
type Chunk = (Vec<u8>, Option<Message>);

/// Commands and media of all lengths, as they begin a chunk stream.
fn message() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![
        Just(MessageKind::CommandAmf0),
        Just(MessageKind::CommandAmf3),
        Just(MessageKind::Audio),
        Just(MessageKind::Video),
        Just(MessageKind::DataAmf0),
        Just(MessageKind::Other(99)),
    ];
    let timestamp = prop_oneof![0..100u32, 0xff_fffeu32..=0x100_0001, Just(u32::MAX)];
    let length = prop_oneof![3 => 0..300usize, 1 => 0..=2 * BLOCK];
    (kind, timestamp, any::<u32>(), length, any::<u8>()).prop_map(|(kind, timestamp, message_stream, length, salt)| {
        let payload = (0..length).map(|at| (at as u8).wrapping_mul(31) ^ salt).collect();
        Message { kind, start: Start::Full { timestamp, message_stream }, payload }
    })
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![0..20usize, 0..2000usize], 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn interleaved_messages_come_back_under_any_segmentation(
        messages in vec((message(), prop_oneof![Just(3u32), Just(63), Just(64), Just(319), Just(320), Just(65599)]), 1..12),
        chunk_size in prop_oneof![1..20u32, 100..200u32, Just(4096)],
        turns in vec(0..6usize, 0..200),
        cuts in cuts(),
    ) {
        let mut out = vec![0; Control::MAX_SIZE];
        let size = Control::SetChunkSize(chunk_size).write(&mut out);
        out.truncate(size);
        let mut queues: Vec<(u32, Vec<Chunk>)> = Vec::new();
        for (message, chunk_stream) in messages {
            let mut chunks: Vec<Chunk> = message.chunks(chunk_stream, chunk_size).into_iter().map(|c| (c, None)).collect();
            chunks.last_mut().unwrap().1 = Some(message);
            match queues.iter_mut().find(|(id, _)| *id == chunk_stream) {
                Some((_, queue)) => queue.extend(chunks),
                None => queues.push((chunk_stream, chunks)),
            }
        }
        let mut completed = Vec::new();
        let mut turns = turns.into_iter();
        while !queues.is_empty() {
            let turn = turns.next().unwrap_or(0) % queues.len();
            let (chunk, message) = queues[turn].1.remove(0);
            out.extend(chunk);
            completed.extend(message);
            if queues[turn].1.is_empty() {
                queues.remove(turn);
            }
        }

        let (pieces, violation) = read_anyhow(&out, &cuts);
        prop_assert_eq!(violation, None);
        let commands: Vec<Read> = pieces.iter().filter(|piece| matches!(piece, Read::Command { .. })).cloned().collect();
        let expected: Vec<Read> = completed.iter().filter(|message| message.kind.is_command()).map(|message| {
            let Start::Full { timestamp, message_stream } = message.start else { unreachable!() };
            Read::Command { kind: message.kind, timestamp, message_stream, payload: message.payload.clone() }
        }).collect();
        prop_assert_eq!(commands, expected);
        for kind in [MessageKind::Audio, MessageKind::Video, MessageKind::DataAmf0, MessageKind::Other(99)] {
            let mut counted = (0, 0, 0);
            for piece in &pieces {
                if let Read::Media { kind: of, bytes, first, last, .. } = piece && *of == kind {
                    counted = (counted.0 + bytes, counted.1 + u32::from(*first), counted.2 + u32::from(*last));
                }
            }
            let of_kind = || completed.iter().filter(|message| message.kind == kind);
            let bytes: usize = of_kind().map(|message| message.payload.len()).sum();
            let messages = of_kind().count() as u32;
            prop_assert_eq!(counted, (bytes as u32, messages, messages), "{}", kind);
        }
    }

    /// Bytes of no meaning: whatever they do, they do it under any segmentation, within bounds.
    #[test]
    fn garbage_neither_panics_nor_grows(bytes in vec(any::<u8>(), 0..600), cuts in cuts()) {
        read_anyhow(&bytes, &cuts);
    }

    /// Almost right streams get further than garbage.
    #[test]
    fn damaged_streams_neither_panic_nor_grow(
        messages in vec((message(), 2..9u32), 1..6),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cuts in cuts(),
    ) {
        let mut out: Vec<u8> = messages.iter().flat_map(|(message, id)| message.written(*id, INITIAL_CHUNK_SIZE)).collect();
        for (at, byte) in damage {
            *at.get_mut(&mut out) = byte;
        }
        read_anyhow(&out, &cuts);
    }

    #[test]
    fn bytes_are_counted(bytes in vec(any::<u8>(), 0..400)) {
        let (mut reader, mut store) = (ChunkReader::new(), MessageStore::for_answers());
        if read_segment(&mut reader, &mut store, &bytes, &mut Vec::new()).is_ok() {
            prop_assert_eq!(reader.received() as usize, bytes.len());
        }
    }
}

#[test]
fn a_whole_command_is_handed_out_in_place() {
    let bytes = Message::command(b"createStream").written(3, 128);
    let mut store = MessageStore::for_answers();
    let mut input = &bytes[..];
    let mut reader = ChunkReader::new();
    let Ok(Some(Piece::Command { payload, .. })) = reader.next(&mut input, &mut store) else { panic!("a command") };
    assert!(std::ptr::eq(payload, &bytes[12..]));
    assert_eq!(store.allocated(), 0);
}

#[test]
fn blocks_are_shared_and_reused() {
    let bytes = Message::command(&[7; 300]).written(3, 128);
    let mut store = MessageStore::for_answers();
    let mut readers: Vec<ChunkReader> = (0..3).map(|_| ChunkReader::new()).collect();
    for _ in 0..5 {
        for (reader, most) in readers.iter_mut().zip(1..) {
            read_segment(reader, &mut store, &bytes[..200], &mut Vec::new()).unwrap();
            assert_eq!(store.taken(), most);
        }
        for (reader, left) in readers.iter_mut().zip([2, 1, 0]) {
            let mut pieces = Vec::new();
            read_segment(reader, &mut store, &bytes[200..], &mut pieces).unwrap();
            assert_eq!(pieces, [command(0, 0, &[7; 300])]);
            assert_eq!(store.taken(), left);
        }
    }
    assert_eq!(store.allocated(), 3);
}

#[test]
fn short_headers_repeat_what_they_leave_out() {
    let mut bytes = vec![3, 0, 0, 10, 0, 0, 1, 20, 5, 0, 0, 0, b'a'];
    bytes.extend([0xc3, b'b']);
    bytes.extend([0x83, 0, 0, 7, b'c']);
    bytes.extend([0xc3, b'd']);
    bytes.extend([0x43, 0, 0, 1, 0, 0, 2, 20, b'e', b'f']);
    let expected = [
        command(10, 5, b"a"),
        command(20, 5, b"b"), // A fmt 3 after a fmt 0 repeats its timestamp as the delta.
        command(27, 5, b"c"),
        command(34, 5, b"d"),
        command(35, 5, b"ef"),
    ];
    assert_eq!(pieces_of(&bytes), expected);
}

#[test]
fn librtmp_begins_a_chunk_stream_with_fmt_1() {
    let bytes = [0x42, 0, 0, 0, 0, 0, 4, 5, 0, 0x26, 0x25, 0xa0];
    assert_eq!(pieces_of(&bytes), [Read::Control(Control::WindowAckSize(2_500_000))]);
}

#[test]
fn extended_timestamps_are_on_every_chunk() {
    let start = Start::Full { timestamp: 0x0123_4567, message_stream: 1 };
    let message = Message { kind: MessageKind::CommandAmf0, start, payload: vec![9; 300] };
    let mut bytes = message.written(3, 128);
    assert_eq!(bytes[..16], [3, 255, 255, 255, 0, 1, 44, 20, 1, 0, 0, 0, 1, 0x23, 0x45, 0x67]);
    assert_eq!(bytes[16 + 128..][..5], [0xc3, 1, 0x23, 0x45, 0x67]);
    // The next message begins with fmt 3, and so does its rest.
    for chunk in [&[8; 128][..], &[8; 128], &[8; 44]] {
        bytes.extend([0xc3, 1, 0x23, 0x45, 0x67]);
        bytes.extend(chunk);
    }
    bytes.extend([0x83, 0, 0, 1]);
    bytes.extend([7; 128]);
    bytes.extend([0xc3; 1]);
    bytes.extend([7; 128]);
    bytes.extend([0xc3; 1]);
    bytes.extend([7; 44]);
    let doubled = 0x0123_4567 * 2;
    let expected =
        [command(0x0123_4567, 1, &[9; 300]), command(doubled, 1, &[8; 300]), command(doubled + 1, 1, &[7; 300])];
    assert_eq!(pieces_of(&bytes), expected);
}

#[test]
fn deltas_may_be_extended_and_wrap() {
    let first = Start::Full { timestamp: 0xffff_fff0, message_stream: 1 };
    let mut bytes = Message { kind: MessageKind::Audio, start: first, payload: vec![1; 3] }.written(4, 128);
    bytes.extend(Message { kind: MessageKind::Audio, start: Start::Delta(0x20), payload: vec![1; 4] }.written(4, 128));
    bytes.extend(
        Message { kind: MessageKind::Audio, start: Start::Delta(EXTENDED), payload: vec![1; 5] }.written(4, 128),
    );
    let audio = |timestamp, bytes| media(MessageKind::Audio, timestamp, bytes);
    assert_eq!(pieces_of(&bytes), [audio(0xffff_fff0, 3), audio(0x10, 4), audio(0x10 + EXTENDED, 5)]);
}

#[test]
fn the_chunk_size_may_change_inside_a_message() {
    let message = Message::command(&[5; 1000]);
    let mut bytes = message.chunks(3, 128)[0].clone();
    let mut control = [0; Control::MAX_SIZE];
    let size = Control::SetChunkSize(800).write(&mut control);
    bytes.extend(&control[..size]);
    bytes.push(0xc3);
    bytes.extend([5; 800]);
    bytes.push(0xc3);
    bytes.extend([5; 72]);
    assert_eq!(pieces_of(&bytes), [Read::Control(Control::SetChunkSize(800)), command(0, 0, &[5; 1000])]);
}

#[test]
fn an_aborted_message_is_forgotten() {
    let abandoned = Message::command(&[5; 1000]).chunks(3, 128);
    let mut bytes = abandoned[..2].concat();
    for chunk_stream in [3, 3, 7, 0] {
        let mut control = [0; Control::MAX_SIZE];
        let size = Control::Abort(chunk_stream).write(&mut control);
        bytes.extend(&control[..size]);
    }
    bytes.extend(Message::command(b"next").written(3, 128));
    let aborts = [3, 3, 7, 0].map(|chunk_stream| Read::Control(Control::Abort(chunk_stream)));
    assert_eq!(pieces_of(&bytes), [&aborts[..], &[command(0, 0, b"next")]].concat());
}

#[test]
fn empty_messages_are_messages() {
    let audio = [4, 0, 0, 5, 0, 0, 0, 8, 1, 0, 0, 0];
    let nothing = [3, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0];
    let expected = [media(MessageKind::Audio, 5, 0), command(0, 0, b""), media(MessageKind::Audio, 10, 0)];
    assert_eq!(pieces_of(&[&audio[..], &nothing, &[0xc4]].concat()), expected);
}

#[test]
fn the_largest_media_message_is_counted_and_not_kept() {
    let start = Start::Full { timestamp: 0, message_stream: 1 };
    let message = Message { kind: MessageKind::Video, start, payload: vec![0; 0xff_ffff] };
    let bytes = message.written(6, INITIAL_CHUNK_SIZE);
    let (mut reader, mut store) = (ChunkReader::new(), MessageStore::for_answers());
    let mut pieces = Vec::new();
    for segment in bytes.chunks(60_000) {
        read_segment(&mut reader, &mut store, segment, &mut pieces).unwrap();
    }
    assert_eq!(pieces, [media(MessageKind::Video, 0, 0xff_ffff)]);
    assert_eq!(store.allocated(), 0);
}

#[test]
fn violations_name_what_was_wrong() {
    let text = |bytes: &[u8]| violation_of(bytes).to_string();
    assert_eq!(text(&[0xc5]), "chunk stream 5 begins with a fmt 3 header, which repeats an earlier one");
    assert_eq!(text(&[0x84, 0, 0, 0]), "chunk stream 4 begins with a fmt 2 header, which repeats an earlier one");

    let half = &Message::command(&[0; 200]).chunks(3, 128)[0];
    let again = Message::command(b"x").written(3, 128);
    let interrupted = "on chunk stream 3 a message begins after 128 of the 200 bytes of the last";
    assert_eq!(text(&[&half[..], &again].concat()), interrupted);
    assert_eq!(text(&[&half[..], &[0x83, 0, 0, 0]].concat()), interrupted);

    let streams = |most| (3..most).flat_map(|id| Message::command(b"x").written(id, 128)).collect::<Vec<u8>>();
    assert_eq!(violation_of(&streams(68)), ChunkViolation::TooManyChunkStreams { chunk_stream: 67 });
    assert_eq!(pieces_of(&streams(67)).len(), MAX_CHUNK_STREAMS);

    assert_eq!(text(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0]), "chunk size set to 0");
    assert_eq!(text(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0x80, 0, 0, 0]), "chunk size set to 2147483648");
}

#[test]
fn control_messages_that_are_too_short_or_too_long_do_no_harm() {
    let short = [2, 0, 0, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 16, 0];
    assert_eq!(pieces_of(&short), [Read::ShortControl(MessageKind::SetChunkSize)]);
    let long = Message { kind: MessageKind::UserControl, ..Message::command(&[6; 300]) };
    assert_eq!(pieces_of(&long.written(2, 128)), [Read::Control(Control::OtherEvent(0x0606))]);
}

#[test]
fn of_a_long_command_the_front_is_kept() {
    let message = Message::command(&[5; 100_000]);
    let (mut reader, mut store) = (ChunkReader::new(), MessageStore::for_answers());
    let mut pieces = Vec::new();
    for segment in message.written(3, 128).chunks(1000) {
        read_segment(&mut reader, &mut store, segment, &mut pieces).unwrap();
    }
    assert_eq!(pieces, [command(0, 0, &[5; KEPT_OF_ANSWER])]);
    // What was taken for it is given back as soon as the next command may need it.
    read_segment(&mut reader, &mut store, &Message::command(&[1; 200]).written(3, 128), &mut pieces).unwrap();
    assert_eq!((store.allocated(), store.blocks[0].capacity()), (1, BLOCK));
}

/// An aggregate of these kinds, timestamps and lengths.
fn aggregate(parts: &[(u8, u32, u32)]) -> Message {
    let mut payload = Vec::new();
    for &(kind, timestamp, length) in parts {
        let [highest, time @ ..] = timestamp.to_be_bytes();
        let [_, size @ ..] = length.to_be_bytes();
        payload.extend([&[kind][..], &size, &time, &[highest], &[0; 3], &vec![7; length as usize]].concat());
        payload.extend((11 + length).to_be_bytes());
    }
    let start = Start::Full { timestamp: 1000, message_stream: 1 };
    Message { kind: MessageKind::Aggregate, start, payload }
}

#[test]
fn aggregates_are_taken_apart() {
    let message = aggregate(&[(8, 0x0100_0000, 300), (9, 0x0100_0021, 500), (18, 0x0100_0042, 0), (9, 0x0100_0042, 1)]);
    let bytes = message.written(5, 128);
    let expected = [
        media(MessageKind::Audio, 1000, 300),
        media(MessageKind::Video, 1033, 500),
        media(MessageKind::DataAmf0, 1066, 0),
        media(MessageKind::Video, 1066, 1),
    ];
    assert_eq!(pieces_of(&bytes), expected);
    // What it announces and does not hold ends with it.
    let mut cut = message;
    cut.payload.truncate(11 + 300 + 4 + 11 + 100);
    assert_eq!(pieces_of(&cut.written(5, 128)), [expected[0].clone(), media(MessageKind::Video, 1033, 100)]);
    assert_eq!(pieces_of(&Message { payload: Vec::new(), ..cut }.written(5, 128)), []);
}

proptest! {
    #[test]
    fn aggregates_do_not_depend_on_segmentation(
        parts in vec((prop_oneof![Just(8u8), Just(9), Just(18), any::<u8>()], any::<u32>(), 0..300u32), 0..6),
        cut in any::<prop::sample::Index>(),
        cuts in cuts(),
    ) {
        let mut message = aggregate(&parts);
        message.payload.truncate(cut.index(message.payload.len() + 1));
        let (pieces, violation) = read_anyhow(&message.written(5, 128), &cuts);
        prop_assert!(violation.is_none() && pieces.len() <= parts.len());
    }
}

#[test]
fn basic_headers_have_three_forms() {
    for (chunk_stream, header) in
        [(2, &[2][..]), (63, &[63]), (64, &[0, 0]), (319, &[0, 255]), (320, &[1, 0, 1]), (65599, &[1, 255, 255])]
    {
        let bytes = Message::command(b"x").written(chunk_stream, 128);
        assert!(bytes.starts_with(header), "{chunk_stream}: {bytes:?}");
        assert_eq!(pieces_of(&bytes), [command(0, 0, b"x")]);
    }
}
