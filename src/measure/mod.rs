//! Layer 2: what is measured: samples, outcomes, recorders, snapshots.
