//! Which client software speaks like this.

use serde::Serialize;

use crate::protocol::explain::Explanation;
use crate::protocol::profile::{C1Time, C2Signing, ClientProfile, ClientSpec};
use crate::protocol::session::{Body, Dialogue, Property, PropertyValue};
use crate::protocol::transcript::{Transcript, Utterance};
use crate::protocol::{DigestAt, HandshakeMode};

/// Which of the clients that can be imitated speak as a client did, and what of it is like theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientGuess {
    /// In the order of [`ClientProfile::ALL`]; none if no known client does so. Clients that share a library cannot be
    /// told apart.
    pub clients: Vec<ClientProfile>,
    /// Whether the handshake is theirs; `None` if C1 is not known.
    pub by_handshake: Option<bool>,
    /// Whether `connect` and what follows it are theirs; `None` if no `connect` was heard.
    pub by_commands: Option<bool>,
}

/// Recognises a client by its handshake and by what it says first, as far as both are known. Commands tell more: an
/// encoder may have another handshake than its version that was recorded.
pub fn likely_clients(explained: &Explanation, transcript: Option<&Transcript>) -> ClientGuess {
    let said = transcript.map_or(&[][..], Transcript::utterances);
    let has_commands = said.iter().any(|said| matches!(said, Utterance::Connect { .. }));
    let has_handshake = explained.asked.is_some();
    let imitated = || ClientProfile::ALL.into_iter().filter(|profile| !profile.is_hostile());
    let shakes = |profile: &ClientProfile| has_handshake && opens_so(&profile.spec(), explained);
    let says = |profile: &ClientProfile| has_commands && speaks_so(*profile, said);
    let mut clients: Vec<ClientProfile> =
        imitated().filter(|profile| shakes(profile) == has_handshake && says(profile) == has_commands).collect();
    if clients.is_empty() {
        clients = imitated().filter(says).collect();
    }
    if clients.is_empty() {
        clients = imitated().filter(shakes).collect();
    }
    if !has_handshake && !has_commands {
        return ClientGuess::default();
    }
    ClientGuess {
        by_handshake: has_handshake.then(|| clients.first().is_some_and(shakes)),
        by_commands: has_commands.then(|| clients.first().is_some_and(says)),
        clients,
    }
}

/// Whether this client's C1 and C2 look so.
fn opens_so(client: &ClientSpec, explained: &Explanation) -> bool {
    let version: String = client.version.iter().map(|byte| format!("{byte:02x}")).collect();
    let c1_version = explained.c1_time_version.as_deref().and_then(|hex| hex.get(8..));
    let digest_at: Option<DigestAt> = (client.mode == HandshakeMode::Complex).then_some(client.digest_at);
    let time_fits = match (client.time, explained.c1_time) {
        (_, None) => false,
        (C1Time::Zero, Some(time)) => time == 0,
        (C1Time::UptimeMs, Some(time)) => time != 0,
        // Since 2020.
        (C1Time::UnixSeconds, Some(time)) => time >= 1_577_836_800,
    };
    explained.asked == Some(client.mode)
        && explained.c1_digest_at == digest_at
        && c1_version == Some(&version)
        && time_fits
        && answers_so(client, explained)
}

/// Whether its C2 does; true if C2, or the S1 that it answers, is not known.
fn answers_so(client: &ClientSpec, explained: &Explanation) -> bool {
    let (Some(is_signed), Some(is_copy), Some(is_echo)) =
        (explained.c2_digest_verifies, explained.c2_echoes_s1, explained.c2_random_part_is_s1)
    else {
        return true;
    };
    let s1_major = explained.s1_time_version.as_deref().and_then(|hex| u8::from_str_radix(hex.get(8..10)?, 16).ok());
    let signs = explained.s1_digest_at.is_some()
        && match client.c2.signing {
            C2Signing::Never => false,
            C2Signing::Filler | C2Signing::CopyOfS1 => true,
            C2Signing::FillerFromVersion3 => s1_major.is_some_and(|major| major >= 3),
        };
    match (signs, client.c2.echo_sets_time) {
        (true, _) => is_signed,
        (false, true) => is_echo && !is_copy,
        (false, false) => is_copy,
    }
}

/// Whether it publishes or plays with these words, as far as they were heard.
fn speaks_so(profile: ClientProfile, said: &[Utterance]) -> bool {
    let session = profile.session();
    let dialogues = session.iter().flat_map(|session| [session.publish.as_ref(), session.play.as_ref()]);
    dialogues.flatten().any(|dialogue| is_beginning_of(dialogue, said))
}

fn is_beginning_of(dialogue: &Dialogue, said: &[Utterance]) -> bool {
    let script = [dialogue.connect, dialogue.after_connect, dialogue.start].into_iter().flatten();
    script.zip(said).all(|(message, said)| match (message.body, said) {
        (Body::SetChunkSize(size), Utterance::ChunkSize(said)) => size == *said,
        (Body::WindowAckSize(_), Utterance::Window)
        | (Body::SetBufferLength { .. }, Utterance::Buffer)
        | (Body::StreamBegin, Utterance::StreamBegin) => true,
        (Body::Connect(properties), Utterance::Connect { keys, flash_version }) => {
            has_members(properties, keys) && is_version_of(properties, flash_version.as_deref())
        }
        (Body::Command { name, transaction, .. }, Utterance::Command { name: said, transaction: number }) => {
            name == said && i64::from(transaction) == *number
        }
        _ => false,
    })
}

/// Any of them may offer the codecs of Enhanced RTMP as well.
fn has_members(properties: &[Property], keys: &[String]) -> bool {
    const OFFER: &str = "fourCcList";
    let expected = properties.iter().map(|Property(key, _)| *key).filter(|key| *key != OFFER);
    expected.eq(keys.iter().map(String::as_str).filter(|key| *key != OFFER))
}

/// The same program, of any version.
fn is_version_of(properties: &[Property], said: Option<&str>) -> bool {
    let own = properties.iter().find_map(|Property(key, value)| match value {
        PropertyValue::Text(text) if *key == "flashVer" => Some(*text),
        _ => None,
    });
    let words = |text: &str| text.split(|c: char| !c.is_alphabetic()).map(str::to_owned).collect::<String>();
    own.map(words) == said.map(words)
}
