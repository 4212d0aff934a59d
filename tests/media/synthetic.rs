//! The trickle and synthetic video, by what ffmpeg makes of them.

use shakedown::protocol::media::{MAX_BIT_RATE, MIN_BIT_RATE, Playhead, Track};

use super::file::{decoded, recorded};
use super::wire::{received, sent};

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;

#[test]
fn the_trickle_is_decodable_media_round_after_round() {
    let track = Track::trickle(128);
    let messages = received(&sent(&track, 3), 128);
    let told = decoded(&recorded(&messages));
    assert_eq!(told.video["codec_name"], "h264");
    assert_eq!(told.video["profile"], "Constrained Baseline");
    assert_eq!([&told.video["width"], &told.video["height"]], [160, 96]);
    assert_eq!(told.video["pix_fmt"], "yuv420p");
    assert_eq!(told.video["nb_read_frames"], "7");
    assert_eq!(told.audio["codec_name"], "aac");
    assert_eq!([&told.audio["profile"], &told.audio["sample_rate"]], ["LC", "48000"]);
    assert_eq!(told.audio["channels"], 2);
    assert_eq!(told.audio["nb_read_frames"], "24");
}

#[test]
fn who_joins_the_trickle_late_can_decode_it() {
    let mut messages = received(&sent(&Track::trickle(128), 2), 128);
    // A server gives the metadata and the sequence headers that it kept, then what comes. Missed: the first picture and
    // the first round but for its last second.
    messages.drain(3..12);
    let told = decoded(&recorded(&messages));
    assert_eq!([&told.video["width"], &told.video["height"]], [160, 96]);
    assert_eq!([&told.video["nb_read_frames"], &told.audio["nb_read_frames"]], ["3", "9"]);
}

#[test]
fn the_trickle_sends_an_audio_tag_a_second_and_little_else() {
    let track = Track::trickle(4_096);
    let messages = received(&sent(&track, 2), 4_096);
    assert!(messages.iter().all(|message| message.message_stream == 7));
    let intro: Vec<_> = messages.iter().take_while(|message| message.timestamp == 0).collect();
    let intro_types: Vec<_> = intro.iter().map(|message| message.message_type).collect();
    assert_eq!(intro_types, [18, AUDIO, VIDEO, VIDEO]);
    assert!(intro[0].payload.starts_with(b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x08"));
    let audio = messages[intro.len()..].iter().filter(|message| message.message_type == AUDIO);
    let times: Vec<_> = audio.map(|message| message.timestamp).collect();
    assert_eq!(times, (1..=16).map(|second| second * 1_000).collect::<Vec<_>>());
    assert!(track.intro_len() < 512, "{}", track.intro_len());
    assert!(track.bytes().len() < 8 * 48, "{} bytes in 8 s", track.bytes().len());
}

#[test]
fn players_get_metadata_without_the_command_to_keep_them() {
    let (published, played) = (Track::trickle(128), Track::played_trickle(128));
    let messages = |track: &Track| received(&sent(track, 1), 128);
    let metadata = |track: &Track| messages(track)[0].payload.clone();
    assert!(metadata(&played).starts_with(b"\x02\0\x0aonMetaData\x08"));
    assert_eq!([b"\x02\0\x0d@setDataFrame", &metadata(&played)[..]].concat(), metadata(&published));
    assert_eq!(messages(&played)[1..], messages(&published)[1..]);
}

#[test]
fn a_synthetic_encoder_keeps_its_rate_and_its_pictures() {
    for rate in [MIN_BIT_RATE, 100_000, 2_500_000] {
        let track = Track::of_bit_rate(rate, 4_096).unwrap();
        let messages = received(&sent(&track, 1), 4_096);
        let begin = messages.iter().filter(|message| message.message_type == VIDEO).nth(1).unwrap().timestamp;
        let media = messages.iter().skip(3);
        let bytes: usize = media.clone().map(|message| message.payload.len()).sum();
        let expected = rate * u64::from(track.length_ms()) / 8_000;
        assert!((bytes as u64).abs_diff(expected) * 100 <= expected, "{bytes} bytes, not {expected}");
        let keys = media.filter(|message| message.message_type == VIDEO && message.payload[0] == 0x17);
        let times: Vec<_> = keys.map(|message| message.timestamp - begin).collect();
        assert_eq!(times, [0, 2_000, 4_000, 6_000]);

        let told = decoded(&recorded(&received(&sent(&track, 2), 4_096)));
        assert_eq!([&told.video["nb_read_frames"], &told.audio["nb_read_frames"]], ["480", "750"], "{rate}");
    }
}

#[test]
fn a_rate_that_no_synthetic_encoder_has_is_refused() {
    let refused = |rate| Track::of_bit_rate(rate, 128).unwrap_err().to_string();
    assert_eq!(refused(MIN_BIT_RATE - 1), "15999 bit/s: a synthetic encoder makes 16 kbit/s to 200 Mbit/s");
    assert!(refused(MAX_BIT_RATE + 1).starts_with("200000001 bit/s"));
}

#[test]
fn a_playhead_takes_every_tag_once_and_when_it_is_due() {
    let track = Track::trickle(4_096);
    let mut playhead = Playhead::default();
    let mut taken = Vec::new();
    let mut now = 0;
    while taken.len() < 3 * track.bytes().len() {
        assert!(track.take_due(&mut playhead, now, usize::MAX).is_empty());
        now += 1_000;
        assert_eq!(track.next_at_ms(playhead), now);
        taken.extend_from_slice(track.chunks(track.take_due(&mut playhead, now, usize::MAX)));
        assert_eq!(track.next_at_ms(playhead), now + 1_000);
    }
    assert_eq!(taken, track.bytes().repeat(3));
    assert_eq!(now, 24_000);
}

#[test]
fn a_late_playhead_takes_what_fits_and_at_least_a_tag() {
    let track = Track::trickle(4_096);
    let lengths = |most| {
        let mut playhead = Playhead::default();
        let takes = std::iter::from_fn(|| Some(track.chunks(track.take_due(&mut playhead, 8_000, most)).len()));
        takes.take_while(|taken| *taken > 0).collect::<Vec<_>>()
    };
    assert_eq!(lengths(usize::MAX), [track.bytes().len()]);
    assert_eq!(lengths(0), track.tags().iter().map(|tag| tag.len as usize).collect::<Vec<_>>());
    let pairs = lengths(2 * track.tags()[0].len as usize);
    assert!(pairs.len() < track.tags().len() && pairs.len() > 1, "{pairs:?}");
    assert_eq!(pairs.iter().sum::<usize>(), track.bytes().len());
}

#[test]
fn an_intro_is_the_same_however_it_is_cut() {
    let track = Track::trickle(128);
    let mut whole = vec![0; track.intro_len()];
    assert_eq!(track.write_intro(0x0403_0201, 0, &mut whole), whole.len());
    for size in 1..whole.len() {
        let mut pieces = Vec::new();
        let mut piece = vec![0; size];
        loop {
            let written = track.write_intro(0x0403_0201, pieces.len(), &mut piece);
            pieces.extend_from_slice(&piece[..written]);
            if written == 0 {
                break;
            }
        }
        assert_eq!(pieces, whole, "{size} bytes a piece");
    }
    let streams: Vec<_> = received(&whole, 128).iter().map(|message| message.message_stream).collect();
    assert_eq!(streams, [0x0403_0201; 4]);
}
