//! Tracks of FLV files.

use proptest::prelude::*;
use shakedown::protocol::flv::{FlvError, FlvReader, TagKind, TagRole};
use shakedown::protocol::media::{Amount, Playhead, Track};

use super::file::{decoded, encoded, flv, recorded};
use super::wire::{Received, received, sent};

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const SCRIPT: u8 = 18;
const AAC_HEADER: &[u8] = b"\xaf\0\x11\x90";
const AVC_HEADER: &[u8] = b"\x17\0\0\0\0avcC";

#[test]
fn a_file_of_ffmpeg_comes_out_tag_by_tag_and_frame_by_frame() {
    let file = encoded(2);
    let track = Track::from_flv(&file, 4_096).unwrap();
    let once = received(&sent(&track, 1), 4_096);
    let (intro, tags) = once.split_at(3);
    let intro_types: Vec<_> = intro.iter().map(|message| message.message_type).collect();
    assert_eq!(intro_types, [SCRIPT, AUDIO, VIDEO]);

    let mut expected: Vec<_> = FlvReader::new(&file)
        .unwrap()
        .map(Result::unwrap)
        .filter(|tag| matches!(tag.role(), Ok(TagRole::Frame { .. })))
        .map(|tag| (tag.timestamp_ms, tag.kind.message_type(), tag.body))
        .collect();
    expected.sort_by_key(|tag| tag.0);
    let begin = tags[0].timestamp - expected[0].0;
    // Sound that the encoder filled up is cut to the length of the pictures: at most 100 ms of it.
    let is_filling = |tag: &(u32, u8, &[u8])| tag.1 == AUDIO && tag.0 >= 2_000;
    let filling = expected.iter().filter(|tag| is_filling(tag)).count();
    expected.retain(|tag| !is_filling(tag) || tags.iter().any(|sent| sent.payload == tag.2));
    assert!(filling <= 5, "{filling} frames");
    let got: Vec<_> = tags.iter().map(|tag| (tag.timestamp - begin, tag.message_type, &tag.payload[..])).collect();
    // Not at once: a failure would print all bytes.
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!(got, expected);
    }
    assert!(begin < 200, "the first frame comes at {begin} ms");
    // The pictures take 2 s; the AAC frames begin later, for the pictures are ahead of their being shown, and end later.
    assert_eq!(track.length_ms(), 2_000);
    let twice = received(&sent(&track, 2), 4_096);
    let longest_step = |kind| {
        let times: Vec<_> = twice[3..].iter().filter(|message| message.message_type == kind).collect();
        times.windows(2).map(|pair| pair[1].timestamp - pair[0].timestamp).max().unwrap()
    };
    assert_eq!(longest_step(VIDEO), 40, "no hole where the file begins again");
    assert!(longest_step(AUDIO) <= 2 * 24, "{} ms", longest_step(AUDIO));

    let told = decoded(&recorded(&once));
    assert_eq!(told.video["nb_read_frames"], "50");
    let frames = |rounds| decoded(&recorded(&received(&sent(&track, rounds), 4_096))).video["nb_read_frames"].clone();
    assert_eq!(frames(3), "150");
}

#[test]
fn every_round_is_as_much_later_as_the_track_is_long() {
    let tags: [(u8, u32, &[u8]); 9] = [
        (SCRIPT, 0, b"\x02\0\x0aonMetaData\x08\0\0\0\0\0\0\x09"),
        (AUDIO, 5_000, AAC_HEADER),
        (VIDEO, 5_000, AVC_HEADER),
        (AUDIO, 5_000, b"\xaf\x01a"),
        (AUDIO, 5_020, b"\xaf\x01b"),
        (VIDEO, 5_030, b"\x17\x01\0\0\0A"),
        (AUDIO, 5_040, b"\xaf\x01c"),
        (SCRIPT, 5_050, b"\x02\0\x06onTextx"),
        (VIDEO, 5_063, b"\x27\x01\0\0\0B"),
    ];
    let track = Track::from_flv(&flv(tags), 128).unwrap();
    assert_eq!(track.length_ms(), 33 + 33, "two pictures");
    let messages = received(&sent(&track, 3), 128);
    let begin = 66 - 50;
    let intro: Vec<_> = messages[..3].iter().map(|message| (message.chunk_stream, message.timestamp)).collect();
    // The data at 50 ms is the last on the audio's chunk stream, the picture at 63 ms on the video's.
    assert_eq!(intro, [(4, begin - (66 - 50)), (4, 0), (6, begin - (66 - 63))]);
    let round = [(4, 0), (4, 20), (6, 30), (4, 40), (4, 50), (6, 63)];
    let expected: Vec<_> = (0..3).flat_map(|n| round.map(|(stream, time)| (stream, begin + n * 66 + time))).collect();
    let got: Vec<_> = messages[3..].iter().map(|message| (message.chunk_stream, message.timestamp)).collect();
    assert_eq!(got, expected);
    assert_eq!(track.tags().iter().map(|tag| tag.at_ms).collect::<Vec<_>>(), [0, 20, 30, 40, 50, 63]);
}

#[test]
fn the_longest_stream_goes_on_without_a_hole_and_the_others_are_sent_in_time() {
    // Sound from 80 ms on, and longer than the pictures by more than filling.
    let pictures = (0..10).map(|n| (VIDEO, n * 40, &b"\x27\x01\0\0\0p"[..]));
    let sound = (0..30).map(|n| (AUDIO, 80 + n * 20, &b"\xaf\x01s"[..]));
    let headers = [(AUDIO, 0, AAC_HEADER), (VIDEO, 0, AVC_HEADER)];
    let track = Track::from_flv(&flv(headers.into_iter().chain(pictures).chain(sound)), 128).unwrap();
    assert_eq!(track.length_ms(), 600);
    let messages = received(&sent(&track, 2), 128);
    let times = |kind| {
        let of_kind = messages[3..].iter().filter(move |message| message.message_type == kind);
        of_kind.map(|message| message.timestamp).collect::<Vec<_>>()
    };
    assert!(times(AUDIO).windows(2).all(|pair| pair[1] - pair[0] == 20), "{:?}", times(AUDIO));
    assert_eq!(times(VIDEO)[10] - times(VIDEO)[9], 600 - 360);
    // The end of the sound, which the next round's pictures overtake, is not sent after them.
    let at: Vec<_> = track.tags().iter().map(|tag| tag.at_ms).collect();
    assert!(at.is_sorted() && at.last() == Some(&600), "{at:?}");
}

#[test]
fn sound_that_is_much_later_than_the_pictures_is_not_sent_much_too_early() {
    let pictures = (0..50).map(|n| (VIDEO, n * 40, &b"\x27\x01\0\0\0p"[..]));
    let sound = (0..50).map(|n| (AUDIO, 5_000 + n * 40, &b"\xaf\x01s"[..]));
    let headers = [(AUDIO, 0, AAC_HEADER), (VIDEO, 0, AVC_HEADER)];
    let track = Track::from_flv(&flv(headers.into_iter().chain(pictures).chain(sound)), 128).unwrap();
    assert_eq!(track.length_ms(), 5_000 + 49 * 40 - 1_000);
}

#[test]
fn the_payload_of_tags_is_what_a_receiver_counts() {
    for track in [Track::from_flv(&encoded(1), 128).unwrap(), Track::trickle(128)] {
        let messages = received(&sent(&track, 1), 128);
        let in_intro = track.intro_amount();
        let (intro, tags) = messages.split_at(in_intro.messages as usize);
        let bytes = |messages: &[Received]| messages.iter().map(|message| message.payload.len() as u32).sum::<u32>();
        assert_eq!(in_intro.payload, u64::from(bytes(intro)));
        assert_eq!(track.tags().iter().map(|tag| tag.payload).sum::<u32>(), bytes(tags));
        assert_eq!(track.tags().len(), tags.len());
    }
}

#[test]
fn what_is_due_is_what_is_taken() {
    for track in
        [Track::from_flv(&encoded(1), 128).unwrap(), Track::trickle(128), Track::of_bit_rate(1_000_000, 4096).unwrap()]
    {
        let (mut playhead, mut taken) = (Playhead::default(), Amount::default());
        for elapsed_ms in (0..3 * u64::from(track.length_ms())).step_by(7) {
            loop {
                let tags = track.take_due(&mut playhead, elapsed_ms, 10_000);
                if tags.is_empty() {
                    break;
                }
                taken.messages += tags.len() as u64;
                taken.payload += tags.iter().map(|tag| u64::from(tag.payload)).sum::<u64>();
            }
            assert_eq!(track.due_by(elapsed_ms), taken, "after {elapsed_ms} ms");
            assert_eq!(track.before(playhead), taken);
        }
    }
}

#[test]
fn video_without_a_header_goes_with_the_audio() {
    let track = Track::from_flv(&flv([(VIDEO, 0, &b"\x12a"[..]), (VIDEO, 40, b"\x22b")]), 128).unwrap();
    let messages = received(&sent(&track, 2), 128);
    let got: Vec<_> = messages.iter().map(|message| (message.chunk_stream, message.message_type)).collect();
    assert_eq!(got, [(4, SCRIPT), (4, VIDEO), (4, VIDEO), (4, VIDEO), (4, VIDEO)]);
    assert_eq!(times(&messages[1..]), [40, 80, 120, 160]);
}

#[test]
fn a_header_that_changes_is_sent_at_its_time_and_one_that_does_not_is_not() {
    let with = |second: &'static [u8]| {
        let tags = [
            (VIDEO, 0, AVC_HEADER),
            (VIDEO, 0, b"\x17\x01\0\0\0A"),
            (VIDEO, 40, second),
            (VIDEO, 40, b"\x17\x01\0\0\0B"),
        ];
        let track = Track::from_flv(&flv(tags), 128).unwrap();
        let messages = received(&sent(&track, 1), 128).split_off(2);
        messages.into_iter().map(|message| message.payload).collect::<Vec<_>>()
    };
    assert_eq!(with(AVC_HEADER), [&b"\x17\x01\0\0\0A"[..], b"\x17\x01\0\0\0B"]);
    let other = b"\x17\0\0\0\0hvcC";
    assert_eq!(with(other), [AVC_HEADER, b"\x17\x01\0\0\0A", other, b"\x17\x01\0\0\0B"]);
}

#[test]
fn ends_and_empty_tags_are_left_out() {
    let tags: [(u8, u32, &[u8]); 5] = [
        (VIDEO, 0, AVC_HEADER),
        (VIDEO, 0, b"\x17\x01\0\0\0A"),
        (AUDIO, 0, b""),
        (VIDEO, 40, b"\x27\x01\0\0\0B"),
        (VIDEO, 80, b"\x17\x02\0\0\0"),
    ];
    assert_eq!(Track::from_flv(&flv(tags), 128).unwrap().tags().len(), 2);
}

#[test]
fn a_little_step_back_is_evened_out_and_a_large_one_refused() {
    let with = |time| {
        Track::from_flv(&flv([(AUDIO, 0, &b"\x2fa"[..]), (AUDIO, 5_000, b"\x2fb"), (AUDIO, time, b"\x2fc")]), 128)
    };
    let track = with(4_000).unwrap();
    assert_eq!(track.tags().iter().map(|tag| tag.at_ms).collect::<Vec<_>>(), [0, 5_000, 5_000]);
    let refused = FlvError::TimeGoesBack { offset: 47, kind: TagKind::Audio, from_ms: 5_000, to_ms: 3_999 };
    assert_eq!(with(3_999).unwrap_err(), refused);
    assert_eq!(
        refused.to_string(),
        "the audio tag at byte 47 goes back in time, from 5000 to 3999 ms: join recordings with ffmpeg -f concat, which \
         makes their times go on"
    );
}

#[test]
fn what_cannot_be_streamed_is_refused() {
    let refused = |tags: &[(u8, u32, &[u8])]| Track::from_flv(&flv(tags.iter().copied()), 128).unwrap_err();
    assert_eq!(refused(&[]), FlvError::NoMedia);
    assert_eq!(refused(&[(VIDEO, 0, AVC_HEADER)]), FlvError::NoMedia);
    let headless = [(AUDIO, 0, AAC_HEADER), (AUDIO, 0, b"\xaf\x01a"), (VIDEO, 0, b"\x17\x01\0\0\0A")];
    assert_eq!(refused(&headless), FlvError::NoSequenceHeader { offset: 50, kind: TagKind::Video });
    let long = [&b"\x02\0\x01x"[..], &[0; 1 << 20]].concat();
    assert_eq!(refused(&[(SCRIPT, 0, &long)]), FlvError::LongScript { offset: 13, length: long.len(), limit: 1 << 20 });
    assert_eq!(Track::from_flv(b"RIFF", 128).unwrap_err(), FlvError::NotFlv);
}

#[test]
fn gaps_of_hours_take_extended_times() {
    let body = [&b"\x2f"[..], &[7; 300]].concat();
    let hours = 0x0100_0000;
    let track =
        Track::from_flv(&flv([(AUDIO, 0, &body[..]), (AUDIO, hours, &body), (AUDIO, hours + 20, &body)]), 128).unwrap();
    let messages = received(&sent(&track, 2), 128);
    let begin = messages[1].timestamp;
    let length = track.length_ms();
    let expected = [0, hours, hours + 20].map(|time| begin + time);
    assert_eq!(times(&messages[1..]), [expected, expected.map(|time| time + length)].concat());
    assert!(messages[1..].iter().all(|message| message.payload == body));
}

fn times(messages: &[Received]) -> Vec<u32> {
    messages.iter().map(|message| message.timestamp).collect()
}

/// Tags in the order of a file: their kind, the time since the tag before, and the length of their body.
fn any_tags() -> impl Strategy<Value = Vec<(u8, u32, usize)>> {
    let gap = prop_oneof![9 => 0_u32..100, 1 => 0xff_fff0_u32..0x100_0010];
    let length = prop_oneof![4 => 1_usize..300, 1 => 300_usize..140_000];
    prop::collection::vec((prop_oneof![Just(AUDIO), Just(VIDEO), Just(SCRIPT)], gap, length), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chunks_of_any_size_carry_the_tags(
        tags in any_tags(),
        chunk_size in prop_oneof![128_u32..=65_536, Just(128), Just(4_096), Just(65_536)],
        rounds in 1_usize..4,
    ) {
        // MP3 and Sorenson H.263, which need no header, and an AVC header or none.
        let body = |kind: u8, length: usize| match kind {
            AUDIO => [&b"\x2f"[..], &vec![1; length]].concat(),
            VIDEO => [&b"\x22"[..], &vec![2; length]].concat(),
            _ => [&b"\x02\0\x01x"[..], &vec![3; length]].concat(),
        };
        let mut now = 0;
        let mut bodies = vec![(AUDIO, 0, body(AUDIO, 1))];
        if chunk_size % 2 == 0 {
            bodies.insert(0, (VIDEO, 0, AVC_HEADER.to_vec()));
        }
        bodies.extend(tags.iter().map(|&(kind, gap, length)| {
            now += gap;
            (kind, now, body(kind, length))
        }));
        let file = flv(bodies.iter().map(|(kind, time, body)| (*kind, *time, &body[..])));
        let track = Track::from_flv(&file, chunk_size).unwrap();
        let messages = received(&sent(&track, rounds), chunk_size as usize);

        // Sound that is a little longer than the pictures is cut to their length; the first sound comes at 0.
        let length = track.length_ms();
        let is_filling = |kind: u8, time: u32| kind == AUDIO && time > 0 && time >= length;
        let frames = || bodies.iter().filter(|(kind, time, body)| body != AVC_HEADER && !is_filling(*kind, *time));
        let looped = &messages[messages.len() - rounds * frames().count()..];
        let begin = looped[0].timestamp;
        let expected = (0..rounds as u32).flat_map(|round| {
            frames().map(move |(kind, time, body)| (*kind, time + round * length, body))
        });
        for (got, (kind, time, body)) in looped.iter().zip(expected) {
            prop_assert_eq!((got.message_type, got.timestamp - begin, got.message_stream), (kind, time, 7));
            prop_assert_eq!(&got.payload, body);
        }
        let last = track.tags().last().unwrap();
        prop_assert_eq!((last.offset + last.len) as usize, track.bytes().len());
        prop_assert!(last.at_ms <= length);
    }

    #[test]
    fn no_file_makes_it_panic(
        tags in prop::collection::vec((0_u8..24, any::<u32>(), prop::collection::vec(any::<u8>(), 0..20)), 0..8),
        small_times in any::<bool>(),
    ) {
        let tags = tags.iter().map(|(kind, time, body)| {
            (if *kind < 8 { 8 } else { *kind }, if small_times { time % 1_000 } else { *time }, &body[..])
        });
        if let Ok(track) = Track::from_flv(&flv(tags), 128) {
            prop_assert!(!track.tags().is_empty() && track.length_ms() > 0);
        }
    }
}
