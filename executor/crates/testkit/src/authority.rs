//! Certificates for tests: an authority, and what it vouches for, in files.
//!
//! Invariant: each authority has keys of its own, so that what one signs another one refuses. What may fail: nothing but the
//! making of keys and files, and then the test cannot go on.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// See the module.
pub struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Files of one certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who vouches for it.
    pub ca: PathBuf,
}

impl Certificate {
    /// As `--tls-…` flags, with these entries of the allow-list.
    #[must_use]
    pub fn flags(&self, allow: &[&str]) -> Vec<String> {
        let files = [("--tls-cert", &self.cert), ("--tls-key", &self.key), ("--tls-ca", &self.ca)];
        let files = files.map(|(flag, file)| [flag.to_owned(), file.display().to_string()]);
        let allow = allow.iter().map(|entry| ["--tls-allow".to_owned(), (*entry).to_owned()]);
        files.into_iter().chain(allow).flatten().collect()
    }
}

#[allow(
    clippy::new_without_default,
    clippy::expect_used,
    reason = "for tests: making it costs a key, and may fail"
)]
impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// No key or no directory can be made.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "an authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        Self { dir: TempDir::new().expect("a directory"), issuer }
    }

    /// A certificate for a DNS name.
    ///
    /// # Panics
    /// It cannot be made or written.
    #[must_use]
    pub fn issue(&self, name: &str) -> Certificate {
        self.sign(name, CertificateParams::new(vec![name.to_owned()]).expect("a name"))
    }

    /// A certificate for a DNS name that is over since long.
    ///
    /// # Panics
    /// It cannot be made or written.
    #[must_use]
    pub fn issue_expired(&self, name: &str) -> Certificate {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        self.sign(name, params)
    }

    fn sign(&self, name: &str, mut params: CertificateParams) -> Certificate {
        // OpenSSL takes one that has its authority's name for the authority itself.
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("signed");
        let write = |kind: &str, text: String| {
            let path = Path::new(self.dir.path()).join(format!("{name}.{kind}.pem"));
            std::fs::write(&path, text).expect("written");
            path
        };
        Certificate {
            cert: write("cert", cert.pem()),
            key: write("key", key.serialize_pem()),
            ca: write("ca", self.issuer.pem()),
        }
    }
}
