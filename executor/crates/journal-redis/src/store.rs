//! The store and its connections.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use ids::PartitionId;
use journal::store::{Acquired, BlockRange, Connect, check_key};
use journal::{Append, BlockId, Durability, Store, StoreError, StoreFuture};

use crate::derived::{self, Pending};
use crate::keys::Keys;
use crate::link::Link;
use crate::options::{AppendFsync, RedisOptions};
use crate::{durability, durable, log};

/// Opens connections to one Redis.
#[derive(Debug, Clone)]
pub struct RedisConnect {
    options: RedisOptions,
}

impl RedisConnect {
    /// Checks the options; nothing is connected yet.
    ///
    /// # Errors
    /// [`StoreError::Refused`], naming what is wrong with the URL or the prefix.
    pub fn new(options: RedisOptions) -> Result<Self, StoreError> {
        options.connection_info()?;
        Ok(Self { options })
    }

    /// A connection of the concrete type.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with the address when Redis is not there or not ready yet.
    pub async fn open(&self) -> Result<RedisStore, StoreError> {
        let link = Link::new(&self.options)?;
        link.connect().await?;
        let keys = Keys::new(&self.options.prefix);
        let declared = self.options.declared_appendfsync;
        Ok(RedisStore { inner: Arc::new(Inner { link, keys, declared, pending: Pending::default() }) })
    }
}

impl Connect for RedisConnect {
    fn connect(&self) -> StoreFuture<'_, Arc<dyn Store>> {
        Box::pin(async { Ok(Arc::new(self.open().await?) as Arc<dyn Store>) })
    }
}

/// One connection: a shard's own. It comes back by itself when Redis does.
#[derive(Debug)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: Link,
    keys: Keys,
    declared: Option<AppendFsync>,
    pending: Pending,
}

impl Inner {
    async fn append(self: &Arc<Self>, append: Append) -> Result<(), StoreError> {
        log::append(&self.link, &self.keys, &self.pending, &append).await?;
        if self.pending.keep(&self.keys, append.partition, append.derived) {
            tokio::spawn(linger(Arc::downgrade(self)));
        }
        Ok(())
    }

    /// Sends the derived writes that still wait, so that a read finds what this connection has written.
    async fn settle(&self) -> Result<(), StoreError> {
        self.pending.flush(&self.link).await
    }
}

/// Sends derived writes that no append took along, as long as there are any and the connection is in use.
async fn linger(inner: Weak<Inner>) {
    while let Some(inner) = inner.upgrade() {
        if !inner.pending.linger(&inner.link).await {
            return;
        }
    }
}

impl Store for RedisStore {
    fn acquire(&self, partition: PartitionId) -> StoreFuture<'_, Acquired> {
        Box::pin(log::acquire(&self.inner.link, &self.inner.keys, partition))
    }

    fn append(&self, append: Append) -> StoreFuture<'_, ()> {
        Box::pin(self.inner.append(append))
    }

    fn tops(&self, partitions: Vec<PartitionId>) -> StoreFuture<'_, Vec<Option<BlockId>>> {
        Box::pin(async move { log::tops(&self.inner.link, &self.inner.keys, &partitions).await })
    }

    fn read(&self, partition: PartitionId, range: BlockRange) -> StoreFuture<'_, Vec<(BlockId, Bytes)>> {
        Box::pin(log::read(&self.inner.link, &self.inner.keys, partition, range))
    }

    fn get_derived(&self, partition: PartitionId, keys: Vec<Bytes>) -> StoreFuture<'_, Vec<Option<Bytes>>> {
        Box::pin(async move {
            self.inner.settle().await?;
            derived::get(&self.inner.link, &self.inner.keys, partition, &keys).await
        })
    }

    fn list(
        &self,
        partition: PartitionId,
        list: Bytes,
        skip: usize,
        limit: usize,
    ) -> StoreFuture<'_, Vec<Bytes>> {
        Box::pin(async move {
            self.inner.settle().await?;
            derived::list(&self.inner.link, &self.inner.keys, partition, &list, skip, limit).await
        })
    }

    fn put(&self, key: Bytes, value: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            check_key(&key)?;
            durable::put(&self.inner.link, &self.inner.keys, &key, &value).await
        })
    }

    fn compare_and_put(
        &self,
        key: Bytes,
        expected: Option<Bytes>,
        value: Option<Bytes>,
    ) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            check_key(&key)?;
            let (expected, value) = (expected.as_deref(), value.as_deref());
            durable::compare_and_put(&self.inner.link, &self.inner.keys, &key, expected, value).await
        })
    }

    fn get(&self, key: Bytes) -> StoreFuture<'_, Option<Bytes>> {
        Box::pin(async move { durable::get(&self.inner.link, &self.inner.keys, &key).await })
    }

    fn scan(
        &self,
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> StoreFuture<'_, Vec<(Bytes, Bytes)>> {
        Box::pin(async move {
            durable::scan(&self.inner.link, &self.inner.keys, &prefix, after.as_deref(), limit).await
        })
    }

    fn increment(&self, key: Bytes) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            check_key(&key)?;
            durable::increment(&self.inner.link, &self.inner.keys, &key).await
        })
    }

    fn ping(&self) -> StoreFuture<'_, ()> {
        Box::pin(self.inner.link.ping())
    }

    fn durability(&self) -> StoreFuture<'_, Durability> {
        Box::pin(durability::read(&self.inner.link, self.inner.declared))
    }
}
