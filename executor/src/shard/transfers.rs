//! Reads and writes of distributed Maps: what an execution wants to read or write, until the answer is back.
//!
//! The files are read and written on threads of the runtime's pool for blocking work, a few at a time; the answer comes back
//! as a landed flight, as those of the store do. Invariants: a read leaves at once, for it changes nothing, unless too much waits for the store; a write of a
//! STANDARD execution leaves only after the block that holds its cause, as a task does; what is no longer wanted is dropped,
//! before its turn without having begun. What a STANDARD execution reads is journalled when it is told: whole, while it is
//! short, else by its length and SHA-256 ([`Desk::read_again`]). A node bounds how many are
//! under way; what Maps have read and keep is bounded for each, not for all together. What may fail: the
//! objects, which fails the Map, and a panic on the other thread, which counts as such a failure.

use std::sync::Arc;

use asl::map::ResultObject;
use asl::{EffectId, Event, Str};
use bytes::Bytes;
use futures_util::future::{AbortHandle, abortable};
use journal::JournalledKind;
use journal::block::ReadDigest;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::core::{Landed, Shard};
use super::execution::Waiting;
use super::slab::{Address, Slab};
use crate::limits;
use crate::objects::{ObjectError, Objects};

/// What has to be done.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Read { resource: Str, parameters: Bytes },
    Write { resource: Str, bucket: Str, objects: Vec<ResultObject> },
}

/// What was done.
#[derive(Debug)]
pub(super) enum Done {
    Read { body: Bytes, sha256: [u8; 32] },
    Written,
}

/// Why what was read cannot be had again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// For good.
    #[error("A Map of this execution has read {length} bytes that are needed again: {why}")]
    Gone { length: u64, why: String },
    /// As far as can be told now.
    #[error("a Map of this execution has read {length} bytes that are needed again: {why}")]
    Unknown { length: u64, why: String },
}

/// Where objects are read and written, a few at a time.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    objects: Option<Arc<Objects>>,
    turns: Arc<Semaphore>,
}

/// Why a transfer fails on this node, whatever its parameters.
fn without_objects(resource: &str) -> String {
    format!(
        "This node has no integration that serves {resource}: start it with --objects-dir DIR, a folder in which files \
         BUCKET/KEY are the objects."
    )
}

/// An object or page, and its digest: what it is in a journal that does not keep it whole.
fn read(objects: &Objects, resource: &str, parameters: &[u8]) -> Result<(Bytes, [u8; 32]), ObjectError> {
    let body = objects.read(resource, parameters)?;
    let sha256 = Sha256::digest(&body).into();
    Ok((body, sha256))
}

impl Desk {
    pub fn new(objects: Option<Arc<Objects>>) -> Self {
        Self { objects, turns: Arc::new(Semaphore::new(limits::TRANSFERS_MAX)) }
    }

    /// Calls `work` on another thread, once it is its turn. `None` when it did not come to its end.
    async fn call<T: Send + 'static>(
        &self,
        objects: &Arc<Objects>,
        work: impl FnOnce(&Objects) -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        let objects = Arc::clone(objects);
        let called = tokio::task::spawn_blocking(move || {
            let done = work(&objects);
            // Not before: work that nobody waits for any more keeps its thread, too.
            drop(turn);
            done
        });
        called.await.ok()
    }

    async fn carry_out(&self, work: Work) -> Result<Done, Str> {
        let resource = match &work {
            Work::Read { resource, .. } | Work::Write { resource, .. } => resource,
        };
        let Some(objects) = &self.objects else { return Err(without_objects(resource).into()) };
        let cut = Str::from(format!("The call of {resource} was cut short: see the log of the node."));
        let done = self.call(objects, move |objects| match work {
            Work::Read { resource, parameters } => {
                let (body, sha256) = read(objects, &resource, &parameters)?;
                Ok(Done::Read { body, sha256 })
            }
            Work::Write { bucket, objects: written, .. } => {
                objects.write(&bucket, &written).map(|()| Done::Written)
            }
        });
        done.await.ok_or(cut)?.map_err(|error: ObjectError| Str::from(error.to_string()))
    }

    /// Reads again what the journal has only the digest of.
    ///
    /// # Errors
    /// When it is not there, or is not what it was.
    pub async fn read_again(&self, digest: &ReadDigest<'_>) -> Result<Bytes, Unread> {
        let (resource, parameters) = (digest.resource.to_owned(), digest.parameters.to_owned());
        let length = digest.length;
        let unknown = |why| Err(Unread::Unknown { length, why });
        let Some(objects) = &self.objects else { return unknown(without_objects(digest.resource)) };
        let called = self.call(objects, move |objects| read(objects, &resource, &parameters));
        match called.await {
            Some(Ok((body, sha256))) if sha256 == digest.sha256 => Ok(body),
            Some(Ok((body, _))) => {
                let parameters = String::from_utf8_lossy(digest.parameters);
                let why = format!(
                    "what {} gives with {parameters} has changed, and has {} bytes now.",
                    digest.resource,
                    body.len()
                );
                Err(Unread::Gone { length, why })
            }
            Some(Err(error)) if ObjectError::is_gone(&error) => {
                Err(Unread::Gone { length, why: error.to_string() })
            }
            Some(Err(error)) => unknown(error.to_string()),
            None => unknown("reading it was cut short.".to_owned()),
        }
    }
}

/// A read or write that somebody waits for.
#[derive(Debug)]
struct Transfer {
    execution: Address,
    effect: EffectId,
    work: Work,
    /// Drops it before its turn; once it has begun nobody hears of its end.
    abort: Option<AbortHandle>,
    /// Of what was read.
    sha256: Option<[u8; 32]>,
}

/// The transfers of a shard.
#[derive(Debug)]
pub(super) struct Transfers {
    pub desk: Desk,
    entries: Slab<Transfer>,
}

impl Transfers {
    pub fn new(objects: Option<Arc<Objects>>) -> Self {
        Self { desk: Desk::new(objects), entries: Slab::default() }
    }

    /// The answer is no longer wanted.
    pub fn cancel(&mut self, at: Address) {
        let entry = self.entries.remove(at);
        if let Some(abort) = entry.and_then(|entry| entry.abort) {
            abort.abort();
        }
    }
}

impl Shard {
    /// An execution wants something read or written.
    pub(super) fn transfer(&mut self, address: Address, effect: EffectId, work: Work) {
        let Some(open) = self.open.get_mut(address) else { return };
        let (log, standard) = (usize::from(open.log), open.machine.is_standard());
        // What is read is journalled, which has to wait for the store too.
        let held = standard && (matches!(work, Work::Write { .. }) || self.logs[log].is_congested());
        let entry = Transfer { execution: address, effect, work, abort: None, sha256: None };
        let at = self.transfers.entries.insert(entry);
        if let Some(Waiting::Transfer(before)) = open.waiting_for.insert(effect, Waiting::Transfer(at)) {
            self.transfers.cancel(before);
        }
        if held {
            self.logs[log].page.writes.push(at);
        } else {
            self.begin_transfer(at);
        }
    }

    /// Puts a transfer in the line of those that wait for their turn, unless it was cancelled meanwhile.
    pub(super) fn begin_transfer(&mut self, at: Address) {
        let Some(entry) = self.transfers.entries.get_mut(at) else { return };
        let (desk, work) = (self.transfers.desk.clone(), entry.work.clone());
        let (carried_out, abort) = abortable(async move { desk.carry_out(work).await });
        entry.abort = Some(abort);
        self.flights.push(Box::pin(async move {
            Landed::Transferred { transfer: at, result: carried_out.await.ok() }
        }));
    }

    /// A transfer has come to its end; without a result it was cancelled.
    pub(super) fn transferred(&mut self, at: Address, result: Option<Result<Done, Str>>) {
        let Some(result) = result else { return };
        let Some(entry) = self.transfers.entries.get_mut(at) else { return };
        let (execution, id) = (entry.execution, entry.effect);
        let (counter, event) = match result {
            Ok(Done::Read { body, sha256 }) => {
                entry.sha256 = Some(sha256);
                (&self.metrics.objects_read, Event::ItemsRead { id, body })
            }
            Ok(Done::Written) => (&self.metrics.objects_written, Event::ResultsWritten(id)),
            Err(cause) => (&self.metrics.objects_failed, Event::TaskFailed { id, error: Str::new(), cause }),
        };
        counter.add(1);
        let standard = self.open.get(execution).is_some_and(|open| open.machine.is_standard());
        // What a STANDARD execution has read is not forgotten before it is journalled.
        if !(standard && matches!(event, Event::ItemsRead { .. })) {
            self.take_transfer(execution, id);
        }
        self.deliver(execution, event);
    }

    fn take_transfer(&mut self, execution: Address, effect: EffectId) -> Option<Transfer> {
        let open = self.open.get_mut(execution)?;
        match open.waiting_for.remove(effect, true)? {
            Waiting::Transfer(at) => self.transfers.entries.remove(at),
            _ => None,
        }
    }

    /// What the journal keeps of a read that an execution is told of; nothing when it was cancelled meanwhile.
    pub(super) fn kept(
        &mut self,
        execution: Address,
        effect: EffectId,
        body: &Bytes,
    ) -> Option<(JournalledKind, Bytes)> {
        let Transfer { work, sha256, .. } = self.take_transfer(execution, effect)?;
        let open = self.open.get_mut(execution)?;
        let together = open.reads_kept as usize + body.len();
        if body.len() <= limits::READ_KEPT_BYTES_MAX && together <= limits::READS_KEPT_BYTES_MAX {
            open.reads_kept = together as u32;
            return Some((JournalledKind::ItemsRead, body.clone()));
        }
        let Work::Read { resource, parameters } = work else { return None };
        let length = body.len() as u64;
        let digest = ReadDigest { length, sha256: sha256?, resource: &resource, parameters: &parameters };
        Some((JournalledKind::ItemsDigest, digest.encode()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt;

    use super::*;

    fn desk() -> (tempfile::TempDir, Desk) {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(root.path().join("b")).expect("a bucket");
        let objects = Objects::open(root.path()).expect("a folder");
        (root, Desk::new(Some(Arc::new(objects))))
    }

    fn write() -> Work {
        let objects = vec![ResultObject { key: "a".into(), body: Bytes::from_static(b"1") }];
        Work::Write { resource: "arn:aws:states:::s3:putObject".into(), bucket: "b".into(), objects }
    }

    #[tokio::test]
    async fn so_many_are_under_way_at_once_and_the_next_waits_for_its_turn() {
        let (root, desk) = desk();
        let objects = desk.objects.clone().expect("objects");
        let (begun, beginnings) = mpsc::sync_channel(limits::TRANSFERS_MAX);
        let (go_on, waiting): (Vec<_>, Vec<_>) =
            (0..limits::TRANSFERS_MAX).map(|_| mpsc::sync_channel::<()>(1)).unzip();
        let mut calls: Vec<_> = waiting
            .into_iter()
            .map(|waiting| {
                let begun = begun.clone();
                Box::pin(desk.call(&objects, move |_| {
                    begun.send(()).expect("the test listens");
                    let _ = waiting.recv();
                }))
            })
            .collect();
        calls.iter_mut().for_each(|call| assert!(call.now_or_never().is_none()));
        (0..limits::TRANSFERS_MAX).for_each(|_| beginnings.recv().expect("all of them have begun"));
        let mut next = Box::pin(desk.carry_out(write()));
        assert!((&mut next).now_or_never().is_none());
        assert_eq!(desk.turns.available_permits(), 0);
        drop(go_on);
        assert!(matches!(next.await, Ok(Done::Written)));
        assert!(root.path().join("b/a").exists());
    }

    #[tokio::test]
    async fn a_write_that_is_cancelled_before_its_turn_is_never_begun() {
        let (root, desk) = desk();
        let turns =
            Arc::clone(&desk.turns).acquire_many_owned(limits::TRANSFERS_MAX as u32).await.expect("turns");
        let waiting = desk.clone();
        let (mut written, abort) = abortable(Box::pin(async move { waiting.carry_out(write()).await }));
        assert!((&mut written).now_or_never().is_none(), "it waits for its turn");
        abort.abort();
        assert!(written.await.is_err());
        drop(turns);
        // The turns go round once more: whoever stood in line before has gone.
        let objects = desk.objects.clone().expect("objects");
        assert_eq!(desk.call(&objects, |_| 7).await, Some(7));
        assert!(!root.path().join("b/a").exists());
    }

    #[tokio::test]
    async fn work_that_panics_fails_with_a_cause_and_gives_its_turn_back() {
        let (_root, desk) = desk();
        let objects = desk.objects.clone().expect("objects");
        for _ in 0..=limits::TRANSFERS_MAX {
            assert_eq!(desk.call(&objects, |_| panic!("as it must")).await.map(|(): ()| ()), None);
        }
    }
}
