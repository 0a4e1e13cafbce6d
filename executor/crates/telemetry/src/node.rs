//! All that a node counts and knows about itself, and its picture.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Instant, SystemTime};

use crate::credentials::CredentialMetrics;
use crate::export::{ExportMetrics, RemovedFiles, Signal};
use crate::grpc::GrpcMetrics;
use crate::labels::Labels;
use crate::picture;
use crate::shard::ShardMetrics;
use crate::snapshot::Snapshot;
use crate::text::Form;

/// All that a node exposes.
#[derive(Debug, Clone)]
pub struct NodeMetrics(Arc<Node>);

/// What the picture is made from.
#[derive(Debug)]
pub(crate) struct Node {
    pub version: &'static str,
    pub since: SystemTime,
    pub labels: Arc<Labels>,
    pub shards: Vec<Arc<ShardMetrics>>,
    pub credentials: Arc<CredentialMetrics>,
    /// Of the public port.
    pub grpc: Arc<GrpcMetrics>,
    exporters: RwLock<Vec<Exporter>>,
    pub removed_files: Arc<RemovedFiles>,
    pub activity_polls: Arc<AtomicU64>,
    pub ready: AtomicBool,
    pub draining: OnceLock<Instant>,
    pub store_foreign: AtomicBool,
    reloads: RwLock<Vec<(&'static str, Arc<AtomicBool>)>>,
    secret_keys: RwLock<Vec<u8>>,
    durability: RwLock<(String, Vec<(&'static str, String)>)>,
}

/// An exporter's cells under their names.
#[derive(Debug, Clone)]
pub(crate) struct Exporter {
    pub signal: Signal,
    pub sink: &'static str,
    pub cells: Arc<ExportMetrics>,
}

/// The time of a picture.
#[allow(
    clippy::disallowed_methods,
    reason = "collectors are told when it was taken; no execution depends on it"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl NodeMetrics {
    /// For a node of this version with so many shards.
    #[must_use]
    pub fn new(version: &'static str, shards: usize) -> Self {
        let labels = Arc::<Labels>::default();
        let shards = (0..shards).map(|_| Arc::new(ShardMetrics::new(&labels))).collect();
        Self(Arc::new(Node {
            version,
            since: now(),
            labels,
            shards,
            credentials: Arc::default(),
            grpc: Arc::default(),
            exporters: RwLock::default(),
            removed_files: Arc::default(),
            activity_polls: Arc::default(),
            ready: AtomicBool::new(false),
            draining: OnceLock::new(),
            store_foreign: AtomicBool::new(false),
            reloads: RwLock::default(),
            secret_keys: RwLock::default(),
            durability: RwLock::default(),
        }))
    }

    /// The cells of a shard; it alone may write them.
    #[must_use]
    pub fn shard(&self, index: usize) -> Option<Arc<ShardMetrics>> {
        self.0.shards.get(index).map(Arc::clone)
    }

    /// The cells of the node's cache of credentials; it alone may write them, under its lock.
    #[must_use]
    pub fn credentials(&self) -> Arc<CredentialMetrics> {
        Arc::clone(&self.0.credentials)
    }

    /// The cells of the public port's calls; the thread that serves it alone may write them.
    #[must_use]
    pub fn grpc(&self) -> Arc<GrpcMetrics> {
        Arc::clone(&self.0.grpc)
    }

    /// The cells of an exporter, by what it sends and the kind of its sink (`file`, `cls`, `kafka`, `otlp`, …); one with
    /// the same names has the same cells.
    #[must_use]
    pub fn exporter(&self, signal: Signal, sink: &'static str) -> Arc<ExportMetrics> {
        let mut exporters = write(&self.0.exporters);
        let known = exporters.iter().find(|known| (known.signal, known.sink) == (signal, sink));
        if let Some(known) = known {
            return Arc::clone(&known.cells);
        }
        let cells = Arc::<ExportMetrics>::default();
        exporters.push(Exporter { signal, sink, cells: Arc::clone(&cells) });
        cells
    }

    /// What the sink of files has removed; whoever writes its files alone may write them.
    #[must_use]
    pub fn removed_files(&self) -> Arc<RemovedFiles> {
        Arc::clone(&self.0.removed_files)
    }

    /// Calls that wait for a task of an activity, as whoever takes them counts.
    #[must_use]
    pub fn activity_polls(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.activity_polls)
    }

    /// Whether the node is SERVING.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Relaxed);
    }

    /// The node goes away from now on.
    pub fn begin_drain(&self) {
        self.0.draining.get_or_init(Instant::now);
    }

    /// Whether the store that answers is not the one of the node's cluster.
    pub fn set_store_foreign(&self, foreign: bool) {
        self.0.store_foreign.store(foreign, Ordering::Relaxed);
    }

    /// Something that is read again while the node runs, and whether that fails.
    pub fn add_reload(&self, what: &'static str, failing: Arc<AtomicBool>) {
        write(&self.0.reloads).push((what, failing));
    }

    /// The ids of the keys of the cluster's secret, the one that seals first.
    pub fn set_secret_keys(&self, ids: Vec<u8>) {
        *write(&self.0.secret_keys) = ids;
    }

    /// The store's kind, and the settings that decide what an acknowledgement is worth.
    pub fn set_durability(&self, store: &str, settings: Vec<(&'static str, String)>) {
        *write(&self.0.durability) = (store.to_owned(), settings);
    }

    /// Every metric at this moment: the cells of all shards, merged.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { since: self.0.since, at: now(), families: picture::of(&self.0) }
    }

    /// The text of this moment.
    #[must_use]
    pub fn render(&self, form: Form) -> String {
        self.snapshot().text(form)
    }
}

impl Node {
    pub fn exporters(&self) -> Vec<Exporter> {
        read(&self.exporters).clone()
    }

    /// Files that may be replaced, and whether that failed last.
    pub fn reloads(&self) -> Vec<(&'static str, bool)> {
        read(&self.reloads).iter().map(|(what, failing)| (*what, failing.load(Ordering::Relaxed))).collect()
    }

    /// Ids of the keys of the secret, the one that seals first.
    pub fn secret_keys(&self) -> Vec<u8> {
        read(&self.secret_keys).clone()
    }

    pub fn durability(&self) -> (String, Vec<(&'static str, String)>) {
        read(&self.durability).clone()
    }
}
