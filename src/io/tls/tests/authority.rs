//! A certificate authority that lives as long as a test.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;

use crate::io::tls::{TlsClient, TlsClientPlan, TlsServer, TlsServerPlan, Trust};

/// The name that good certificates are for.
pub const NAME: &str = "rtmp.test";

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
    issued: Cell<u32>,
}

/// A certificate and its key, as files.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("authority")
    }

    /// One that those who trust the other do not know.
    pub fn foreign() -> Self {
        Self::named("foreign authority")
    }

    fn named(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        std::fs::write(folder.path().join("authority.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), folder, issued: Cell::new(0) }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// A certificate for `name`, changed as the test likes.
    pub fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        self.keep(&params.signed_by(&key, &self.issuer).unwrap().pem(), &key)
    }

    pub fn good(&self) -> Identity {
        self.issue(NAME, |_| {})
    }

    /// One for [`NAME`] that vouches for itself, changed as the test likes.
    pub fn self_signed(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        self.keep(&params.self_signed(&key).unwrap().pem(), &key)
    }

    fn keep(&self, certificate: &str, key: &KeyPair) -> Identity {
        let number = self.issued.replace(self.issued.get() + 1);
        let path = |kind: &str| self.folder.path().join(format!("{number}-{kind}.pem"));
        let identity = Identity { certificate: path("certificate"), key: path("key") };
        std::fs::write(&identity.certificate, certificate).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }

    pub fn not_yet_valid(&self) -> Identity {
        self.issue(NAME, |params| {
            (params.not_before, params.not_after) = (date_time_ymd(4001, 1, 1), date_time_ymd(4002, 1, 1));
        })
    }

    pub fn expired(&self) -> Identity {
        self.issue(NAME, |params| {
            (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        })
    }

    pub fn plan(&self) -> TlsClientPlan {
        let trust = Trust::Authorities(self.file());
        TlsClientPlan { server_name: NAME.to_owned(), trust, resume: true }
    }

    pub fn client(&self) -> TlsClient {
        client(&self.plan())
    }
}

pub fn client(plan: &TlsClientPlan) -> TlsClient {
    TlsClient::load(&[Some(plan.clone())]).unwrap_or_else(|error| panic!("{error}")).remove(0).unwrap()
}

impl Identity {
    pub fn server(&self) -> TlsServer {
        let plan = TlsServerPlan { certificate: self.certificate.clone(), key: self.key.clone() };
        TlsServer::load(&plan).unwrap_or_else(|error| panic!("{error}"))
    }

    /// For a server of this version alone.
    pub fn config(&self, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = super::super::config::certificates(&self.certificate, "the certificate").unwrap();
        let key: PrivateKeyDer = rustls::pki_types::pem::PemObject::from_pem_file(&self.key).unwrap();
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}
