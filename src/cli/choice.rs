//! Flags whose values are choices that files know by the same names.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::base::table::Choice;

/// Reads one of all choices.
pub(super) fn choice<T: Choice>() -> impl TypedValueParser<Value = T> {
    one_of(T::ALL)
}

/// Reads one of these `choices`.
pub(super) fn one_of<T: Choice>(choices: &'static [T]) -> impl TypedValueParser<Value = T> {
    let shown = |choice: &T| PossibleValue::new(choice.name()).help(choice.about().trim().trim_end_matches('.'));
    PossibleValuesParser::new(choices.iter().map(shown)).map(|name: String| {
        *choices.iter().find(|choice| choice.name() == name).expect("the parser takes nothing else")
    })
}
