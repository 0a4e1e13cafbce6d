//! The certificates of a command line: the same settings for a scheduler and for who speaks to one.

use std::path::PathBuf;

use clap::Args;
use trust::{TlsSettings, Trust};

use crate::error::Error;

/// See [`TlsSettings`].
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust")]
pub(super) struct TrustOptions {
    /// Our certificate (PEM), and those between it and the authority; with it TLS is spoken
    #[arg(long, value_name = "FILE", env = "MYRIAD_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", env = "MYRIAD_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// The authorities (PEM) that the certificates of others must lead to
    #[arg(long, value_name = "FILE", env = "MYRIAD_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// What the holder of a name (DNS or URI subject alternative name; * is any text) is: node, scheduler,
    /// caller, operator. Repeat, or separate by commas
    #[arg(long, value_name = "ROLE=NAME", env = "MYRIAD_TLS_ALLOW", value_delimiter = ',')]
    tls_allow: Vec<String>,
}

impl TrustOptions {
    /// Reads the certificates; `None` where there is to be no TLS.
    pub(super) fn trust(&self) -> Result<Option<Trust>, Error> {
        let settings = TlsSettings {
            cert: self.tls_cert.clone(),
            key: self.tls_key.clone(),
            ca: self.tls_ca.clone(),
            allow: self.tls_allow.clone(),
        };
        settings.trust().map_err(|error| Error::invalid("InvalidCertificate", error.to_string()))
    }
}
