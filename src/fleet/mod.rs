//! Layer 3: pinned worker threads and their common start.
