//! AMF0, the encoding of RTMP's commands and metadata: Adobe's *Action Message Format AMF 0*, 2007.
//!
//! [`Reader`] takes values off a server's or client's bytes without copying or allocating; what it does not accept is an
//! [`Amf0Error`] that says where. [`Writer`] writes to anything that takes bytes.

mod reader;
#[cfg(test)]
mod tests;
mod text;
mod writer;

pub use reader::{Amf0Error, Amf0Fault, Elements, MAX_DEPTH, MAX_MEMBERS, Properties, Reader, Value};
pub use text::Text;
pub use writer::Writer;

/// The byte before each value.
mod marker {
    pub const NUMBER: u8 = 0x00;
    pub const BOOLEAN: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const OBJECT: u8 = 0x03;
    pub const NULL: u8 = 0x05;
    pub const UNDEFINED: u8 = 0x06;
    pub const REFERENCE: u8 = 0x07;
    pub const ECMA_ARRAY: u8 = 0x08;
    pub const OBJECT_END: u8 = 0x09;
    pub const STRICT_ARRAY: u8 = 0x0a;
    pub const DATE: u8 = 0x0b;
    pub const LONG_STRING: u8 = 0x0c;
    pub const UNSUPPORTED: u8 = 0x0d;
    pub const XML: u8 = 0x0f;
    pub const TYPED_OBJECT: u8 = 0x10;
}
