//! A probe as text for people: the steps in the order in which they happened, then what they mean.

use anstyle::{AnsiColor, Style};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};

use super::diagnosis::version_byte_text;
use super::{AfterC2, ProbeOutcome, ProbeReport, Reaction, Read};
use crate::base::Nanos;
use crate::measure::Step;
use crate::protocol::{BLOCK_SIZE, C0C1_SIZE, DigestAt, HandshakeMode, Negotiated, RTMP_VERSION, S0S1_SIZE};

impl ProbeReport {
    /// The text, `width` columns wide (60 at least), coloured with ANSI sequences if `color`.
    pub fn render(&self, width: u16, color: bool) -> String {
        let (style, verdict) = self.verdict();
        let address = self.address.to_string();
        let fits = address.len() + 2 + verdict.len() <= usize::from(width);
        let headline = format!("{address}:{}{verdict}", if fits { " " } else { "\n" });
        let headline = if color { format!("{style}{headline}{style:#}") } else { headline };
        let mut rows = self.steps();
        rows.push(Row::default());
        rows.extend(self.meaning());
        format!("{headline}\n\n{}\n", table(rows, width))
    }

    fn verdict(&self) -> (Style, String) {
        let (good, odd, bad) = (AnsiColor::Green, AnsiColor::Yellow, AnsiColor::Red);
        let (color, mut text) = match &self.outcome {
            ProbeOutcome::Completed { mode: Negotiated::Downgraded } => {
                (odd, "simple instead of complex handshake completed".to_owned())
            }
            ProbeOutcome::Completed { mode: Negotiated::Simple } => (good, "simple handshake completed".into()),
            ProbeOutcome::Completed { mode: Negotiated::ComplexVerified | Negotiated::ComplexUnverified } => {
                (good, "complex handshake completed".into())
            }
            ProbeOutcome::Failed { step, kind, .. } => (bad, format!("failed at {} ({kind})", step_name(*step))),
        };
        let hangs_up = matches!(self.after_c2, Some(AfterC2 { reaction: Reaction::Closes | Reaction::Resets, .. }));
        if hangs_up {
            text.push_str(", hang-up on C2");
        }
        (Style::new().bold().fg_color(Some(if hangs_up { odd } else { color }.into())), text)
    }

    /// What happened, in order.
    fn steps(&self) -> Vec<Row> {
        let told = &self.explanation;
        let mut happened = Vec::new();
        if let Some(at) = self.at.connected_ns {
            happened.push(Row::step(at, "connect", "TCP connection established"));
        }
        if let Some(at) = self.at.c0c1_sent_ns {
            happened.push(Row::step(at, "C0C1", self.c0c1_text()));
        }
        if let (Some(at), Some(byte)) = (self.at.s0_ns, told.s0_version_byte) {
            let verdict = if byte == RTMP_VERSION { "RTMP" } else { "not RTMP's 0x03" };
            happened.push(Row::step(at, "S0", format!("{}: {verdict}", version_byte_text(byte))));
        }
        if let Some(at) = self.at.s1_ns {
            happened.push(Row::step(at, "S1", self.s1_text()));
        }
        if let Some(at) = self.at.s2_ns {
            happened.push(Row::step(at, "S2", self.s2_text()));
        }
        if let Some(at) = self.at.c2_sent_ns {
            let kind = if told.c2_digest_verifies == Some(true) { "signed from S1's digest" } else { "the echo of S1" };
            happened.push(Row::step(at, "C2", format!("{BLOCK_SIZE} bytes sent: {kind}")));
        }
        happened.sort_by_key(|row| row.at_ns);
        happened.extend(self.ending());
        happened
    }

    fn c0c1_text(&self) -> String {
        let told = &self.explanation;
        let [time, version] = time_and_version(told.c1_time_version.as_deref());
        let digest = digest_text(told.c1_digest_at, told.c1_digest_position);
        let mode = told.asked.unwrap_or(HandshakeMode::Simple);
        format!(
            "{C0C1_SIZE} bytes sent: {}, {mode} C1\ntime {time}, version {version}\n{digest}",
            version_byte_text(told.version_byte.unwrap_or(RTMP_VERSION)),
        )
    }

    fn s1_text(&self) -> String {
        let told = &self.explanation;
        let [time, version] = time_and_version(told.s1_time_version.as_deref());
        if told.s1_is_c1 == Some(true) {
            return "equal to C1 in every byte".into();
        }
        match told.s1_digest_at {
            Some(_) => format!(
                "time {time}, version {version}\n{}: it verifies",
                digest_text(told.s1_digest_at, told.s1_digest_position)
            ),
            // Without a digest these four bytes may be anything; SRS puts C1's time there.
            None => format!("time {time}, bytes 4..8 are {version}, no digest that verifies"),
        }
    }

    fn s2_text(&self) -> String {
        let told = &self.explanation;
        if told.s2_digest_verifies == Some(true) {
            "signed from C1's digest: it verifies".into()
        } else if told.s2_echoes_c1 == Some(true) {
            "the echo of C1".into()
        } else if told.s2_random_part_is_c1 == Some(true) {
            "the echo of C1, but for bytes 0..8 (times)".into()
        } else {
            "neither signed from C1's digest nor an echo of C1".into()
        }
    }

    /// The last row of the steps.
    fn ending(&self) -> Option<Row> {
        let ended = self.at.ended_ns;
        if let ProbeOutcome::Failed { step, .. } = &self.outcome {
            let received: usize = self.reads.iter().map(|read| read.bytes).sum();
            let text = match (step, self.at.s1_ns) {
                (Step::Connect, _) => "no connection".to_owned(),
                (Step::SendC2, _) => "not sent: the server had hung up".into(),
                _ if self.at.s2_ns.is_some()
                    || self.explanation.s0_version_byte.is_some_and(|s0| s0 != RTMP_VERSION) =>
                {
                    return None;
                }
                (_, None) if received == 0 => "nothing arrived".into(),
                (_, None) => format!("{} of {BLOCK_SIZE} bytes arrived", received - 1),
                (_, Some(_)) => format!("{} of {BLOCK_SIZE} bytes arrived", received - S0S1_SIZE),
            };
            return Some(Row::step(ended, step_name(*step), text));
        }
        let watched = self.after_c2?;
        let after = Nanos::new(watched.after_ns);
        let reaction = match watched.reaction {
            Reaction::StaysOpen => format!("the server keeps the connection (watched for {after})"),
            Reaction::Closes => format!("the server closed the connection {after} after C2"),
            Reaction::Resets => format!("the server reset the connection {after} after C2"),
            Reaction::SendsOn => "the server sends without end; the probe hung up".into(),
        };
        Some(Row::step(ended, "after", reaction))
    }

    /// What it means.
    fn meaning(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        if self.target != self.address.to_string() {
            rows.push(Row::note("target", self.target.clone()));
        }
        if let ProbeOutcome::Failed { cause, remedy, .. } = &self.outcome {
            rows.push(Row::note("cause", cause.clone()));
            rows.push(Row::note("remedy", remedy.clone()));
            rows.push(Row::note("repeat", format!("--seed {} sends the same C1", self.seed)));
        }
        if let ProbeOutcome::Completed { mode } = self.outcome {
            rows.push(Row::note("mode", self.mode_text(mode)));
        }
        if !self.reads.is_empty() {
            rows.push(Row::note("reads", reads_text(&self.reads)));
        }
        if self.after_s2.bytes > 0 {
            rows.push(Row::note("behind S2", self.after_s2_text()));
        }
        if matches!(self.after_c2, Some(AfterC2 { reaction: Reaction::Closes | Reaction::Resets, .. })) {
            let text = "a server that refuses C2 can say so only by hanging up; so can one that drops clients it does \
                        not want. Its log tells which";
            rows.push(Row::note("after C2", text));
        }
        match self.likely_servers.split_first() {
            Some((first, [])) => rows.push(Row::note("server", format!("answers like {first}"))),
            Some((first, others)) => {
                rows.push(Row::note("server", format!("answers like {first} (or {})", others.join(", "))));
            }
            None if self.at.s2_ns.is_some() => {
                rows.push(Row::note("server", "answers like none of the servers known to this program"));
            }
            None => {}
        }
        rows.extend(self.timings_text().map(|text| Row::note("timings", text)));
        rows
    }

    fn mode_text(&self, negotiated: Negotiated) -> String {
        match negotiated {
            Negotiated::ComplexVerified => "asked complex, negotiated complex: both digests verify".into(),
            Negotiated::ComplexUnverified => "asked complex, negotiated complex: S2 was not verified".into(),
            Negotiated::Simple => "asked simple, negotiated simple: S2 echoes C1".into(),
            Negotiated::Downgraded => {
                let why = if self.explanation.s1_digest_at.is_some() {
                    "S1 is signed, but S2 is an echo"
                } else {
                    "the server does not sign. It may: C1's digest is an offer"
                };
                format!("asked complex, negotiated simple: {why}")
            }
        }
    }

    fn after_s2_text(&self) -> String {
        const SHOWN: usize = 16;
        let hex = self.after_s2.first_hex.as_bytes();
        let shown: Vec<_> = hex.chunks(2).take(SHOWN).map(String::from_utf8_lossy).collect();
        let more = if self.after_s2.bytes > shown.len() { " .." } else { "" };
        format!("{}, of the next stage of the protocol: {}{more}", bytes_text(self.after_s2.bytes), shown.join(" "))
    }

    fn timings_text(&self) -> Option<String> {
        let timings = &self.timings;
        let mut text = format!("connect {}", Nanos::new(timings.connect_ns?));
        if let Some(total) = timings.total_ns {
            text.push_str(&format!(", complete after {}", Nanos::new(total)));
        }
        let since_c0c1: Vec<String> = [("S0", timings.s0_ns), ("S1", timings.s0s1_ns), ("S2", timings.s2_ns)]
            .into_iter()
            .filter_map(|(step, duration)| Some(format!("{step} {}", Nanos::new(duration?))))
            .collect();
        if !since_c0c1.is_empty() {
            text.push_str(&format!("\nsince C0C1 was sent: {}", since_c0c1.join(", ")));
        }
        Some(text)
    }
}

#[derive(Default)]
struct Row {
    at_ns: Option<u64>,
    label: &'static str,
    text: String,
}

impl Row {
    fn step(at_ns: u64, label: &'static str, text: impl Into<String>) -> Self {
        Self { at_ns: Some(at_ns), label, text: text.into() }
    }

    fn note(label: &'static str, text: impl Into<String>) -> Self {
        Self { at_ns: None, label, text: text.into() }
    }
}

fn table(rows: Vec<Row>, width: u16) -> String {
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

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Socket => "socket",
        Step::Connect => "connect",
        Step::SendC0c1 => "C0C1",
        Step::S0 => "S0",
        Step::S1 => "S1",
        Step::S2 => "S2",
        Step::SendC2 => "C2",
        Step::Reply => "reply",
        Step::Publish => "publish",
        Step::Hold => "hold",
    }
}

/// "digest in the first half, at byte 494".
fn digest_text(at: Option<DigestAt>, position: Option<usize>) -> String {
    match at.zip(position) {
        Some((half, position)) => format!("digest in the {half}, at byte {position}"),
        None => "no digest".into(),
    }
}

/// The first eight bytes, given in hexadecimal, as a number and as a dotted version.
fn time_and_version(hex: Option<&str>) -> [String; 2] {
    let bytes = hex.and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0).to_be_bytes();
    let [t0, t1, t2, t3, version @ ..] = bytes;
    [u32::from_be_bytes([t0, t1, t2, t3]).to_string(), version.map(|byte| byte.to_string()).join(".")]
}

/// Equal neighbours are counted; of many different sizes the first are shown.
fn reads_text(reads: &[Read]) -> String {
    const SHOWN: usize = 6;
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for read in reads {
        match runs.last_mut() {
            Some((count, size)) if *size == read.bytes => *count += 1,
            _ => runs.push((1, read.bytes)),
        }
    }
    let total: usize = reads.iter().map(|read| read.bytes).sum();
    if reads.len() == 1 {
        return format!("{} in one piece (the network may have joined more)", bytes_text(total));
    }
    let shown: Vec<String> = runs
        .iter()
        .take(SHOWN)
        .map(|&(count, size)| if count == 1 { size.to_string() } else { format!("{count} x {size}") })
        .collect();
    let more = if runs.len() > SHOWN { " + .." } else { "" };
    format!(
        "{} in {} pieces: {}{more} (the network may join or split what a server writes)",
        bytes_text(total),
        reads.len(),
        shown.join(" + ")
    )
}

fn bytes_text(count: usize) -> String {
    if count == 1 { "1 byte".into() } else { format!("{count} bytes") }
}
