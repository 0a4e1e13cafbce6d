//! The certificate that a server shows to the public, which shows none: clients are told apart by what they sign.
//!
//! Invariants: new connections see what was read last; files that cannot be used leave what was there in force, with an error
//! in the log; HTTP/2 and HTTP/1.1 are offered. What may fail: the first reading, with [`TrustError`]; a handshake.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::TrustError;
use crate::identity::{LOOK_EVERY, certificates, private_key, provider, read};

/// A connection of the public, after its handshake.
pub type PublicStream<S> = tokio_rustls::server::TlsStream<S>;

/// See the module. Clones share everything.
#[derive(Clone)]
pub struct PublicIdentity(Arc<Shared>);

struct Shared {
    cert: PathBuf,
    key: PathBuf,
    loaded: RwLock<Loaded>,
    failing: Arc<AtomicBool>,
}

/// What one reading gave.
struct Loaded {
    /// The files as they were read: certificate, key.
    texts: [Vec<u8>; 2],
    server: Arc<ServerConfig>,
}

impl std::fmt::Debug for PublicIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicIdentity").field("cert", &self.0.cert).finish_non_exhaustive()
    }
}

impl PublicIdentity {
    /// Reads a certificate with those between it and its authority, and its private key, all PEM.
    ///
    /// # Errors
    /// [`TrustError`], naming the file.
    pub fn load(cert: PathBuf, key: PathBuf) -> Result<Self, TrustError> {
        let loaded = RwLock::new(load(&cert, &key, [read(&cert)?, read(&key)?])?);
        Ok(Self(Arc::new(Shared { cert, key, loaded, failing: Arc::default() })))
    }

    /// Shows the certificate to a client. It takes as long as the client does.
    ///
    /// # Errors
    /// The handshake failed.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<PublicStream<S>> {
        let server = Arc::clone(&self.0.loaded.read().unwrap_or_else(PoisonError::into_inner).server);
        TlsAcceptor::from(server).accept(stream).await
    }

    /// Reads the files again: `true` when they have changed, and something new is in force.
    ///
    /// # Errors
    /// [`TrustError`]; what was in force stays.
    pub fn refresh(&self) -> Result<bool, TrustError> {
        let Shared { cert, key, loaded, .. } = &*self.0;
        let texts = [read(cert)?, read(key)?];
        if loaded.read().unwrap_or_else(PoisonError::into_inner).texts == texts {
            return Ok(false);
        }
        let new = load(cert, key, texts)?;
        *loaded.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(true)
    }

    /// True while changed files cannot be used.
    #[must_use]
    pub fn failing(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.failing)
    }

    /// Looks at the files every few seconds. Ends only when it is dropped.
    pub async fn keep_fresh(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let identity = self.clone();
            let Ok(refreshed) = tokio::task::spawn_blocking(move || identity.refresh()).await else { return };
            let failed = self.0.failing.swap(refreshed.is_err(), Ordering::Relaxed);
            match refreshed {
                Ok(true) => tracing::info!(cert = %self.0.cert.display(), "the public certificate changed"),
                Ok(false) => {}
                Err(error) if !failed => {
                    tracing::error!(%error, "a changed public certificate cannot be used: the old one stays in force");
                }
                Err(_) => {}
            }
        }
    }
}

/// Makes something of what was read from the files.
fn load(cert: &Path, key: &Path, texts: [Vec<u8>; 2]) -> Result<Loaded, TrustError> {
    let unusable = |why: String| TrustError::Unusable { path: cert.display().to_string(), why };
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth())
        .map_err(|error| unusable(error.to_string()))?;
    let mut server = server
        .with_single_cert(certificates(cert, &texts[0])?, private_key(key, &texts[1])?)
        .map_err(|error| unusable(format!("{error}; see whether {} is its key", key.display())))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { texts, server: Arc::new(server) })
}
