//! A certificate for the sink of a control measurement.

use std::fs;
use std::path::PathBuf;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

use crate::io::tls::{TlsServer, TlsServerPlan};

use crate::capacity::error::CapacityError;

/// The name that it is for.
pub(in crate::capacity) const NAME: &str = "127.0.0.1";

/// A certificate (ECDSA P-256) that is its own authority, and its key: files that go with it.
pub(in crate::capacity) struct ControlIdentity {
    folder: TempDir,
}

impl ControlIdentity {
    /// A new one.
    pub(in crate::capacity) fn new() -> Result<Self, CapacityError> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_owned()]).map_err(|error| {
            CapacityError::Environment(format!("cannot make a certificate for the control: {error}"))
        })?;
        let unwritable = |error: std::io::Error| {
            CapacityError::Environment(format!(
                "cannot write the control's certificate below {}: {error}; name another folder with TMPDIR, or give \
                 --control TARGET",
                std::env::temp_dir().display()
            ))
        };
        let identity = Self { folder: tempfile::tempdir().map_err(unwritable)? };
        fs::write(identity.certificate(), cert.pem()).map_err(unwritable)?;
        fs::write(identity.key(), signing_key.serialize_pem()).map_err(unwritable)?;
        Ok(identity)
    }

    /// The file of the certificate, which clients take for an authority's.
    pub(in crate::capacity) fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// What a sink serves with it.
    pub(in crate::capacity) fn server(&self) -> Result<TlsServer, CapacityError> {
        TlsServer::load(&TlsServerPlan { certificate: self.certificate(), key: self.key() })
            .map_err(|error| CapacityError::Environment(error.to_string()))
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }
}
