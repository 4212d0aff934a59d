//! The findings as text for people: one row each, remedies where there are any, and a last line that sums up.

use anstyle::{AnsiColor, Style};
use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Table};

use crate::finding::{Finding, Severity};

/// The text, `width` columns wide (60 at least), coloured with ANSI sequences if `color`.
pub fn render(findings: &[Finding], width: u16, color: bool) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    for finding in findings {
        let Finding { code, severity, value, message, remedy } = finding;
        let text = value.as_ref().map_or_else(|| message.clone(), |value| format!("{value}: {message}"));
        table.add_row([severity_name(*severity), &code.to_string(), &text]);
        if let Some(remedy) = remedy {
            table.add_row(["", "", &format!("-> {remedy}")]);
        }
    }
    for column in table.column_iter_mut() {
        let fixed = column.index < 2;
        column.set_padding((0, if fixed { 2 } else { 0 }));
        if fixed {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let rows = table.trim_fmt();
    let rows = if color { colored(&rows) } else { rows };
    format!("{rows}\n\n{}\n", summary(findings))
}

fn summary(findings: &[Finding]) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (blocking, warnings, notes) = (count(Severity::Blocking), count(Severity::Warning), count(Severity::Info));
    let plural = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let rest = format!("{}, {}", plural(warnings, "warning"), plural(notes, "note"));
    match blocking {
        0 => format!("ready: {rest}"),
        _ => format!("not ready: {blocking} blocking, {rest}"),
    }
}

/// Only first lines of findings begin with something other than blanks.
fn colored(rows: &str) -> String {
    let severities = [Severity::Ok, Severity::Info, Severity::Warning, Severity::Blocking];
    let lines = rows.lines().map(|line| {
        severities
            .into_iter()
            .find_map(|severity| {
                let name = severity_name(severity);
                let rest = line.strip_prefix(name)?;
                let style = severity_style(severity);
                Some(format!("{style}{name}{style:#}{rest}"))
            })
            .unwrap_or_else(|| line.to_owned())
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Blocking => "BLOCKING",
    }
}

fn severity_style(severity: Severity) -> Style {
    let color = match severity {
        Severity::Ok => AnsiColor::Green,
        Severity::Info => AnsiColor::Cyan,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Blocking => AnsiColor::Red,
    };
    Style::new().fg_color(Some(color.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::FindingCode;

    #[test]
    fn the_text_is_aligned_and_sums_up() {
        let finding = |code, severity, value: &str, message: &str, remedy: Option<&str>| Finding {
            value: Some(value.to_owned()),
            remedy: remedy.map(str::to_owned),
            ..Finding::new(code, severity, message)
        };
        let findings = [
            finding(
                FindingCode::IoUring,
                Severity::Blocking,
                "forbidden (EPERM)",
                "kernel.io_uring_disabled = 2 forbids it to every process",
                Some("`sysctl -w kernel.io_uring_disabled=0` as root on the host"),
            ),
            finding(FindingCode::Kernel, Severity::Ok, "6.18.0", "has all that the engine uses", None),
            finding(
                FindingCode::Backlog,
                Severity::Info,
                "128",
                "connects that may wait for a server",
                Some("raise it"),
            ),
            finding(FindingCode::Cpus, Severity::Warning, "1 of 8", "a server on this machine takes turns", None),
        ];
        insta::assert_snapshot!(render(&findings, 60, false), @r"
        BLOCKING  io_uring  forbidden (EPERM):
                            kernel.io_uring_disabled = 2 forbids it
                            to every process
                            -> `sysctl -w
                            kernel.io_uring_disabled=0` as root on
                            the host
        ok        kernel    6.18.0: has all that the engine uses
        info      backlog   128: connects that may wait for a server
                            -> raise it
        warning   cpus      1 of 8: a server on this machine takes
                            turns

        not ready: 1 blocking, 1 warning, 1 note
        ");
        for width in [60, 80, 120] {
            let text = render(&findings, width, false);
            assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{text}");
        }
        let colored = render(&findings, 80, true);
        assert!(colored.contains("\u{1b}[31mBLOCKING\u{1b}[0m  io_uring"), "{colored}");
    }
}
