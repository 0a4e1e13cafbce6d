//! What one thread of the door keeps: the keys in force, what follows from their secrets, and answers about rights.
//!
//! Invariants: it shares nothing but the ring, and looks at what is shared only when that has changed; what was kept under other
//! credentials is dropped before it is used; an attempt that fails makes one derivation and two comparisons, whoever's key it
//! names. What may fail: the signature, with [`VerifyError`].

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
/// What a key is derived from that nobody has; as long as AWS's are.
const NOBODY: &str = "----------------------------------------";

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
    /// Of nobody: what signatures are compared with where there is nothing else.
    nobodys: SigningKey,
    pub(super) answers: Answers,
    #[cfg(test)]
    pub(super) work: Work,
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
            nobodys: SigningKey::sigv4(NOBODY, "", "", ""),
            answers: Answers::new(),
            #[cfg(test)]
            work: Work::default(),
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
    pub(super) fn verify(&mut self, signed: &Signed<'_>) -> Known<'_> {
        let known = self.ring.get(signed.id);
        let kept = self.signing_keys.get(signed.credential);
        let is_kept = kept.is_some();
        let good = signed.is_by(kept.unwrap_or(&self.nobodys));
        #[cfg(test)]
        self.work.add(0);
        if let Some(key) = known.filter(|_| is_kept && good) {
            return Known::Key(key);
        }
        // From here on everybody takes the same way: who is not known, who was not here yet, and whose signature is wrong.
        let derived = signed.key(known.map_or(NOBODY, |key| key.secret.as_str()));
        let good = signed.is_by(&derived);
        #[cfg(test)]
        self.work.add(1);
        match known {
            Some(key) if good => {
                self.signing_keys.put(signed.credential, derived);
                Known::Key(key)
            }
            Some(_) => Known::Not(VerifyError::Mismatch),
            None => Known::Not(VerifyError::UnknownKey),
        }
    }
}

/// Whose request it is.
pub(super) enum Known<'k> {
    Key(&'k Key),
    Not(VerifyError),
}

/// What attempts have cost.
#[cfg(test)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) derived: usize,
    pub(super) compared: usize,
}

#[cfg(test)]
impl Work {
    fn add(&mut self, derived: usize) {
        self.derived += derived;
        self.compared += 1;
    }
}
