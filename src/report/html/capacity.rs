//! The page of a capacity search.

use maud::html;

use super::page;
use crate::capacity::CapacityResult;

/// The page of `result`: a whole file.
pub fn render(result: &CapacityResult) -> String {
    page(&result.statement, &html! { h1 { (result.statement) } })
}
