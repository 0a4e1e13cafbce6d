//! Tasks in hand.
//!
//! Invariants: a task that comes again while it is in hand, on another stream after the first has broken, is not begun again;
//! the worker does not end while something is held that was not said. Nothing fails.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::links::LinkId;

struct InHand {
    /// The stream whose credit it has taken.
    charged: LinkId,
    /// Dropped when the outcome is no longer wanted.
    wanted: oneshot::Sender<()>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Hand {
    /// By token.
    tasks: Mutex<HashMap<Bytes, InHand>>,
    held: watch::Sender<usize>,
}

/// Something that the worker has yet to say.
#[derive(Debug)]
pub(crate) struct Held(watch::Sender<usize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_modify(|held| *held -= 1);
    }
}

impl Hand {
    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, InHand>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task has come on this stream. What is given resolves when the outcome is no longer wanted; `None` where it is in hand
    /// already.
    pub fn take(&self, token: &Bytes, link: LinkId) -> Option<oneshot::Receiver<()>> {
        match self.lock().entry(token.clone()) {
            Entry::Occupied(mut known) => {
                known.get_mut().charged = link;
                None
            }
            Entry::Vacant(place) => {
                let (wanted, unwanted) = oneshot::channel();
                place.insert(InHand { charged: link, wanted });
                Some(unwanted)
            }
        }
    }

    /// A task is done; whose credit it has.
    pub fn put_down(&self, token: &Bytes) -> Option<LinkId> {
        self.lock().remove(token).map(|task| task.charged)
    }

    /// The outcome is no longer wanted.
    pub fn cancel(&self, token: &Bytes) {
        if let Some(task) = self.lock().get_mut(token) {
            // What waits for it hears that its other end is gone.
            drop(std::mem::replace(&mut task.wanted, oneshot::channel().0));
        }
    }

    /// Tokens of the tasks of a stream.
    pub fn of(&self, link: LinkId) -> Vec<Bytes> {
        let tasks = self.lock();
        tasks.iter().filter(|(_, task)| task.charged == link).map(|(token, _)| token.clone()).collect()
    }

    /// Until it is dropped, [`Hand::empty`] waits.
    pub fn hold(&self) -> Held {
        self.held.send_modify(|held| *held += 1);
        Held(self.held.clone())
    }

    /// How much is held.
    pub fn len(&self) -> usize {
        *self.held.borrow()
    }

    /// Returns when nothing is held.
    pub async fn empty(&self) {
        // The sender is ours, so that waiting cannot fail.
        let _ = self.held.subscribe().wait_for(|held| *held == 0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_comes_again_is_in_hand_once_and_charged_to_its_last_stream() {
        let hand = Hand::default();
        let token = Bytes::from_static(b"t");
        let unwanted = hand.take(&token, 1).expect("new");
        assert!(hand.take(&token, 2).is_none());
        assert_eq!((hand.of(1), hand.of(2)), (Vec::new(), vec![token.clone()]));
        hand.cancel(&token);
        assert!(unwanted.await.is_err(), "it is told");
        assert_eq!((hand.put_down(&token), hand.put_down(&token)), (Some(2), None));
    }

    #[tokio::test]
    async fn it_is_empty_when_everything_held_was_dropped() {
        let hand = Hand::default();
        let (one, two) = (hand.hold(), hand.hold());
        assert_eq!(hand.len(), 2);
        tokio::join!(hand.empty(), async move { drop((one, two)) });
        assert_eq!(hand.len(), 0);
    }
}
