//! The shared part under loom: every order in which threads can take the lock and read the epoch. The channel on which those who
//! wait are told is tokio's, and taken as it is.

use std::time::{Duration, UNIX_EPOCH};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use crate::cache::Shared;
use crate::slots::{Held, Look};
use crate::{CredentialError, CredentialKey, Credentials, Settings};

struct World {
    shared: Shared,
    /// Fetches so far, each of which gives credentials of its own.
    fetched: AtomicU64,
}

fn world() -> Arc<World> {
    Arc::new(World { shared: Shared::new(Settings::default()), fetched: AtomicU64::new(0) })
}

fn key() -> CredentialKey {
    CredentialKey::new("role", "session")
}

impl World {
    /// As [`crate::TokenCache`] does, with a fetch that whoever has to begin it makes at once.
    fn ask(&self, now: u64) -> Result<Held, CredentialError> {
        let (look, flight) = self.shared.slots().look(&key(), now);
        if let Some(flight) = flight {
            let number = self.fetched.fetch_add(1, Ordering::AcqRel) + 1;
            let credentials = Credentials {
                id: number.to_string(),
                secret: Default::default(),
                token: None,
                expires_at: Some(UNIX_EPOCH + Duration::from_millis(now + 3_600_000)),
            };
            let settled = self.shared.slots().settle(&flight, Ok(credentials), now);
            flight.tell.send_replace(Some(settled));
        }
        match look {
            Look::Held(held) => Ok(held),
            Look::Failed(error) => Err(error),
            Look::Wait(outcome) => loop {
                if let Some(told) = outcome.borrow().clone() {
                    return told;
                }
                thread::yield_now();
            },
        }
    }
}

#[test]
fn threads_that_ask_at_once_share_one_fetch() {
    loom::model(|| {
        let world = world();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.ask(0).expect("credentials").credentials.id.clone())
            })
            .collect();
        let mine = world.ask(0).expect("credentials").credentials.id.clone();
        for other in others {
            assert_eq!(other.join().expect("no panic"), mine);
        }
        assert_eq!(world.fetched.load(Ordering::Acquire), 1);
    });
}

#[test]
fn threads_that_find_a_refresh_due_make_one_and_wait_for_nobody() {
    loom::model(|| {
        let world = world();
        let old = world.ask(0).expect("credentials");
        let due = 3_500_000;
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.ask(due).expect("the old or the new ones").credentials.id.clone())
        };
        let mine = world.ask(due).expect("the old or the new ones").credentials.id.clone();
        let other = other.join().expect("no panic");
        assert!(
            mine == old.credentials.id || other == old.credentials.id,
            "whoever began it has the old ones"
        );
        assert_eq!(world.fetched.load(Ordering::Acquire), 2);
    });
}

#[test]
fn what_was_invalidated_is_handed_out_to_nobody_who_asks_afterwards() {
    loom::model(|| {
        let world = world();
        let old = world.ask(0).expect("credentials").credentials;
        let later = 60_000;
        let invalidating = {
            let (world, old) = (Arc::clone(&world), std::sync::Arc::clone(&old));
            thread::spawn(move || world.shared.invalidate(&key(), &old, later))
        };
        // A shard fills its own entry, and uses it as long as the epoch is the one that it has read before.
        let epoch = world.shared.epoch();
        let held = world.ask(later).expect("credentials");
        invalidating.join().expect("no panic");
        if world.shared.epoch() == epoch {
            assert_ne!(held.credentials.id, old.id, "an entry that counts holds what was invalidated");
        }
        assert_ne!(world.ask(later).expect("credentials").credentials.id, old.id);
        world.shared.invalidate(&key(), &old, later);
        assert_eq!(world.fetched.load(Ordering::Acquire), 2, "the second word of the same changes nothing");
    });
}
