//! One shard's link: gathers, sends, resends, settles.
//!
//! A single task owns all of it; nothing here is shared or locked. Acknowledgements come first, then new
//! starts. The link outlives its connection: while the shard is away, what was sent waits to be sent again
//! under the same id, and what was not sent goes to other shards. Bounded: [`IN_FLIGHT_MAX`] batches and
//! [`IN_FLIGHT_BYTES_MAX`] under way, the queues before them, and every start by its deadline.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ids::{BatchId, DefinitionHash};
use proto::executor::v1::start_refusal::Reason;
use proto::executor::v1::{StartAck, StartRefusal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::batch::Batch;
use super::connection::{Connection, News, Open};
use super::lanes::Lanes;
use super::reply::Settled;
use super::{Shared, Submission, refuse};
use crate::error::Error;
use crate::placement::{Dice, Rotation};

/// Batches under way to one shard.
pub(super) const IN_FLIGHT_MAX: usize = 64;
/// Bytes of input under way to one shard; one batch may be beyond.
const IN_FLIGHT_BYTES_MAX: usize = 16 << 20;
/// A batch that is not acknowledged after so long is sent again.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);
// Between two attempts.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A connection attempt that takes longer has failed.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);
/// Resends that overload may cost: each new batch earns a fifth of one, up to this many.
const RETRY_BUDGET_MAX: f64 = 64.0;
const RETRY_EARNED: f64 = 0.2;

/// See the module.
pub(super) struct Link {
    address: Arc<str>,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Submission>,
    adopted: mpsc::Receiver<Box<Batch>>,
    queue_closed: bool,
    connection: Connection,
    failures: u32,
    lanes: Lanes,
    flights: HashMap<BatchId, Batch, foldhash::fast::RandomState>,
    in_flight_bytes: usize,
    rotation: Rotation,
    dice: Dice,
    retry_budget: f64,
    puts: JoinSet<(DefinitionHash, Result<(), Status>)>,
    putting: HashSet<DefinitionHash>,
}

pub(super) fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn backoff(failures: u32) -> Duration {
    BACKOFF_MIN.saturating_mul(1 << failures.min(10)).min(BACKOFF_MAX)
}

impl Link {
    pub(super) fn new(
        address: Arc<str>,
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Submission>,
        adopted: mpsc::Receiver<Box<Batch>>,
    ) -> Self {
        Self {
            address,
            shared,
            queue,
            adopted,
            queue_closed: false,
            connection: Connection::Down { retry_at_us: 0 },
            failures: 0,
            lanes: Lanes::default(),
            flights: HashMap::default(),
            in_flight_bytes: 0,
            rotation: Rotation::new(Dice::random()),
            dice: Dice::random(),
            retry_budget: RETRY_BUDGET_MAX,
            puts: JoinSet::new(),
            putting: HashSet::new(),
        }
    }

    /// As if the queue had been found closed.
    #[cfg(test)]
    pub(super) fn close(&mut self) {
        self.queue_closed = true;
    }

    /// Runs until the queue is closed and everything is settled.
    pub(super) async fn run(mut self) {
        let mut changes = self.shared.directory.changes();
        while !(self.queue_closed && self.flights.is_empty() && self.lanes.is_empty()) {
            let wake_us = self.wake_us();
            let clock = self.shared.clock.clone();
            tokio::select! {
                biased;
                news = self.connection.news() => self.hear(news),
                Some(batch) = self.adopted.recv() => self.adopt(*batch),
                Some(put) = self.puts.join_next(), if !self.puts.is_empty() => {
                    if let Ok((hash, result)) = put {
                        self.definition_put(hash, result);
                    }
                }
                // The directory lives as long as the link's own share of it.
                _ = changes.changed() => self.owners_changed(),
                first = self.queue.recv(), if !self.queue_closed && self.lanes.has_room() => {
                    self.take(first);
                }
                () = clock.sleep_until_us(wake_us) => {}
            }
            self.turn();
        }
        self.pass_on().await;
    }

    /// Another link may have handed a batch over while this one ended: its next owner's link gets it.
    async fn pass_on(mut self) {
        self.adopted.close();
        while let Some(batch) = self.adopted.recv().await {
            let owner = self
                .shared
                .directory
                .view()
                .owner(batch.id.partition)
                .map(|shard| Arc::clone(&shard.data_address));
            let link = self.shared.link(&owner.unwrap_or_else(|| Arc::clone(&self.address)));
            let unsent = match link {
                Some(link) => link.adopt.send(batch).await.err().map(|unsent| unsent.0),
                None => Some(batch),
            };
            if let Some(batch) = unsent {
                batch.give_up("the scheduler is shutting down");
            }
        }
    }

    /// Nodes have reported: what waits for another owner goes there at once, not at its next turn.
    fn owners_changed(&mut self) {
        let view = self.shared.directory.view();
        for batch in self.flights.values_mut() {
            let owner = view.owner(batch.id.partition).map(|shard| &shard.data_address);
            let moved = owner.is_some_and(|owner| *owner != self.address);
            let back = owner.is_some() && batch.waits_for_owner;
            if moved || back {
                batch.due_us = 0;
            }
        }
        if !view.has(&self.address) {
            self.leave();
        }
    }

    /// What was not sent goes elsewhere.
    fn leave(&mut self) {
        for submission in self.lanes.drain() {
            self.shared.reroute(submission);
        }
    }

    /// What follows from whatever happened.
    fn turn(&mut self) {
        let now_us = self.shared.clock.now_us();
        self.gather();
        self.expire(now_us);
        self.reconnect(now_us);
        self.resend(now_us);
        self.send_new(now_us);
    }

    /// The next instant at which something is due without anybody speaking.
    fn wake_us(&self) -> u64 {
        let connection = match self.connection {
            Connection::Down { retry_at_us } => retry_at_us,
            Connection::Opening(_) | Connection::Up(_) => u64::MAX,
        };
        let flights = self.flights.values().map(|batch| match batch.waits_for {
            None => batch.due_us.min(batch.deadline_us),
            Some(_) => batch.deadline_us,
        });
        flights
            .chain([self.lanes.deadline_us()])
            .fold(connection, u64::min)
            .min(self.shared.clock.now_us() + us(BACKOFF_MAX))
    }

    fn take(&mut self, first: Option<Submission>) {
        match first {
            Some(first) => self.lanes.push(first),
            None => self.queue_closed = true,
        }
    }

    /// Takes in what waits in the queue, so that the next batch is as large as it can be.
    fn gather(&mut self) {
        while self.lanes.has_room() {
            let Ok(next) = self.queue.try_recv() else { break };
            self.lanes.push(next);
        }
    }

    /// A batch whose partition has moved here from another link.
    fn adopt(&mut self, mut batch: Batch) {
        batch.due_us = 0;
        batch.waits_for = None;
        batch.waits_for_owner = false;
        self.in_flight_bytes += batch.bytes;
        self.flights.insert(batch.id, batch);
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Ack(ack) => self.acknowledged(ack),
            News::Opened(open) => {
                tracing::info!(shard = %self.address, resends = self.flights.len(), "connected");
                self.connection = Connection::Up(open);
                self.failures = 0;
                for batch in self.flights.values_mut() {
                    batch.due_us = 0;
                }
            }
            News::Lost(status) => self.lost(&status),
        }
    }

    fn lost(&mut self, status: &Status) {
        if self.failures == 0 {
            let (under_way, why) = (self.flights.len(), status.message());
            tracing::warn!(shard = %self.address, under_way, "connection lost, will be made again: {why}");
        }
        let wait = us(backoff(self.failures));
        self.connection = Connection::Down { retry_at_us: self.shared.clock.now_us() + wait };
        self.failures = self.failures.saturating_add(1);
        self.shared.directory.ask_again();
    }

    /// Opens the stream where there is reason to: something to send, or a shard that the directory knows.
    fn reconnect(&mut self, now_us: u64) {
        let Connection::Down { retry_at_us } = self.connection else { return };
        if now_us < retry_at_us {
            return;
        }
        let known = self.shared.directory.view().has(&self.address);
        if !known && self.flights.is_empty() {
            // Nothing of ours is there any more. Whoever needs this shard later makes a new link.
            self.leave();
            self.shared.retire(&self.address);
            self.connection = Connection::Down { retry_at_us: now_us + us(BACKOFF_MAX) };
            return;
        }
        let client = self.shared.clients.client(&self.address);
        self.connection = Connection::Opening(Box::pin(async move {
            let (batches, queued) = mpsc::channel(2 * IN_FLIGHT_MAX);
            let mut client = client.map_err(Status::from)?;
            let opening = client.start_executions(ReceiverStream::new(queued));
            let late = |_| Status::deadline_exceeded("no answer to the opening of the stream");
            let acks = tokio::time::timeout(OPEN_TIMEOUT, opening).await.map_err(late)??.into_inner();
            Ok(Open { batches, acks })
        }));
    }

    fn expire(&mut self, now_us: u64) {
        let expired: Vec<BatchId> =
            self.flights.values().filter(|batch| batch.deadline_us <= now_us).map(|batch| batch.id).collect();
        for id in expired {
            if let Some(batch) = self.remove(id) {
                batch.give_up("its deadline has passed");
            }
        }
        for submission in self.lanes.expired(now_us) {
            let message =
                format!("not sent to {} before its deadline: the shard is full or away", self.address);
            refuse(submission, &Error::unavailable(message));
        }
        if self.queue_closed && matches!(self.connection, Connection::Down { .. }) {
            for submission in self.lanes.drain() {
                refuse(submission, &Error::unavailable("the scheduler is shutting down"));
            }
        }
    }

    /// Takes a batch out of the books.
    fn remove(&mut self, id: BatchId) -> Option<Batch> {
        let mut batch = self.flights.remove(&id)?;
        self.in_flight_bytes -= batch.bytes;
        if let Some(lane) = batch.partial_of.take() {
            self.lanes.partial_ended(lane);
        }
        Some(batch)
    }

    /// Sends again what is due: here, or to the partition's new owner.
    fn resend(&mut self, now_us: u64) {
        let due = |batch: &&Batch| batch.due_us <= now_us && batch.waits_for.is_none();
        let due: Vec<BatchId> = self.flights.values().filter(due).map(|batch| batch.id).collect();
        if due.is_empty() {
            return;
        }
        let view = self.shared.directory.view();
        for id in due {
            let owner = view.owner(id.partition).map(|shard| Arc::clone(&shard.data_address));
            match owner {
                Some(owner) if owner != self.address => self.hand_over(id, &owner, now_us),
                _ => self.transmit(id, now_us),
            }
        }
    }

    fn hand_over(&mut self, id: BatchId, owner: &Arc<str>, now_us: u64) {
        let link = self.shared.link(owner);
        let Some(place) = link.as_ref().and_then(|link| link.adopt.try_reserve().ok()) else {
            if let Some(batch) = self.flights.get_mut(&id) {
                batch.due_us = now_us + us(BACKOFF_MIN);
            }
            return;
        };
        if let Some(batch) = self.remove(id) {
            tracing::debug!(batch = ?id, from = %self.address, to = %owner, "partition has moved");
            place.send(Box::new(batch));
        }
    }

    fn transmit(&mut self, id: BatchId, now_us: u64) {
        let Some(batch) = self.flights.get_mut(&id) else { return };
        let Connection::Up(open) = &self.connection else {
            // The opening of the stream makes it due.
            batch.due_us = now_us + us(BACKOFF_MAX);
            return;
        };
        match open.batches.try_send(batch.message.clone()) {
            Ok(()) => {
                batch.waits_for_owner = false;
                batch.sent();
                batch.due_us = now_us + us(ACK_TIMEOUT);
            }
            Err(_) => batch.due_us = now_us + us(BACKOFF_MIN),
        }
    }

    /// Makes batches of what has gathered, as long as there is room under way.
    fn send_new(&mut self, now_us: u64) {
        if self.lanes.is_empty() || !matches!(self.connection, Connection::Up(_)) {
            return;
        }
        let view = self.shared.directory.view();
        while self.flights.len() < IN_FLIGHT_MAX && self.in_flight_bytes < IN_FLIGHT_BYTES_MAX {
            let mine = view.shards.iter().find(|shard| shard.data_address == self.address);
            let Some(mine) = mine else {
                // Suspected or draining: its starts go elsewhere.
                self.leave();
                return;
            };
            let Some((lane, submissions, partial)) = self.lanes.next_batch() else { return };
            let partition = match lane {
                Some(partition) => mine.partitions.contains(&partition).then_some(partition),
                None => self.rotation.next(&mine.partitions),
            };
            let id = partition.map(|partition| self.shared.next_id(partition));
            let Some(Ok(id)) = id else {
                if partial {
                    self.lanes.partial_ended(lane);
                }
                for submission in submissions {
                    match &id {
                        Some(Err(error)) => refuse(submission, &Error::unavailable(error.to_string())),
                        // It has moved.
                        _ => self.shared.reroute(submission),
                    }
                }
                continue;
            };
            let mut batch = Batch::new(id, submissions, now_us, self.dice.next_u64());
            batch.partial_of = partial.then_some(lane);
            self.in_flight_bytes += batch.bytes;
            self.flights.insert(id, batch);
            self.retry_budget = (self.retry_budget + RETRY_EARNED).min(RETRY_BUDGET_MAX);
            self.transmit(id, now_us);
        }
    }

    fn acknowledged(&mut self, ack: StartAck) {
        let Some(id) = ack.id.as_ref().and_then(|id| BatchId::try_from(id).ok()) else { return };
        let Some(batch) = self.flights.get_mut(&id) else { return };
        match (ack.refusal, ack.running) {
            (None, None) => batch.settle(ack.from, ack.to, &Settled::Durable),
            (None, Some(running)) => batch.settle(ack.from, ack.to, &Settled::Running(running)),
            (Some(refusal), _) => self.refused(id, ack.from, ack.to, refusal),
        }
        if self.flights.get(&id).is_some_and(Batch::is_settled)
            && let Some(batch) = self.remove(id)
        {
            batch.answer();
        }
    }

    fn refused(&mut self, id: BatchId, from: u32, to: u32, refusal: StartRefusal) {
        let now_us = self.shared.clock.now_us();
        let Some(batch) = self.flights.get_mut(&id) else { return };
        batch.refused(from, to, &refusal);
        let pause = backoff(batch.attempts).max(Duration::from_millis(u64::from(refusal.retry_after_ms)));
        match Reason::try_from(refusal.reason).unwrap_or_default() {
            Reason::Unspecified | Reason::Invalid | Reason::Conflict | Reason::Expired => {
                batch.settle(from, to, &Settled::Refused(refusal));
                return;
            }
            Reason::Overloaded if self.retry_budget < 1.0 => {
                // An earlier send of it may have found room.
                let doubtful = batch.doubtful > 0;
                let refusal = if doubtful { batch.unsettled(&refusal.message) } else { refusal };
                batch.settle(from, to, &Settled::Refused(refusal));
                return;
            }
            Reason::Overloaded => {
                self.retry_budget -= 1.0;
                batch.due_us = now_us + us(pause);
            }
            Reason::DefinitionMissing => self.put_definition(id, &refusal),
            Reason::NotOwner | Reason::Draining => {
                batch.waits_for_owner = true;
                batch.due_us = now_us + us(pause);
                self.shared.directory.ask_again();
            }
            Reason::StoreUnavailable | Reason::OutcomeUnknown => batch.due_us = now_us + us(pause),
        }
        if let Some(batch) = self.flights.get_mut(&id) {
            batch.last_refusal = Some(refusal);
        }
    }

    /// Gives the node what it lacks; its batches wait meanwhile.
    fn put_definition(&mut self, id: BatchId, refusal: &StartRefusal) {
        let Some(batch) = self.flights.get_mut(&id) else { return };
        let named = refusal.missing_definitions.first().and_then(|hash| <[u8; 32]>::try_from(&**hash).ok());
        let template = match named {
            Some(hash) => batch.template(&hash),
            None => batch.first_template(),
        };
        let Some(template) = template.map(Arc::clone) else { return };
        let hash = template.hash;
        batch.waits_for = Some(hash);
        if !self.putting.insert(hash) {
            return;
        }
        let view = self.shared.directory.view();
        let shard = view.shards.iter().find(|shard| shard.data_address == self.address);
        let address =
            shard.map_or_else(|| Arc::clone(&self.address), |shard| Arc::clone(&shard.public_address));
        let clients = self.shared.clients.clone();
        self.puts.spawn(async move { (hash, clients.put_definition(&address, &template).await) });
    }

    fn definition_put(&mut self, hash: DefinitionHash, result: Result<(), Status>) {
        self.putting.remove(&hash);
        let now_us = self.shared.clock.now_us();
        let mut hopeless = Vec::new();
        for batch in self.flights.values_mut().filter(|batch| batch.waits_for == Some(hash)) {
            batch.waits_for = None;
            match &result {
                Ok(()) => batch.due_us = now_us,
                Err(status) if status.code() == Code::InvalidArgument => hopeless.push(batch.id),
                Err(_) => {
                    batch.attempts = batch.attempts.saturating_add(1);
                    batch.due_us = now_us + us(backoff(batch.attempts));
                }
            }
        }
        let Err(status) = result else { return };
        tracing::warn!(shard = %self.address, "the node did not take a definition: {}", status.message());
        let message = format!("the node refuses the definition: {}", status.message());
        let refusal = Error::invalid("InvalidDefinition", message).refusal();
        for id in hopeless {
            if let Some(batch) = self.remove(id) {
                batch.refuse(&refusal);
            }
        }
    }
}
