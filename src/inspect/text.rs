//! What is said to people about the bytes of a handshake, recorded or just made, and the table it is said in.

use anstyle::AnsiColor;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};

use super::Trailing;
use crate::base::Nanos;
use crate::protocol::transcript::Conversation;
use crate::protocol::{
    BLOCK_SIZE, C0C1_SIZE, ClientGuess, DigestAt, Explanation, HandshakeMode, Negotiated, RTMP_VERSION,
};

/// A line of the table: what happened and when, or what it means.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// When, in nanoseconds; nothing for a line without a time.
    pub at_ns: Option<u64>,
    /// What the line is about.
    pub label: &'static str,
    /// What is said.
    pub text: String,
}

impl Row {
    /// Something that happened.
    pub fn step(at_ns: u64, label: &'static str, text: impl Into<String>) -> Self {
        Self { at_ns: Some(at_ns), label, text: text.into() }
    }

    /// Something without a time.
    pub fn note(label: &'static str, text: impl Into<String>) -> Self {
        Self { at_ns: None, label, text: text.into() }
    }
}

/// The rows, `width` columns wide (60 at least).
pub fn table(rows: Vec<Row>, width: u16) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    for Row { at_ns, label, text } in rows {
        let at = at_ns.map_or(String::new(), |at| Nanos::new(at).to_string());
        table.add_row([at, label.into(), text]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((2, 0));
    }
    for index in 0..2 {
        if let Some(column) = table.column_mut(index) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    if let Some(at) = table.column_mut(0) {
        at.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

/// The verdict on a completed handshake, and its colour.
pub fn completed(mode: Negotiated) -> (AnsiColor, &'static str) {
    match mode {
        Negotiated::Downgraded => (AnsiColor::Yellow, "simple instead of complex handshake completed"),
        Negotiated::Simple => (AnsiColor::Green, "simple handshake completed"),
        Negotiated::ComplexVerified | Negotiated::ComplexUnverified => {
            (AnsiColor::Green, "complex handshake completed")
        }
    }
}

/// What was asked and negotiated, and what tells so.
pub fn mode(told: &Explanation, negotiated: Negotiated) -> String {
    match negotiated {
        Negotiated::ComplexVerified => "asked complex, negotiated complex: both digests verify".into(),
        Negotiated::ComplexUnverified => "asked complex, negotiated complex: S2 was not verified".into(),
        Negotiated::Simple => "asked simple, negotiated simple: S2 echoes C1".into(),
        Negotiated::Downgraded => {
            let why = if told.s1_digest_at.is_some() {
                "S1 is signed, but S2 is an echo"
            } else {
                "the server does not sign. It may: C1's digest is an offer"
            };
            format!("asked complex, negotiated simple: {why}")
        }
    }
}

/// What is in a complete C0C1.
pub fn c0c1(told: &Explanation) -> String {
    let [time, version] = time_and_version(told.c1_time_version.as_deref());
    let digest = digest(told.c1_digest_at, told.c1_digest_position);
    let mode = told.asked.unwrap_or(HandshakeMode::Simple);
    format!(
        "{C0C1_SIZE} bytes sent: {}, {mode} C1\ntime {time}, version {version}\n{digest}",
        version_byte(told.version_byte.unwrap_or(RTMP_VERSION)),
    )
}

/// What S0 says.
pub fn s0(byte: u8) -> String {
    let verdict = if byte == RTMP_VERSION { "RTMP" } else { "not RTMP's 0x03" };
    format!("{}: {verdict}", version_byte(byte))
}

/// What is in a complete S1.
pub fn s1(told: &Explanation) -> String {
    let [time, version] = time_and_version(told.s1_time_version.as_deref());
    if told.s1_is_c1 == Some(true) {
        return "equal to C1 in every byte".into();
    }
    match told.s1_digest_at {
        Some(_) => format!(
            "time {time}, version {version}\n{}: it verifies",
            digest(told.s1_digest_at, told.s1_digest_position)
        ),
        // Without a digest these four bytes may be anything; SRS puts C1's time there.
        None => format!("time {time}, bytes 4..8 are {version}, no digest that verifies"),
    }
}

/// What a complete S2 is.
pub fn s2(told: &Explanation) -> &'static str {
    if told.s2_digest_verifies == Some(true) {
        "signed from C1's digest: it verifies"
    } else if told.s2_echoes_c1 == Some(true) {
        "the echo of C1"
    } else if told.s2_random_part_is_c1 == Some(true) {
        "the echo of C1, but for bytes 0..8 (times)"
    } else {
        "neither signed from C1's digest nor an echo of C1"
    }
}

/// What a complete C2 is.
pub fn c2(told: &Explanation) -> String {
    let kind = if told.c2_digest_verifies == Some(true) {
        "signed from S1's digest"
    } else if told.c2_echoes_s1 == Some(true) {
        "the echo of S1"
    } else if told.c2_random_part_is_s1 == Some(true) {
        "the echo of S1, but for bytes 0..8 (times)"
    } else {
        "neither signed from S1's digest nor an echo of S1"
    };
    format!("{BLOCK_SIZE} bytes sent: {kind}")
}

/// Which servers answer so; nothing if that cannot be asked because S2 is not there.
pub fn server(likely: &[&str], has_s2: bool) -> Option<String> {
    match likely.split_first() {
        Some((first, [])) => Some(format!("answers like {first}")),
        Some((first, others)) => Some(format!("answers like {first} (or {})", others.join(", "))),
        None => has_s2.then(|| "answers like none of the servers known to this program".into()),
    }
}

/// Which clients speak so; nothing if neither C1 nor `connect` is there.
pub fn client(guess: &ClientGuess) -> Option<String> {
    let ClientGuess { clients, by_handshake, by_commands } = guess;
    let evidence = match (by_handshake, by_commands) {
        (None, None) => return None,
        (Some(true), Some(true)) => "handshake and commands are the same",
        (Some(true), None) => "the handshake is the same",
        (Some(true), Some(false)) => "the handshake is the same, the commands are not",
        (None, Some(true)) => "the commands are the same",
        (Some(false), Some(true)) => "the commands are the same, the handshake is not",
        (_, _) => return Some("speaks like none of the clients known to this program".into()),
    };
    let (first, others) = clients.split_first()?;
    let others: Vec<&str> = others.iter().map(|client| client.name()).collect();
    let or = if others.is_empty() { String::new() } else { format!(" (or {})", others.join(", ")) };
    Some(format!("speaks like {first}{or}: {evidence}"))
}

/// What was said behind the handshake, a row each.
pub fn session(session: &Conversation) -> Vec<Row> {
    let rows = session.messages.iter().take(MOST_MESSAGES);
    let mut rows: Vec<Row> =
        rows.map(|said| Row { at_ns: said.at_ns, label: said.from.name(), text: said.to_string() }).collect();
    let more = session.left_out + (session.messages.len() - rows.len()) as u64;
    if more > 0 {
        let at_ns = rows.last().and_then(|last| last.at_ns);
        rows.push(Row { at_ns, label: "more", text: format!("{more} more messages; --json lists the first of them") });
    }
    rows
}

/// Messages of a session that are shown to people.
const MOST_MESSAGES: usize = 60;

/// In which pieces bytes came. Equal neighbours are counted; of many different sizes the first are shown.
pub fn pieces(sizes: &[usize]) -> String {
    const SHOWN: usize = 6;
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &bytes in sizes {
        match runs.last_mut() {
            Some((count, size)) if *size == bytes => *count += 1,
            _ => runs.push((1, bytes)),
        }
    }
    let total: usize = sizes.iter().sum();
    if sizes.len() == 1 {
        return format!("{} in one piece (the network may have joined more)", bytes(total));
    }
    let shown: Vec<String> = runs
        .iter()
        .take(SHOWN)
        .map(|&(count, size)| if count == 1 { size.to_string() } else { format!("{count} x {size}") })
        .collect();
    let more = if runs.len() > SHOWN { " + .." } else { "" };
    format!(
        "{} in {} pieces: {}{more} (the network may join or split what a server writes)",
        bytes(total),
        sizes.len(),
        shown.join(" + ")
    )
}

/// How many bytes followed the handshake, and the first of them if their messages are not told.
pub fn trailing(trailing: &Trailing, is_told: bool) -> String {
    const SHOWN: usize = 16;
    if is_told {
        return format!("{}, of the session", bytes(trailing.bytes));
    }
    let shown = spaced_hex(&trailing.first_hex, SHOWN);
    let more = if trailing.bytes > SHOWN { " .." } else { "" };
    format!("{}, of the next stage of the protocol: {shown}{more}", bytes(trailing.bytes))
}

/// A version byte as people look it up: "version byte 0x48 'H'".
pub fn version_byte(byte: u8) -> String {
    let character = if byte.is_ascii_graphic() { format!(" '{}'", char::from(byte)) } else { String::new() };
    format!("version byte 0x{byte:02x}{character}")
}

/// "1 byte", "2 bytes".
pub fn bytes(count: usize) -> String {
    if count == 1 { "1 byte".into() } else { format!("{count} bytes") }
}

/// "digest in the first half, at byte 494".
fn digest(at: Option<DigestAt>, position: Option<usize>) -> String {
    match at.zip(position) {
        Some((half, position)) => format!("digest in the {half}, at byte {position}"),
        None => "no digest".into(),
    }
}

/// The first `shown` bytes of `hex`, apart from each other.
pub fn spaced_hex(hex: &str, shown: usize) -> String {
    hex.as_bytes().chunks(2).take(shown).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ")
}

/// The first eight bytes, given in hexadecimal, as a number and as a dotted version.
fn time_and_version(hex: Option<&str>) -> [String; 2] {
    let bytes = hex.and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0).to_be_bytes();
    let [t0, t1, t2, t3, version @ ..] = bytes;
    [u32::from_be_bytes([t0, t1, t2, t3]).to_string(), version.map(|byte| byte.to_string()).join(".")]
}
