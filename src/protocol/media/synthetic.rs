//! Streams without a file: the trickle of held publishers, and video of a given bit rate.

use super::picture::{HEIGHT, SMALLEST_FILLER, WIDTH, decoder_configuration, filler, key_picture, repeated_picture};
use super::{Message, Track, set_data_frame};
use crate::protocol::amf0::Writer;
use crate::protocol::flv::TagKind;

/// The lowest rate of a synthetic encoder, in bits per second: what its pictures and its silence take without filler.
pub const MIN_BIT_RATE: u64 = 16_000;
/// The highest rate of a synthetic encoder, in bits per second.
pub const MAX_BIT_RATE: u64 = 200_000_000;

/// A rate that no synthetic encoder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{bits_per_second} bit/s: a synthetic encoder makes {min} kbit/s to {max} Mbit/s",
    min = MIN_BIT_RATE / 1_000,
    max = MAX_BIT_RATE / 1_000_000
)]
pub struct BitRateError {
    /// What was asked for.
    pub bits_per_second: u64,
}

/// `metadata` is how they are sent.
pub(super) fn trickle(chunk_size: u32, metadata: fn(&[u8]) -> Vec<u8>) -> Track {
    const LENGTH_MS: u32 = 8_000;
    let mut intro = intro(1.0, metadata);
    intro.push(video(0, key_body(0)));
    let mut looped = Vec::new();
    for at_ms in (1_000..=LENGTH_MS).step_by(1_000) {
        looped.push(audio(at_ms));
        // Two key pictures in a row differ in their id; the intro's is 0.
        match at_ms {
            4_000 => looped.push(video(at_ms, key_body(1))),
            8_000 => looped.push(video(at_ms, key_body(0))),
            _ => {}
        }
    }
    Track::assemble(&intro, &looped, LENGTH_MS, chunk_size).expect("the trickle is small")
}

pub(super) fn of_bit_rate(bits_per_second: u64, chunk_size: u32) -> Result<Track, BitRateError> {
    /// The shortest time that holds whole numbers of audio frames (375) and of groups of pictures (4).
    const LENGTH_MS: u32 = 8_000;
    const AUDIO_FRAMES: u32 = LENGTH_MS / 1_000 * SAMPLE_RATE / SAMPLES;
    const PICTURES: u32 = LENGTH_MS / 1_000 * PICTURES_PER_S;
    if !(MIN_BIT_RATE..=MAX_BIT_RATE).contains(&bits_per_second) {
        return Err(BitRateError { bits_per_second });
    }
    let mut looped = Vec::new();
    looped.extend((0..AUDIO_FRAMES).map(|frame| audio(frame * SAMPLES * 1_000 / SAMPLE_RATE)));
    let audio_bytes: usize = looped.iter().map(|message| message.body.len()).sum();
    let video_bytes = bits_per_second * u64::from(LENGTH_MS / 1_000) / 8 - audio_bytes as u64;

    let weight = |picture: u32| if picture.is_multiple_of(PICTURES_A_GROUP) { KEY_WEIGHT } else { 1 };
    let weights: u64 = (0..PICTURES).map(weight).sum();
    let mut weight_so_far = 0;
    let mut bytes_so_far = 0;
    for picture in 0..PICTURES {
        weight_so_far += weight(picture);
        // What a picture cannot be short of, the next ones are.
        let due = usize::try_from(video_bytes * weight_so_far / weights).expect("the rate is limited");
        let body = match picture % PICTURES_A_GROUP {
            0 => key_body(picture / PICTURES_A_GROUP % 2),
            number => picture_body(INTER, &repeated_picture(number)),
        };
        let body = filled(body, due.saturating_sub(bytes_so_far));
        bytes_so_far += body.len();
        looped.push(video(picture * 1_000 / PICTURES_PER_S, body));
    }
    looped.sort_by_key(|message| message.timestamp_ms);
    let track = Track::assemble(&intro(f64::from(PICTURES_PER_S), set_data_frame), &looped, LENGTH_MS, chunk_size);
    Ok(track.expect("the rate is limited"))
}

const PICTURES_PER_S: u32 = 30;
/// Two seconds, what streaming services ask encoders for.
const PICTURES_A_GROUP: u32 = 60;
/// How much larger a key picture is than another.
const KEY_WEIGHT: u64 = 8;

/// Of the sound.
const SAMPLE_RATE: u32 = 48_000;
/// Samples a channel in an AAC frame.
const SAMPLES: u32 = 1_024;

/// Frame type and codec (AVC) of video bodies.
const KEY: u8 = 0x17;
const INTER: u8 = 0x27;
/// Format (AAC) and, by custom for AAC whatever it is, 44 100 Hz, 16 bits, stereo.
const AAC: u8 = 0xaf;

/// Metadata and sequence headers.
fn intro(pictures_per_s: f64, sent: fn(&[u8]) -> Vec<u8>) -> Vec<Message<'static>> {
    // Audio object type 2 (low complexity), frequency index 3 (48 000 Hz), 2 channels (ISO/IEC 14496-3, 1.6.2.1).
    const AUDIO_SPECIFIC_CONFIG: [u8; 2] = [2 << 3 | 3 >> 1, (3 & 1) << 7 | 2 << 3];
    let audio_header = [&[AAC, 0][..], &AUDIO_SPECIFIC_CONFIG].concat();
    let video_header = [&[KEY, 0, 0, 0, 0][..], &decoder_configuration()].concat();
    let message = |kind, body: Vec<u8>| Message { kind, timestamp_ms: 0, body: body.into() };
    vec![
        message(TagKind::Script, sent(&metadata(pictures_per_s))),
        message(TagKind::Audio, audio_header),
        message(TagKind::Video, video_header),
    ]
}

/// A frame of silence: a channel pair element without scale factor bands (ISO/IEC 14496-3, 4.4.2.1).
fn audio(timestamp_ms: u32) -> Message<'static> {
    const SILENCE: &[u8] = &[AAC, 1, 0x21, 0, 0, 0, 0, 0x1c];
    Message { kind: TagKind::Audio, timestamp_ms, body: SILENCE.into() }
}

fn video(timestamp_ms: u32, body: Vec<u8>) -> Message<'static> {
    Message { kind: TagKind::Video, timestamp_ms, body: body.into() }
}

fn key_body(id: u32) -> Vec<u8> {
    picture_body(KEY, &key_picture(id))
}

/// The body of a video tag: NAL units, composition time zero.
fn picture_body(kind: u8, unit: &[u8]) -> Vec<u8> {
    let mut body = vec![kind, 1, 0, 0, 0];
    append_unit(&mut body, unit);
    body
}

/// `body` with filler data up to `size` bytes, if there is room for any.
fn filled(mut body: Vec<u8>, size: usize) -> Vec<u8> {
    let room = size.saturating_sub(body.len() + LENGTH_SIZE);
    if room >= SMALLEST_FILLER {
        append_unit(&mut body, &filler(room));
    }
    body
}

/// Of the length before a NAL unit, as the decoder configuration says.
const LENGTH_SIZE: usize = 4;

fn append_unit(body: &mut Vec<u8>, unit: &[u8]) {
    let length: [u8; LENGTH_SIZE] = u32::try_from(unit.len()).expect("the rate is limited").to_be_bytes();
    body.extend_from_slice(&length);
    body.extend_from_slice(unit);
}

/// `onMetaData` as encoders write it.
fn metadata(pictures_per_s: f64) -> Vec<u8> {
    let numbers = [
        ("width", f64::from(WIDTH)),
        ("height", f64::from(HEIGHT)),
        ("framerate", pictures_per_s),
        ("videocodecid", 7.0),
        ("audiocodecid", 10.0),
        ("audiosamplerate", f64::from(SAMPLE_RATE)),
        ("audiochannels", 2.0),
    ];
    let mut data = Vec::new();
    let mut writer = Writer::new(&mut data);
    writer.string("onMetaData").ecma_array(numbers.len() as u32 + 1);
    for (name, number) in numbers {
        writer.key(name).number(number);
    }
    writer.key("encoder").string("shakedown").end();
    data
}
