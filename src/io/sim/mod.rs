//! The simulated network: virtual time, scripted peers.
