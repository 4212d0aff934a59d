//! Whose attempts a condition is about.

/// Whose attempts a condition is about, as the user named them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::run) enum Subject {
    All,
    Population(String),
    Stage(String),
    Target(String),
    Client(String),
}

impl Subject {
    /// Before the name of a target.
    pub(super) const TARGET: &str = "target:";

    /// What stands before the metric; nothing stands for all.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let named = |name: &str| match name.trim() {
            "" => Err("has a scope without a name: write for example target:10.0.0.1:1935.failed<1%".to_owned()),
            name => Ok(name.to_owned()),
        };
        if text.is_empty() {
            return Ok(Self::All);
        }
        match text.split_once(':') {
            Some(("population", name)) => named(name).map(Self::Population),
            Some(("stage", name)) => named(name).map(Self::Stage),
            Some(("target", name)) => named(name).map(Self::Target),
            Some(("client", name)) => named(name).map(Self::Client),
            _ => Ok(Self::Population(text.to_owned())),
        }
    }
}
