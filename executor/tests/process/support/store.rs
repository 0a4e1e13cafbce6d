//! The stores that survive a kill.

use std::sync::Arc;

use executor::config::StoreConfig;
use journal::store::Connect;
use tempfile::TempDir;
use testkit::Redis;

/// A store outside of the node's process.
pub enum StoreUnderTest {
    File(TempDir),
    Redis(Redis),
}

impl StoreUnderTest {
    pub fn file() -> Self {
        let disk = testkit::redis::real_disk(None).unwrap_or_else(|error| panic!("{error}"));
        Self::File(tempfile::Builder::new().prefix("journal-").tempdir_in(disk).expect("a directory"))
    }

    pub fn redis() -> Self {
        Self::Redis(Redis::durable())
    }

    fn config(&self) -> StoreConfig {
        match self {
            Self::File(dir) => StoreConfig::File(dir.path().to_owned()),
            Self::Redis(redis) => StoreConfig::Redis(redis.url().as_str().into()),
        }
    }

    /// Flags of the node.
    pub fn flags(&self) -> Vec<String> {
        match self {
            Self::File(dir) => vec!["--store-dir".to_owned(), dir.path().display().to_string()],
            Self::Redis(redis) => vec!["--redis-url".to_owned(), redis.url()],
        }
    }

    /// For the reading back, while no node runs.
    pub fn connect(&self) -> Arc<dyn Connect> {
        executor::store::open(&self.config()).expect("the store can be opened")
    }

    /// Kills the store's own process, if it has one.
    pub fn kill9(&mut self) {
        if let Self::Redis(redis) = self {
            redis.kill9();
        }
    }

    /// Starts the store's own process again, if it has one.
    pub fn restart(&mut self) {
        if let Self::Redis(redis) = self {
            redis.restart().unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
