//! The open streams, and which one an outcome takes.
//!
//! Invariants: an outcome leaves on the stream that its task came on, else on any other that is open, else on the next one that
//! is opened; a task's share of the credit is given back on the stream that it was taken from, and on no other. Nothing fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::executor::v1::TaskOutcome;
use tokio::sync::{mpsc, watch};

use crate::hand::Held;

/// Number of a stream; they are never used again.
pub(crate) type LinkId = u64;

/// What a stream is to say.
#[derive(Debug)]
pub(crate) struct Done {
    /// `None` for a task whose outcome is no longer wanted.
    pub outcome: Option<TaskOutcome>,
    /// Whose credit the task has taken.
    pub charged: Option<LinkId>,
    /// Until it is said, the worker does not end.
    pub held: Held,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Links {
    open: Mutex<BTreeMap<LinkId, mpsc::Sender<Done>>>,
    opened: watch::Sender<()>,
    last: AtomicU64,
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkId, mpsc::Sender<Done>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a stream.
    pub fn number(&self) -> LinkId {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A stream is open.
    pub fn open(&self, link: LinkId, outbox: mpsc::Sender<Done>) {
        self.lock().insert(link, outbox);
        self.opened.send_replace(());
    }

    /// A stream has ended.
    pub fn close(&self, link: LinkId) {
        self.lock().remove(&link);
    }

    /// All streams end, once they have said what they have.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Sends on this stream, or on another.
    pub async fn send(&self, link: LinkId, done: Done) {
        self.send_from(link, done).await;
    }

    /// Sends on the stream after this one: its node has given the outcome back.
    pub async fn send_on(&self, link: LinkId, done: Done) {
        self.send_from(link + 1, done).await;
    }

    async fn send_from(&self, mut first: LinkId, mut done: Done) {
        let mut opened = self.opened.subscribe();
        loop {
            let Some((link, outbox)) = self.at_or_after(first) else {
                if opened.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match outbox.send(done).await {
                Ok(()) => return,
                Err(mpsc::error::SendError(back)) => {
                    self.close(link);
                    (done, first) = (back, link + 1);
                }
            }
        }
    }

    /// The first stream from this number on; after the last one comes the first.
    fn at_or_after(&self, first: LinkId) -> Option<(LinkId, mpsc::Sender<Done>)> {
        let open = self.lock();
        let found = open.range(first..).next().or_else(|| open.iter().next());
        found.map(|(link, outbox)| (*link, outbox.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hand::Hand;

    fn done(hand: &Hand, text: &'static str) -> Done {
        let outcome = TaskOutcome { token: text.into(), outcome: None };
        Done { outcome: Some(outcome), charged: None, held: hand.hold() }
    }

    fn token(inbox: &mut mpsc::Receiver<Done>) -> Option<String> {
        let outcome = inbox.try_recv().ok()?.outcome?;
        Some(String::from_utf8_lossy(&outcome.token).into_owned())
    }

    #[tokio::test]
    async fn an_outcome_takes_its_own_stream_and_one_that_came_back_the_next() {
        let (links, hand) = (Links::default(), Hand::default());
        let (one, two) = (links.number(), links.number());
        let ((to_one, mut at_one), (to_two, mut at_two)) = (mpsc::channel(4), mpsc::channel(4));
        links.open(one, to_one);
        links.open(two, to_two);
        links.send(one, done(&hand, "a")).await;
        links.send_on(one, done(&hand, "b")).await;
        links.send_on(two, done(&hand, "c")).await;
        assert_eq!([token(&mut at_one), token(&mut at_one)], [Some("a".into()), Some("c".into())]);
        assert_eq!([token(&mut at_two), token(&mut at_two)], [Some("b".into()), None]);
    }

    #[tokio::test]
    async fn an_outcome_waits_for_a_stream_and_passes_by_broken_ones() {
        let (links, hand) = (Links::default(), Hand::default());
        let (broken, whole) = (links.number(), links.number());
        let (to_broken, at_broken) = mpsc::channel(4);
        links.open(broken, to_broken);
        drop(at_broken);
        let (to_whole, mut at_whole) = mpsc::channel(4);
        tokio::join!(links.send(broken, done(&hand, "a")), async {
            // The broken one was tried before: the other future is polled first.
            links.open(whole, to_whole);
        });
        assert_eq!(token(&mut at_whole), Some("a".into()));
    }
}
