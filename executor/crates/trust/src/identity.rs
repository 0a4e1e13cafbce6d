//! Our certificate, the authority that we trust and the allow-list, kept fresh while the process runs.
//!
//! Invariants: new connections use what was read last; those that stand are measured by it (see [`crate::standing`]); files
//! that cannot be read or do not fit together leave what was there in force, with an error in the log. What may fail: the
//! first reading.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, ServerConfig,
    SignatureScheme,
};

use crate::TrustError;
use crate::allow::{Allow, Role, Roles};
use crate::explain::{self, NoServer};
use crate::standing::{End, Peer, Standing};

/// How often the files are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Looks after which connections are looked through although nothing has changed: certificates expire.
const REVIEW_EVERY: u32 = 12;
/// The protocol that gRPC speaks.
const HTTP2: &[u8] = b"h2";
/// A file of certificates, of a key or of the allow-list is no longer than this.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where certificates are, all PEM, and the allow-list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate, and those between it and the authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that peers' certificates must lead to.
    pub ca: PathBuf,
    /// Entries `ROLE=NAME`, one a line; none where there is no such file.
    pub allow: Option<PathBuf>,
}

/// The files as they were read: certificate, key, authorities, allow-list.
type Texts = [Vec<u8>; 4];

/// What one reading gave.
struct Loaded {
    texts: Texts,
    allow: Arc<Allow>,
    server: Arc<ServerConfig>,
    /// Whom we let in.
    visitors: Arc<dyn ClientCertVerifier>,
    /// By [`Server`].
    clients: [Arc<ClientConfig>; 3],
    /// By [`Server`].
    verifiers: [Arc<Listed>; 3],
}

/// What a peer was let in as.
#[derive(Debug)]
enum Met {
    Client(Roles),
    Server(Server),
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
    /// The entries that are in no file.
    allow: Allow,
    loaded: RwLock<Loaded>,
    /// Whether changed files could not be used when they were looked at last.
    failing: Arc<AtomicBool>,
    standing: Standing<Met>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("files", &self.shared.files).finish_non_exhaustive()
    }
}

impl Trust {
    /// Reads the files. `allow` are entries of the allow-list beside those of its file.
    ///
    /// # Errors
    /// [`TrustError`], naming the file; an allow-list without entries.
    pub fn load(files: TlsFiles, allow: Allow) -> Result<Self, TrustError> {
        let loaded = RwLock::new(build(&files, &allow, read_all(&files)?)?);
        let (failing, standing) = (Arc::default(), Standing::default());
        let shared = Arc::new(Shared { files, allow, loaded, failing, standing });
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
        Arc::clone(&self.loaded().server)
    }

    /// For a new connection to a server: a node or a scheduler, where it was not said which.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.loaded().clients[self.towards as usize])
    }

    /// Where the authorities are, for messages.
    pub(crate) fn ca(&self) -> String {
        self.shared.files.ca.display().to_string()
    }

    /// What a client is whose chain was verified in its handshake, and what ends its connection.
    pub(crate) fn welcome(&self, name: &str, chain: &[CertificateDer<'static>]) -> (Roles, End) {
        let mut roles = Roles::default();
        let end = self.shared.standing.add(|| {
            roles = chain.first().map(|first| roles_of(&self.loaded().allow, first)).unwrap_or_default();
            Peer { name: name.to_owned(), chain: chain.to_vec(), as_what: Met::Client(roles.clone()) }
        });
        (roles, end)
    }

    /// What ends the connection with a server that was verified in its handshake.
    pub(crate) fn met(&self, name: &str, chain: &[CertificateDer<'static>]) -> End {
        let (name, chain, as_what) = (name.to_owned(), chain.to_vec(), Met::Server(self.towards));
        self.shared.standing.add(|| Peer { name, chain, as_what })
    }

    fn loaded(&self) -> RwLockReadGuard<'_, Loaded> {
        self.shared.loaded.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connections whose peers would not be let in as what they were let in as, this long after 1970.
    pub fn review(&self, now: Duration) {
        let now = UnixTime::since_unix_epoch(now);
        self.shared.standing.review(|peer| self.loaded().objection(peer, now, &self.ca()));
    }

    /// Reads the files again if they have changed: `true` when something new is in force. Then connections that it does not
    /// allow any more are ended.
    ///
    /// # Errors
    /// [`TrustError`]; what was in force stays.
    pub fn refresh(&self) -> Result<bool, TrustError> {
        let texts = read_all(&self.shared.files)?;
        if self.loaded().texts == texts {
            return Ok(false);
        }
        let loaded = build(&self.shared.files, &self.shared.allow, texts)?;
        *self.shared.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        self.review(now());
        Ok(true)
    }

    /// True while changed files cannot be used.
    #[must_use]
    pub fn failing(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.shared.failing)
    }

    /// Looks at the files every few seconds, and at connections every minute. Ends only when it is dropped.
    pub async fn keep_fresh(self) {
        let mut looks = 0u32;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            looks = looks.wrapping_add(1);
            let (trust, cert) = (self.clone(), self.shared.files.cert.display().to_string());
            let look = move || {
                let refreshed = trust.refresh();
                if looks.is_multiple_of(REVIEW_EVERY) {
                    trust.review(now());
                }
                refreshed
            };
            let Ok(refreshed) = tokio::task::spawn_blocking(look).await else { return };
            let failed = self.shared.failing.swap(refreshed.is_err(), Ordering::Relaxed);
            match refreshed {
                Ok(true) => tracing::info!(cert, "certificates or the allow-list changed, and are in force"),
                Ok(false) => {}
                Err(error) if !failed => {
                    tracing::error!(
                        %error,
                        "changed certificates or a changed allow-list cannot be used: what was there before stays in force",
                    );
                }
                Err(_) => {}
            }
        }
    }
}

impl Loaded {
    /// Why a peer would not be let in now as what it was let in as.
    fn objection(&self, peer: &Peer<Met>, now: UnixTime, ca: &str) -> Option<String> {
        let (end_entity, intermediates) = peer.chain.split_first()?;
        let explained = |error: &Error| explain::certificate("its certificate", error, ca);
        match &peer.as_what {
            Met::Client(roles) => match self.visitors.verify_client_cert(end_entity, intermediates, now) {
                Err(error) => Some(explained(&error)),
                Ok(_) => (roles_of(&self.allow, end_entity) != *roles).then(|| {
                    format!(
                        "the allow-list gives it other roles than when it came; {}",
                        explain::names(end_entity)
                    )
                }),
            },
            Met::Server(wanted) => {
                let verdict = self.verifiers[*wanted as usize].check(end_entity, intermediates, now);
                verdict.err().map(|error| explained(&error))
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

/// Since 1970; certificates know no other clock.
fn now() -> Duration {
    Duration::from_secs(UnixTime::now().as_secs())
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    let wrong = |why: String| TrustError::File { path: path.display().to_string(), why };
    let length = std::fs::metadata(path).map_err(|error| wrong(explain::file(&error)))?.len();
    if length > FILE_BYTES_MAX {
        return Err(wrong(format!("has {length} bytes, a PEM file has at most {FILE_BYTES_MAX}")));
    }
    std::fs::read(path).map_err(|error| wrong(explain::file(&error)))
}

fn read_all(files: &TlsFiles) -> Result<Texts, TrustError> {
    let allow = files.allow.as_deref().map_or_else(|| Ok(Vec::new()), read)?;
    Ok([read(&files.cert)?, read(&files.key)?, read(&files.ca)?, allow])
}

/// The whole allow-list: the entries that are in no file, and those of the file.
fn allow_list(files: &TlsFiles, given: &Allow, text: &[u8]) -> Result<Allow, TrustError> {
    let mut allow = given.clone();
    if let Some(path) = &files.allow {
        let wrong = |why: String| TrustError::File { path: path.display().to_string(), why };
        let text = std::str::from_utf8(text).map_err(|_| wrong("is no text in UTF-8".to_owned()))?;
        allow.extend(text).map_err(wrong)?;
    }
    if allow.is_empty() {
        return Err(TrustError::Settings(
            "--tls-allow, --tls-allow-file: TLS without an entry there would let nobody in; for example --tls-allow \
             'node=*.nodes.myriad' --tls-allow 'scheduler=*.schedulers.myriad'",
        ));
    }
    Ok(allow)
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

pub(crate) fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let wrong = |why: String| TrustError::File { path: path.display().to_string(), why };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found =
        found.map_err(|error| wrong(format!("is no PEM, or not written to its end ({})", pem(&error))))?;
    if found.is_empty() {
        return Err(wrong("holds no certificate (-----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(found)
}

pub(crate) fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TrustError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| TrustError::File {
        path: path.display().to_string(),
        why: format!(
            "holds no private key in PEM (PKCS#8, PKCS#1 or SEC1), or was not written to its end ({})",
            pem(&error)
        ),
    })
}

fn build(files: &TlsFiles, given: &Allow, texts: Texts) -> Result<Loaded, TrustError> {
    let allow = Arc::new(allow_list(files, given, &texts[3])?);
    let unusable = |why: String| TrustError::Unusable { path: files.cert.display().to_string(), why };
    let chain = certificates(&files.cert, &texts[0])?;
    let key = private_key(&files.key, &texts[1])?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(&files.ca, &texts[2])? {
        roots.add(authority).map_err(|error| TrustError::File {
            path: files.ca.display().to_string(),
            why: format!("holds a certificate that is no authority: {error}"),
        })?;
    }
    let roots = Arc::new(roots);
    check_own(files, &chain, &roots).map_err(unusable)?;
    let visitors = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider());
    let visitors: Arc<dyn ClientCertVerifier> =
        visitors.build().map_err(|error| unusable(error.to_string()))?;
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_client_cert_verifier(Arc::clone(&visitors)))
        .and_then(|builder| builder.with_single_cert(chain.clone(), key.clone_key()));
    let mut server = server.map_err(|error| {
        let key = files.key.display();
        unusable(format!(
            "{error}; see whether {key} is its key: both are made together, and replaced together"
        ))
    })?;
    server.alpn_protocols = vec![HTTP2.to_vec()];
    let verifier = Listed::new(roots, Arc::clone(&allow)).map_err(unusable)?;
    let verifiers = Server::ALL.map(|wanted| Arc::new(Listed { wanted, ..verifier.clone() }));
    let [any, node, scheduler] = verifiers.clone().map(|verifier| {
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map(|builder| builder.dangerous().with_custom_certificate_verifier(verifier))
            .and_then(|builder| builder.with_client_auth_cert(chain.clone(), key.clone_key()));
        let mut client = client.map_err(|error| unusable(error.to_string()))?;
        client.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(Arc::new(client))
    });
    Ok(Loaded {
        texts,
        allow,
        server: Arc::new(server),
        visitors,
        clients: [any?, node?, scheduler?],
        verifiers,
    })
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

    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        leads_to(&self.roots, end_entity, intermediates, now)?;
        if self.wanted.is(&roles_of(&self.allow, end_entity)) {
            return Ok(());
        }
        let unlisted: Arc<dyn std::error::Error + Send + Sync> =
            Arc::new(NoServer(explain::names(end_entity)));
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(unlisted))))
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
        self.check(end_entity, intermediates, now).map(|()| ServerCertVerified::assertion())
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
