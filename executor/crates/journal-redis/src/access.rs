//! How to speak to any server of the store: address, user, password, certificates.
//!
//! Invariants: files are read anew for each connection, so that a rotated password or certificate is taken up by the
//! next one; secrets stay in here and in the client, and never reach a message. What may fail: a file that cannot be
//! read or holds something else, [`StoreError::Refused`] with its path.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use journal::StoreError;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, TlsCertificates,
};

use crate::options::RedisOptions;

/// See the module.
pub(crate) struct Access {
    /// Where to begin.
    pub seeds: Vec<ConnectionInfo>,
    /// How long to wait.
    pub config: AsyncConnectionConfig,
    password: Option<PathBuf>,
    ca: Option<PathBuf>,
    /// Whether a connection has been had.
    pub worked: AtomicBool,
    /// Certificate and key.
    identity: Option<(PathBuf, PathBuf)>,
}

impl Access {
    pub fn new(options: &RedisOptions) -> Result<Self, StoreError> {
        // Which cryptography is meant must be said once in a process; whoever said it before, said enough.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            seeds: options.seeds()?,
            config: AsyncConnectionConfig::new()
                .set_connection_timeout(Some(options.connect_timeout))
                .set_response_timeout(Some(options.response_timeout)),
            worked: AtomicBool::new(false),
            password: options.password_file.clone(),
            ca: options.ca_file.clone(),
            identity: options.certificate_file.clone().zip(options.key_file.clone()),
        })
    }

    /// Another server, spoken to as the first one is.
    pub fn at(&self, host: &str, port: u16) -> Option<ConnectionInfo> {
        let seed = self.seeds.first()?;
        let host = host.to_owned();
        let addr = match seed.addr() {
            ConnectionAddr::TcpTls { .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Some(seed.clone().set_addr(addr))
    }

    /// What connects to a server, with the secrets as they are now.
    pub async fn client(&self, info: &ConnectionInfo) -> Result<Client, StoreError> {
        let mut info = info.clone();
        if let Some(path) = &self.password {
            let password =
                String::from_utf8(read(path).await?).map_err(|_| wrong(path, "it holds no text"))?;
            let settings =
                info.redis_settings().clone().set_password(password.trim_end_matches(['\r', '\n']));
            info = info.set_redis_settings(settings);
        }
        let tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        if !tls || (self.ca.is_none() && self.identity.is_none()) {
            return Client::open(info).map_err(|error| StoreError::Refused(error.to_string()));
        }
        let root_cert = match &self.ca {
            Some(path) => Some(read(path).await?),
            None => None,
        };
        let client_tls = match &self.identity {
            Some((certificate, key)) => {
                Some(ClientTlsConfig { client_cert: read(certificate).await?, client_key: read(key).await? })
            }
            None => None,
        };
        let files: Vec<&Path> = self
            .ca
            .iter()
            .chain(self.identity.iter().flat_map(|(certificate, key)| [certificate, key]))
            .map(PathBuf::as_path)
            .collect();
        Client::build_with_tls(info, TlsCertificates { client_tls, root_cert }).map_err(|error| {
            StoreError::Refused(format!("{files:?} cannot be used towards Redis: {error}; PEM is expected"))
        })
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    tokio::fs::read(path).await.map_err(|error| wrong(path, &error.to_string()))
}

fn wrong(path: &Path, why: &str) -> StoreError {
    StoreError::Refused(format!("{} cannot be read, and is needed towards Redis: {why}", path.display()))
}
