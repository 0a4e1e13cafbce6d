//! What a connection is doing, and since when: by this it is closed when it does nothing, or only pretends to do something.
//!
//! Invariants: one thread's; keeping it costs a request a few looks at the clock and no timer. A connection with a request under
//! way is ended here only when its peer reads none of an answer, or when the door is shut: bodies, calls and shutting have bounds
//! of their own. Nothing here fails.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::Limits;
use crate::tell::Connection;

/// What HTTP/2 begins with; no method does.
const HTTP2_BEGINS: &[u8] = b"PRI ";

/// See the module.
pub(super) struct Activity {
    /// Requests that are received or answered, until the answer is written.
    under_way: Cell<u32>,
    /// Answers that are being written, by when something of each went last.
    answers: RefCell<Slab<Instant>>,
    /// Whether its TLS handshake goes on.
    handshake: Cell<bool>,
    /// Whether a part of the next request's headers is there.
    head: Cell<bool>,
    /// Since when it is what it is.
    since: Cell<Instant>,
    /// Whether it has had a request.
    spoke: Cell<bool>,
    protocol: Cell<Protocol>,
    order: Cell<Option<Order>>,
    ordered: Notify,
}

/// What is spoken, as far as the first bytes tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// So many bytes of what HTTP/2 begins with have come, and nothing else.
    Unknown(usize),
    Http1,
    Http2,
}

/// What a connection is told to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Make room.
    End,
    /// Answer what is under way, and end.
    Drain,
}

impl Activity {
    /// A connection that has just come, of which a handshake or a first request is expected soon.
    pub(super) fn new(handshake: bool) -> Self {
        Self {
            under_way: Cell::new(0),
            answers: RefCell::default(),
            handshake: Cell::new(handshake),
            head: Cell::new(false),
            since: Cell::new(Instant::now()),
            spoke: Cell::new(false),
            protocol: Cell::new(Protocol::Unknown(0)),
            order: Cell::new(None),
            ordered: Notify::new(),
        }
    }

    /// The handshake is over, or all answers are written.
    pub(super) fn waits(&self) {
        self.handshake.set(false);
        self.head.set(false);
        self.since.set(Instant::now());
    }

    /// A request is there; it is under way until what is returned is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        self.head.set(false);
        self.spoke.set(true);
        UnderWay(Rc::clone(self))
    }

    /// Tells it to do something.
    pub(super) fn order(&self, order: Order) {
        self.order.set(Some(order));
        self.ordered.notify_one();
    }

    /// How readily it may be closed: `None` when it is busy or ends anyway, else the least is closed first. Those that have
    /// asked for nothing yet go first, then those that have been silent for longest.
    pub(super) fn readiness(&self) -> Option<(bool, Instant)> {
        let free = self.under_way.get() == 0 && self.order.get().is_none();
        free.then(|| (self.spoke.get(), self.since.get()))
    }

    /// Bytes have come; none at the end.
    pub(super) fn received(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Protocol::Unknown(seen) = self.protocol.get() {
            let (rest, matching) = (&HTTP2_BEGINS[seen..], bytes.len().min(HTTP2_BEGINS.len() - seen));
            let protocol = match () {
                () if bytes[..matching] != rest[..matching] => Protocol::Http1,
                () if matching == rest.len() => Protocol::Http2,
                () => Protocol::Unknown(seen + matching),
            };
            self.protocol.set(protocol);
        }
        // HTTP/2 has frames beside those of requests; what it leaves unfinished counts as doing nothing.
        let begins = self.under_way.get() == 0 && !self.head.get();
        if begins && self.protocol.get() != Protocol::Http2 {
            self.head.set(true);
            self.since.set(Instant::now());
        }
    }

    /// When it is to be ended if nothing happens until then, and as what.
    fn deadline(&self, limits: &Limits) -> Option<(Instant, Connection)> {
        if self.under_way.get() > 0 {
            let longest = self.answers.borrow().iter().map(|(_, went)| *went).min();
            return longest.map(|went| (went + limits.write_within, Connection::SlowReader));
        }
        let (within, what) = match () {
            () if self.handshake.get() => (limits.head_within, Connection::Handshake),
            () if self.head.get() => (limits.head_within, Connection::SlowHead),
            () if !self.spoke.get() => (limits.head_within, Connection::Idle),
            () => (limits.idle_within, Connection::Idle),
        };
        Some((self.since.get() + within, what))
    }

    /// Waits until it is told to do something; drop it and nothing is lost.
    pub(super) async fn told(&self) -> Order {
        loop {
            if let Some(order) = self.order.get() {
                return order;
            }
            self.ordered.notified().await;
        }
    }

    /// Waits until it has been idle or slow for too long, and says which; drop it and nothing is lost.
    pub(super) async fn overdue(&self, limits: &Limits) -> Connection {
        // A deadline moves with each request, so it is not waited for but looked at.
        let shortest = limits.head_within.min(limits.idle_within).min(limits.write_within);
        let look_every = (shortest / 2).max(Duration::from_millis(1));
        loop {
            let now = Instant::now();
            let next = match self.deadline(limits) {
                Some((at, what)) if at <= now => return what,
                Some((at, _)) => at.min(now + look_every),
                None => now + look_every,
            };
            tokio::time::sleep_until(next).await;
        }
    }
}

/// A request that is under way.
pub(super) struct UnderWay(Rc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let left = self.0.under_way.get() - 1;
        self.0.under_way.set(left);
        if left == 0 {
            self.0.waits();
        }
    }
}

impl UnderWay {
    /// Its answer is there, and will be written.
    pub(super) fn answers(self) -> Answering {
        let number = self.0.answers.borrow_mut().insert(Instant::now());
        Answering { under_way: self, number }
    }
}

/// A request whose answer is being written.
pub(super) struct Answering {
    under_way: UnderWay,
    number: usize,
}

impl Answering {
    /// Something of the answer went.
    pub(super) fn goes_on(&self) {
        let activity = &self.under_way.0;
        // Over HTTP/1 answers wait for each other.
        let all = activity.protocol.get() != Protocol::Http2;
        for (number, went) in &mut *activity.answers.borrow_mut() {
            if all || number == self.number {
                *went = Instant::now();
            }
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.under_way.0.answers.borrow_mut().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes to pass, and after how many seconds.
    async fn overdue(me: &Activity) -> (u64, Connection) {
        let began = Instant::now();
        let what = me.overdue(&Limits::default()).await;
        (began.elapsed().as_secs(), what)
    }

    fn speaking(first: &[u8]) -> Rc<Activity> {
        let me = Rc::new(Activity::new(false));
        me.received(first);
        me
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_may_take_any_time_as_long_as_he_reads_on() {
        let me = speaking(b"POST");
        let answering = me.begin().answers();
        for _ in 0..20 {
            let early = tokio::time::timeout(Duration::from_secs(19), overdue(&me)).await;
            assert!(early.is_err(), "{early:?}");
            answering.goes_on();
        }
        assert_eq!(overdue(&me).await, (20, Connection::SlowReader));
        drop(answering);
        assert_eq!(overdue(&me).await, (75, Connection::Idle), "from when the answer was written");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_read_is_not_excused_by_others_but_where_they_wait_for_each_other() {
        for (first, after) in [(HTTP2_BEGINS, 5), (&b"POST"[..], 20)] {
            let me = speaking(first);
            let (_stuck, other) = (me.begin().answers(), me.begin().answers());
            tokio::time::advance(Duration::from_secs(15)).await;
            other.goes_on();
            assert_eq!(overdue(&me).await, (after, Connection::SlowReader));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_is_not_ended() {
        let me = speaking(b"POST");
        let _waits = me.begin();
        let early = tokio::time::timeout(Duration::from_secs(3_600), overdue(&me)).await;
        assert!(early.is_err(), "{early:?}");
    }
}
