//! stub
use super::*;
#[derive(Debug)]
pub struct ClientSession;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    Reply,
    Connect,
    Publish,
    Play,
}
pub enum Event<'a> {
    Connected(Backend<'a>),
    StreamCreated,
    Started,
    Rejected { during: Course, status: Status<'a> },
    Media { kind: MessageKind, bytes: u32, first_of_message: bool },
    Pinged,
    Acknowledged(u32),
    Ended(Status<'a>),
    Other,
}
impl ClientSession {
    pub fn new(_: Course) -> Self {
        Self
    }
    pub fn receive<'a, 'i: 'a>(
        &mut self,
        _: &mut &'i [u8],
        _: &'a mut MessageStore,
        _: &SessionScript,
    ) -> Result<Option<Event<'a>>, SessionViolation> {
        Ok(None)
    }
    pub fn has_output(&self) -> bool {
        false
    }
    pub fn write(&mut self, _: &SessionScript, _: &[u8], _: &mut [u8]) -> usize {
        0
    }
    pub fn say_goodbye(&mut self) {}
    pub fn message_stream(&self) -> u32 {
        1
    }
    pub fn release(&mut self, _: &mut MessageStore) {}
}
#[derive(Debug)]
pub struct SessionScript;
pub struct ScriptOptions {
    pub four_cc: bool,
}
pub struct SessionSpec {
    pub nodelay: bool,
}
impl SessionScript {
    pub fn new(_: &SessionSpec, _: &str, _: &str, _: Course, _: &ScriptOptions) -> Self {
        Self
    }
    pub fn connect_apart(&self) -> bool {
        false
    }
    pub fn max_len(&self, _: usize) -> usize {
        0
    }
    pub fn chunk_size(&self) -> u32 {
        128
    }
}
impl crate::protocol::ClientProfile {
    pub fn session(self) -> Option<SessionSpec> {
        None
    }
}
