//! What servers are checked against.
//!
//! Invariant: the system's authorities, and those that configuration names. What may fail: a file with none.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use token_cache::providers::{CONNECT_WITHIN, HttpTransport, Transport};

use super::name_files::NameSources;
use super::names::{LOOK_UP_WITHIN, Names};
use super::{Egress, SetupError};

// Or a look-up that fails would be told as a connection that does not stand.
const _: () = assert!(LOOK_UP_WITHIN.as_millis() < CONNECT_WITHIN.as_millis());

/// How servers are checked.
pub type Tls = Arc<ClientConfig>;

/// The system's authorities, and those of a PEM file.
///
/// # Errors
/// [`SetupError::Authorities`]
pub fn tls(authorities: Option<&Path>) -> Result<Tls, SetupError> {
    let mut roots = RootCertStore::empty();
    // A machine may have none: then https is for servers of the file's authorities.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = authorities {
        let wrong = |why: String| SetupError::Authorities { path: path.to_owned(), why };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
        let mut added = 0;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            added += 1;
        }
        if added == 0 {
            return Err(wrong("it holds no certificate in PEM".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// How providers of credentials are reached: they stand in the node's configuration, so that no egress policy holds for them.
///
/// # Errors
/// [`SetupError::Client`]
pub fn transport(tls: &Tls) -> Result<Arc<dyn Transport>, SetupError> {
    let names = Arc::new(Names::new(Egress::everything(), NameSources::default()));
    let tls = ClientConfig::clone(tls);
    let builder = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().dns_resolver(names);
    Ok(Arc::new(HttpTransport::new(builder)?))
}
