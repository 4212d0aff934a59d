//! A simulated server that a search is let loose on, and how often the search is right about many of them.

pub mod simulated;
pub mod sweep;
