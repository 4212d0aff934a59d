//! The report as one HTML file that people share: no script, no network, light and dark, for desks, phones and paper.
//!
//! A result holds words of others: what a server said, names in files, labels. [`maud`] escapes everything that is put
//! into an element; what is put in as it is are the drawings (numbers only) and the style sheet. Should a mark-up of
//! others get through all the same, the page's own policy (`Content-Security-Policy`) forbids it to run or load anything.
//! The page as a whole is made [visible](visible_lines): a text can turn around what stands beside it without any mark-up.

mod bench;
mod capacity;
mod elements;
mod observed;
mod over_time;
mod percentiles;
mod run;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::base::visible_lines;

pub use bench::render as render_bench;
pub use capacity::render as render_capacity;
pub use run::render as render_run;

/// A page of its own: `body` goes into the frame that all reports have.
pub(super) fn page(title: &str, body: &Markup) -> String {
    const POLICY: &str =
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body { main { (body) } }
        }
    };
    visible_lines(&page.into_string()).into_owned()
}
