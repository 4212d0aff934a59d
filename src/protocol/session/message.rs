//! What a message is, and the messages that control the connection itself.

use std::fmt;

use super::violation::ChunkViolation;

/// The type of a message: section 5.4 and 7.1 of Adobe's RTMP specification 1.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// 1: the sender's chunks are longer or shorter from now on.
    SetChunkSize,
    /// 2: the rest of a message will not come.
    Abort,
    /// 3: how many bytes the sender has received.
    Acknowledgement,
    /// 4: an event of a stream, a ping, a pong.
    UserControl,
    /// 5: after how many bytes the sender wants an acknowledgement.
    WindowAckSize,
    /// 6: how many unacknowledged bytes the receiver may have under way.
    SetPeerBandwidth,
    /// 8
    Audio,
    /// 9
    Video,
    /// 15: metadata, AMF3.
    DataAmf3,
    /// 17: a command, AMF3; those in use begin with a zero byte, and AMF0 follows.
    CommandAmf3,
    /// 18: metadata, AMF0.
    DataAmf0,
    /// 20: a command, AMF0.
    CommandAmf0,
    /// 22: several audio, video and data messages in one.
    Aggregate,
    /// Any other; clients and servers ignore it.
    Other(u8),
}

/// A message of kinds 1 to 6, which control the connection itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The sender's chunks have up to this many bytes of payload from now on: 1 to 2^31 - 1.
    SetChunkSize(u32),
    /// The rest of the message on this chunk stream will not come.
    Abort(u32),
    /// The sender has received this many bytes, modulo 2^32.
    Acknowledgement(u32),
    /// The sender wants an acknowledgement every so many bytes.
    WindowAckSize(u32),
    /// The receiver may have so many unacknowledged bytes under way.
    SetPeerBandwidth {
        /// Bytes.
        window: u32,
        /// 0 hard, 1 soft, 2 dynamic.
        limit: u8,
    },
    /// The message stream becomes functional.
    StreamBegin(u32),
    /// The message stream's playback is over.
    StreamEof(u32),
    /// How much the client buffers of a message stream.
    SetBufferLength {
        /// Which stream.
        message_stream: u32,
        /// Milliseconds.
        length_ms: u32,
    },
    /// Asks for [`Self::PingResponse`] with the same number, which is the sender's clock in milliseconds.
    PingRequest(u32),
    /// Answers [`Self::PingRequest`].
    PingResponse(u32),
    /// A user control event that needs no answer (stream dry, stream is recorded, buffer states, SWF verification).
    OtherEvent(u16),
}

/// Control messages travel here (section 5.4).
pub(super) const CHUNK_STREAM: u32 = 2;

/// User control events: section 7.1.7.
mod event {
    pub const STREAM_BEGIN: u16 = 0;
    pub const STREAM_EOF: u16 = 1;
    pub const SET_BUFFER_LENGTH: u16 = 3;
    pub const PING_REQUEST: u16 = 6;
    pub const PING_RESPONSE: u16 = 7;
}

impl Control {
    /// Bytes that [`Self::write`] writes at most: SetBufferLength's.
    pub const MAX_SIZE: usize = 12 + 10;

    /// Reads the payload of a message; `None` if its kind is none of 1 to 6, or it is too short to say anything. Bytes
    /// beyond what the kind needs are ignored, as every peer does.
    ///
    /// # Errors
    /// A chunk size of zero or above 2^31 - 1: what follows cannot be read.
    pub fn parse(kind: MessageKind, payload: &[u8]) -> Result<Option<Self>, ChunkViolation> {
        match Self::read(kind, payload) {
            Some(Self::SetChunkSize(size @ (0 | 0x8000_0000..))) => Err(ChunkViolation::BadChunkSize { size }),
            read => Ok(read),
        }
    }

    fn read(kind: MessageKind, payload: &[u8]) -> Option<Self> {
        let number_at = |at: usize| Some(u32::from_be_bytes(payload.get(at..at + 4)?.try_into().ok()?));
        Some(match kind {
            MessageKind::SetChunkSize => Self::SetChunkSize(number_at(0)?),
            MessageKind::Abort => Self::Abort(number_at(0)?),
            MessageKind::Acknowledgement => Self::Acknowledgement(number_at(0)?),
            MessageKind::WindowAckSize => Self::WindowAckSize(number_at(0)?),
            // Some servers leave the limit's kind out; the dynamic one asks least.
            MessageKind::SetPeerBandwidth => {
                Self::SetPeerBandwidth { window: number_at(0)?, limit: payload.get(4).copied().unwrap_or(2) }
            }
            MessageKind::UserControl => match u16::from_be_bytes(*payload.first_chunk()?) {
                event::STREAM_BEGIN => Self::StreamBegin(number_at(2)?),
                event::STREAM_EOF => Self::StreamEof(number_at(2)?),
                event::SET_BUFFER_LENGTH => {
                    Self::SetBufferLength { message_stream: number_at(2)?, length_ms: number_at(6)? }
                }
                event::PING_REQUEST => Self::PingRequest(number_at(2)?),
                event::PING_RESPONSE => Self::PingResponse(number_at(2)?),
                other => Self::OtherEvent(other),
            },
            _ => return None,
        })
    }

    pub(super) fn payload(self) -> (MessageKind, [u8; 10], usize) {
        let number = |kind, value: u32| {
            let mut payload = [0; 10];
            payload[..4].copy_from_slice(&value.to_be_bytes());
            (kind, payload, 4)
        };
        let user_control = |event: u16, value: u32, length| {
            let mut payload = [0; 10];
            payload[..2].copy_from_slice(&event.to_be_bytes());
            payload[2..6].copy_from_slice(&value.to_be_bytes());
            (MessageKind::UserControl, payload, length)
        };
        match self {
            Self::SetChunkSize(size) => number(MessageKind::SetChunkSize, size),
            Self::Abort(chunk_stream) => number(MessageKind::Abort, chunk_stream),
            Self::Acknowledgement(bytes) => number(MessageKind::Acknowledgement, bytes),
            Self::WindowAckSize(bytes) => number(MessageKind::WindowAckSize, bytes),
            Self::SetPeerBandwidth { window, limit } => {
                let (kind, mut payload, _) = number(MessageKind::SetPeerBandwidth, window);
                payload[4] = limit;
                (kind, payload, 5)
            }
            Self::StreamBegin(message_stream) => user_control(event::STREAM_BEGIN, message_stream, 6),
            Self::StreamEof(message_stream) => user_control(event::STREAM_EOF, message_stream, 6),
            Self::SetBufferLength { message_stream, length_ms } => {
                let (kind, mut payload, _) = user_control(event::SET_BUFFER_LENGTH, message_stream, 6);
                payload[6..].copy_from_slice(&length_ms.to_be_bytes());
                (kind, payload, 10)
            }
            Self::PingRequest(clock_ms) => user_control(event::PING_REQUEST, clock_ms, 6),
            Self::PingResponse(clock_ms) => user_control(event::PING_RESPONSE, clock_ms, 6),
            Self::OtherEvent(event) => user_control(event, 0, 2),
        }
    }
}

impl MessageKind {
    /// Whether it is one of [`Control`].
    pub fn is_control(self) -> bool {
        (1..=6).contains(&u8::from(self))
    }

    /// Whether it is a command, in either encoding.
    pub fn is_command(self) -> bool {
        matches!(self, Self::CommandAmf0 | Self::CommandAmf3)
    }
}

impl From<u8> for MessageKind {
    fn from(type_id: u8) -> Self {
        match type_id {
            1 => Self::SetChunkSize,
            2 => Self::Abort,
            3 => Self::Acknowledgement,
            4 => Self::UserControl,
            5 => Self::WindowAckSize,
            6 => Self::SetPeerBandwidth,
            8 => Self::Audio,
            9 => Self::Video,
            15 => Self::DataAmf3,
            17 => Self::CommandAmf3,
            18 => Self::DataAmf0,
            20 => Self::CommandAmf0,
            22 => Self::Aggregate,
            other => Self::Other(other),
        }
    }
}

impl From<MessageKind> for u8 {
    fn from(kind: MessageKind) -> Self {
        match kind {
            MessageKind::SetChunkSize => 1,
            MessageKind::Abort => 2,
            MessageKind::Acknowledgement => 3,
            MessageKind::UserControl => 4,
            MessageKind::WindowAckSize => 5,
            MessageKind::SetPeerBandwidth => 6,
            MessageKind::Audio => 8,
            MessageKind::Video => 9,
            MessageKind::DataAmf3 => 15,
            MessageKind::CommandAmf3 => 17,
            MessageKind::DataAmf0 => 18,
            MessageKind::CommandAmf0 => 20,
            MessageKind::Aggregate => 22,
            MessageKind::Other(other) => other,
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SetChunkSize => "set chunk size",
            Self::Abort => "abort",
            Self::Acknowledgement => "acknowledgement",
            Self::UserControl => "user control",
            Self::WindowAckSize => "window acknowledgement size",
            Self::SetPeerBandwidth => "set peer bandwidth",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::DataAmf3 => "AMF3 data",
            Self::CommandAmf3 => "AMF3 command",
            Self::DataAmf0 => "data",
            Self::CommandAmf0 => "command",
            Self::Aggregate => "aggregate",
            Self::Other(type_id) => return write!(f, "type {type_id}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROLS: [Control; 11] = [
        Control::SetChunkSize(4096),
        Control::Abort(5),
        Control::Acknowledgement(0xffff_fff0),
        Control::WindowAckSize(2_500_000),
        Control::SetPeerBandwidth { window: 2_500_000, limit: 2 },
        Control::StreamBegin(1),
        Control::StreamEof(1),
        Control::SetBufferLength { message_stream: 1, length_ms: 3000 },
        Control::PingRequest(123_456),
        Control::PingResponse(123_456),
        Control::OtherEvent(31),
    ];

    #[test]
    fn type_ids_round_trip() {
        for type_id in 0..=255 {
            assert_eq!(u8::from(MessageKind::from(type_id)), type_id);
        }
    }

    #[test]
    fn control_messages_read_back() {
        for control in CONTROLS {
            let mut out = [0; Control::MAX_SIZE];
            let size = control.write(&mut out);
            let kind = MessageKind::from(out[7]);
            assert!(kind.is_control() && !kind.is_command());
            assert_eq!(out[6] as usize + 12, size, "the length in the header");
            assert_eq!(Control::parse(kind, &out[12..size]), Ok(Some(control)));
        }
    }

    #[test]
    fn a_ping_is_what_the_specification_shows() {
        let mut out = [0; Control::MAX_SIZE];
        let size = Control::PingRequest(0x0102_0304).write(&mut out);
        assert_eq!(out[..size], [2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6, 1, 2, 3, 4]);
    }

    #[test]
    fn a_cut_control_message_says_nothing() {
        for control in CONTROLS {
            let (kind, payload, length) = control.payload();
            for cut in 0..length {
                let parsed = Control::parse(kind, &payload[..cut]);
                let without_limit = matches!(control, Control::SetPeerBandwidth { .. }) && cut == 4;
                assert!(parsed == Ok(None) || without_limit, "{control:?} cut to {cut}: {parsed:?}");
            }
        }
    }

    #[test]
    fn chunk_sizes_that_nobody_can_mean_are_violations() {
        for size in [0u32, 0x8000_0000, u32::MAX] {
            let parsed = Control::parse(MessageKind::SetChunkSize, &size.to_be_bytes());
            assert_eq!(parsed, Err(ChunkViolation::BadChunkSize { size }));
        }
    }
}
