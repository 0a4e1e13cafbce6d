//! The cluster's secret as a node or a scheduler has it: from the operator's file, or from the store that all of them share.
//!
//! Without a file the first node of a cluster draws a key and keeps it in the store, so that nobody has to do anything and
//! what one node has sealed another one opens; who may read the store may read the executions, and needs no token. With a
//! file, keys are replaced as [`trust::Secret`] says, without a restart. Invariant: a file that cannot be read leaves the keys
//! that were there in force. What may fail: the first reading ([`trust::TrustError`]), and a node without a file that has not
//! reached its store yet ([`Error::Starting`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use journal::{Store, StoreError};
use tokio::sync::watch;
use trust::{Secret, TrustError};

use crate::error::Error;

/// The durable key of a secret that nobody wrote.
const KEY: &[u8] = b"secret";
/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// When to come back while there is no secret yet.
const STARTING_RETRY: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub struct ClusterSecret {
    file: Option<PathBuf>,
    current: watch::Sender<Option<Secret>>,
    /// Whether the file could not be used when it was looked at last.
    failing: Arc<AtomicBool>,
}

/// Which keys are in force, for the log: their ids alone.
fn announce(secret: &Secret, from: &str) {
    let ids = secret.ids();
    tracing::info!(
        seals = ids.first(),
        opens = ids.iter().map(ToString::to_string).collect::<Vec<String>>().join(","),
        from,
        "the cluster's secret: ids of the keys in force"
    );
}

impl ClusterSecret {
    /// From this file; without one from the store, once that is reached.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn new(file: Option<PathBuf>) -> Result<Self, TrustError> {
        let current = file.as_deref().map(Secret::read).transpose()?;
        if let (Some(secret), Some(file)) = (&current, &file) {
            announce(secret, &file.display().to_string());
        }
        Ok(Self { file, current: watch::Sender::new(current), failing: Arc::default() })
    }

    /// One that is known beforehand and never changes.
    #[must_use]
    pub fn from_key(key: &[u8; 32]) -> Self {
        let current = watch::Sender::new(Some(Secret::from_key(key)));
        Self { file: None, current, failing: Arc::default() }
    }

    /// True while the file cannot be used, where there is one.
    #[must_use]
    pub fn failing(&self) -> Option<Arc<AtomicBool>> {
        self.file.is_some().then(|| Arc::clone(&self.failing))
    }

    /// Tells the ids of the keys in force, the one that seals first, now and at each change. Ends only when it is dropped.
    pub async fn follow(&self, told: impl Fn(Vec<u8>)) {
        let mut current = self.current.subscribe();
        loop {
            let ids = current.borrow_and_update().as_ref().map(Secret::ids);
            told(ids.unwrap_or_default());
            // The sender is ours: it does not go before us.
            if current.changed().await.is_err() {
                return;
            }
        }
    }

    /// For a reader that must not wait for others.
    pub(crate) fn reader(&self) -> SecretReader {
        let mut changes = self.current.subscribe();
        let current = changes.borrow_and_update().clone();
        SecretReader { changes, current }
    }

    /// What is in force.
    ///
    /// # Errors
    /// [`Error::Starting`] before the store was reached, where it is taken from there.
    pub fn get(&self) -> Result<Secret, Error> {
        let current = self.current.borrow().clone();
        current.ok_or(Error::Starting { retry_after: STARTING_RETRY })
    }

    /// Does something with what is in force, without a copy; nothing before the store was reached, as [`ClusterSecret::get`].
    pub(crate) fn with<T>(&self, done: impl FnOnce(&Secret) -> T) -> Option<T> {
        self.current.borrow().as_ref().map(done)
    }

    fn set(&self, secret: Secret, from: &str) {
        let known = self.current.borrow().as_ref().map(Secret::ids);
        if known.as_ref() != Some(&secret.ids()) {
            announce(&secret, from);
        }
        self.current.send_replace(Some(secret));
    }

    /// Takes the secret from the store, where none is in force; the first one to come draws it.
    ///
    /// # Errors
    /// What the store says; [`StoreError::Corrupt`] when the key holds something else.
    pub async fn of_store(&self, store: &dyn Store) -> Result<(), StoreError> {
        if self.current.borrow().is_some() {
            return Ok(());
        }
        let key = Bytes::from_static(KEY);
        let drawn = Bytes::copy_from_slice(&trust::draw_key());
        let _ = store.compare_and_put(key.clone(), None, Some(drawn)).await?;
        let kept = store.get(key).await?;
        let kept: Option<[u8; 32]> = kept.and_then(|kept| kept.as_ref().try_into().ok());
        let kept =
            kept.ok_or_else(|| StoreError::Corrupt("the durable key `secret` holds no key".to_owned()))?;
        self.set(Secret::from_key(&kept), "the store");
        Ok(())
    }

    /// Reads the file again every few seconds, where there is one. Ends only when it is dropped.
    pub async fn keep_fresh(&self) {
        let Some(file) = &self.file else { return std::future::pending().await };
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let read = Secret::read(file);
            let failed = self.failing.swap(read.is_err(), Ordering::Relaxed);
            match read {
                Ok(secret) => self.set(secret, &file.display().to_string()),
                Err(error) if !failed => {
                    tracing::error!(%error, "the cluster's secret cannot be read again: the keys before stay in force");
                }
                Err(_) => {}
            }
        }
    }
}

/// What is in force, for one thread: it looks at what all share only when that has changed.
#[derive(Debug)]
pub(crate) struct SecretReader {
    changes: watch::Receiver<Option<Secret>>,
    current: Option<Secret>,
}

impl SecretReader {
    /// What is in force now; nothing before the store was reached.
    pub fn get(&mut self) -> Option<&Secret> {
        // An error means that the node is gone: what it had last is as good as any.
        if self.changes.has_changed().unwrap_or(false) {
            self.current.clone_from(&self.changes.borrow_and_update());
        }
        self.current.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use journal::MemoryStore;
    use journal::store::Connect;

    use super::*;

    #[tokio::test]
    async fn nodes_of_one_store_open_what_any_of_them_has_sealed() {
        let store = MemoryStore::new().connect().await.expect("memory");
        let (one, other) = (ClusterSecret::new(None).expect("none"), ClusterSecret::new(None).expect("none"));
        assert!(matches!(one.get(), Err(Error::Starting { .. })));
        one.of_store(&*store).await.expect("drawn");
        other.of_store(&*store).await.expect("found");
        let token = one.get().expect("there").seal_text("page", "7");
        assert_eq!(other.get().expect("there").open_text("page", &token).as_deref(), Some("7"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_of_keys_is_read_again_and_a_broken_one_changes_nothing() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let key = |byte: &str| byte.repeat(64);
        std::fs::write(file.path(), format!("1 {}", key("a"))).expect("written");
        let secret = ClusterSecret::new(Some(file.path().to_owned())).expect("keys");
        let token = secret.get().expect("there").seal_text("page", "7");
        let opened = || secret.get().expect("there").open_text("page", &token);
        let looked =
            async || drop(tokio::time::timeout(LOOK_EVERY + LOOK_EVERY / 2, secret.keep_fresh()).await);
        let told = std::sync::Mutex::new(Vec::new());
        let ids = async || {
            let followed = secret.follow(|ids| told.lock().expect("no panic").push(ids));
            drop(tokio::time::timeout(Duration::from_millis(1), followed).await);
            told.lock().expect("no panic").last().cloned()
        };
        assert_eq!(ids().await, Some(vec![1]));
        let failing = secret.failing().expect("there is a file");
        std::fs::write(file.path(), "broken").expect("written");
        looked().await;
        assert_eq!((opened().as_deref(), failing.load(Ordering::Relaxed)), (Some("7"), true));
        std::fs::write(file.path(), format!("2 {}\n1 {}", key("b"), key("a"))).expect("written");
        looked().await;
        assert_eq!((opened().as_deref(), failing.load(Ordering::Relaxed)), (Some("7"), false));
        assert_eq!(ids().await, Some(vec![2, 1]), "the one that seals comes first");
        std::fs::write(file.path(), format!("2 {}", key("b"))).expect("written");
        looked().await;
        assert_eq!((opened(), ids().await), (None, Some(vec![2])));
    }
}
