//! The machine form: the result file itself.

use crate::run::RunResult;

/// The result as indented JSON, ending in a newline.
pub fn render(result: &RunResult) -> String {
    result.to_text()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::run::fixtures::open_result;

    #[test]
    fn what_is_printed_is_a_result_file() {
        let result = open_result(&["failed<1%"]);
        assert_eq!(RunResult::parse(&render(&result), Path::new("stdout")).unwrap(), result);
    }
}
