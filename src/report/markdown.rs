//! A summary in Markdown, for a pull request or a wiki: GitHub's flavour, whose tables others read too.
//!
//! Words of others (what a server said, names in files) are escaped, or stand in code spans, in which nothing is a
//! mark-up, a link or a mention.

use std::fmt::Write;

use super::summary::Summary;
use super::tables::{self, Table};
use super::{capacity as words, outcomes};
use crate::base::visible;
use crate::capacity::CapacityResult;
use crate::finding::Finding;
use crate::run::{FailureRow, RunResult, Tool, Verdict};

/// Most rows of a table: the rest is counted and stands in the result file.
const MOST_ROWS: usize = 16;

/// The summary of a run.
pub fn render_run(result: &RunResult) -> String {
    let summary = Summary::of(result);
    let mut page = Page::default();
    // Where nothing was asked that the target could miss, a pass says nothing about it.
    let mark =
        if result.thresholds.is_empty() && summary.verdict == Verdict::Pass { "" } else { mark(summary.verdict) };
    page.line(&format!("### {mark}{}: {}", summary.verdict, escaped(&summary.target)));
    page.paragraph(&format!("**{}**", escaped(&summary.result)));
    page.paragraph(&escaped(&summary.reason));
    page.list(&summary.load);
    page.table(&tables::thresholds(result));
    page.table(&tables::latency(result));
    if let Some(overflow) = outcomes::overflow(result) {
        page.paragraph(&overflow);
    }
    for (title, failures) in outcomes::failure_lists(result) {
        page.failures(&title, failures);
    }
    page.table(&tables::reactions(result));
    page.table(&tables::storms(result));
    page.list(&outcomes::storm_notes(result).into_iter().chain(outcomes::recoveries(result)).collect::<Vec<_>>());
    for parts in tables::breakdowns(result) {
        page.table(&parts);
    }
    page.findings(&result.generator.findings);
    let sentences = outcomes::of(result).into_iter().map(|(name, text)| format!("{name}: {text}"));
    page.list(&sentences.collect::<Vec<_>>());
    page.foot(&result.tool, &result.started_at, &result.environment.cpu_model, &result.environment.kernel);
    page.text
}

/// The summary of a capacity search.
pub fn render_capacity(result: &CapacityResult) -> String {
    let mut page = Page::default();
    page.line(&format!(
        "### {}{}: capacity of {}",
        mark(result.verdict),
        result.verdict,
        escaped(&words::target(result))
    ));
    page.paragraph(&format!("**{}**", escaped(&result.statement)));
    page.paragraph(&escaped(&words::reason(result)));
    page.list(&[words::measured(result), words::generator(result)]);
    page.table(&words::goal_table(result));
    page.table(&words::load_table(result));
    if result.asked.rfc9411 {
        page.table(&words::criterion_table(result));
    }
    page.table(&tables::thresholds_of(&result.thresholds));
    if let Some(half) = &result.half_sources {
        page.paragraph(&escaped(&words::half_sources(half)));
    }
    if let Some(overload) = &result.overload {
        page.paragraph(&escaped(&format!(
            "Past the limit: {}; {}.",
            words::overloaded(overload),
            words::recovered(result.recovered)
        )));
        page.failures("failures past the limit", &overload.failures);
    }
    if let Some(concurrent) = &result.concurrent {
        page.paragraph(&escaped(&words::held_text(concurrent)));
    }
    page.findings(&result.findings);
    if !result.advice.is_empty() {
        page.paragraph("What to do next:");
        page.list(&result.advice);
    }
    page.folded("trials", &words::trial_table(result));
    page.foot(&result.tool, &result.started_at, &result.environment.cpu_model, &result.environment.kernel);
    page.text
}

const fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "\u{2705} ",
        Verdict::Fail => "\u{274c} ",
        Verdict::Inconclusive => "\u{2754} ",
    }
}

/// The text so far: blocks with an empty line between them.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text += line.trim_end();
        self.text.push('\n');
    }

    /// Text that is Markdown already; nothing if it is empty.
    fn paragraph(&mut self, text: &str) {
        if !text.is_empty() {
            self.line("");
            self.line(text);
        }
    }

    fn list(&mut self, items: &[String]) {
        if !items.is_empty() {
            self.line("");
        }
        for item in items {
            self.line(&format!("- {}", escaped(item)));
        }
    }

    fn table(&mut self, table: &Table) {
        self.table_of(table, MOST_ROWS);
    }

    /// The first rows of a table, so many at most.
    fn table_of(&mut self, table: &Table, most: usize) {
        if table.rows.is_empty() {
            return;
        }
        self.line("");
        self.rows(&table.heading);
        let aligned = (0..table.heading.len()).map(|column| if column == 0 { ":---" } else { "---:" });
        self.line(&format!("| {} |", aligned.collect::<Vec<_>>().join(" | ")));
        for row in table.rows.iter().take(most) {
            self.rows(row);
        }
        if table.rows.len() > most {
            self.paragraph(&format!("and {} more in the result file", table.rows.len() - most));
        }
    }

    fn rows(&mut self, cells: &[String]) {
        let cells: Vec<_> = cells.iter().map(|cell| escaped(cell)).collect();
        self.line(&format!("| {} |", cells.join(" | ")));
    }

    /// A table that a reader may open.
    fn folded(&mut self, title: &str, table: &Table) {
        if !table.rows.is_empty() {
            self.paragraph(&format!("<details><summary>{title}</summary>"));
            // Folded rows take no room, and the last ones decide.
            self.table_of(table, usize::MAX);
            self.paragraph("</details>");
        }
    }

    fn failures(&mut self, title: &str, failures: &[FailureRow]) {
        if failures.is_empty() {
            return;
        }
        self.paragraph(&format!("{}:", escaped(title)));
        self.line("");
        for failure in outcomes::by_count(failures).into_iter().take(MOST_ROWS) {
            let (whose, when) = (outcomes::whose(failure.side), outcomes::when(failure));
            let mut text = format!("- **{} x {} {}** ({whose}, {when})", failure.count, failure.step, failure.kind);
            if let Some(detail) = &failure.detail {
                write!(text, ": {}", code(detail)).expect("a String takes all");
            }
            self.line(&text);
            for reason in outcomes::reasons_by_count(failure).into_iter().take(MOST_ROWS) {
                self.line(&format!("  - {} x {}", reason.count, code(&reason.text)));
            }
            self.line(&format!("  - {}", escaped(&failure.advice)));
        }
    }

    fn findings(&mut self, findings: &[Finding]) {
        if findings.is_empty() {
            return;
        }
        self.paragraph("findings:");
        self.line("");
        for finding in outcomes::findings_by_severity(findings) {
            let (code, message) = (code(&finding.code.to_string()), escaped(&finding.message));
            self.line(&format!("- **{}** {code}: {message}", finding.severity));
            if let Some(remedy) = &finding.remedy {
                self.line(&format!("  - {}", escaped(remedy)));
            }
        }
    }

    fn foot(&mut self, tool: &Tool, started_at: &str, cpu: &str, kernel: &str) {
        let commit = tool.commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
        let text = format!("{} {}{commit}, {started_at}, {cpu}, Linux {kernel}", tool.name, tool.version);
        self.paragraph(&format!("<sub>{}</sub>", escaped(&text)));
    }
}

/// Text that is nothing but text: one line, and no mark-up, link or mention.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => safe.extend(['\\', c]),
            // GitHub finds mentions in the text that it shows: a joiner of no width parts them.
            '@' => safe += "@\u{2060}",
            c => safe.push(c),
        }
    }
    // Addresses become links by themselves (GFM 0.29, section 6.9), unless their marks are escaped.
    safe.replace("://", "\\://").replace("www.", "www\\.")
}

/// Text as it is, in a code span (CommonMark 0.31, section 6.1): its fence is longer than any run of backticks in it.
fn code(text: &str) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    let text = visible(text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let padding = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{padding}{text}{padding}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::ReasonRow;
    use crate::run::fixtures::open_result;

    #[test]
    fn a_run_fits_a_pull_request() {
        let mut result = open_result(&["response.p99<50ms", "failed<0.1%"]);
        result.tool.commit = Some("0123abc".to_owned());
        result.tool.version = "1.2.3".to_owned();
        insta::assert_snapshot!(render_run(&result), @r"
        ### ❌ fail: rtmp\://127.0.0.1:1935/live

        **990/s completed: 1980 of 2000 due, 10 failed (0.50 %), 10 dropped (0.50 %)**

        failed&lt;0.1% is missed: 0.50 %

        - complex, until handshake, close rst; open loop, 1000/s uniform for 2s, 64 slots
        - 1 worker, io\_uring, seed 7

        | thresholds | measured |  |
        | :--- | ---: | ---: |
        | response.p99&lt;50ms | 1.96 ms | met |
        | failed&lt;0.1% | 0.50 % | missed |

        | latency | p50 | p90 | p99 | p99.9 | max |
        | :--- | ---: | ---: | ---: | ---: | ---: |
        | response | 990 us | 1.78 ms | 1.96 ms | - | 1.98 ms |
        | service | 990 us | 1.78 ms | 1.96 ms | - | 1.98 ms |
        | connect | 495 us | 891 us | 980 us | - | 990 us |
        | s0s1 | 495 us | 891 us | 982 us | - | 990 us |
        | s2 | 495 us | 891 us | 982 us | - | 990 us |
        | slot\_wait | 0 ns | 0 ns | 0 ns | - | 0 ns |
        | lateness | 0 ns | 0 ns | 0 ns | - | 0 ns |

        failures:

        - **10 x s0 reset** (the target's, at 2.0 s): `Connection reset by peer (os error 104)`
          - the server resets connections: its log names the reason (limits, overload)

        - modes: 1980 complex, verified
        - network: syn\_retransmits 3 (of the whole host)

        <sub>shakedown 1.2.3 (0123abc), 2026-01-02T03:04:05Z, Example CPU, Linux 6.18.0</sub>
        ");
    }

    #[test]
    fn words_of_others_stay_words() {
        let hostile = "x|y `code` **bold** <img src=x onerror=alert(1)> [a](http://h) @team #1 ~~no~~\r\n# title";
        let mut result = open_result(&[]);
        result.plan.targets[0].name = hostile.to_owned();
        result.failures[0].detail = Some(format!("`{hostile}``"));
        result.failures[0].reasons = vec![ReasonRow { text: hostile.to_owned(), count: 2 }];
        let text = render_run(&result);
        let head = text.lines().next().unwrap();
        assert_eq!(
            head,
            "### pass: x\\|y \\`code\\` \\*\\*bold\\*\\* &lt;img src=x onerror=alert(1)&gt; \\[a\\](http\\://h) \
             @\u{2060}team \\#1 \\~\\~no\\~\\~\\\\r\\\\n\\# title"
        );
        let detail = text.lines().find(|line| line.contains("s0 reset")).unwrap();
        assert!(detail.contains(": ``` `x|y `code` "), "{detail}");
        assert!(detail.ends_with("# title`` ```"), "{detail}");
        assert!(text.lines().any(|line| line.starts_with("  - 2 x ``x|y `code` ")), "{text}");
    }

    #[test]
    fn a_code_span_ends_where_its_text_ends() {
        let spans = ["a", "`", "a``b", "`` x", "\n"].map(code);
        assert_eq!(spans, ["`a`", "`` ` ``", "```a``b```", "``` `` x ```", ""]);
    }
}
