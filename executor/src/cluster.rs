//! Whether a store is the one that this node belongs to.
//!
//! Purpose: a node that finds an empty store where it knows a full one, or another cluster's, must not write into it: what
//! it acknowledged would look as if it had never been. The store says whose it is in its cluster record; the node remembers
//! in a file of its `--state-dir`, and while it runs. Invariants: a store without a record gets one from a node that
//! remembers none, or whose operator says `--accept-empty-store`; a store is written to only after it was found to be the
//! right one. What may fail: the state directory; the store, which is refused with a message that says what
//! to do, and asked again, for what is wrong may be mended on either side.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ids::PartitionId;
use journal::cluster::{self, ClusterId, ClusterRecord};
use journal::store::{Connect, StoreFuture};
use journal::{Store, StoreError};
use tokio::sync::{OnceCell, watch};

use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::secret::ClusterSecret;

/// The file of the state directory.
const FILE: &str = "cluster";

/// The state directory cannot be used.
fn unusable(path: &Path, message: impl fmt::Display) -> ConfigError {
    ConfigError::File { path: path.to_owned(), message: format!("{message} (--state-dir)") }
}

/// Why a store is not the right one while the node runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}: nothing is written to it or acknowledged until the right store is back")]
pub struct Foreign(String);

impl Foreign {
    /// The record is there, and a log is not.
    #[must_use]
    pub fn log_is_gone(partition: PartitionId) -> Self {
        Self(format!("the store has the cluster's record, and the log of partition {partition} is gone"))
    }
}

/// What the node remembers of its cluster on its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Remembered {
    id: ClusterId,
    store: String,
}

/// See the module.
#[derive(Debug)]
pub struct Cluster {
    partitions: u16,
    /// For messages.
    store: String,
    file: Option<PathBuf>,
    accept_empty: bool,
    clock: Clock,
    record: OnceCell<ClusterRecord>,
    foreign: AtomicBool,
    /// What is wrong with the store, for people; empty while nothing is known to be.
    wrong: watch::Sender<String>,
    /// The store is another cluster's, or of another form than the node's configuration says.
    unfit: AtomicBool,
}

impl Cluster {
    /// Nothing is known of the store yet.
    ///
    /// # Errors
    /// When the state directory cannot be made or read.
    pub fn open(config: &Config, clock: Clock) -> Result<Self, ConfigError> {
        let cluster = Self {
            partitions: config.partitions,
            store: config.store.describe(),
            file: config.state_dir.as_ref().map(|dir| dir.join(FILE)),
            accept_empty: config.accept_empty_store,
            clock,
            record: OnceCell::new(),
            foreign: AtomicBool::new(false),
            wrong: watch::Sender::default(),
            unfit: AtomicBool::new(false),
        };
        if let Some(dir) = &config.state_dir {
            let wrong = |error: io::Error| unusable(dir, error);
            std::fs::create_dir_all(dir).map_err(wrong)?;
            cluster.remembered()?;
        }
        Ok(cluster)
    }

    /// Sees that a store is this node's, and founds the cluster in a new one.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with what is wrong and what to do; what the store says.
    pub async fn join(&self, store: &dyn Store) -> Result<(), StoreError> {
        let known = self.record.get_or_try_init(|| self.find(store)).await;
        if let Err(StoreError::Refused(why)) = &known {
            self.tell(why);
        }
        known?;
        self.compare(store).await?.map_err(|foreign| StoreError::Refused(foreign.to_string()))
    }

    /// Whether a store is still the one that was joined. One that was never joined is not asked for.
    ///
    /// # Errors
    /// What the store says.
    pub async fn compare(&self, store: &dyn Store) -> Result<Result<(), Foreign>, StoreError> {
        let Some(joined) = self.record.get() else { return Ok(Ok(())) };
        let (at, ours) = (&self.store, joined.id);
        let found = match cluster::read(store).await? {
            Some(record) if record.id == ours => Ok(()),
            Some(record) => Err(Foreign(format!(
                "the store at {at} belongs to cluster {} now, and this node to {ours}",
                record.id
            ))),
            None => Err(Foreign(format!("the store at {at} is EMPTY: the record of cluster {ours} is gone"))),
        };
        self.foreign.store(found.is_err(), Ordering::Relaxed);
        self.tell(&found.as_ref().err().map(ToString::to_string).unwrap_or_default());
        Ok(found)
    }

    fn tell(&self, wrong: &str) {
        self.wrong.send_if_modified(|known| {
            let changes = known != wrong;
            if changes {
                wrong.clone_into(known);
            }
            changes
        });
    }

    /// What is wrong with the store that answers, as it changes; empty where it is this node's.
    #[must_use]
    pub fn wrong(&self) -> watch::Receiver<String> {
        self.wrong.subscribe()
    }

    /// The cluster that the store belongs to; none until it was reached.
    #[must_use]
    pub fn id(&self) -> Option<ClusterId> {
        self.record.get().map(|record| record.id)
    }

    /// As a text; empty until then.
    #[must_use]
    pub fn name(&self) -> String {
        self.id().map(|id| id.to_string()).unwrap_or_default()
    }

    /// Whether the store was not the right one when it was looked at last.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.foreign.load(Ordering::Relaxed)
    }

    /// Whether the store that was found cannot come to be the right one: only another configuration would help.
    #[must_use]
    pub fn is_unfit(&self) -> bool {
        self.unfit.load(Ordering::Relaxed)
    }

    /// What is wrong with a store that is not this node's and will not be.
    fn unfit(&self, message: String) -> StoreError {
        self.unfit.store(true, Ordering::Relaxed);
        StoreError::Refused(message)
    }

    async fn find(&self, store: &dyn Store) -> Result<ClusterRecord, StoreError> {
        let refused = |message: String| StoreError::Refused(message);
        let remembered = self.remembered().map_err(|error| refused(error.to_string()))?;
        let at = &self.store;
        let record = loop {
            match (cluster::read(store).await?, &remembered) {
                (Some(record), Some(known)) if record.id != known.id => {
                    return Err(self.unfit(format!(
                        "the store at {at} belongs to cluster {}, and this node to cluster {} (seen last at {}): give the \
                         node the store of its cluster, or another --state-dir to have it join this one",
                        record.id, known.id, known.store
                    )));
                }
                (Some(record), _) => break record,
                (None, Some(known)) if !self.accept_empty => {
                    return Err(refused(format!(
                        "the store at {at} is empty, and this node belongs to cluster {} (seen last at {}): bring that \
                         store back, or start the node with --accept-empty-store to begin a new cluster without \
                         what the old one held",
                        known.id, known.store
                    )));
                }
                (None, known) => {
                    if known.is_some() {
                        tracing::warn!(
                            store = at,
                            "the store is empty, and a new cluster begins in it, as --accept-empty-store says"
                        );
                    }
                    let record = ClusterRecord::new(draw(), self.partitions, self.clock.now_ms());
                    if cluster::found(store, &record).await? {
                        tracing::info!(cluster = %record.id, partitions = record.partitions, "a new cluster begins in an empty store");
                        break record;
                    }
                }
            }
        };
        record
            .check(self.partitions)
            .map_err(|unfit| self.unfit(format!("the store at {at} does not fit: {unfit}")))?;
        let record = cluster::raise(store, record).await?;
        self.remember(record.id).map_err(|error| refused(error.to_string()))?;
        Ok(record)
    }

    fn remembered(&self) -> Result<Option<Remembered>, ConfigError> {
        let Some(path) = &self.file else { return Ok(None) };
        let wrong = |message: String| unusable(path, message);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let id = field("cluster").and_then(ClusterId::parse);
        let id =
            id.ok_or_else(|| wrong("it does not say `cluster=` and 32 hexadecimal digits".to_owned()))?;
        Ok(Some(Remembered { id, store: field("store").unwrap_or("a store that is not told").to_owned() }))
    }

    fn remember(&self, id: ClusterId) -> Result<(), ConfigError> {
        let Some(path) = &self.file else { return Ok(()) };
        let known = Remembered { id, store: self.store.clone() };
        if self.remembered()?.as_ref() == Some(&known) {
            return Ok(());
        }
        write_durably(path, &format!("cluster={id}\nstore={}\n", known.store))
            .map_err(|error| unusable(path, error))
    }
}

/// Writes a file that is there whole or not at all.
fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = std::fs::File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    match path.parent() {
        Some(dir) => std::fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// A number that no other process draws: a fresh `RandomState` is the standard library's source of randomness.
pub(crate) fn draw_number() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// An id of a new cluster.
fn draw() -> ClusterId {
    ClusterId(((u128::from(draw_number()) << 64) | u128::from(draw_number())).to_be_bytes())
}

/// Gives connections to the right store only; with the first one the secret is known that its cluster shares.
pub(crate) struct Joined {
    pub inner: Arc<dyn Connect>,
    pub cluster: Arc<Cluster>,
    pub secret: Arc<ClusterSecret>,
}

impl Connect for Joined {
    fn connect(&self) -> StoreFuture<'_, Arc<dyn Store>> {
        Box::pin(async {
            let store = self.inner.connect().await?;
            self.cluster.join(&*store).await?;
            self.secret.of_store(&*store).await?;
            Ok(store)
        })
    }
}

#[cfg(test)]
mod tests {
    use journal::memory::MemoryStore;

    use super::*;

    fn node(dir: Option<&Path>, accept: bool) -> Cluster {
        let state_dir = dir.map(Path::to_path_buf);
        let config = Config { partitions: 8, state_dir, accept_empty_store: accept, ..Config::embedded() };
        Cluster::open(&config, Clock::default()).expect("a directory")
    }

    async fn refused(node: &Cluster, store: &MemoryStore) -> String {
        match node.join(store).await {
            Err(StoreError::Refused(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn nodes_of_one_store_are_of_one_cluster_and_a_new_store_needs_no_word() {
        let (dir, store) = (tempfile::tempdir().expect("a directory"), MemoryStore::new());
        let (first, second) = (node(Some(dir.path()), false), node(None, false));
        for node in [&first, &second] {
            node.join(&store).await.expect("joined");
            assert_eq!(node.compare(&store).await.expect("asked"), Ok(()));
        }
        assert_eq!(first.record.get(), second.record.get());
        // The same node again, and one without any memory, at the same store.
        node(Some(dir.path()), false).join(&store).await.expect("joined");
    }

    #[tokio::test]
    async fn an_empty_store_is_refused_by_a_node_that_remembers_a_full_one_until_it_is_accepted() {
        let (dir, full) = (tempfile::tempdir().expect("a directory"), MemoryStore::new());
        node(Some(dir.path()), false).join(&full).await.expect("joined");
        let empty = MemoryStore::new();
        let message = refused(&node(Some(dir.path()), false), &empty).await;
        assert!(message.contains("is empty") && message.contains("--accept-empty-store"), "{message}");
        assert_eq!(cluster::read(&empty).await.expect("read"), None, "nothing was written");
        node(Some(dir.path()), true).join(&empty).await.expect("accepted");
        node(Some(dir.path()), false).join(&empty).await.expect("remembered from now on");
        let message = refused(&node(Some(dir.path()), true), &full).await;
        assert!(message.contains("belongs to cluster") && message.contains("--state-dir"), "{message}");
    }

    #[tokio::test]
    async fn a_node_with_another_number_of_partitions_is_told_the_right_one() {
        let store = MemoryStore::new();
        node(None, false).join(&store).await.expect("joined");
        let other = Config { partitions: 16, ..Config::embedded() };
        let other = Cluster::open(&other, Clock::default()).expect("no directory");
        assert!(refused(&other, &store).await.contains("--partitions 8"));
    }

    #[test]
    fn a_state_directory_that_holds_something_else_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(FILE), "hello").expect("written");
        let config = Config { state_dir: Some(dir.path().to_owned()), ..Config::embedded() };
        let error = Cluster::open(&config, Clock::default()).expect_err("no id").to_string();
        assert!(error.contains("--state-dir") && error.contains("32 hexadecimal digits"), "{error}");
    }
}
