//! Layer 4: one handshake, explained.
