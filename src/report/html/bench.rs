//! The page of a suite of targets measured in turn.

use maud::html;

use super::elements::{details, facts, foot, section, table, text};
use super::page;
use crate::bench::BenchResult;
use crate::report::bench::{cells, commands, generator, headline, remarks, runs, targets};

/// The report of a suite.
pub fn render(result: &BenchResult) -> String {
    let generator = generator(result);
    let known: Vec<(&str, String)> = generator.rows.iter().map(|row| (row[0].as_str(), row[1].clone())).collect();
    let body = html! {
        header {
            p.kind { "servers in turn" }
            h1 { (result.title) }
            p.statement { (headline(result)) }
        }
        (section("table", "Medians", &table(&cells(result, |_| true, " "))))
        (section("remarks", "Remarks", &html! {
            @for remark in remarks(result) { p { (remark) } }
        }))
        (section("targets", "Targets", &html! {
            (table(&targets(&result.targets)))
            @for target in &result.targets {
                @for (name, content) in &target.attachments {
                    (details(&format!("{name} of {}", target.name), &text(content)))
                }
            }
        }))
        (section("generator", "Generator", &facts(&known)))
        (section("commands", "Commands", &text(&commands(result))))
        (section("runs", "All runs", &table(&runs(result))))
        (foot(&result.tool))
    };
    page(&result.title, &body)
}
