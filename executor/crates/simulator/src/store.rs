//! The store as a process sees it: calls that travel to the [`Image`] and back, when and if the simulation says so.
//!
//! Purpose: between a call and its answer stands the simulated network; a call may arrive and its answer be lost, or
//! arrive long after its caller was told that nobody knows. Invariants: a call takes effect once at most; a caller gets
//! one answer at most. With [`Desk::immediate`] there is no network: that is the store that passes `journal::conformance`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ids::PartitionId;
use journal::store::{BlockRange, Connect, Durability};
use journal::{Acquired, Append, BlockId, Store, StoreError, StoreFuture, Top, checkpoint};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::image::{Caller, Image};
use crate::mutation::Mutations;
use crate::points::CallKind;

/// A call on its way.
pub struct Call {
    /// Who waits for the answer.
    pub caller: Caller,
    /// What it asks for.
    pub kind: CallKind,
    work: Box<dyn Work>,
}

impl Call {
    /// Takes effect.
    pub fn apply(&mut self, image: &mut Image) {
        self.work.apply(self.caller, image);
    }

    /// Tells the caller what came of it.
    pub fn answer(&mut self) {
        self.work.answer();
    }

    /// Whether the fence has refused it.
    #[must_use]
    pub fn was_fenced(&self) -> bool {
        self.work.was_fenced()
    }

    /// Tells the caller that it failed, whatever it does or did.
    pub fn fail(&mut self, error: StoreError) {
        self.work.fail(error);
    }
}

trait Work: Send {
    fn apply(&mut self, caller: Caller, image: &mut Image);
    fn answer(&mut self);
    fn fail(&mut self, error: StoreError);
    fn was_fenced(&self) -> bool;
}

struct Asked<T, F> {
    effect: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<T, F> Work for Asked<T, F>
where
    T: Send,
    F: FnOnce(Caller, &mut Image) -> Result<T, StoreError> + Send,
{
    fn apply(&mut self, caller: Caller, image: &mut Image) {
        if let Some(effect) = self.effect.take() {
            self.result = Some(effect(caller, image));
        }
    }

    fn answer(&mut self) {
        if let (Some(reply), Some(result)) = (self.reply.take(), self.result.take()) {
            // Who is gone needs no answer.
            let _ = reply.send(result);
        }
    }

    fn was_fenced(&self) -> bool {
        matches!(self.result, Some(Err(StoreError::Fenced { .. })))
    }

    fn fail(&mut self, error: StoreError) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Err(error));
        }
    }
}

/// Where calls are handed in.
#[derive(Clone)]
pub struct Desk(Arc<Mutex<Inside>>);

struct Inside {
    image: Image,
    submitted: Vec<Call>,
    /// The last block that each process has sent to each log.
    sent: BTreeMap<(Caller, u16), BlockId>,
    since: Option<Instant>,
}

impl Desk {
    /// A store whose calls wait for the simulation, see [`Desk::submitted`].
    #[must_use]
    pub fn new(mutations: Mutations) -> Self {
        let mut image = Image::default();
        image.mutations = mutations;
        let inside = Inside { image, submitted: Vec::new(), sent: BTreeMap::new(), since: None };
        Self(Arc::new(Mutex::new(inside)))
    }

    /// A store that answers at once, by the clock of the machine.
    #[must_use]
    pub fn immediate() -> Self {
        let desk = Self::new(Mutations::default());
        desk.inside().since = Some(Instant::now());
        desk
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what is durable, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Image) -> T) -> T {
        look(&mut self.inside().image)
    }

    /// The calls that were handed in since this was asked last.
    #[must_use]
    pub fn submitted(&self) -> Vec<Call> {
        std::mem::take(&mut self.inside().submitted)
    }

    /// A connection of this process.
    #[must_use]
    pub fn of(&self, caller: Caller) -> Connection {
        Connection { desk: self.clone(), caller }
    }
}

/// One process's connection.
#[derive(Clone)]
pub struct Connection {
    desk: Desk,
    caller: Caller,
}

impl Connection {
    fn call<T: Send + 'static>(
        &self,
        kind: CallKind,
        effect: impl FnOnce(Caller, &mut Image) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let work = Box::new(Asked { effect: Some(effect), result: None, reply: Some(reply) });
            self.hand_in(Call { caller: self.caller, kind, work });
            let lost = || StoreError::Unknown("the simulation has dropped the call".to_owned());
            answer.await.unwrap_or_else(|_| Err(lost()))
        })
    }

    fn hand_in(&self, mut call: Call) {
        let mut inside = self.desk.inside();
        match inside.since {
            Some(since) => {
                inside.image.now_us = since.elapsed().as_micros() as u64;
                call.apply(&mut inside.image);
                call.answer();
            }
            None => inside.submitted.push(call),
        }
    }

    fn kind_of(&self, append: &Append) -> CallKind {
        let place = (self.caller, append.partition.get());
        if self.desk.inside().sent.insert(place, append.id) == Some(append.id) {
            CallKind::AppendAgain
        } else if append.derived.iter().any(checkpoint::is_part) {
            CallKind::AppendAndCheckpoint
        } else if append.trim_below.is_some() {
            CallKind::AppendAndTrim
        } else {
            CallKind::Append
        }
    }
}

impl Store for Connection {
    fn acquire(&self, partition: PartitionId) -> StoreFuture<'_, Acquired> {
        self.call(CallKind::Acquire, move |caller, image| Ok(image.acquire(caller, partition)))
    }

    fn append(&self, append: Append) -> StoreFuture<'_, ()> {
        let kind = self.kind_of(&append);
        self.call(kind, move |caller, image| image.append(caller, append))
    }

    fn accept(&self, partition: PartitionId, top: BlockId, _from: BlockId) -> StoreFuture<'_, ()> {
        self.call(CallKind::Accept, move |_, image| {
            image.accept(partition, top);
            Ok(())
        })
    }

    fn tops(&self, partitions: Vec<PartitionId>) -> StoreFuture<'_, Vec<Top>> {
        self.call(CallKind::Tops, move |_, image| Ok(image.tops(&partitions).into_iter().map(Ok).collect()))
    }

    fn read(&self, partition: PartitionId, range: BlockRange) -> StoreFuture<'_, Vec<(BlockId, Bytes)>> {
        let kind = if range.limit > 1 { CallKind::ReadPage } else { CallKind::ReadBlock };
        self.call(kind, move |_, image| Ok(image.read(partition, range)))
    }

    fn get_derived(&self, partition: PartitionId, keys: Vec<Bytes>) -> StoreFuture<'_, Vec<Option<Bytes>>> {
        self.call(CallKind::GetDerived, move |caller, image| Ok(image.get_derived(caller, partition, &keys)))
    }

    fn list(
        &self,
        partition: PartitionId,
        list: Bytes,
        skip: usize,
        limit: usize,
    ) -> StoreFuture<'_, Vec<Bytes>> {
        self.call(CallKind::List, move |caller, image| {
            Ok(image.list(caller, (partition, &list), skip, limit))
        })
    }

    fn put(&self, key: Bytes, value: Bytes) -> StoreFuture<'_, ()> {
        self.call(CallKind::Key, move |_, image| image.put(key, value))
    }

    fn compare_and_put(
        &self,
        key: Bytes,
        expected: Option<Bytes>,
        value: Option<Bytes>,
    ) -> StoreFuture<'_, bool> {
        self.call(CallKind::Key, move |_, image| image.compare_and_put(key, expected.as_ref(), value))
    }

    fn get(&self, key: Bytes) -> StoreFuture<'_, Option<Bytes>> {
        self.call(CallKind::Key, move |_, image| Ok(image.get(&key)))
    }

    fn scan(
        &self,
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> StoreFuture<'_, Vec<(Bytes, Bytes)>> {
        self.call(CallKind::Key, move |_, image| Ok(image.scan(&prefix, after.as_ref(), limit)))
    }

    fn increment(&self, key: Bytes) -> StoreFuture<'_, u64> {
        self.call(CallKind::Key, move |_, image| image.increment(key))
    }

    fn ping(&self) -> StoreFuture<'_, ()> {
        self.call(CallKind::Ping, |_, _| Ok(()))
    }

    fn durability(&self) -> StoreFuture<'_, Durability> {
        self.call(CallKind::Key, |_, _| {
            Ok(Durability {
                store: "simulated",
                survives_process_kill: true,
                survives_power_loss: true,
                detail: "a store of the simulation".to_owned(),
                settings: Vec::new(),
            })
        })
    }
}

impl Connect for Connection {
    fn connect(&self) -> StoreFuture<'_, Arc<dyn Store>> {
        let connection: Arc<dyn Store> = Arc::new(self.clone());
        self.call(CallKind::Connect, move |_, _| Ok(connection))
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;

    use journal::conformance::Subject;

    use super::*;

    impl Subject for Desk {
        fn connect(&self) -> Arc<dyn Connect> {
            Arc::new(self.of(1))
        }

        fn reopen(&mut self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
            // Processes are gone, what is durable stays.
            self.with(|image| image.crashed(1));
            Box::pin(async { true })
        }
    }

    async fn subject() -> Desk {
        Desk::immediate()
    }

    journal::store_conformance!(subject);
}
