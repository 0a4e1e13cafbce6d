//! The shared part under loom: every order in which threads can take the lock. The channel on which those who wait are told is
//! tokio's, and taken as it is.

use std::time::{Duration, UNIX_EPOCH};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use crate::cache::Shared;
use crate::slots::{Flight, Held, Look};
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
        let looked = self.shared.slots().look(&key(), now);
        self.have(looked, now)
    }

    fn replace(&self, refused: &Credentials, now: u64) -> Result<Held, CredentialError> {
        let looked = self.shared.slots().replace(&key(), refused, now);
        self.have(looked, now)
    }

    fn have(&self, (look, flight): (Look, Option<Flight>), now: u64) -> Result<Held, CredentialError> {
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
fn whoever_is_refused_has_others_and_whoever_asks_meanwhile_has_what_there_is() {
    loom::model(|| {
        let world = world();
        let old = world.ask(0).expect("credentials").credentials;
        let later = 60_000;
        let refused = {
            let (world, old) = (Arc::clone(&world), std::sync::Arc::clone(&old));
            thread::spawn(move || world.replace(&old, later).expect("others").credentials.id.clone())
        };
        world.ask(later).expect("the old or the new ones");
        assert_ne!(world.replace(&old, later).expect("others").credentials.id, old.id);
        assert_ne!(refused.join().expect("no panic"), old.id);
        assert_ne!(world.ask(later).expect("the new ones").credentials.id, old.id);
        assert_eq!(
            world.fetched.load(Ordering::Acquire),
            2,
            "the second refusal of the same changes nothing"
        );
    });
}
