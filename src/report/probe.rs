//! A probe as text for people: the steps in the order in which they happened, then what they mean.

use anstyle::{AnsiColor, Style};

use crate::base::Nanos;
use crate::inspect::text::{self, Row};
use crate::measure::{Step, Until};
use crate::probe::{AfterC2, ProbeOutcome, ProbeReport, Reaction};
use crate::protocol::{BLOCK_SIZE, RTMP_VERSION, S0S1_SIZE};

mod tls;

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
        format!("{headline}\n\n{}\n", text::table(rows, width))
    }

    fn verdict(&self) -> (Style, String) {
        let (color, mut text) = match &self.outcome {
            ProbeOutcome::Completed { mode } => {
                let (color, verdict) = text::completed(*mode);
                let reached =
                    if self.until == Until::Handshake { String::new() } else { format!(", {}", reached(self.until)) };
                (color, format!("{verdict}{reached}"))
            }
            ProbeOutcome::Failed { step, kind, .. } => {
                (AnsiColor::Red, format!("failed at {} ({kind})", step_name(*step)))
            }
        };
        let hangs_up = matches!(self.after_c2, Some(AfterC2 { reaction: Reaction::Closes | Reaction::Resets, .. }));
        if hangs_up {
            text.push_str(if self.until == Until::Handshake { ", hang-up on C2" } else { ", hang-up then" });
        }
        (Style::new().bold().fg_color(Some(if hangs_up { AnsiColor::Yellow } else { color }.into())), text)
    }

    /// What happened, in order.
    fn steps(&self) -> Vec<Row> {
        let told = &self.explanation;
        let mut happened = Vec::new();
        if let Some(at) = self.at.connected_ns {
            happened.push(Row::step(at, "connect", "TCP connection established"));
        }
        if let (Some(at), Some(facts)) = (self.at.secured_ns, &self.tls) {
            happened.push(Row::step(at, "TLS", tls::agreement(facts)));
        }
        if let Some(at) = self.at.c0c1_sent_ns {
            happened.push(Row::step(at, "C0C1", text::c0c1(told)));
        }
        if let (Some(at), Some(byte)) = (self.at.s0_ns, told.s0_version_byte) {
            happened.push(Row::step(at, "S0", text::s0(byte)));
        }
        if let Some(at) = self.at.s1_ns {
            happened.push(Row::step(at, "S1", text::s1(told)));
        }
        if let Some(at) = self.at.s2_ns {
            happened.push(Row::step(at, "S2", text::s2(told)));
        }
        if let Some(at) = self.at.c2_sent_ns {
            happened.push(Row::step(at, "C2", text::c2(told)));
        }
        happened.extend(self.session.iter().flat_map(text::session));
        happened.sort_by_key(|row| row.at_ns);
        happened.extend(self.ending());
        happened
    }

    /// The last row of the steps.
    fn ending(&self) -> Option<Row> {
        let ended = self.at.ended_ns;
        if let ProbeOutcome::Failed { step, .. } = &self.outcome {
            let received: usize = self.reads.iter().map(|read| read.bytes).sum();
            let text = match (step, self.at.s1_ns) {
                (Step::Connect, _) => "no connection".to_owned(),
                (Step::Tls, _) => "no TLS".into(),
                (Step::Reply | Step::Publish | Step::Play, _) => return None,
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
        let since = if self.until == Until::Handshake { "C2" } else { "that" };
        let reaction = match watched.reaction {
            Reaction::StaysOpen => format!("the server keeps the connection (watched for {after})"),
            Reaction::Closes => format!("the server closed the connection {after} after {since}"),
            Reaction::Resets => format!("the server reset the connection {after} after {since}"),
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
        rows.extend(self.tls.iter().flat_map(tls::certificates));
        if let ProbeOutcome::Failed { cause, remedy, .. } = &self.outcome {
            rows.push(Row::note("cause", cause.clone()));
            rows.push(Row::note("remedy", remedy.clone()));
            rows.push(Row::note("repeat", format!("--seed {} sends the same C1", self.seed)));
        }
        if let ProbeOutcome::Completed { mode } = self.outcome {
            rows.push(Row::note("mode", text::mode(&self.explanation, mode)));
        }
        if !self.reads.is_empty() {
            let sizes: Vec<usize> = self.reads.iter().map(|read| read.bytes).collect();
            rows.push(Row::note("reads", text::pieces(&sizes)));
        }
        if self.after_s2.bytes > 0 {
            rows.push(Row::note("behind S2", text::trailing(&self.after_s2, self.session.is_some())));
        }
        let hangs_up = matches!(self.after_c2, Some(AfterC2 { reaction: Reaction::Closes | Reaction::Resets, .. }));
        if hangs_up && self.until == Until::Handshake {
            let text = "a server that refuses C2 can say so only by hanging up; so can one that drops clients it does \
                        not want. Its log tells which";
            rows.push(Row::note("after C2", text));
        }
        let server = text::server(&self.likely_servers, self.at.s2_ns.is_some());
        rows.extend(server.map(|text| Row::note("server", text)));
        rows.extend(self.timings_text().map(|text| Row::note("timings", text)));
        rows
    }

    fn timings_text(&self) -> Option<String> {
        let timings = &self.timings;
        let mut text = format!("connect {}", Nanos::new(timings.connect_ns?));
        if let Some(total) = timings.total_ns {
            text.push_str(&format!(", complete after {}", Nanos::new(total)));
        }
        if let (Some(at), true) = (self.reached_ns, self.until != Until::Handshake) {
            text.push_str(&format!(", {} after {}", reached(self.until), Nanos::new(at)));
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

/// How far it has come beyond the handshake.
fn reached(until: Until) -> &'static str {
    match until {
        Until::Handshake => "complete",
        Until::Reply => "connect answered",
        Until::Connect => "connect accepted",
        Until::Publish => "publish accepted",
        Until::Play => "media received",
    }
}

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Socket => "socket",
        Step::Connect => "connect",
        Step::Tls => "TLS",
        Step::SendC0c1 => "C0C1",
        Step::S0 => "S0",
        Step::S1 => "S1",
        Step::S2 => "S2",
        Step::SendC2 => "C2",
        Step::Reply => "reply",
        Step::Publish => "publish",
        Step::Play => "play",
        Step::Hold => "hold",
    }
}
