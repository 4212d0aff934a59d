//! A recorded handshake as text for people: the steps in the order in which they happened, then what they mean.

use anstyle::{AnsiColor, Style};

use crate::base::Nanos;
use crate::inspect::text::{self, Row};
use crate::inspect::{Delivery, EndingKind, Gap, Handshake, OtherConnection, Outcome, Part, Side, Skipped};
use crate::protocol::{BLOCK_SIZE, C0C1_SIZE};

/// Kinds of packets that a sentence lists.
const MOST_KINDS: usize = 5;

impl Handshake {
    /// The text, `width` columns wide (60 at least), coloured with ANSI sequences if `color`.
    pub fn render(&self, width: u16, color: bool) -> String {
        let (verdict_color, verdict) = self.verdict();
        let subject = match self.endpoints {
            Some(ends) => format!("{} -> {}", ends.client, ends.server),
            None => "recorded streams".into(),
        };
        let fits = subject.len() + 2 + verdict.len() <= usize::from(width);
        let headline = format!("{subject}:{}{verdict}", if fits { " " } else { "\n" });
        let style = Style::new().bold().fg_color(Some(verdict_color.into()));
        let headline = if color { format!("{style}{headline}{style:#}") } else { headline };
        let mut rows = self.steps();
        rows.push(Row::default());
        rows.extend(self.meaning());
        format!("{headline}\n\n{}\n", text::table(rows, width))
    }

    fn verdict(&self) -> (AnsiColor, String) {
        match self.outcome {
            Outcome::Completed { mode } => {
                let (color, verdict) = text::completed(mode);
                (color, verdict.into())
            }
            Outcome::Incomplete { missing, received } => {
                let verdict = match missing.size() {
                    1 => format!("incomplete, no {}", missing.name()),
                    size => format!("incomplete, {received} of {size} bytes of {}", missing.name()),
                };
                (AnsiColor::Yellow, verdict)
            }
            Outcome::Invalid => (AnsiColor::Red, "S2 does not fit C1".into()),
        }
    }

    /// What happened, in order; without times if none were recorded.
    fn steps(&self) -> Vec<Row> {
        let (told, at) = (&self.explanation, &self.at);
        let parts = [
            ("C0C1", at.c0c1_ns, told.asked.map(|_| text::c0c1(told))),
            ("S0", at.s0_ns, told.s0_version_byte.map(text::s0)),
            ("S1", at.s1_ns, told.s1_is_c1.map(|_| text::s1(told))),
            ("S2", at.s2_ns, told.s2_random_part_is_c1.map(|_| text::s2(told).into())),
            ("C2", at.c2_ns, told.c2_random_part_is_s1.map(|_| text::c2(told))),
        ];
        let mut rows = Vec::new();
        rows.extend(at.syn_ns.map(|at| Row::step(at, "SYN", "the client connects")));
        rows.extend(at.syn_ack_ns.map(|at| Row::step(at, "SYN-ACK", "the server accepts")));
        for (label, at_ns, text) in parts {
            let text = match (text, at_ns) {
                (Some(text), _) => text,
                (None, Some(_)) => "sent, but not all of it, or of what it answers, is in the capture".into(),
                (None, None) => continue,
            };
            rows.push(Row { at_ns, label, text });
        }
        rows.extend(self.session.iter().flat_map(text::session));
        rows.sort_by_key(|row| row.at_ns);
        rows.extend(self.ending_row());
        rows
    }

    fn ending_row(&self) -> Option<Row> {
        let ending = self.ending?;
        let by = ending.by.map_or("", Side::name);
        let (label, text) = match ending.how {
            EndingKind::Fin => ("FIN", format!("the {by} closes the connection")),
            EndingKind::Rst => ("RST", format!("the {by} resets the connection")),
            EndingKind::Open => ("open", "the connection is still open at its last captured packet".into()),
        };
        Some(Row { at_ns: self.at.ended_ns, label, text })
    }

    /// What it means.
    fn meaning(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        if let Outcome::Completed { mode } = self.outcome {
            rows.push(Row::note("mode", text::mode(&self.explanation, mode)));
        }
        for (label, segments) in [("C0C1 in", &self.c0c1_segments), ("S0S1S2 in", &self.s0s1s2_segments)] {
            if !segments.is_empty() {
                rows.push(Row::note(label, text::pieces(segments)));
            }
        }
        let behind = [("behind S2", &self.after_s2, Side::Server), ("behind C2", &self.behind_c2, Side::Client)];
        for (label, trailing, from) in behind {
            if trailing.bytes > 0 {
                let is_told = self.session.as_ref().is_some_and(|session| session.tells_of(from));
                rows.push(Row::note(label, text::trailing(trailing, is_told)));
            }
        }
        let has_s2 = self.explanation.s2_random_part_is_c1.is_some();
        rows.extend(text::client(&self.likely_clients).map(|text| Row::note("client", text)));
        rows.extend(text::server(&self.likely_servers, has_s2).map(|text| Row::note("server", text)));
        rows.extend(self.delivery.findings().into_iter().map(|text| Row::note("capture", text)));
        rows.extend(self.timings_text().map(|text| Row::note("timings", text)));
        rows
    }

    fn timings_text(&self) -> Option<String> {
        let timings = &self.timings;
        let list = |named: &[(&str, Option<u64>)]| {
            let known = named.iter().filter_map(|&(name, ns)| Some(format!("{name} {}", Nanos::new(ns?))));
            known.collect::<Vec<_>>().join(", ")
        };
        let whole = list(&[("connect", timings.connect_ns), ("complete after", timings.total_ns)]);
        let answer = list(&[("S0", timings.s0_ns), ("S1", timings.s0s1_ns), ("S2", timings.s2_ns)]);
        let c2 = list(&[("C2", timings.c2_ns)]);
        let lines = [("", whole), ("since C0C1: ", answer), ("since S1: ", c2)];
        let lines: Vec<String> = lines
            .into_iter()
            .filter(|(_, line)| !line.is_empty())
            .map(|(since, line)| since.to_owned() + &line)
            .collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

impl OtherConnection {
    /// One line, or two where `width` columns are too few.
    pub fn render(&self, width: u16) -> String {
        let subject = format!("{} -> {}:", self.endpoints.client, self.endpoints.server);
        let bytes = match self.first_from {
            Some(_) => format!(" ({})", text::spaced_hex(&self.first_hex, 8)),
            None => String::new(),
        };
        let text = format!("no handshake, looks like {}{bytes}", self.looks_like.text());
        let fits = subject.len() + 1 + text.len() <= usize::from(width);
        format!("{subject}{}{text}\n", if fits { " " } else { "\n  " })
    }
}

impl Delivery {
    /// What should be known of it, a sentence each.
    fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        if self.began_before_capture {
            findings.push("it begins after the connection, so C0 may not be where it seems".to_owned());
        }
        findings.extend(self.gaps.iter().map(Gap::sentence));
        if self.cut_by_snaplen > 0 {
            findings.push(format!(
                "the snap length cut {} of the handshake off; record with `tcpdump -s 0`",
                text::bytes(self.cut_by_snaplen)
            ));
        }
        let counts = [
            (self.syn_retransmits, "SYN retransmission(s)"),
            (self.retransmits, "segment(s) that bring nothing new"),
            (self.out_of_order, "segment(s) out of order: retransmitted or overtaken"),
        ];
        findings.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
        findings
    }
}

impl Gap {
    fn sentence(&self) -> String {
        let (opening, response) = match self.from {
            Side::Client => ("C0C1", "C2"),
            Side::Server => ("S0S1", "S2"),
        };
        let (part, start) = match self.start.checked_sub(C0C1_SIZE) {
            None => (opening, self.start),
            Some(start) => (response, start),
        };
        let fate = if self.acknowledged {
            "no packet carries them, but the other end acknowledged them: the capture missed them"
        } else {
            "no packet carries them, and the other end did not acknowledge them"
        };
        format!(
            "{} of the {} are missing, from byte {start} of {part} on: {fate}",
            text::bytes(self.bytes),
            self.from.name()
        )
    }
}

impl Skipped {
    /// What was not looked at, a sentence each; nothing of other connections, which are no loss.
    pub fn findings(&self) -> Vec<String> {
        let counts = [
            (
                self.beyond_limit,
                "connection(s) beyond the limits of memory: inspect a part of the capture, or one --port",
            ),
            (self.cut_headers, "packet(s) cut within their headers by the snap length: record with `tcpdump -s 0`"),
            (self.fragments, "IP fragment(s), which are not put together"),
            (
                self.copies,
                "packet(s) that repeat the one just before: the capture shows them twice (a mirror port that sees both \
                 ways, or several interfaces)",
            ),
        ];
        let mut findings: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("not looked at: {count} {what}"))
            .collect();
        if let Some(link) = self.unknown_link {
            findings.push(format!(
                "not looked at: {} packet(s) of link type {link} (or others that are not understood); Ethernet, Linux \
                 cooked, loopback and raw IP are",
                self.unknown_links
            ));
        }
        findings
    }
}

impl Skipped {
    /// How many packets the capture has, and what those without TCP carry, the most frequent first.
    pub fn contents(&self) -> String {
        if self.packets == 0 {
            return "the capture holds no packets".to_owned();
        }
        let mut kinds: Vec<_> = self.other_packets.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let listed = kinds.iter().take(MOST_KINDS).map(|(kind, count)| format!("{count} of {kind}"));
        let rest: usize = kinds.iter().skip(MOST_KINDS).map(|(_, count)| **count).sum();
        let rest = (rest > 0).then(|| format!("{rest} of other kinds"));
        let without_tcp: Vec<String> = listed.chain(rest).collect();
        let without_tcp =
            if without_tcp.is_empty() { String::new() } else { format!(", without TCP {}", without_tcp.join(", ")) };
        format!("{} packets{without_tcp}", self.packets)
    }
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::C0c1 => "C0C1",
            Self::S0 => "S0",
            Self::S1 => "S1",
            Self::S2 => "S2",
            Self::C2 => "C2",
        }
    }

    fn size(self) -> usize {
        match self {
            Self::C0c1 => C0C1_SIZE,
            Self::S0 => 1,
            Self::S1 | Self::S2 | Self::C2 => BLOCK_SIZE,
        }
    }
}
