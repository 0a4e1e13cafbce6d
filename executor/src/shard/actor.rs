//! The shard as an actix actor: what wakes it, and how it takes turns with the other tasks of its thread.
//!
//! Invariants: this is the only actix actor, and it has no mailbox traffic: everything reaches it through one stream,
//! [`Sources`], that merges the bounded command queue, the store's answers and one alarm. All state changes happen in
//! [`Shard::wake`], which never waits. After every wake-up the stream yields once, so that the tonic tasks of the same
//! runtime run between two rounds. Nothing here fails.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix::{Actor, StreamHandler};
use futures_util::Stream;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::Command;
use super::core::{Flight, Landed, Shard};
use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::limits;

/// Answers of the store handled in one wake-up.
const LANDED_PER_WAKE: usize = 64;

/// What one wake-up brings.
#[derive(Default)]
pub(super) struct Wake {
    pub commands: Vec<Command>,
    pub landed: Vec<Landed>,
}

/// Everything that can wake the shard.
pub(super) struct Sources {
    commands: mpsc::Receiver<Command>,
    flights: FuturesUnordered<Flight>,
    alarm: Alarm,
    spare: Wake,
    closed: bool,
    yielding: bool,
}

impl Sources {
    pub fn new(commands: mpsc::Receiver<Command>, clock: Clock) -> Self {
        let flights = FuturesUnordered::new();
        let spare = Wake::default();
        let mut alarm = Alarm::new(clock);
        // The first poll wakes the shard, so that it can begin its recovery.
        alarm.set(0);
        Self { commands, flights, alarm, spare, closed: false, yielding: false }
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Option<Wake>> {
        if std::mem::take(&mut self.yielding) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut wake = std::mem::take(&mut self.spare);
        if !self.closed {
            let polled = self.commands.poll_recv_many(cx, &mut wake.commands, limits::COMMANDS_PER_WAKE);
            self.closed = matches!(polled, Poll::Ready(0));
        }
        while wake.landed.len() < LANDED_PER_WAKE {
            match Pin::new(&mut self.flights).poll_next(cx) {
                Poll::Ready(Some(landed)) => wake.landed.push(landed),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        let rang = self.alarm.poll(cx).is_ready();
        if rang || !wake.commands.is_empty() || !wake.landed.is_empty() {
            self.yielding = true;
            return Poll::Ready(Some(wake));
        }
        self.spare = wake;
        if self.closed && self.flights.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }
}

/// The stream of wake-ups; the actor reaches the same sources while it handles one.
struct Wakes(Rc<RefCell<Sources>>);

impl Stream for Wakes {
    type Item = Wake;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Wake>> {
        self.0.borrow_mut().poll_wake(cx)
    }
}

/// The actor.
pub(super) struct ShardActor {
    shard: Shard,
    sources: Rc<RefCell<Sources>>,
}

impl ShardActor {
    pub fn new(shard: Shard, sources: Sources) -> Self {
        Self { shard, sources: Rc::new(RefCell::new(sources)) }
    }
}

impl Actor for ShardActor {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        Self::add_stream(Wakes(Rc::clone(&self.sources)), ctx);
    }
}

impl StreamHandler<Wake> for ShardActor {
    fn handle(&mut self, mut wake: Wake, _: &mut Self::Context) {
        let mut sources = self.sources.borrow_mut();
        self.shard.metrics.queue_depth.set(sources.commands.len() as u64);
        self.shard.wake(&mut wake);
        sources.flights.extend(self.shard.flights.drain(..));
        if let Some(at_us) = self.shard.next_alarm_us() {
            sources.alarm.set(at_us);
        }
        sources.spare = wake;
    }
}
