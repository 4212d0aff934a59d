//! A certificate authority that lives as long as a test.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority and what it has issued, as PEM files.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A new one that nobody trusts yet.
    pub fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.path().join("authority.pem"), certificate.pem()).expect("a writable temporary folder");
        Self { issuer: Issuer::new(params, key), folder }
    }

    /// The authority's own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// A server's certificate for `name`.
    pub fn issue(&self, name: &str) -> Identity {
        let params = CertificateParams::new([name.to_owned()]).expect("a valid name");
        let key = KeyPair::generate().expect("a key");
        let file = |kind: &str| self.folder.path().join(format!("{name}-{kind}.pem"));
        let identity = Identity { certificate: file("certificate"), key: file("key") };
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(&identity.certificate, certificate.pem()).expect("a writable temporary folder");
        std::fs::write(&identity.key, key.serialize_pem()).expect("a writable temporary folder");
        identity
    }
}
