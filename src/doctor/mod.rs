//! Layer 4: can this machine do it?
