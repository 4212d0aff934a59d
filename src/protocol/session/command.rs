//! Commands that arrive: their names and arguments, and what servers say about themselves and about failures in them.

use std::fmt;

use crate::protocol::amf0::{Amf0Error, Amf0Fault, Properties, Reader, Text, Value};

/// A command message: RTMP 1.0, section 7.2.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// `connect`, `_result`, `onStatus`, …
    pub name: Text<'a>,
    /// Which command it answers, or the number under which it wants an answer; 0 wants none.
    pub transaction: f64,
    /// What follows. The first is the command object: an object in `connect` and its answer, null in most others.
    pub arguments: Reader<'a>,
}

impl<'a> Command<'a> {
    /// Reads a command message of type 20 (AMF0), or with `amf3` of type 17: a zero byte, then the same.
    ///
    /// A command without a transaction number, or with another value in its place, is read as if it were 0.
    ///
    /// # Errors
    ///
    /// It does not begin with a name, or an AMF3 message does not begin with a zero byte. The arguments are not looked at.
    pub fn parse(amf3: bool, payload: &'a [u8]) -> Result<Self, Amf0Error> {
        let payload = match payload {
            [0, values @ ..] if amf3 => values,
            [marker, ..] if amf3 => return Err(Amf0Error { fault: Amf0Fault::UnknownMarker(*marker), offset: 0 }),
            values => values,
        };
        let mut arguments = Reader::new(payload);
        let name = arguments.string()?;
        let mut ahead = arguments;
        let transaction = match ahead.value_as_far() {
            // What the command is about, where the number should be.
            Ok(Value::Object(_) | Value::EcmaArray(_) | Value::StrictArray(_)) | Err(_) => 0.0,
            Ok(other) => {
                arguments = ahead;
                other.as_number().unwrap_or_default()
            }
        };
        Ok(Self { name, transaction, arguments })
    }

    /// The argument of that index, if all before it can be read. 0 is the command object.
    pub fn argument(&self, index: usize) -> Option<Value<'a>> {
        self.values().nth(index)
    }

    /// The message stream that `createStream`'s `_result` gives.
    pub fn message_stream(&self) -> Option<u32> {
        let number = self.argument(1)?.as_number()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a whole u32")]
        (number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number)).then_some(number as u32)
    }

    /// The members of all arguments that are objects or ECMA arrays.
    fn objects(&self) -> impl Iterator<Item = Properties<'a>> {
        self.values().filter_map(|value| value.as_properties())
    }

    fn values(&self) -> impl Iterator<Item = Value<'a>> {
        let mut arguments = self.arguments;
        std::iter::from_fn(move || arguments.value_as_far().ok())
    }
}

/// What an `onStatus`, an `_error` or `connect`'s `_result` says happened. A text that is missing is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status<'a> {
    /// `status`, `warning` or `error`.
    pub level: Text<'a>,
    /// `NetStream.Publish.Start`, `NetConnection.Connect.Rejected`, …
    pub code: Text<'a>,
    /// For people.
    pub description: Text<'a>,
    /// The URL that a client is told to connect to instead.
    pub redirect: Option<Text<'a>>,
}

impl<'a> Status<'a> {
    /// Reads the information object of a command: the first argument that has a `code` or a `level`. All is empty
    /// without one.
    ///
    /// A redirect is `ex.redirect` (Adobe's servers and SRS, whose `ex.code` is 302), a URL in the description of a
    /// rejection, or the `tcUrl` of Enhanced RTMP's reconnect request.
    pub fn of(command: &Command<'a>) -> Self {
        let is_information = |object: &Properties<'_>| object.get("code").is_some() || object.get("level").is_some();
        let Some(information) = command.objects().find(is_information) else { return Self::default() };
        let text = |key| information.get_text(key).unwrap_or_default();
        let status =
            Self { level: text("level"), code: text("code"), description: text("description"), redirect: None };
        let extension = information.get("ex").and_then(|value| value.as_properties());
        let told = extension.and_then(|extension| extension.get_text("redirect"));
        let rejection = Some(status.description).filter(|_| status.code == REJECTED);
        let again_at = information.get_text("tcUrl").filter(|_| status.asks_to_reconnect());
        let named = || rejection?.readable().find_map(url_in).map(Text::new);
        Self { redirect: told.or(again_at).or_else(named), ..status }
    }

    /// Whether it is Enhanced RTMP's reconnect request: the client is to connect again, to `redirect` if there is one.
    pub fn asks_to_reconnect(&self) -> bool {
        self.code == "NetConnection.Connect.ReconnectRequest"
    }

    /// Whether its level is `error`.
    pub fn is_error(&self) -> bool {
        self.level == "error"
    }
}

const REJECTED: &str = "NetConnection.Connect.Rejected";

/// The first RTMP URL in a text.
fn url_in(text: &str) -> Option<&str> {
    let begin = ["rtmp://", "rtmps://", "rtmpt://"].into_iter().filter_map(|scheme| text.find(scheme)).min()?;
    let url = &text[begin..];
    let end = url.find(|c: char| c.is_whitespace() || c.is_control() || "\"'<>[](),;".contains(c));
    Some(&url[..end.unwrap_or(url.len())])
}

/// What a server says about itself in the `_result` of `connect`. `Display` gives a short identity, the same for every
/// connection to one process: `FMS/3,0,1,123`, or `SRS/7.0.18 10.0.0.5 pid 812`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Backend<'a> {
    /// `fmsVer`: what it claims to be compatible with, or its name.
    pub fms_version: Option<Text<'a>>,
    /// `capabilities`: 31 or 127 in most.
    pub capabilities: Option<f64>,
    /// `mode`.
    pub mode: Option<f64>,
    /// `data.version`: the real version of Adobe's servers and of Wowza.
    pub version: Option<Text<'a>>,
    /// What SRS tells beyond that.
    pub srs: Option<SrsBackend<'a>>,
}

/// The `data` object of SRS. Its `srs_id` is not here: it is that of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SrsBackend<'a> {
    /// `srs_server`: name, version and code name.
    pub server: Option<Text<'a>>,
    /// `srs_version`.
    pub version: Option<Text<'a>>,
    /// `srs_server_ip`: an address of its machine, useful behind a load balancer.
    pub server_ip: Option<Text<'a>>,
    /// `srs_pid`.
    pub pid: Option<f64>,
}

impl<'a> Backend<'a> {
    /// Reads the arguments of a `_result`.
    pub fn of(command: &Command<'a>) -> Self {
        let objects = command.objects();
        let mut backend = Self::default();
        for object in objects {
            backend.fms_version = backend.fms_version.or_else(|| object.get_text("fmsVer"));
            backend.capabilities = backend.capabilities.or_else(|| object.get_number("capabilities"));
            backend.mode = backend.mode.or_else(|| object.get_number("mode"));
            let Some(data) = object.get("data").and_then(|value| value.as_properties()) else { continue };
            backend.version = backend.version.or_else(|| data.get_text("version"));
            let srs = SrsBackend {
                server: data.get_text("srs_server"),
                version: data.get_text("srs_version"),
                server_ip: data.get_text("srs_server_ip"),
                pid: data.get_number("srs_pid"),
            };
            backend.srs = backend.srs.or((srs != SrsBackend::default()).then_some(srs));
        }
        backend
    }
}

impl fmt::Display for Backend<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(srs) = self.srs else {
            return match (self.fms_version, self.version) {
                (Some(name), Some(version)) if !name.as_bytes().ends_with(version.as_bytes()) => {
                    write!(f, "{name} {version}")
                }
                (Some(name), _) => write!(f, "{name}"),
                (None, Some(version)) => write!(f, "{version}"),
                (None, None) => f.write_str("unnamed"),
            };
        };
        match (srs.version, srs.server) {
            (Some(version), _) => write!(f, "SRS/{version}")?,
            (None, Some(server)) => write!(f, "{server}")?,
            (None, None) => f.write_str("SRS")?,
        }
        if let Some(ip) = srs.server_ip {
            write!(f, " {ip}")?;
        }
        srs.pid.map_or(Ok(()), |pid| write!(f, " pid {pid}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::amf0::Writer;

    #[test]
    fn commands_are_read_in_both_encodings() {
        let mut payload = vec![0];
        Writer::new(&mut payload).string("createStream").number(4.0).null();
        for command in [Command::parse(false, &payload[1..]), Command::parse(true, &payload)] {
            let command = command.unwrap();
            assert_eq!((command.name, command.transaction), (Text::new("createStream"), 4.0));
            assert!(matches!(command.argument(0), Some(Value::Null)));
            assert!(command.argument(1).is_none());
        }
        let wrong = Command::parse(true, &payload[1..]).unwrap_err();
        assert_eq!(wrong, Amf0Error { fault: Amf0Fault::UnknownMarker(2), offset: 0 });
    }

    #[test]
    fn a_command_needs_a_name_and_a_number() {
        let fault = |write: &dyn Fn(&mut Writer<&mut Vec<u8>>)| {
            let mut payload = Vec::new();
            write(&mut Writer::new(&mut payload));
            Command::parse(false, &payload).map(|command| command.transaction).map_err(|error| error.fault)
        };
        assert_eq!(fault(&|_| ()), Err(Amf0Fault::Truncated));
        assert_eq!(
            fault(&|w| {
                w.string("onBWDone");
            }),
            Ok(0.0)
        );
        assert_eq!(
            fault(&|w| {
                w.number(1.0);
            }),
            Err(Amf0Fault::Expected { what: "string", marker: 0 })
        );
    }

    #[test]
    fn the_transaction_number_may_be_missing_or_another_value() {
        let parsed = |write: &dyn Fn(&mut Writer<&mut Vec<u8>>)| {
            let mut payload = Vec::new();
            write(&mut Writer::new(&mut payload));
            let command = Command::parse(false, &payload).unwrap();
            (command.transaction, Status::of(&command).code.to_string(), command.argument(0).is_some())
        };
        let none = |has_more| (0.0, String::new(), has_more);
        assert_eq!(
            parsed(&|w| {
                w.string("onBWDone").null();
            }),
            none(false)
        );
        assert_eq!(
            parsed(&|w| {
                w.string("close").string("x").null();
            }),
            none(true)
        );
        let without = parsed(&|w| {
            w.string("onStatus").object().key("code").string("NetStream.Publish.Start").end();
        });
        assert_eq!(without, (0.0, "NetStream.Publish.Start".to_owned(), true));
    }

    #[test]
    fn a_description_that_is_not_utf8_leaves_the_code() {
        let mut payload = Vec::new();
        let mut writer = Writer::new(&mut payload);
        writer.string("_error").number(1.0).null().object();
        writer.key("level").string("error").key("code").string(REJECTED);
        writer.key("description").string(b"\xb7\xa2 rtmp://b/live \xb2").end();
        let status = Status::of(&Command::parse(false, &payload).unwrap());
        assert!(status.is_error() && status.code == REJECTED);
        assert_eq!(status.description.to_string(), "\u{fffd}\u{fffd} rtmp://b/live \u{fffd}");
        assert_eq!(status.redirect, Some(Text::new("rtmp://b/live")));
    }

    #[test]
    fn the_message_stream_of_create_stream_is_a_whole_number() {
        let answer = |number: f64| {
            let mut payload = Vec::new();
            Writer::new(&mut payload).string("_result").number(2.0).null().number(number);
            Command::parse(false, &payload).unwrap().message_stream()
        };
        assert_eq!(answer(1.0), Some(1));
        assert_eq!(answer(f64::from(u32::MAX)), Some(u32::MAX));
        for number in [0.5, -1.0, 4_294_967_296.0, f64::NAN, f64::INFINITY] {
            assert_eq!(answer(number), None, "{number}");
        }
    }

    #[test]
    fn statuses_are_found_wherever_they_are() {
        let mut payload = Vec::new();
        let mut writer = Writer::new(&mut payload);
        writer.string("onStatus").number(0.0).null().object().key("level").string("error");
        writer.key("code").string("NetStream.Publish.BadName").key("clientid").number(1.0).end();
        let status = Status::of(&Command::parse(false, &payload).unwrap());
        assert!(status.is_error());
        let (code, none) = (Text::new("NetStream.Publish.BadName"), Text::default());
        assert_eq!((status.code, status.description, status.redirect), (code, none, None));
        payload.truncate(0);
        Writer::new(&mut payload).string("_error").number(2.0).null().null();
        assert_eq!(Status::of(&Command::parse(false, &payload).unwrap()), Status::default());
    }

    #[test]
    fn redirects_are_read_from_both_places() {
        let rejected = |description: &str, redirect: Option<&str>| {
            let mut payload = Vec::new();
            let mut writer = Writer::new(&mut payload);
            writer.string("_error").number(1.0).null().object();
            writer.key("level").string("error").key("code").string(REJECTED);
            writer.key("description").string(description);
            if let Some(url) = redirect {
                writer.key("ex").object().key("code").number(302.0).key("redirect").string(url).end();
            }
            writer.end();
            Status::of(&Command::parse(false, &payload).unwrap()).redirect.map(|url| url.to_string())
        };
        let told = Some("rtmp://b/live".to_owned());
        assert_eq!(rejected("RTMP 302 Redirect", Some("rtmp://b/live")), told);
        assert_eq!(rejected("[ code=302 ] : redirect=rtmp://b/live, try it", None), told);
        assert_eq!(rejected("go to rtmps://b/live", None).as_deref(), Some("rtmps://b/live"));
        assert_eq!(rejected("no such app", None), None);
    }

    #[test]
    fn backends_name_themselves() {
        let identity = |write: &dyn Fn(&mut Writer<&mut Vec<u8>>)| {
            let mut payload = Vec::new();
            let mut writer = Writer::new(&mut payload);
            writer.string("_result").number(1.0);
            write(&mut writer);
            Backend::of(&Command::parse(false, &payload).unwrap()).to_string()
        };
        let nginx = |w: &mut Writer<&mut Vec<u8>>| {
            w.object().key("fmsVer").string("FMS/3,0,1,123").key("capabilities").number(31.0).end();
        };
        assert_eq!(identity(&nginx), "FMS/3,0,1,123");
        assert_eq!(
            identity(&|w| {
                w.null();
            }),
            "unnamed"
        );
        let wowza = |w: &mut Writer<&mut Vec<u8>>| {
            nginx(w);
            w.object().key("data").ecma_array(1).key("version").string("3,5,7,7009").end().end();
        };
        assert_eq!(identity(&wowza), "FMS/3,0,1,123 3,5,7,7009");
        let srs = |w: &mut Writer<&mut Vec<u8>>| {
            nginx(w);
            w.object().key("data").ecma_array(0).key("version").string("3,0,1,123");
            w.key("srs_server").string("SRS/7.0.18(Kai)").key("srs_version").string("7.0.18");
            w.key("srs_server_ip").string("10.0.0.5").key("srs_pid").number(812.0);
            w.key("srs_id").string("a1b2").end().end();
        };
        assert_eq!(identity(&srs), "SRS/7.0.18 10.0.0.5 pid 812");
    }
}
