//! The settings of TLS on a command line: the same for a scheduler, for whoever speaks to one, and for load.

use std::path::PathBuf;

use clap::Args;

use crate::TlsSettings;

/// See [`TlsSettings`].
// They are global, so that they may also stand behind subcommands.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Trust")]
pub struct TlsFlags {
    /// Our certificate (PEM), and those between it and the authority; with it TLS is spoken
    #[arg(long, value_name = "FILE", env = "MYRIAD_TLS_CERT", global = true)]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", env = "MYRIAD_TLS_KEY", global = true)]
    pub tls_key: Option<PathBuf>,
    /// The authorities (PEM) that the certificates of others must lead to
    #[arg(long, value_name = "FILE", env = "MYRIAD_TLS_CA", global = true)]
    pub tls_ca: Option<PathBuf>,
    /// What the holder of a name (DNS or URI subject alternative name; * is any text) is: node, scheduler,
    /// caller, operator, worker, or worker:POOL. Repeat, or separate by commas
    #[arg(long, value_name = "ROLE=NAME", env = "MYRIAD_TLS_ALLOW", value_delimiter = ',', global = true)]
    pub tls_allow: Vec<String>,
    /// File with such entries, one a line, beside those of --tls-allow. Read again when it changes
    #[arg(long, value_name = "FILE", env = "MYRIAD_TLS_ALLOW_FILE", global = true)]
    pub tls_allow_file: Option<PathBuf>,
}

impl TlsFlags {
    /// As settings.
    #[must_use]
    pub fn settings(&self) -> TlsSettings {
        TlsSettings {
            cert: self.tls_cert.clone(),
            key: self.tls_key.clone(),
            ca: self.tls_ca.clone(),
            allow: self.tls_allow.clone(),
            allow_file: self.tls_allow_file.clone(),
        }
    }

    /// The same as arguments, for a process that is started.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let files = [
            ("--tls-cert", &self.tls_cert),
            ("--tls-key", &self.tls_key),
            ("--tls-ca", &self.tls_ca),
            ("--tls-allow-file", &self.tls_allow_file),
        ];
        let given = files.into_iter().filter_map(|(flag, file)| Some((flag, file.as_ref()?)));
        let files = given.flat_map(|(flag, file)| [flag.to_owned(), file.display().to_string()]);
        let allow = self.tls_allow.iter().flat_map(|entry| ["--tls-allow".to_owned(), entry.clone()]);
        files.chain(allow).collect()
    }
}
