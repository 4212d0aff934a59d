//! Layer 4: the built-in target.
