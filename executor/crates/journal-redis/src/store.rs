//! The store and its connections.

use std::sync::Arc;

use bytes::Bytes;
use ids::PartitionId;
use journal::store::{Acquired, BlockRange, Connect, check_key};
use journal::{Append, BlockId, Durability, Store, StoreError, StoreFuture, Top};

use crate::access::Access;
use crate::keys::Keys;
use crate::options::{AppendFsync, RedisOptions};
use crate::servers::Servers;
use crate::{derived, durability, durable, log, stand, tops};

/// Opens connections to one Redis, or to one Redis Cluster.
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
        Access::new(&options)?;
        Ok(Self { options })
    }

    /// A connection of the concrete type.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with the address when Redis is not there or not ready yet; [`StoreError::Refused`] when
    /// it never will do, for example for a user who may run no scripts.
    pub async fn open(&self) -> Result<RedisStore, StoreError> {
        let servers = Servers::connect(Arc::new(Access::new(&self.options)?)).await?;
        servers.check_scripts().await?;
        let keys = Keys::new(&self.options.prefix);
        Ok(RedisStore { servers, keys, declared: self.options.declared_appendfsync })
    }
}

impl Connect for RedisConnect {
    fn connect(&self) -> StoreFuture<'_, Arc<dyn Store>> {
        Box::pin(async { Ok(Arc::new(self.open().await?) as Arc<dyn Store>) })
    }
}

/// One connection, of a cluster one to each master: a shard's own. It comes back by itself when Redis does.
pub struct RedisStore {
    servers: Arc<Servers>,
    keys: Keys,
    declared: Option<AppendFsync>,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let addresses: Vec<String> =
            self.servers.masters().iter().map(|server| server.link.address.clone()).collect();
        f.debug_struct("RedisStore").field("addresses", &addresses).finish_non_exhaustive()
    }
}

impl Store for RedisStore {
    fn acquire(&self, partition: PartitionId) -> StoreFuture<'_, Acquired> {
        Box::pin(log::acquire(&self.servers, &self.keys, partition))
    }

    fn append(&self, append: Append) -> StoreFuture<'_, ()> {
        Box::pin(log::append(&self.servers, &self.keys, append))
    }

    fn accept(&self, partition: PartitionId, top: BlockId, from: BlockId) -> StoreFuture<'_, ()> {
        Box::pin(stand::accept(&self.servers, &self.keys, partition, (top, from)))
    }

    fn tops(&self, partitions: Vec<PartitionId>) -> StoreFuture<'_, Vec<Top>> {
        Box::pin(async move { Ok(tops::tops(&self.servers, &self.keys, &partitions).await) })
    }

    fn read(&self, partition: PartitionId, range: BlockRange) -> StoreFuture<'_, Vec<(BlockId, Bytes)>> {
        Box::pin(log::read(&self.servers, &self.keys, partition, range))
    }

    fn get_derived(&self, partition: PartitionId, keys: Vec<Bytes>) -> StoreFuture<'_, Vec<Option<Bytes>>> {
        Box::pin(async move {
            let names = self.keys.of(partition);
            self.servers.settle(names.slot).await?;
            derived::get(&self.servers, &names, &keys).await
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
            let names = self.keys.of(partition);
            self.servers.settle(names.slot).await?;
            derived::list(&self.servers, &names, &list, skip, limit).await
        })
    }

    fn derived_dropped(&self) -> u64 {
        self.servers.dropped()
    }

    fn put(&self, key: Bytes, value: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            check_key(&key)?;
            durable::put(&self.servers, &self.keys, &key, &value).await
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
            durable::compare_and_put(&self.servers, &self.keys, &key, expected, value).await
        })
    }

    fn get(&self, key: Bytes) -> StoreFuture<'_, Option<Bytes>> {
        Box::pin(async move { durable::get(&self.servers, &self.keys, &key).await })
    }

    fn scan(
        &self,
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> StoreFuture<'_, Vec<(Bytes, Bytes)>> {
        Box::pin(
            async move { durable::scan(&self.servers, &self.keys, &prefix, after.as_deref(), limit).await },
        )
    }

    fn increment(&self, key: Bytes) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            check_key(&key)?;
            durable::increment(&self.servers, &self.keys, &key).await
        })
    }

    fn ping(&self) -> StoreFuture<'_, ()> {
        Box::pin(self.servers.ping())
    }

    fn durability(&self) -> StoreFuture<'_, Durability> {
        Box::pin(durability::read(&self.servers, self.declared))
    }
}
