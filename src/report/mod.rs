//! Layer 6: renders results.
