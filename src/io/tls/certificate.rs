//! What a certificate says: the few fields that a person asks about. rustls judges it; nothing here is a check.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use serde::Serialize;

/// A certificate (RFC 5280, section 4.1), as far as it tells who may use it and when. What cannot be read is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// DNS names and IP addresses that it is for (subjectAltName).
    pub names: Vec<String>,
    /// When its time begins, as the certificate says it: RFC 3339, in UTC.
    pub not_before: Option<String>,
    /// When its time ends, likewise.
    pub not_after: Option<String>,
}

/// Names that are told of a certificate; those of large sites hold hundreds.
const MOST_NAMES: usize = 20;

/// Tags of DER (X.690, section 8).
mod tag {
    pub const BOOLEAN: u8 = 0x01;
    pub const OCTETS: u8 = 0x04;
    pub const OBJECT_ID: u8 = 0x06;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;
    pub const VERSION: u8 = 0xa0;
    pub const EXTENSIONS: u8 = 0xa3;
    pub const DNS_NAME: u8 = 0x82;
    pub const IP_ADDRESS: u8 = 0x87;
}

/// subjectAltName: RFC 5280, section 4.2.1.6.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// What its fields say.
pub(super) fn describe(certificate: &CertificateDer<'_>) -> Certificate {
    read(certificate).unwrap_or_default()
}

/// `None` if the fields are not where they belong.
fn read(der: &[u8]) -> Option<Certificate> {
    let mut whole = Der(Der(der).expect(tag::SEQUENCE)?);
    let mut fields = Der(whole.expect(tag::SEQUENCE)?);
    fields.take_if(tag::VERSION);
    let _serial = fields.next()?;
    let _signature = fields.expect(tag::SEQUENCE)?;
    let issuer = distinguished_name(fields.expect(tag::SEQUENCE)?);
    let mut validity = Der(fields.expect(tag::SEQUENCE)?);
    let [not_before, not_after] = [validity.next()?, validity.next()?].map(|(tag, text)| instant(tag, text));
    let subject = distinguished_name(fields.expect(tag::SEQUENCE)?);
    let names = fields.find(|(tag, _)| *tag == tag::EXTENSIONS).map(|(_, extensions)| alternative_names(extensions));
    Some(Certificate { subject, issuer, names: names.unwrap_or_default(), not_before, not_after })
}

/// Values one after another.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The contents of the next value, if it has that tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, contents)| contents)
    }

    /// Passes over the next value if it has that tag.
    fn take_if(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }
}

/// Tags and contents; nothing from where the bytes are no values.
impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x83 => {
                let (bytes, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = behind;
                bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
            }
            _ => return None,
        };
        let (contents, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((tag, contents))
    }
}

/// "CN=ingest.example, O=Example", the most telling part first, as it stands last.
fn distinguished_name(name: &[u8]) -> String {
    let sets = Der(name).filter(|(tag, _)| *tag == tag::SET).flat_map(|(_, set)| Der(set));
    let mut parts: Vec<String> = sets.filter_map(|(_, attribute)| attribute_of_name(attribute)).collect();
    parts.reverse();
    parts.join(", ")
}

fn attribute_of_name(attribute: &[u8]) -> Option<String> {
    let mut fields = Der(attribute);
    let label = match fields.expect(tag::OBJECT_ID)? {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        _ => return None,
    };
    let (_, text) = fields.next()?;
    Some(format!("{label}={}", String::from_utf8_lossy(text)))
}

fn alternative_names(extensions: &[u8]) -> Vec<String> {
    let extensions = Der(extensions).expect(tag::SEQUENCE).unwrap_or_default();
    let values = Der(extensions).filter_map(|(_, extension)| {
        let mut fields = Der(extension);
        let is_wanted = fields.expect(tag::OBJECT_ID)? == ALTERNATIVE_NAMES;
        fields.take_if(tag::BOOLEAN);
        fields.expect(tag::OCTETS).filter(|_| is_wanted)
    });
    let names = values.flat_map(|value| Der(Der(value).expect(tag::SEQUENCE).unwrap_or_default()));
    names.filter_map(|(tag, name)| general_name(tag, name)).take(MOST_NAMES).collect()
}

fn general_name(tag: u8, name: &[u8]) -> Option<String> {
    match tag {
        tag::DNS_NAME => Some(String::from_utf8_lossy(name).into_owned()),
        tag::IP_ADDRESS => {
            let v4 = <[u8; 4]>::try_from(name).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(name).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

/// "2026-12-01T03:00:00Z" of "261201030000Z" (until 2049) or "20261201030000Z": RFC 5280, section 4.1.2.5.
fn instant(tag: u8, text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        tag::UTC_TIME => format!("{}{text}", if text < "50" { "20" } else { "19" }),
        tag::GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let [year, month, day, hour, minute, second] = [0..4, 4..6, 6..8, 8..10, 10..12, 12..14].map(|part| &text[part]);
    Some(format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> (CertificateDer<'static>, String) {
        let mut params = rcgen::CertificateParams::new(["ingest.example".to_owned(), "10.0.0.5".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "ingest");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2051, 3, 4);
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        (made.der().clone(), made.pem())
    }

    #[test]
    fn its_fields_are_read() {
        let told = describe(&certificate().0);
        assert!(told.subject.contains("CN=ingest") && told.subject.contains("O=Example"), "{told:?}");
        assert_eq!(told.issuer, told.subject);
        assert_eq!(told.names, ["ingest.example", "10.0.0.5"]);
        assert_eq!(told.not_before.as_deref(), Some("2026-01-02T00:00:00Z"));
        assert_eq!(told.not_after.as_deref(), Some("2051-03-04T00:00:00Z"), "another form of time");
    }

    #[test]
    fn bytes_that_are_none_say_nothing() {
        let (whole, _) = certificate();
        for end in 0..whole.len() {
            describe(&CertificateDer::from(&whole[..end]));
        }
        for place in 0..whole.len() {
            for byte in [0, 0x30, 0x80, 0x84, 0xff] {
                let mut changed = whole.to_vec();
                changed[place] = byte;
                describe(&CertificateDer::from(changed));
            }
        }
        assert_eq!(describe(&CertificateDer::from(&b"no certificate"[..])), Certificate::default());
    }
}
