use proptest::prelude::*;

use super::*;

/// A value that owns what it holds.
#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Number(f64),
    Boolean(bool),
    String(String),
    Null,
    Undefined,
    Object(Vec<(String, Owned)>),
    EcmaArray(Vec<(String, Owned)>),
    StrictArray(Vec<Owned>),
}

fn write(value: &Owned, writer: &mut Writer<&mut Vec<u8>>) {
    let members = |writer: &mut Writer<&mut Vec<u8>>, members: &[(String, Owned)]| {
        for (key, value) in members {
            write(value, writer.key(key));
        }
        writer.end();
    };
    match value {
        Owned::Number(number) => {
            writer.number(*number);
        }
        Owned::Boolean(boolean) => {
            writer.boolean(*boolean);
        }
        Owned::String(text) => {
            writer.string(text);
        }
        Owned::Null => {
            writer.null();
        }
        Owned::Undefined => {
            writer.undefined();
        }
        Owned::Object(object) => members(writer.object(), object),
        Owned::EcmaArray(array) => members(writer.ecma_array(7), array),
        Owned::StrictArray(elements) => {
            writer.strict_array(u32::try_from(elements.len()).unwrap());
            elements.iter().for_each(|element| write(element, writer));
        }
    }
}

fn owned(value: Value<'_>) -> Owned {
    let members = |properties: Properties<'_>| properties.map(|(key, value)| (key.to_string(), owned(value))).collect();
    match value {
        Value::Number(number) => Owned::Number(number),
        Value::Boolean(boolean) => Owned::Boolean(boolean),
        Value::String(text) => Owned::String(text.to_string()),
        Value::Null => Owned::Null,
        Value::Object(properties) => Owned::Object(members(properties)),
        Value::EcmaArray(properties) => Owned::EcmaArray(members(properties)),
        Value::StrictArray(elements) => Owned::StrictArray(elements.map(owned).collect()),
        _ => Owned::Undefined,
    }
}

fn values() -> impl Strategy<Value = Owned> {
    let number = prop_oneof![any::<i32>().prop_map(f64::from), Just(f64::INFINITY), Just(-0.25)];
    let scalars = prop_oneof![
        number.prop_map(Owned::Number),
        any::<bool>().prop_map(Owned::Boolean),
        ".{0,12}".prop_map(Owned::String),
        Just(Owned::String("x".repeat(65_536))),
        Just(Owned::Null),
        Just(Owned::Undefined),
    ];
    scalars.prop_recursive(5, 60, 6, |inner| {
        let members = proptest::collection::vec((".{0,5}", inner.clone()), 0..6);
        prop_oneof![
            members.clone().prop_map(Owned::Object),
            members.prop_map(Owned::EcmaArray),
            proptest::collection::vec(inner, 0..6).prop_map(Owned::StrictArray),
        ]
    })
}

fn fault(bytes: &[u8]) -> (Amf0Fault, usize) {
    let error = Reader::new(bytes).value().unwrap_err();
    (error.fault, error.offset)
}

/// Reads everything there is, members of members too.
fn exhaust(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    while let Ok(value) = reader.value() {
        owned(value);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(values in proptest::collection::vec(values(), 0..5)) {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        values.iter().for_each(|value| write(value, &mut writer));
        prop_assert_eq!(writer.written(), bytes.len());
        let mut reader = Reader::new(&bytes);
        for value in &values {
            prop_assert_eq!(&owned(reader.value().unwrap()), value);
        }
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn a_cut_value_is_truncated_wherever_it_is_cut(value in values(), at in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        write(&value, &mut Writer::new(&mut bytes));
        let cut = &bytes[..at.index(bytes.len())];
        let error = Reader::new(cut).value().unwrap_err();
        // A cut text may end in the middle of a character only where its length says that more follows.
        prop_assert_eq!(error.fault, Amf0Fault::Truncated);
        prop_assert!(error.offset <= cut.len());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        exhaust(&bytes);
    }

    #[test]
    fn nearly_right_bytes_never_panic(
        value in values(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..0x13), 0..8),
    ) {
        let mut bytes = Vec::new();
        write(&value, &mut Writer::new(&mut bytes));
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        exhaust(&bytes);
    }
}

#[test]
fn every_kind_of_value_is_read() {
    assert!(matches!(Reader::new(&[7, 1, 2]).value(), Ok(Value::Reference(0x0102))));
    let date = [&[0x0b][..], &1.5_f64.to_be_bytes(), &[0, 60]].concat();
    assert!(matches!(Reader::new(&date).value(), Ok(Value::Date(1.5))));
    assert!(matches!(Reader::new(&[0x0d]).value(), Ok(Value::Unsupported)));
    assert!(matches!(Reader::new(b"\x0f\0\0\0\x04<a/>").value(), Ok(Value::Xml(text)) if text == "<a/>"));
    let typed = b"\x10\0\x01T\0\x01k\x05\0\0\x09";
    let value = Reader::new(typed).value().unwrap();
    assert!(matches!(value.as_properties().unwrap().get("k"), Some(Value::Null)));
}

#[test]
fn typed_reads_leave_other_values_where_they_are() {
    let mut bytes = Vec::new();
    Writer::new(&mut bytes).number(1.0).string("a").boolean(true);
    let mut reader = Reader::new(&bytes);
    let error = reader.string().unwrap_err();
    assert_eq!(error.to_string(), "AMF0, byte 0: not a string but a value with marker 0x00");
    assert_eq!(reader.number(), Ok(1.0));
    assert_eq!(reader.boolean().unwrap_err().offset, 9);
    assert_eq!(reader.string(), Ok(Text::new("a")));
    assert_eq!(reader.boolean(), Ok(true));
    assert_eq!(reader.skip().unwrap_err(), Amf0Error { fault: Amf0Fault::Truncated, offset: 15 });
}

#[test]
fn faults_say_what_and_where() {
    assert_eq!(fault(&[]), (Amf0Fault::Truncated, 0));
    assert_eq!(fault(&[2, 0, 2, b'a']), (Amf0Fault::Truncated, 3));
    assert_eq!(fault(&[0x11]), (Amf0Fault::UnknownMarker(0x11), 0));
    assert_eq!(fault(b"\x03\0\x01a\x04"), (Amf0Fault::UnknownMarker(4), 4));
    assert_eq!(fault(b"\x03\0\x01a\x09"), (Amf0Fault::StrayEnd, 4));
    assert_eq!(fault(b"\x0c\xff\xff\xff\xffx"), (Amf0Fault::Truncated, 5));
}

#[test]
fn objects_nest_to_the_limit_and_no_deeper() {
    let nested = |depth| {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        (1..depth).for_each(|_| {
            writer.object().key("k");
        });
        writer.object();
        (0..depth).for_each(|_| {
            writer.end();
        });
        bytes
    };
    exhaust(&nested(MAX_DEPTH));
    assert!(Reader::new(&nested(MAX_DEPTH)).value().is_ok());
    assert_eq!(fault(&nested(MAX_DEPTH + 1)), (Amf0Fault::TooDeep, 0));
    assert_eq!(fault(&[0x0a, 0, 0, 0, 1].repeat(100_000)), (Amf0Fault::TooDeep, 0));
}

#[test]
fn members_are_limited_those_within_members_included() {
    let with = |members: usize| {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.object().key("inner").object();
        (1..members).for_each(|_| {
            writer.key("").null();
        });
        writer.end().end();
        bytes
    };
    assert!(Reader::new(&with(MAX_MEMBERS)).value().is_ok());
    assert_eq!(fault(&with(MAX_MEMBERS + 1)), (Amf0Fault::TooManyMembers, 0));
    let many = [&[0x0a, 0xff, 0xff, 0xff, 0xff][..], &[5; 1000]].concat();
    assert_eq!(fault(&many), (Amf0Fault::TooManyMembers, 0));
}

#[test]
fn texts_that_are_not_utf8_are_read() {
    let text = Reader::new(b"\x02\0\x04a\xb7\xa2b").string().unwrap();
    assert_eq!((text.to_string().as_str(), text.as_str()), ("a\u{fffd}\u{fffd}b", None));
    assert_eq!(text.as_bytes(), b"a\xb7\xa2b");
    assert_eq!(text.readable().filter(|part| !part.is_empty()).collect::<Vec<_>>(), ["a", "b"]);
    let object = b"\x03\0\x01\xff\x05\0\x01k\x02\0\x01\xff\0\0\x09";
    let value = Reader::new(object).value().unwrap();
    let members: Vec<_> = value.as_properties().unwrap().map(|(key, _)| key.to_string()).collect();
    assert_eq!(members, ["\u{fffd}", "k"]);
}

#[test]
fn what_lies_before_a_fault_can_be_read() {
    let members = |bytes: &[u8]| {
        let mut reader = Reader::new(bytes);
        let value = reader.value_as_far().unwrap();
        assert!(reader.is_empty(), "nothing follows a value with a fault");
        value.as_properties().unwrap().map(|(key, _)| key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(members(b"\x03\0\x01a\x05\0\x01b\x11\x01\0\x01c\x05\0\0\x09"), ["a"], "an AMF3 value");
    assert_eq!(members(b"\x03\0\x01a\x05\0\x01b\x02\0\x09cut"), ["a"]);
    assert_eq!(members(b"\x03\0\x01a\x03\0\x01b\x05\0\x01c\x04"), ["a"], "the member that holds the fault, too");
    assert_eq!(members(&[&[3][..], &b"\0\x01k\x05".repeat(300)].concat()).len(), 300, "beyond the limit");
}
