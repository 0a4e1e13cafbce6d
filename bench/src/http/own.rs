//! A cluster of the bench's own with a front door that verifies signatures.

use std::io::Write as _;
use std::time::{Duration, Instant};

use sign::Keys;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::connection::Connection;
use super::{Found, Settings};
use crate::error::Error;
use crate::profile::Profile;
use crate::suite::{self, Cluster, StoreKind};

/// How long the door may take to open.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// It guards nothing but this cluster.
const KEY_ID: &str = "AKIDBENCH";
const SECRET: &str = "bench-secret-of-this-cluster-alone";

/// Processes with a front door; all end with it.
#[derive(Debug)]
pub struct Own {
    cluster: Cluster,
    port: u16,
    store: String,
    /// Read by the scheduler for as long as it runs.
    _keys: NamedTempFile,
}

impl Own {
    /// Starts a store, a node and a scheduler with a door of so many threads.
    ///
    /// # Errors
    /// A process that does not start.
    pub async fn start(settings: &suite::Settings, threads: usize) -> Result<Self, Error> {
        let failed = |source| Error::File { path: "a file for access keys".to_owned(), source };
        let mut keys = NamedTempFile::new().map_err(failed)?;
        let key = format!("[[key]]\nid = \"{KEY_ID}\"\nsecret = \"{SECRET}\"\naccount = \"000000000000\"");
        let grant = "[[key.grant]]\nrights = [\"read\", \"start\", \"manage\"]";
        writeln!(keys, "{key}\n{grant}").map_err(failed)?;
        let port = testkit::free_ports(1);
        let flags = [
            "--http-listen".to_owned(),
            format!("127.0.0.1:{port}"),
            "--http-threads".to_owned(),
            threads.to_string(),
            "--access-keys".to_owned(),
            keys.path().display().to_string(),
        ];
        let settings =
            suite::Settings { through_scheduler: true, scheduler_flags: flags.to_vec(), ..settings.clone() };
        let cluster = Cluster::start(&settings, Profile::Pass).await?;
        let fsync =
            (settings.store == StoreKind::Redis).then(|| format!(", appendfsync {}", settings.appendfsync));
        let store = format!("{}{}", settings.store.name(), fsync.unwrap_or_default());
        let own = Self { cluster, port, store, _keys: keys };
        own.wait().await?;
        Ok(own)
    }

    /// Until the door is open.
    async fn wait(&self) -> Result<(), Error> {
        let address = format!("127.0.0.1:{}", self.port);
        let begun = Instant::now();
        while let Err(error) = Connection::open(&address).await {
            if begun.elapsed() > READY_WITHIN {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Runs a load on it.
    ///
    /// # Errors
    /// As [`super::run`].
    pub async fn run(&self, settings: Settings) -> Result<Found, Error> {
        let keys = Keys { id: KEY_ID.to_owned(), secret: Zeroizing::new(SECRET.to_owned()), token: None };
        let settings =
            Settings { url: format!("http://127.0.0.1:{}", self.port), keys: Some(keys), ..settings };
        let mut found = super::run(&settings, || self.cluster.cpu_us()).await?;
        found.store = Some(self.store.clone());
        Ok(found)
    }
}
