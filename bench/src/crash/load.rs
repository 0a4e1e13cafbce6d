//! Starts at fixed instants through the scheduler's batch API, whatever happens to it.
//!
//! Open loop: a start that is due while nobody takes it is counted as unsent, and is not made up for. A start whose stream
//! broke, or of which the scheduler says so, has an unknown outcome; a named one is sent again under its name, which must give the same execution.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use futures_util::StreamExt;
use ids::{BatchId, ExecutionId};
use proto::executor::v1::start_refusal::Reason;
use proto::scheduler::v1::executions_client::ExecutionsClient;
use proto::scheduler::v1::templates_client::TemplatesClient;
use proto::scheduler::v1::{CreateStateMachineRequest, StartExecutionsRequest, StartExecutionsResponse};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::acks::Ack;
use super::plan::Dice;
use super::shared::Shared;
use super::workload::Kind;
use crate::error::Error;
use crate::ledger::Mask;
use crate::load::connect;
use crate::schedule::Schedule;

/// How often it is looked what is due.
const TICK: Duration = Duration::from_millis(5);
/// Messages that wait for the stream.
const LANE: usize = 64;
/// Starts that are sent and not answered.
const OUTSTANDING_MAX: u64 = 200_000;
/// Names that wait to be sent again.
const AGAIN_MAX: usize = 10_000;
/// How long the last answers may take: longer than the scheduler keeps a start.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(40);
/// The code of a start that is taken to kill its node.
const POISONOUS: &str = "ExecutionPoisonous";
/// A stream that cannot be had in this time is tried again.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// What is loaded, and how.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// The scheduler's address.
    pub address: String,
    /// Starts a second.
    pub rate: u64,
    /// ARN of each kind's machine.
    pub arns: HashMap<Kind, String>,
}

/// A message that was sent.
#[derive(Debug, Clone, Copy)]
struct Message {
    kind: Kind,
    first_run: u64,
    count: u32,
    /// It was sent before, under the same names.
    again: bool,
}

/// What sender and readers share.
struct Book {
    shared: Arc<Shared>,
    acks: mpsc::Sender<Ack>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// By tag, with which starts of it are answered.
    messages: HashMap<u64, (Message, Mask)>,
    /// The tag of the last message that was sent.
    last_tag: u64,
    /// Messages up to here were sent on streams that are gone.
    abandoned: u64,
    starts: u64,
    /// Messages to send again, and when.
    again: VecDeque<(u64, Message)>,
    /// What each name was first answered with; bounded by the named runs.
    names: HashMap<u64, ExecutionId>,
}

/// Creates the machines.
///
/// # Errors
/// A scheduler that refuses one.
pub(super) async fn create_machines(address: &str) -> Result<HashMap<Kind, String>, Error> {
    let mut templates = TemplatesClient::new(connect(address).await?);
    let mut arns = HashMap::new();
    for kind in Kind::ALL {
        let request = CreateStateMachineRequest {
            name: kind.name().to_owned(),
            definition: kind.definition().into(),
            mode: kind.mode().into(),
            ..CreateStateMachineRequest::default()
        };
        let created = templates.create_state_machine(request).await;
        let created =
            created.map_err(|status| Error::Call { call: "CreateStateMachine", status: Box::new(status) })?;
        arns.insert(kind, created.into_inner().arn);
    }
    Ok(arns)
}

/// Loads until `stop`, then waits for the last answers.
pub(super) async fn run(
    settings: Settings,
    shared: Arc<Shared>,
    acks: mpsc::Sender<Ack>,
    stop: Arc<AtomicBool>,
) {
    let book = Arc::new(Book { shared: Arc::clone(&shared), acks, open: Mutex::default() });
    let mut sender = Sender {
        schedule: Schedule::new(settings.rate, Duration::from_secs(365 * 86_400)),
        dice: Dice::new(shared.seed),
        settings,
        book,
        next: 0,
        run: 0,
        tag: 0,
    };
    while !stop.load(Relaxed) {
        match sender.open().await {
            Some((lane, replies)) => sender.stream(lane, replies, &stop).await,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        sender.book.abandon();
    }
}

struct Sender {
    schedule: Schedule,
    dice: Dice,
    settings: Settings,
    book: Arc<Book>,
    /// The next start of the schedule.
    next: u64,
    /// The next run: a start that was sent.
    run: u64,
    tag: u64,
}

type Lane = mpsc::Sender<StartExecutionsRequest>;

impl Sender {
    async fn open(&self) -> Option<(Lane, Streaming<StartExecutionsResponse>)> {
        let opening = async {
            let mut client = ExecutionsClient::new(connect(&self.settings.address).await.ok()?)
                .max_decoding_message_size(8 << 20)
                .max_encoding_message_size(8 << 20);
            let (lane, messages) = mpsc::channel(LANE);
            let replies = client.start_executions(ReceiverStream::new(messages)).await.ok()?;
            Some((lane, replies.into_inner()))
        };
        tokio::time::timeout(OPEN_WITHIN, opening).await.ok().flatten()
    }

    /// Until the stream breaks, or the load ends and all is answered.
    async fn stream(&mut self, lane: Lane, replies: Streaming<StartExecutionsResponse>, stop: &AtomicBool) {
        let (over, ends) = oneshot::channel();
        let mut reader = tokio::spawn(read(Arc::clone(&self.book), replies, ends));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut patience = LAST_ANSWERS_WITHIN;
        while !reader.is_finished() {
            tokio::select! {
                _ = &mut reader => return,
                _ = ticks.tick() => {}
            }
            if !stop.load(Relaxed) {
                self.send_due(&lane);
                continue;
            }
            patience = patience.saturating_sub(TICK);
            if patience.is_zero() || self.book.lock().messages.is_empty() {
                break;
            }
        }
        // What was answered is passed on before the stream is left.
        drop((lane, over));
        let _ = reader.await;
    }

    fn send_due(&mut self, lane: &Lane) {
        let due = self.schedule.due(self.book.shared.now_ms().saturating_mul(1_000_000));
        while let Some(message) = self.book.take_again() {
            if !self.send(lane, message) {
                break;
            }
        }
        while self.next < due {
            let kind = Kind::draw(&mut self.dice);
            let count = (due - self.next).min(kind.message_max());
            let small = u32::try_from(count).unwrap_or(u32::MAX);
            let message = Message { kind, first_run: self.run, count: small, again: false };
            if self.send(lane, message) {
                self.run += count;
                self.next += count;
            } else {
                self.book.shared.unsent.fetch_add(due - self.next, Relaxed);
                self.next = due;
            }
        }
    }

    /// Whether the stream took it.
    fn send(&mut self, lane: &Lane, message: Message) -> bool {
        if self.book.lock().starts > OUTSTANDING_MAX {
            return false;
        }
        let Ok(place) = lane.try_reserve() else { return false };
        let Message { kind, first_run, count, .. } = message;
        let seed = self.book.shared.seed;
        let runs = first_run..first_run + u64::from(count);
        self.tag += 1;
        let request = StartExecutionsRequest {
            tag: self.tag,
            state_machine_arn: self.settings.arns.get(&kind).cloned().unwrap_or_default(),
            input: runs.clone().map(|run| kind.input_bytes(seed, run)).collect(),
            name: runs.filter_map(|run| kind.run_name(seed, run)).collect(),
            logging: None,
            trace: Vec::new(),
        };
        let mut open = self.book.lock();
        open.add(self.tag, message);
        drop(open);
        self.book.shared.sent.fetch_add(count.into(), Relaxed);
        place.send(request);
        true
    }
}

/// Until the stream ends, or nobody waits for it any more.
async fn read(
    book: Arc<Book>,
    mut replies: Streaming<StartExecutionsResponse>,
    mut over: oneshot::Receiver<()>,
) {
    loop {
        let reply = tokio::select! {
            reply = replies.next() => reply,
            _ = &mut over => return,
        };
        let Some(Ok(reply)) = reply else { return };
        if let Some(ack) = book.answered(&reply)
            && book.acks.send(ack).await.is_err()
        {
            return;
        }
    }
}

impl Open {
    fn add(&mut self, tag: u64, message: Message) {
        self.messages.insert(tag, (message, Mask::default()));
        self.last_tag = tag;
        self.starts += u64::from(message.count);
    }
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_again(&self) -> Option<Message> {
        let now = self.shared.now_ms();
        let mut open = self.lock();
        open.again.front().filter(|(due, _)| *due <= now)?;
        open.again.pop_front().map(|(_, message)| message)
    }

    /// The stream is gone: nobody knows what became of what it did not answer.
    fn abandon(&self) {
        let mut open = self.lock();
        let messages = std::mem::take(&mut open.messages);
        (open.starts, open.abandoned) = (0, open.last_tag);
        for (message, answered) in messages.into_values() {
            let unanswered = (0..message.count).filter(|offset| !answered.has(*offset));
            self.unknown(&mut open, message, unanswered);
        }
    }

    /// Nobody knows what became of these starts of a message. A name may be sent again.
    fn unknown(&self, open: &mut Open, message: Message, offsets: impl Iterator<Item = u32>) {
        let runs: Vec<u64> = offsets.map(|offset| message.first_run + u64::from(offset)).collect();
        self.shared.unknown.fetch_add(runs.len() as u64, Relaxed);
        self.shared.unanswered(runs);
        if message.kind == Kind::Named && open.again.len() < AGAIN_MAX {
            open.again.push_back((self.shared.now_ms() + 200, Message { again: true, ..message }));
        }
    }

    /// What an answer acknowledges anew.
    fn answered(&self, reply: &StartExecutionsResponse) -> Option<Ack> {
        let mut open = self.lock();
        let count = reply.to.saturating_sub(reply.from);
        let message = self.place(&mut open, reply)?;
        open.starts = open.starts.saturating_sub(count.into());
        let first_run = message.first_run + u64::from(reply.from);
        if let Some(refusal) = &reply.refusal {
            let reason = refusal.reason();
            // A name that was sent before may belong to its own execution, which has ended since.
            if reason == Reason::Conflict && message.again {
                self.shared.names_again.fetch_add(count.into(), Relaxed);
            } else if reason == Reason::OutcomeUnknown {
                self.unknown(&mut open, message, reply.from..reply.to);
            } else if refusal.code == POISONOUS {
                // Three kills met its start, before it was acknowledged.
                self.shared.refuse(POISONOUS, count.into());
            } else if matches!(reason, Reason::Invalid | Reason::Conflict | Reason::Expired) {
                let (kind, text) = (message.kind.name(), &refusal.message);
                self.shared
                    .fault(&format!("start of {kind}, run {first_run}, refused as {reason:?}: {text}"));
            } else {
                self.shared.refuse(&refusal.code, count.into());
            }
            return None;
        }
        let Some(Ok(batch)) = reply.batch.as_ref().map(BatchId::try_from) else {
            self.shared.fault(&format!("run {first_run} was acknowledged without an id"));
            return None;
        };
        let ack = Ack { kind: message.kind, first_run, count, batch, first_index: reply.first_index };
        if message.kind == Kind::Named { self.named(&mut open, message, ack) } else { Some(ack) }
    }

    /// The message that an answer is for. Each of its starts is answered once.
    fn place(&self, open: &mut Open, reply: &StartExecutionsResponse) -> Option<Message> {
        let StartExecutionsResponse { tag, from, to, batch, .. } = reply;
        if *tag <= open.abandoned {
            // Of a stream that is gone: what it did not answer counts as unknown.
            return None;
        }
        let known = open.messages.get_mut(tag);
        let fits = known.and_then(|(message, answered)| {
            let mut all = *answered;
            let fresh = from < to && *to <= message.count && all.set(*from, *to) == 0;
            fresh.then(|| {
                *answered = all;
                (*message, all)
            })
        });
        let Some((message, answered)) = fits else {
            self.shared.fault(&format!(
                "an answer to starts {from} to {to} of message {tag} came a second time, or to what was not sent: {batch:?}"
            ));
            return None;
        };
        if answered.count() == message.count {
            open.messages.remove(tag);
        }
        Some(message)
    }

    /// A name is given once. An acknowledgement that repeats an earlier one is none of its own.
    fn named(&self, open: &mut Open, message: Message, ack: Ack) -> Option<Ack> {
        let id = ack.execution(0)?;
        if ack.count != 1 {
            self.shared.fault(&format!("{} names were answered as one, with {id}", ack.count));
            return None;
        }
        if let Some(first) = open.names.get(&ack.first_run) {
            if *first == id {
                self.shared.names_again.fetch_add(1, Relaxed);
            } else {
                let name = ack.kind.run_name(self.shared.seed, ack.first_run).unwrap_or_default();
                self.shared.fault(&format!("the name {name} was given twice: to {first}, then to {id}"));
            }
            return None;
        }
        open.names.insert(ack.first_run, id);
        // Every other name is started again while it runs.
        if !message.again && ack.first_run.is_multiple_of(2) && open.again.len() < AGAIN_MAX {
            let again = Message { first_run: ack.first_run, count: 1, again: true, ..message };
            open.again.push_back((self.shared.now_ms() + 500, again));
        }
        Some(ack)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proto::executor::v1 as wire;

    use super::*;

    fn book() -> (Book, mpsc::Receiver<Ack>) {
        let (acks, received) = mpsc::channel(8);
        let shared = Arc::new(Shared::new(1, 1, PathBuf::new()));
        (Book { shared, acks, open: Mutex::default() }, received)
    }

    fn sent(book: &Book, tag: u64, message: Message) {
        book.lock().add(tag, message);
    }

    fn reply(tag: u64, from: u32, to: u32, sequence: u64) -> StartExecutionsResponse {
        let batch = Some(wire::BatchId { partition: 1, incarnation: 1, sequence });
        StartExecutionsResponse { tag, from, to, batch, first_index: 0, refusal: None }
    }

    fn named(again: bool) -> Message {
        Message { kind: Kind::Named, first_run: 4, count: 1, again }
    }

    #[test]
    fn an_answer_acknowledges_its_part_of_a_message() {
        let (book, _acks) = book();
        sent(&book, 1, Message { kind: Kind::Pass, first_run: 100, count: 10, again: false });
        let ack = book.answered(&reply(1, 2, 6, 9)).expect("acknowledged");
        assert_eq!((ack.first_run, ack.count, ack.first_index), (102, 4, 0));
        book.abandon();
        assert_eq!(book.shared.unknown.load(Relaxed), 6, "the rest is unknown");
        let unanswered: Vec<u64> = (99..111).filter(|run| book.shared.is_unanswered(*run)).collect();
        assert_eq!(unanswered, [100, 101, 106, 107, 108, 109]);
        assert!(book.answered(&reply(1, 6, 10, 9)).is_none(), "nobody waits for it");
        assert_eq!(book.shared.faults().0, 0);
    }

    #[test]
    fn a_second_answer_to_a_start_is_a_fault_whether_or_not_the_rest_is_answered() {
        let (book, _acks) = book();
        sent(&book, 1, Message { kind: Kind::Pass, first_run: 100, count: 10, again: false });
        book.answered(&reply(1, 2, 6, 9)).expect("acknowledged");
        assert!(book.answered(&reply(1, 5, 7, 10)).is_none());
        assert_eq!(book.shared.faults().0, 1);
        sent(&book, 2, Message { kind: Kind::Pass, first_run: 200, count: 2, again: false });
        for (from, to) in [(0, 2), (6, 10)] {
            book.answered(&reply(1, from, to, 9)).expect("acknowledged");
        }
        assert!(book.answered(&reply(1, 0, 10, 11)).is_none());
        assert!(book.answered(&reply(2, 0, 3, 9)).is_none(), "more than was sent");
        assert_eq!(book.shared.faults().0, 3);
    }

    #[test]
    fn a_name_that_gets_a_second_execution_is_a_fault_and_the_same_one_is_none() {
        let (book, _acks) = book();
        for (tag, again, sequence, faults) in [(1, false, 9, 0), (2, true, 9, 0), (3, true, 10, 1)] {
            sent(&book, tag, named(again));
            assert_eq!(book.answered(&reply(tag, 0, 1, sequence)).is_some(), tag == 1);
            assert_eq!(book.shared.faults().0, faults);
        }
        assert_eq!(book.shared.names_again.load(Relaxed), 1);
    }

    #[test]
    fn a_name_whose_outcome_is_unknown_is_sent_again() {
        let (book, _acks) = book();
        sent(&book, 1, named(false));
        book.abandon();
        let again = book.lock().again.pop_front().expect("sent again").1;
        assert!(again.again && again.first_run == 4);
    }

    #[test]
    fn a_start_whose_outcome_the_scheduler_does_not_know_counts_as_unknown_and_not_as_refused() {
        let (book, _acks) = book();
        sent(&book, 1, Message { kind: Kind::Pass, first_run: 100, count: 10, again: false });
        sent(&book, 2, named(false));
        for (tag, count) in [(1, 10), (2, 1)] {
            let refusal = wire::StartRefusal { reason: Reason::OutcomeUnknown.into(), ..Default::default() };
            let told = StartExecutionsResponse { refusal: Some(refusal), ..reply(tag, 0, count, 1) };
            assert!(book.answered(&told).is_none());
        }
        assert_eq!((book.shared.unknown.load(Relaxed), book.shared.refused().len()), (11, 0));
        assert!(book.shared.is_unanswered(109) && !book.shared.is_unanswered(110));
        let again = book.lock().again.pop_front().expect("the name is sent again").1;
        assert!(again.again && again.first_run == 4 && again.count == 1);
    }

    #[test]
    fn a_start_that_was_refused_with_any_other_reason_was_not_begun() {
        let (book, _acks) = book();
        sent(&book, 1, Message { kind: Kind::Pass, first_run: 100, count: 2, again: false });
        let (reason, code) = (Reason::StoreUnavailable.into(), "Unavailable".to_owned());
        let refusal = Some(wire::StartRefusal { reason, code, ..Default::default() });
        assert!(book.answered(&StartExecutionsResponse { refusal, ..reply(1, 0, 2, 1) }).is_none());
        assert_eq!((book.shared.unknown.load(Relaxed), book.shared.is_unanswered(100)), (0, false));
    }

    #[test]
    fn a_conflict_is_right_for_a_name_that_was_sent_before_and_wrong_otherwise() {
        let (book, _acks) = book();
        for (tag, again, faults) in [(1, true, 0), (2, false, 1)] {
            sent(&book, tag, named(again));
            let refusal = wire::StartRefusal { reason: Reason::Conflict.into(), ..Default::default() };
            let refused = StartExecutionsResponse { refusal: Some(refusal), ..reply(tag, 0, 1, 1) };
            assert!(book.answered(&refused).is_none());
            assert_eq!(book.shared.faults().0, faults);
        }
    }
}
