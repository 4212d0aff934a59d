use proptest::prelude::*;

use super::*;

/// An FLV file of tags given by type, time and body.
fn file(tags: &[(u8, u32, &[u8])]) -> Vec<u8> {
    let mut bytes = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
    for (tag_type, timestamp, body) in tags {
        let [upper, low @ ..] = timestamp.to_be_bytes();
        bytes.push(*tag_type);
        bytes.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
        bytes.extend_from_slice(&low);
        bytes.extend_from_slice(&[upper, 0, 0, 0]);
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(&(11 + body.len() as u32).to_be_bytes());
    }
    bytes
}

/// The first error of reading `bytes` to the end, roles included.
fn first_error(bytes: &[u8]) -> Option<FlvError> {
    let reader = match FlvReader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return Some(error),
    };
    reader.map(|tag| tag.and_then(|tag| tag.role().map(drop))).find_map(Result::err)
}

fn role(kind: TagKind, body: &[u8]) -> TagRole<'_> {
    FlvTag { offset: 0, kind, timestamp_ms: 0, body }.role().unwrap()
}

#[test]
fn tags_come_with_their_times_and_bodies() {
    let bytes = file(&[(8, 0, b"a"), (9, 0x7f12_3456, b"bc"), (18, 5, b"\x02\0\x01x")]);
    let tags: Vec<_> = FlvReader::new(&bytes).unwrap().map(Result::unwrap).collect();
    let seen: Vec<_> = tags.iter().map(|tag| (tag.kind, tag.timestamp_ms, tag.body, tag.offset)).collect();
    let expected: [(TagKind, u32, &[u8], usize); 3] = [
        (TagKind::Audio, 0, b"a", 13),
        (TagKind::Video, 0x7f12_3456, b"bc", 29),
        (TagKind::Script, 5, b"\x02\0\x01x", 46),
    ];
    assert_eq!(seen, expected);
    assert_eq!(tags[2].role(), Ok(TagRole::Script { name: b"x" }));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    assert_eq!(first_error(b"\0\0\0\x18ftypmp42"), Some(FlvError::NotFlv));
    assert_eq!(first_error(b"FLV\x01\x05\0"), Some(truncated("the file's header", 0, 9, &[0; 6])));
    assert_eq!(first_error(b"FLV\x02\x05\0\0\0\x09\0\0\0\0"), Some(FlvError::Version { version: 2 }));
    assert_eq!(
        first_error(b"FLV\x01\x05\xff\xff\xff\xff\0\0\0\0"),
        Some(FlvError::HeaderSize { size: u32::MAX, file: 13 })
    );
    assert_eq!(first_error(&file(&[(0x28, 0, b"a")])), Some(FlvError::Encrypted { offset: 13 }));
    assert_eq!(
        first_error(&file(&[(8, 0, b"a"), (0x48, 0, b"a")])),
        Some(FlvError::UnknownTag { offset: 29, tag_type: 0x48 })
    );
    assert_eq!(
        first_error(&file(&[(8, u32::MAX, b"a")])),
        Some(FlvError::NegativeTimestamp { offset: 13, timestamp_ms: -1 })
    );
    let mut of_stream_1 = file(&[(8, 0, b"a")]);
    of_stream_1[13 + 10] = 1;
    assert_eq!(first_error(&of_stream_1), Some(FlvError::StreamId { offset: 13, stream: 1 }));
    let mut wrong_size = file(&[(8, 0, b"a")]);
    *wrong_size.last_mut().unwrap() = 13;
    assert_eq!(first_error(&wrong_size), Some(FlvError::PreviousTagSize { offset: 25, found: 13, expected: 12 }));
    let short = file(&[(9, 0, b"\x17\x01\0")]);
    assert_eq!(first_error(&short), Some(FlvError::ShortBody { offset: 13, kind: TagKind::Video, length: 3 }));
    let nameless = file(&[(18, 0, b"\x02\0\x09name")]);
    assert_eq!(first_error(&nameless), Some(FlvError::NoScriptName { offset: 13 }));
}

#[test]
fn a_file_that_is_cut_off_says_where_and_by_how_much() {
    let whole = file(&[(8, 0, b"abc"), (9, 0, b"defg")]);
    let complete_ends = [13, 13 + 11 + 3 + 4, whole.len()];
    for length in 13..whole.len() {
        let error = first_error(&whole[..length]);
        if complete_ends.contains(&length) {
            assert_eq!(error, None, "{length}");
        } else {
            let Some(FlvError::Truncated { offset, missing, .. }) = error else { panic!("{length}: {error:?}") };
            assert!(offset <= length && length + missing <= whole.len(), "{length}: {offset} + {missing}");
        }
    }
}

#[test]
fn sequence_headers_are_recognised() {
    let frame = |needs_header| TagRole::Frame { needs_header };
    for (body, expected) in [
        (&b"\x17\0\0\0\0avcC"[..], TagRole::SequenceHeader),
        (b"\x17\x01\0\0\0nal", frame(true)),
        (b"\x17\x02\0\0\0", TagRole::SequenceEnd),
        (b"\x1c\0\0\0\0hvcC", TagRole::SequenceHeader),
        (b"\x22", frame(false)),
        (b"\x90hvc1", TagRole::SequenceHeader),
        (b"\x95av01", TagRole::SequenceHeader),
        (b"\x91hvc1\0\0\0", frame(false)),
        (b"\x92hvc1", TagRole::SequenceEnd),
        (b"\x93vp09", frame(false)),
        // A timestamp offset of three bytes (size less one: 2) before the sequence start.
        (b"\x97\x02abc\0hvc1", TagRole::SequenceHeader),
        (b"\x97\xff\0\0a\0hvc1", TagRole::SequenceHeader),
        // Multitrack: one track, then many of one codec.
        (b"\x96\0hvc1\0", TagRole::SequenceHeader),
        (b"\x96\x11hvc1\0", frame(false)),
        (b"", TagRole::Empty),
    ] {
        assert_eq!(role(TagKind::Video, body), expected, "{body:?}");
    }
    for (body, expected) in [
        (&b"\xaf\0\x11\x90"[..], TagRole::SequenceHeader),
        (b"\xaf\x01!", frame(true)),
        (b"\x2f\xff", frame(false)),
        (b"\x90Opus", TagRole::SequenceHeader),
        (b"\x91Opus", frame(false)),
        (b"\x95\0Opus\0", TagRole::SequenceHeader),
        (b"\x92Opus", TagRole::SequenceEnd),
        (b"", TagRole::Empty),
    ] {
        assert_eq!(role(TagKind::Audio, body), expected, "{body:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), mut begun in any::<bool>()) {
        let mut file = if begun { b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec() } else { Vec::new() };
        file.extend_from_slice(&bytes);
        // Errors end the reading, so that no file is read for ever.
        begun = FlvReader::new(&file).is_ok_and(|reader| reader.count() <= file.len());
        prop_assert!(begun || FlvReader::new(&file).is_err());
    }

    #[test]
    fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..40), video in any::<bool>()) {
        let kind = if video { TagKind::Video } else { TagKind::Audio };
        let tag = FlvTag { offset: 0, kind, timestamp_ms: 0, body: &body };
        prop_assert_eq!(tag.role().is_err(), matches!(tag.role(), Err(FlvError::ShortBody { .. })));
    }

    #[test]
    fn a_damaged_file_is_read_or_refused(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..6),
        damage in (any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let tags: Vec<_> = bodies.iter().map(|body| (8, 0, &body[..])).collect();
        let mut bytes = file(&tags);
        let whole: Vec<_> = FlvReader::new(&bytes).unwrap().map(|tag| tag.unwrap().body).collect();
        prop_assert_eq!(&whole, &bodies.iter().map(|body| &body[..]).collect::<Vec<_>>());
        let at = damage.0.index(bytes.len());
        bytes[at] = damage.1;
        if let Ok(reader) = FlvReader::new(&bytes) {
            prop_assert!(reader.count() <= tags.len());
        }
    }
}
