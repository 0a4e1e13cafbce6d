//! Our certificate and the authority that we trust, kept fresh while the process runs.
//!
//! Invariants: connections that stand keep what they were made with; new ones use what was read last; files that cannot be
//! read or do not fit together leave what was there in force, with an error in the log. What may fail: the first reading.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, ServerConfig,
    SignatureScheme,
};

use crate::TrustError;
use crate::allow::{Allow, Role, Roles};
use crate::explain::{self, NoServer};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The protocol that gRPC speaks.
const HTTP2: &[u8] = b"h2";
/// A file of certificates or a key is no longer than this.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where certificates are. All PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate, and those between it and the authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that peers' certificates must lead to.
    pub ca: PathBuf,
}

/// What one reading gave.
struct Loaded {
    texts: [Vec<u8>; 3],
    server: Arc<ServerConfig>,
    /// By [`Server`].
    clients: [Arc<ClientConfig>; 3],
}

/// What a server has to be that we call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    /// A node or a scheduler.
    Any,
    Node,
    Scheduler,
}

impl Server {
    const ALL: [Self; 3] = [Self::Any, Self::Node, Self::Scheduler];

    fn is(self, roles: &Roles) -> bool {
        match self {
            Self::Any => roles.has(&Role::Node) || roles.has(&Role::Scheduler),
            Self::Node => roles.has(&Role::Node),
            Self::Scheduler => roles.has(&Role::Scheduler),
        }
    }
}

/// See the module. Clones share everything but what the servers are that they call.
#[derive(Clone)]
pub struct Trust {
    shared: Arc<Shared>,
    towards: Server,
}

struct Shared {
    files: TlsFiles,
    allow: Arc<Allow>,
    loaded: RwLock<Loaded>,
    /// Whether changed files could not be used when they were looked at last.
    failing: Arc<AtomicBool>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("files", &self.shared.files).finish_non_exhaustive()
    }
}

impl Trust {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TrustError`], naming the file.
    pub fn load(files: TlsFiles, allow: Allow) -> Result<Self, TrustError> {
        let allow = Arc::new(allow);
        let loaded = load(&files, &allow)?;
        let (loaded, failing) = (RwLock::new(loaded), Arc::default());
        let shared = Arc::new(Shared { files, allow, loaded, failing });
        Ok(Self { shared, towards: Server::Any })
    }

    /// For connections to nodes: nobody else may answer there.
    #[must_use]
    pub fn towards_nodes(&self) -> Self {
        Self { towards: Server::Node, ..self.clone() }
    }

    /// For connections to the scheduler: nobody else may answer there.
    #[must_use]
    pub fn towards_schedulers(&self) -> Self {
        Self { towards: Server::Scheduler, ..self.clone() }
    }

    /// For a new connection from a client.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.shared.loaded.read().unwrap_or_else(PoisonError::into_inner).server)
    }

    /// For a new connection to a server: a node or a scheduler, where it was not said which.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        let loaded = self.shared.loaded.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&loaded.clients[self.towards as usize])
    }

    /// Where the authorities are, for messages.
    pub(crate) fn ca(&self) -> String {
        self.shared.files.ca.display().to_string()
    }

    /// What the holder of a verified certificate is.
    #[must_use]
    pub fn roles(&self, certificate: &CertificateDer<'_>) -> Roles {
        roles_of(&self.shared.allow, certificate)
    }

    /// Reads the files again if they have changed: `true` when something new is in force.
    ///
    /// # Errors
    /// [`TrustError`]; what was in force stays.
    pub fn refresh(&self) -> Result<bool, TrustError> {
        let texts = read_all(&self.shared.files)?;
        if self.shared.loaded.read().unwrap_or_else(PoisonError::into_inner).texts == texts {
            return Ok(false);
        }
        let loaded = build(&self.shared.files, &self.shared.allow, texts)?;
        *self.shared.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(true)
    }

    /// True while changed files cannot be used.
    #[must_use]
    pub fn failing(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.shared.failing)
    }

    /// Looks at the files every few seconds. Ends only when it is dropped.
    pub async fn keep_fresh(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let (trust, cert) = (self.clone(), self.shared.files.cert.display().to_string());
            let Ok(refreshed) = tokio::task::spawn_blocking(move || trust.refresh()).await else { return };
            let failed = self.shared.failing.swap(refreshed.is_err(), Ordering::Relaxed);
            match refreshed {
                Ok(true) => tracing::info!(cert, "certificates changed: new connections use them"),
                Ok(false) => {}
                Err(error) if !failed => {
                    tracing::error!(%error, "changed certificates cannot be used: the ones before stay in force");
                }
                Err(_) => {}
            }
        }
    }
}

fn roles_of(allow: &Allow, certificate: &CertificateDer<'_>) -> Roles {
    match webpki::EndEntityCert::try_from(certificate) {
        Ok(parsed) => allow
            .roles(parsed.valid_dns_names().chain(parsed.valid_uri_names()).collect::<Vec<_>>().into_iter()),
        Err(_) => Roles::default(),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    let wrong = |why: String| TrustError::File { path: path.display().to_string(), why };
    let length = std::fs::metadata(path).map_err(|error| wrong(explain::file(&error)))?.len();
    if length > FILE_BYTES_MAX {
        return Err(wrong(format!("has {length} bytes, a PEM file has at most {FILE_BYTES_MAX}")));
    }
    std::fs::read(path).map_err(|error| wrong(explain::file(&error)))
}

fn read_all(files: &TlsFiles) -> Result<[Vec<u8>; 3], TrustError> {
    Ok([read(&files.cert)?, read(&files.key)?, read(&files.ca)?])
}

fn load(files: &TlsFiles, allow: &Arc<Allow>) -> Result<Loaded, TrustError> {
    build(files, allow, read_all(files)?)
}

/// What is wrong with a file of PEM, without the bytes that it holds.
fn pem(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::MissingSectionEnd { .. } => "a section has no end".to_owned(),
        Error::IllegalSectionStart { .. } => "a section has no proper beginning".to_owned(),
        other => other.to_string(),
    }
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let wrong = |why: String| TrustError::File { path: path.display().to_string(), why };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found =
        found.map_err(|error| wrong(format!("is no PEM, or not written to its end ({})", pem(&error))))?;
    if found.is_empty() {
        return Err(wrong("holds no certificate (-----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(found)
}

fn build(files: &TlsFiles, allow: &Arc<Allow>, texts: [Vec<u8>; 3]) -> Result<Loaded, TrustError> {
    let unusable = |why: String| TrustError::Unusable { path: files.cert.display().to_string(), why };
    let chain = certificates(&files.cert, &texts[0])?;
    let key = PrivateKeyDer::from_pem_slice(&texts[1]).map_err(|error| TrustError::File {
        path: files.key.display().to_string(),
        why: format!(
            "holds no private key in PEM (PKCS#8, PKCS#1 or SEC1), or was not written to its end ({})",
            pem(&error)
        ),
    })?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(&files.ca, &texts[2])? {
        roots.add(authority).map_err(|error| TrustError::File {
            path: files.ca.display().to_string(),
            why: format!("holds a certificate that is no authority: {error}"),
        })?;
    }
    let roots = Arc::new(roots);
    check_own(files, &chain, &roots).map_err(unusable)?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider());
    let clients = clients.build().map_err(|error| unusable(error.to_string()))?;
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_client_cert_verifier(clients))
        .and_then(|builder| builder.with_single_cert(chain.clone(), key.clone_key()));
    let mut server = server.map_err(|error| {
        let key = files.key.display();
        unusable(format!(
            "{error}; see whether {key} is its key: both are made together, and replaced together"
        ))
    })?;
    server.alpn_protocols = vec![HTTP2.to_vec()];
    let verifier = Listed::new(roots, Arc::clone(allow)).map_err(unusable)?;
    let [any, node, scheduler] = Server::ALL.map(|wanted| {
        let verifier = Listed { wanted, ..verifier.clone() };
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map(|builder| builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
            .and_then(|builder| builder.with_client_auth_cert(chain.clone(), key.clone_key()));
        let mut client = client.map_err(|error| unusable(error.to_string()))?;
        client.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(Arc::new(client))
    });
    Ok(Loaded { texts, server: Arc::new(server), clients: [any?, node?, scheduler?] })
}

/// Whether a chain is valid now and leads to an authority.
fn leads_to(
    roots: &RootCertStore,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), Error> {
    rustls::client::verify_server_cert_signed_by_trust_anchor(
        &ParsedCertificate::try_from(end_entity)?,
        roots,
        intermediates,
        now,
        provider().signature_verification_algorithms.all,
    )
}

/// Our own certificate, before others refuse it: they would tell less.
fn check_own(files: &TlsFiles, chain: &[CertificateDer<'_>], roots: &RootCertStore) -> Result<(), String> {
    let Some((end_entity, intermediates)) = chain.split_first() else { return Ok(()) };
    leads_to(roots, end_entity, intermediates, UnixTime::now())
        .map_err(|error| explain::certificate("our certificate", &error, &files.ca.display().to_string()))
}

/// A server is who it should be when its chain leads to the authority and a name of it is on the list as what is wanted. Addresses are not compared with names: nodes are called by addresses that come and go, and the list says which
/// names may answer.
#[derive(Debug, Clone)]
struct Listed {
    wanted: Server,
    roots: Arc<RootCertStore>,
    allow: Arc<Allow>,
    signatures: Arc<WebPkiServerVerifier>,
}

impl Listed {
    fn new(roots: Arc<RootCertStore>, allow: Arc<Allow>) -> Result<Self, String> {
        let signatures = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider()).build();
        Ok(Self {
            wanted: Server::Any,
            roots,
            allow,
            signatures: signatures.map_err(|error| error.to_string())?,
        })
    }
}

impl ServerCertVerifier for Listed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        leads_to(&self.roots, end_entity, intermediates, now)?;
        if self.wanted.is(&roles_of(&self.allow, end_entity)) {
            Ok(ServerCertVerified::assertion())
        } else {
            let unlisted: Arc<dyn std::error::Error + Send + Sync> =
                Arc::new(NoServer(explain::names(end_entity)));
            Err(Error::InvalidCertificate(CertificateError::Other(OtherError(unlisted))))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}
