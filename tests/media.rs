//! What publishers send: chunks that carry an FLV file's tags unchanged for ever, and synthetic streams that decoders take.

mod support;

mod media {
    pub mod file;
    pub mod wire;

    mod recorded;
    mod synthetic;
}
