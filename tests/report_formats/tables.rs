//! CSV, `.hgrm` and Markdown say what the result file says.

use super::saved::{OF_RUNS, OF_SEARCHES};

/// The cells of a CSV text without quotes in it.
fn cells(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split(',').collect()).collect()
}

#[test]
fn a_timeline_in_csv_is_the_files() {
    let json = OF_RUNS[0].json();
    let rows = json["timeline"].as_array().expect("a list");
    let text = OF_RUNS[0].report("--format csv");
    let csv = cells(&text);
    assert_eq!(csv.len(), rows.len() + 1);
    for (cells, row) in csv[1..].iter().zip(rows) {
        for (name, cell) in csv[0].iter().zip(cells) {
            let value = if row[name].is_null() { String::new() } else { row[name].to_string() };
            assert_eq!(*cell, value, "{name} of {row}");
        }
    }
    let latency = OF_RUNS[0].report("--format csv --rows latency");
    let p99 = &json["latency"]["response"]["p99_ns"];
    assert!(
        latency.lines().any(|line| line.starts_with("response,") && line.contains(&format!(",{p99},"))),
        "{latency}"
    );
}

#[test]
fn trials_in_csv_are_the_files() {
    let trials = OF_SEARCHES[0].json()["trials"].as_array().expect("a list").len();
    let text = OF_SEARCHES[0].report("--format csv");
    let csv = cells(&text);
    assert_eq!(csv.len(), trials + 1);
    assert!(csv.iter().all(|row| row.len() == csv[0].len()), "{text}");
    assert!(csv[1..].iter().any(|row| row[1] == "decide"), "{text}");
}

#[test]
fn a_distribution_ends_with_its_longest_sample() {
    for (saved, flags, pointer) in [
        (&OF_RUNS[0], "--format hgrm", "/latency/response"),
        (&OF_RUNS[0], "--format hgrm --metric connect", "/latency/connect"),
        (&OF_RUNS[1], "--format hgrm", "/latency/service"),
    ] {
        let json = saved.json();
        let summary = json.pointer(pointer).expect("it was measured");
        let text = saved.report(flags);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        let last = lines.iter().rfind(|cells| cells.len() == 3).expect("a line without an end");
        let ms = summary["max_ns"].as_f64().expect("a number") / 1e6;
        assert_eq!(last[0], format!("{ms:.6}"));
        assert_eq!(last[1], "1.000000000000");
        assert_eq!(last[2], summary["count"].to_string());
    }
}

#[test]
fn a_summary_in_markdown_has_its_tables() {
    let run = OF_RUNS[0].report("--format md");
    assert!(run.contains("| latency | p50 | p90 | p99 | p99.9 | max |\n| :--- | ---: |"), "{run}");
    let capacity = OF_SEARCHES[0].report("--format md");
    let statement = OF_SEARCHES[0].json()["statement"].as_str().expect("a text").replace("://", ":\u{2060}//");
    assert!(capacity.contains(&format!("**{statement}**")), "{capacity}");
    assert!(capacity.contains("| goal | lower | upper | confirmed |"), "{capacity}");
}
