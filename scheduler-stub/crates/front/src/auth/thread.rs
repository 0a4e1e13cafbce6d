//! What one thread of the door keeps: the keys in force, what follows from their secrets, and answers about rights.
//!
//! Invariants: it shares nothing but the ring, and looks at what is shared only when that has changed; what was kept under other
//! credentials is dropped before it is used; keys are kept of whoever has signed well alone. What may fail: the signature, with [`VerifyError`].

use std::cell::RefCell;
use std::sync::Arc;

use sign::{Signed, SigningKey, VerifyError};
use tokio::sync::watch;

use super::checks::Answers;
use super::recent::Recent;
use super::reload::Credentials;
use super::ring::{Key, Ring};

/// Signing keys that one thread keeps: of as many keys, days, regions and services.
const SIGNING_KEYS_MAX: usize = 4_096;

thread_local! {
    static THREAD: RefCell<Option<Thread>> = const { RefCell::new(None) };
}

/// Does something with what this thread keeps of a desk. Threads that serve more than one keep things of the last.
pub(super) fn with<T>(desk: u64, credentials: &Credentials, done: impl FnOnce(&mut Thread) -> T) -> T {
    THREAD.with_borrow_mut(|kept| {
        let of_another = kept.as_ref().is_none_or(|kept| kept.desk != desk);
        if of_another {
            *kept = None;
        }
        let kept = kept.get_or_insert_with(|| Thread::new(desk, credentials));
        kept.follow();
        done(kept)
    })
}

/// See the module.
pub(super) struct Thread {
    desk: u64,
    changes: watch::Receiver<Arc<Ring>>,
    ring: Arc<Ring>,
    signing_keys: Recent<SigningKey>,
    pub(super) answers: Answers,
    #[cfg(test)]
    pub(super) derived: usize,
}

impl Thread {
    fn new(desk: u64, credentials: &Credentials) -> Self {
        let mut changes = credentials.follow();
        let ring = Arc::clone(&changes.borrow_and_update());
        Self {
            desk,
            changes,
            ring,
            signing_keys: Recent::new(SIGNING_KEYS_MAX),
            answers: Answers::new(),
            #[cfg(test)]
            derived: 0,
        }
    }

    fn follow(&mut self) {
        // An error means that the desk is gone: what it had last is as good as any.
        if self.changes.has_changed().unwrap_or(false) {
            self.ring = Arc::clone(&self.changes.borrow_and_update());
            self.signing_keys.clear();
            self.answers.clear();
        }
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Whose request it is.
    pub(super) fn verify(&mut self, signed: &Signed<'_>) -> Result<&Key, VerifyError> {
        let head = &signed.head;
        // It may have gone while the body came.
        let key = self.ring.get(head.id).ok_or(VerifyError::UnknownKey)?;
        let good = match self.signing_keys.get(head.credential) {
            Some(kept) => signed.is_by(kept),
            None => {
                let derived = head.key(&key.secret);
                #[cfg(test)]
                {
                    self.derived += 1;
                }
                let good = signed.is_by(&derived);
                if good {
                    self.signing_keys.put(head.credential, derived);
                }
                good
            }
        };
        good.then_some(key).ok_or(VerifyError::Mismatch)
    }
}
