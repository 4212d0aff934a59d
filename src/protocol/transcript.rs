//! What is said in a session, message by message: facts for programs and a sentence for people.
//!
//! A [`Transcript`] is given the bytes that each side sent behind its handshake, recorded or just exchanged, in the order
//! in which they came, and tells what they say as a [`Conversation`]. Names of streams, queries, and whatever else may give
//! access show as [`REDACTED`](crate::base::REDACTED), so a conversation holds no secret that could be shown. Bytes that
//! cannot be read are said to be so.

mod conversation;
mod message;
#[cfg(test)]
mod tests;
mod utterance;

pub use conversation::{Conversation, Fact, Facts, Media, Said, Side, Totals};
use message::Words;
pub(in crate::protocol) use utterance::Utterance;

use super::session::{ChunkReader, Command, Control, MessageKind, MessageStore, Piece};
use crate::base::redact_bytes;

/// Bytes of what cannot be read that are shown.
const SHOWN: usize = 16;

/// Reads both directions of a session; see the [module](self).
#[derive(Debug, Default)]
pub struct Transcript {
    client: Direction,
    server: Direction,
    words: Words,
    conversation: Conversation,
    /// What the client said first, by which it is recognised.
    utterances: Vec<Utterance>,
}

/// What transcripts share, so that memory has a limit however many there are.
#[derive(Debug)]
pub struct Notebook {
    blocks: MessageStore,
    /// How many messages of each session are told; those beyond are counted.
    each: usize,
    /// How many messages can still be told, of all sessions together.
    room: usize,
}

/// One direction.
#[derive(Debug, Default)]
struct Direction {
    reader: ChunkReader,
    lost: Option<Lost>,
    totals: Totals,
    /// Audio, video and data that it sends without a word in between: the index of the message that tells so.
    run: Option<(usize, Media)>,
}

/// Bytes that cannot be read, because nobody knows where a message begins in them.
#[derive(Debug)]
struct Lost {
    why: String,
    at_ns: Option<u64>,
    bytes: u64,
    first: Vec<u8>,
}

impl Notebook {
    /// For at most `each` messages of a session and `all` of all sessions.
    pub fn new(each: usize, all: usize) -> Self {
        Self { blocks: MessageStore::for_requests(), each, room: all }
    }
}

impl Transcript {
    /// Takes what `from` sent next, complete at `at_ns`.
    pub fn take(&mut self, from: Side, at_ns: Option<u64>, mut bytes: &[u8], notebook: &mut Notebook) {
        self.direction(from).totals.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let Self { client, server, words, .. } = self;
            let direction = if from == Side::Client { client } else { server };
            if let Some(lost) = &mut direction.lost {
                return lost.take(bytes);
            }
            let rest = bytes;
            match direction.reader.next(&mut bytes, &mut notebook.blocks) {
                Ok(None) => {}
                Ok(Some(Piece::Media { kind, bytes, first, .. })) => {
                    self.take_media(from, at_ns, notebook, |media| media.count(kind, bytes, first));
                }
                Ok(Some(Piece::ShortControl { kind })) => {
                    self.tell(Said { at_ns, ..message::short_control(from, kind) }, notebook);
                }
                Ok(Some(Piece::Control(control))) => self.take_control(from, at_ns, control, notebook),
                Ok(Some(Piece::Command { kind, message_stream, payload, .. })) => {
                    let (said, utterance) = match Command::parse(kind == MessageKind::CommandAmf3, payload) {
                        Ok(command) => (words.command(from, &command, message_stream), Utterance::of_command(&command)),
                        Err(error) => (message::unreadable_command(from, payload.len(), &error, &shown(payload)), None),
                    };
                    self.hear(from, utterance);
                    self.tell(Said { at_ns, ..said }, notebook);
                }
                Err(violation) => {
                    bytes = rest;
                    direction.lost = Some(Lost::new(violation.to_string(), at_ns));
                }
            }
        }
    }

    /// So many bytes of `from` are missing. Inside of a message of audio, video or data that does no harm; else nothing of
    /// this side can be read from here on.
    pub fn miss(&mut self, from: Side, at_ns: Option<u64>, missing: u64, notebook: &mut Notebook) {
        const ZEROS: [u8; 512] = [0; 512];
        let direction = self.direction(from);
        direction.totals.missing += missing;
        if direction.lost.is_some() {
            return;
        }
        if u64::from(direction.reader.media_left()) < missing {
            direction.lost = Some(Lost::new(format!("{missing} bytes before these are missing"), at_ns));
            return;
        }
        let mut left = missing;
        while left > 0 {
            let part = left.min(ZEROS.len() as u64);
            left -= part;
            self.take(from, at_ns, &ZEROS[..part as usize], notebook);
            self.direction(from).totals.bytes -= part;
        }
    }

    /// Everything that was said, once its last byte was taken.
    pub fn finish(mut self, notebook: &mut Notebook) -> Conversation {
        for (from, direction) in [(Side::Client, &mut self.client), (Side::Server, &mut self.server)] {
            direction.reader.release(&mut notebook.blocks);
            *self.conversation.totals(from) = direction.totals;
            if let Some(lost) = &direction.lost {
                let said = message::unreadable_rest(from, &lost.why, lost.bytes, &shown(&lost.first));
                self.conversation.messages.push(Said { at_ns: lost.at_ns, ..said });
            }
        }
        self.conversation.put_in_order();
        self.conversation
    }

    /// What the client said first.
    pub(in crate::protocol) fn utterances(&self) -> &[Utterance] {
        &self.utterances
    }

    /// What was said so far.
    pub fn so_far(&self) -> &Conversation {
        &self.conversation
    }

    /// What a peer says in `text`, without the names and queries that were said in this session.
    pub fn redacted(&self, text: &str) -> String {
        self.words.redacted(text)
    }

    fn direction(&mut self, from: Side) -> &mut Direction {
        match from {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn take_control(&mut self, from: Side, at_ns: Option<u64>, control: Control, notebook: &mut Notebook) {
        self.hear(from, Utterance::of_control(control));
        self.tell(Said { at_ns, ..message::control(from, control) }, notebook);
    }

    /// Neighbouring messages of audio, video and data are told as one.
    fn take_media(&mut self, from: Side, at_ns: Option<u64>, notebook: &mut Notebook, count: impl Fn(&mut Media)) {
        let direction = self.direction(from);
        count(&mut direction.totals.media);
        let (index, mut media) = match direction.run {
            Some(run) => run,
            None => {
                let said = Said { at_ns, ..message::media(from, &Media::default()) };
                if !self.tell(said, notebook) {
                    return;
                }
                (self.conversation.messages.len() - 1, Media::default())
            }
        };
        count(&mut media);
        let said = &mut self.conversation.messages[index];
        *said = Said { at_ns: said.at_ns, ..message::media(from, &media) };
        self.direction(from).run = Some((index, media));
    }

    /// Whether there was room.
    fn tell(&mut self, said: Said, notebook: &mut Notebook) -> bool {
        self.direction(said.from).run = None;
        let has_room = notebook.room > 0 && self.conversation.messages.len() < notebook.each;
        if has_room {
            notebook.room -= 1;
            self.conversation.messages.push(said);
        } else {
            self.conversation.left_out += 1;
        }
        has_room
    }

    fn hear(&mut self, from: Side, utterance: Option<Utterance>) {
        if from == Side::Client && self.utterances.len() < Utterance::MOST {
            self.utterances.extend(utterance);
        }
    }
}

impl Lost {
    fn new(why: String, at_ns: Option<u64>) -> Self {
        Self { why, at_ns, bytes: 0, first: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let room = SHOWN - self.first.len();
        self.first.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// The first of `bytes`, without texts.
fn shown(bytes: &[u8]) -> String {
    redact_bytes(&bytes[..bytes.len().min(SHOWN)]).join(" ")
}
