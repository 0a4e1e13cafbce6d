//! The public HTTP door of a scheduler: how it is configured, opened, and kept fresh.
//!
//! Invariants: off loopback it opens with a certificate and with access keys alone; keys, certificate and key are read again while it is open.
//! What may fail: opening it, with [`Error::Invalid`] for what is configured and [`Error::Unavailable`] for an address that is taken.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use front::{Desk, Front, FrontConfig, Limits};
use telemetry::SchedulerMetrics;
use trust::{PublicIdentity, Trust};

use super::Gate;
use super::checks::RightsService;
use super::tell::Counter;
use crate::error::Error;

/// What the door is configured with.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Where it listens; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Threads that serve it; one at least.
    pub threads: usize,
    /// Who is let in.
    pub callers: Callers,
    /// The certificate that it shows, and its key, both PEM; plain HTTP without, on loopback alone.
    pub tls: Option<HttpTls>,
}

/// Who is let in.
#[derive(Debug, Clone)]
pub enum Callers {
    /// Everybody on this machine, without a signature.
    Anybody,
    /// Who signs with an access key.
    Keys {
        /// The file of the keys; `docs/front-doors.md` says what stands in it.
        file: PathBuf,
        /// URL of the authorization service, which knows rights that the file does not grant.
        auth: Option<String>,
    },
}

/// Files of the certificate.
#[derive(Debug, Clone)]
pub struct HttpTls {
    /// The certificate, and those between it and its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Opens the door; it answers when this returns. With it comes what has to run beside it for as long as it is open.
///
/// # Errors
/// See the module.
pub(crate) fn open(
    config: HttpConfig,
    gate: Gate,
    trust: Option<&Trust>,
    metrics: &SchedulerMetrics,
) -> Result<(Front, impl Future<Output = ()> + Send + use<>), Error> {
    let HttpConfig { listen, threads, callers, tls } = config;
    let tls = tls.map(|HttpTls { cert, key }| PublicIdentity::load(cert, key)).transpose();
    let tls = tls.map_err(|error| Error::invalid("InvalidCertificate", error.to_string()))?;
    let desk = Arc::new(desk(listen, callers, trust)?);
    let counter = Arc::new(Counter::new(threads, metrics));
    for (what, failing) in
        [("access_keys", desk.failing()), ("front_certificate", tls.as_ref().map(PublicIdentity::failing))]
    {
        if let Some(failing) = failing {
            metrics.add_reload(what, failing);
        }
    }
    let keys = desk.keep_fresh();
    let clock = gate.doors().clock.clone();
    let config = FrontConfig {
        listen,
        threads,
        limits: Limits::default(),
        tls,
        gate: Arc::new(gate),
        admission: desk,
        tell: Arc::clone(&counter) as Arc<dyn front::Tell>,
        now: Arc::new(move || UNIX_EPOCH + Duration::from_millis(clock.now_ms())),
    };
    let front = Front::start(config).map_err(refused)?;
    let beside = async move {
        tokio::join!(keys, counter.keep_telling());
    };
    Ok((front, beside))
}

fn desk(listen: SocketAddr, callers: Callers, trust: Option<&Trust>) -> Result<Desk<RightsService>, Error> {
    match callers {
        Callers::Anybody => Desk::no_auth(listen).map_err(refused),
        Callers::Keys { file, auth } => {
            let checks = auth.map(|url| RightsService::new(&url, trust)).transpose()?;
            Desk::open(&file, checks).map_err(refused)
        }
    }
}

fn refused(error: front::Error) -> Error {
    match error {
        front::Error::Listen { .. } | front::Error::Thread(_) => Error::unavailable(error.to_string()),
        _ => Error::invalid("InvalidFrontDoor", error.to_string()),
    }
}
