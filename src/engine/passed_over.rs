//! What a session's client passed over while it waited for an answer.

use std::fmt::{Display, Write};

use crate::measure::{Failure, FailureKind};
use crate::protocol::session::{FirstBytes, SessionViolation, Status, Unused};

/// Things that came and were no answer, as text; the first of them, for more say no more.
#[derive(Debug, Default)]
pub(super) struct PassedOver {
    text: String,
    number: usize,
    /// One of them may have been the answer.
    may_be_an_answer: bool,
}

const MOST: usize = 4;
/// Of each, in bytes.
const LONGEST: usize = 200;

impl PassedOver {
    /// What a server said behind a milestone, in its words.
    pub(super) const fn said(text: String) -> Self {
        Self { text, number: MOST, may_be_an_answer: false }
    }

    /// Something of no use.
    pub(super) fn add(&mut self, unused: &Unused<'_>) {
        self.may_be_an_answer |= unused.may_be_an_answer();
        self.push(unused);
    }

    /// The stream was over before anything was played.
    pub(super) fn ended(&mut self, status: &Status<'_>) {
        self.push(&status.code);
    }

    /// The rest cannot be read.
    pub(super) fn broke_off(&mut self, violation: &SessionViolation, first: &FirstBytes) {
        *self = Self { text: format!("{violation} ({first})"), number: MOST, may_be_an_answer: true };
    }

    /// How an attempt failed that ended so: what may have been the answer and was not understood is no silence of the
    /// server's.
    pub(super) fn judge(&self, failure: Failure) -> Failure {
        match failure.kind {
            FailureKind::Timeout | FailureKind::Closed | FailureKind::Reset if self.may_be_an_answer => {
                Failure { kind: FailureKind::BadMessage, ..failure }
            }
            _ => failure,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn push(&mut self, what: &dyn Display) {
        self.number += 1;
        if self.number > MOST {
            return;
        }
        if !self.text.is_empty() {
            self.text.push_str(", ");
        }
        let before = self.text.len();
        let _ = write!(self.text, "{what}");
        if self.text.len() > before + LONGEST {
            self.text.truncate(self.text.floor_char_boundary(before + LONGEST));
            self.text.push('…');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Step;
    use crate::protocol::amf0::Text;

    fn command(name: &str) -> Unused<'_> {
        Unused::Command { name: Text::new(name), transaction: 0.0, code: Text::default() }
    }

    #[test]
    fn the_first_things_are_named() {
        let mut passed_over = PassedOver::default();
        for name in ["onFCInfo", "onA", &"x".repeat(300), "onB", "onC", "onD"] {
            passed_over.add(&command(name));
        }
        assert_eq!(passed_over.text(), format!("onFCInfo, onA, {}…, onB", "x".repeat(200)));
    }

    #[test]
    fn what_may_have_been_the_answer_is_no_silence() {
        let timeout = Failure::new(Step::Publish, FailureKind::Timeout);
        let mut passed_over = PassedOver::default();
        passed_over.add(&command("onFCInfo"));
        assert_eq!(passed_over.judge(timeout).kind, FailureKind::Timeout);
        passed_over.add(&command("onStatus"));
        assert_eq!(passed_over.judge(timeout).kind, FailureKind::BadMessage);
        let reset = Failure::new(Step::Publish, FailureKind::Reset);
        assert_eq!(passed_over.judge(reset).kind, FailureKind::BadMessage);
        let local = Failure::new(Step::Publish, FailureKind::NoMemory);
        assert_eq!(passed_over.judge(local), local);
    }
}
