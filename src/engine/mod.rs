//! Layer 3: connections, slots, deadlines and the worker.
