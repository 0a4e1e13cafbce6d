//! Opens the configured store, and waits for one that is not there yet.
//!
//! A node whose store is absent at start says so, stays NOT_SERVING and keeps trying: in a cluster the store
//! comes back without anybody restarting the nodes.

use std::sync::Arc;
use std::time::Duration;

use journal::file::{FileOptions, FileReader, FileStore};
use journal::store::{Connect, StoreFuture};
use journal::{Store, StoreError};
use telemetry::NodeMetrics;
use tokio::sync::watch;

use crate::cluster::{Cluster, Joined};
use crate::config::StoreConfig;
use crate::grpc::{NodeContext, NodeStore};
use crate::promise;
use crate::secret::ClusterSecret;

/// The first pause between two attempts; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// One line is logged for this many pauses at full length: two a minute.
const LOG_EVERY: u32 = 15;

/// The store that the configuration names.
///
/// # Errors
/// The place can never work: a bad URL, a directory that cannot be made or belongs to another process.
pub fn open(config: &StoreConfig) -> Result<Arc<dyn Connect>, StoreError> {
    match config {
        StoreConfig::Memory => Ok(Arc::new(journal::memory::MemoryStore::new())),
        StoreConfig::File(dir) => Ok(Arc::new(FileStore::open(FileOptions::new(dir.clone()))?)),
        StoreConfig::Redis(redis) => {
            let options = journal_redis::RedisOptions {
                prefix: redis.prefix.clone(),
                password_file: redis.password_file.clone(),
                ca_file: redis.ca.clone(),
                certificate_file: redis.cert.clone(),
                key_file: redis.key.clone(),
                declared_appendfsync: redis.declared_appendfsync.map(Into::into),
                ..journal_redis::RedisOptions::new(redis.url.expose())
            };
            Ok(Arc::new(journal_redis::RedisConnect::new(options)?))
        }
    }
}

/// The same, for somebody who looks into it beside its nodes: nothing is written.
///
/// # Errors
/// As [`open`]; a directory that is no store, or whose node runs.
pub fn open_to_read(config: &StoreConfig) -> Result<Arc<dyn Connect>, StoreError> {
    match config {
        StoreConfig::File(dir) => Ok(Arc::new(FileReader::open(dir)?)),
        other => open(other),
    }
}

/// The longest pause between two attempts at a store that refuses.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(5);

/// A connection, however often the store refuses the node: what is wrong may be mended on either side. `None` when it
/// cannot be, for this is another node's store: then the node ends, so that its supervisor and its operator see it.
async fn connect_at_last(context: &NodeContext, connect: &dyn Connect) -> Option<Arc<dyn Store>> {
    let (mut pause, mut said) = (Duration::from_millis(500), String::new());
    loop {
        let error = match connect.connect().await {
            Ok(store) => return Some(store),
            Err(error) => error.to_string(),
        };
        if context.cluster.is_unfit() {
            context.refused.send_replace(Some(error));
            return None;
        }
        if said != error {
            tracing::error!(
                error,
                "the store refuses this node, which asks again until it does not: correct the store, or the \
                 configuration and start the node again"
            );
            said = error;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(REFUSED_PAUSE_MAX);
    }
}

/// The node's own connection, and what its settings promise.
pub(crate) async fn reach(context: Arc<NodeContext>, connect: Arc<dyn Connect>, metrics: NodeMetrics) {
    let Some(store) = connect_at_last(&context, &*connect).await else { return };
    let mut pause = Duration::from_millis(50);
    let durability = loop {
        match store.durability().await {
            Ok(durability) => break durability,
            Err(error) => {
                tracing::warn!(%error, "the store does not say what it promises yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
        }
    };
    let promise = match (durability.survives_process_kill, durability.survives_power_loss) {
        (_, true) => "an acknowledged execution survives kill -9 of every process and the loss of power",
        (true, false) => {
            "an acknowledged execution survives kill -9 of every process, but NOT the loss of power"
        }
        (false, false) => {
            "an acknowledged execution does NOT survive the end of the process that holds the store"
        }
    };
    let detail = &durability.detail;
    if durability.survives_power_loss {
        tracing::info!(store = durability.store, promise, detail, "store reached");
    } else {
        tracing::warn!(store = durability.store, promise, detail, "store reached");
    }
    metrics.set_durability(durability.store, durability.settings.clone());
    let (told, durability) = watch::channel(durability);
    // Nobody else sets it.
    let _ = context.store.set(NodeStore { store: Arc::clone(&store), durability });
    promise::keep_fresh(store, told, metrics, promise::EVERY).await;
}

/// Gives connections to the store of this cluster, and waits for one that is not there yet.
pub(crate) fn joined(
    inner: Arc<dyn Connect>,
    cluster: &Arc<Cluster>,
    secret: &Arc<ClusterSecret>,
    store: String,
) -> Arc<dyn Connect> {
    let joined = Joined { inner, cluster: Arc::clone(cluster), secret: Arc::clone(secret) };
    patient(Arc::new(joined), store)
}

/// Gives connections as `inner` does, and waits for a store that is not there yet; `store` names it for the log.
#[must_use]
pub fn patient(inner: Arc<dyn Connect>, store: String) -> Arc<dyn Connect> {
    Arc::new(Patient::new(inner, store))
}

/// Connects as `inner` does, and waits where the store is not there yet.
pub(crate) struct Patient {
    inner: Arc<dyn Connect>,
    /// For the log: which store.
    store: String,
}

impl Patient {
    pub(crate) fn new(inner: Arc<dyn Connect>, store: String) -> Self {
        Self { inner, store }
    }

    async fn connect_at_last(&self) -> Result<Arc<dyn Store>, StoreError> {
        let mut pause = PAUSE_MIN;
        let mut quiet = 0;
        loop {
            match self.inner.connect().await {
                Err(error) if error.is_retryable() => {
                    if quiet == 0 {
                        tracing::warn!(
                            store = self.store,
                            %error,
                            "the store cannot be reached: nothing is served until it can; start the store, or \
                             correct --redis-url"
                        );
                    }
                    quiet = if pause == PAUSE_MAX { (quiet + 1) % LOG_EVERY } else { 1 };
                }
                decided => return decided,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl Connect for Patient {
    fn connect(&self) -> StoreFuture<'_, Arc<dyn Store>> {
        Box::pin(self.connect_at_last())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use journal::memory::MemoryStore;

    use super::*;

    /// Absent for so many attempts.
    struct Late {
        attempts: AtomicU32,
        absent: u32,
        error: StoreError,
    }

    impl Connect for Late {
        fn connect(&self) -> StoreFuture<'_, Arc<dyn Store>> {
            let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                if attempt < self.absent {
                    Err(self.error.clone())
                } else {
                    MemoryStore::new().connect().await
                }
            })
        }
    }

    fn late(error: StoreError) -> (Arc<Late>, Patient) {
        let late = Arc::new(Late { attempts: AtomicU32::new(0), absent: 50, error });
        (Arc::clone(&late), Patient::new(late, "redis (redis://h)".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_comes_late_is_waited_for() {
        let (late, patient) = late(StoreError::Unavailable("connection refused".to_owned()));
        assert!(patient.connect().await.is_ok());
        assert_eq!(late.attempts.load(Ordering::Relaxed), 51);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_refuses_is_not_asked_again() {
        let (late, patient) = late(StoreError::Refused("wrong password".to_owned()));
        assert!(patient.connect().await.is_err());
        assert_eq!(late.attempts.load(Ordering::Relaxed), 1);
    }
}
