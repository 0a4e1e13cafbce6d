//! The settings of TLS, as every process of an installation has them.

use std::path::PathBuf;

use crate::TrustError;
use crate::allow::Allow;
use crate::identity::{TlsFiles, Trust};

/// `--tls-cert`, `--tls-key`, `--tls-ca`, and `--tls-allow` or `--tls-allow-file`: all of them, or none and no TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// See [`TlsFiles::cert`].
    pub cert: Option<PathBuf>,
    /// See [`TlsFiles::key`].
    pub key: Option<PathBuf>,
    /// See [`TlsFiles::ca`].
    pub ca: Option<PathBuf>,
    /// Entries `ROLE=NAME`, see [`Allow::parse`].
    pub allow: Vec<String>,
    /// See [`TlsFiles::allow`].
    pub allow_file: Option<PathBuf>,
}

impl TlsSettings {
    /// Whether TLS is spoken.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.cert.is_some() || self.key.is_some() || self.ca.is_some()
    }

    /// Reads the certificates; `None` where there is to be no TLS.
    ///
    /// # Errors
    /// [`TrustError`]: a part is missing, or a file cannot be used.
    pub fn trust(&self) -> Result<Option<Trust>, TrustError> {
        match (&self.cert, &self.key, &self.ca) {
            (None, None, None) if self.allow.is_empty() && self.allow_file.is_none() => Ok(None),
            (Some(cert), Some(key), Some(ca)) => {
                let given = Allow::parse(self.allow.iter().map(String::as_str))?;
                let (cert, key, ca, allow) = (cert.clone(), key.clone(), ca.clone(), self.allow_file.clone());
                Trust::load(TlsFiles { cert, key, ca, allow }, given).map(Some)
            }
            _ => Err(TrustError::Settings(
                "--tls-cert, --tls-key and --tls-ca belong together: give all three, or none",
            )),
        }
    }
}
