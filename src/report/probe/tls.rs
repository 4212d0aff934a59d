//! What is said to people about TLS and certificates.

use crate::inspect::text::Row;
use crate::io::tls::{Certificate, TlsFacts};

/// What both sides agreed on.
pub(super) fn agreement(facts: &TlsFacts) -> String {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".into());
    let key_exchange = facts.key_exchange.as_ref().map(|group| format!(", key exchange {group}")).unwrap_or_default();
    let alpn = facts.alpn.as_ref().map(|name| format!(", ALPN {name}")).unwrap_or_default();
    let unchecked = if facts.certificate_checked { "" } else { "\nthe certificate was not checked" };
    format!("{}, {}{key_exchange}{alpn}{unchecked}", known(&facts.version), known(&facts.cipher))
}

/// A row for each certificate, the server's own first.
pub(super) fn certificates(facts: &TlsFacts) -> Vec<Row> {
    facts.certificates.iter().map(|certificate| Row::note("certificate", text(certificate))).collect()
}

fn text(certificate: &Certificate) -> String {
    let Certificate { subject, issuer, names, not_before, not_after } = certificate;
    if *certificate == Certificate::default() {
        return "it cannot be read".into();
    }
    let who = if subject.is_empty() { "without a subject" } else { subject };
    let names = if names.is_empty() { String::new() } else { format!("\nfor {}", names.join(", ")) };
    let issuer = if issuer == subject { "itself" } else { issuer };
    let day = |instant: &Option<String>| instant.clone().unwrap_or_else(|| "an unknown time".into());
    format!("{who}{names}\nissued by {issuer}\nvalid from {} to {}", day(not_before), day(not_after))
}
