//! What is known of each key: credentials, a refusal, a fetch under way. No lock, no clock, no waiting.
//!
//! Invariants: a key has at most one fetch under way; credentials are handed out only before they expire; a refusal is told
//! only until its time is over; there are never more than [`Settings::entries_max`] keys. Times are Unix milliseconds of our
//! own clock.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use foldhash::fast::RandomState;
use tokio::sync::watch;

use crate::settings::millis;
use crate::{CredentialError, CredentialKey, Credentials, Settings};

/// While a refresh is due, a shard looks again so often.
const LOOK_AGAIN_MS: u64 = 1_000;
/// Keys that are looked at to find one to let go.
const CANDIDATES: usize = 64;
/// A refresh becomes due at 70 to 90 percent of the lifetime: nodes that have begun together spread.
const REFRESH_FROM: u64 = 70;
const REFRESH_SPREAD: u64 = 20;

/// Credentials that may be handed out until `look_ms`; then the cache is to be asked again.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) look_ms: u64,
}

/// What comes of a fetch; nothing yet.
pub(crate) type Outcome = Option<Result<Held, CredentialError>>;

/// Somebody has to fetch, and say what came of it by [`Slots::settle`] and then to those who wait.
pub(crate) struct Flight {
    pub(crate) key: CredentialKey,
    pub(crate) number: u64,
    pub(crate) begun_ms: u64,
    pub(crate) tell: watch::Sender<Outcome>,
}

/// What a look says.
pub(crate) enum Look {
    /// Take these.
    Held(Held),
    /// There are none, and it is no use to ask.
    Failed(CredentialError),
    /// A fetch is under way.
    Wait(watch::Receiver<Outcome>),
}

#[derive(Default)]
struct Slot {
    held: Option<Fetched>,
    /// Why the last fetch failed, and until when nobody is asked again.
    failed: Option<(CredentialError, u64)>,
    failures: u32,
    flight: Option<(u64, watch::Receiver<Outcome>)>,
}

struct Fetched {
    credentials: Arc<Credentials>,
    fetched_ms: u64,
    refresh_ms: u64,
    /// With the margin taken off.
    expires_ms: u64,
}

/// See the module.
pub(crate) struct Slots {
    slots: HashMap<CredentialKey, Slot, RandomState>,
    settings: Settings,
    /// Fetches so far: each has a number of its own.
    flights: u64,
    /// Draws the spread of refreshes.
    spread: RandomState,
    /// The age of the oldest credentials, and until when it is taken for true.
    oldest: (u64, u64),
}

impl Slots {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            slots: HashMap::default(),
            settings,
            flights: 0,
            spread: RandomState::default(),
            oldest: (0, 0),
        }
    }

    /// Keys that are known.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Age of the oldest credentials that may be handed out and will expire. All keys are looked at for that, so once a second
    /// at most.
    pub(crate) fn oldest_age_ms(&mut self, now: u64) -> u64 {
        if now >= self.oldest.1 {
            let held = self.slots.values().filter_map(|slot| slot.held.as_ref());
            let valid = held.filter(|held| now < held.expires_ms && held.expires_ms != u64::MAX);
            let age = valid.map(|held| now.saturating_sub(held.fetched_ms)).max().unwrap_or(0);
            self.oldest = (age, now.saturating_add(LOOK_AGAIN_MS));
        }
        self.oldest.0
    }

    /// Fetches of this key that have failed since the last one that did not.
    pub(crate) fn failures(&self, key: &CredentialKey) -> u32 {
        self.slots.get(key).map_or(0, |slot| slot.failures)
    }

    /// What there is for a key, and the fetch that has to begin now.
    pub(crate) fn look(&mut self, key: &CredentialKey, now: u64) -> (Look, Option<Flight>) {
        if !self.slots.contains_key(key) && !self.make_room(now) {
            let why = "as many roles are being asked for as the cache may hold; try again";
            return (Look::Failed(CredentialError::unavailable(key, why)), None);
        }
        let slot = self.slots.entry(key.clone()).or_default();
        // Whoever fetched is gone without a word when its runtime has ended.
        slot.flight.take_if(|(_, outcome)| outcome.has_changed().is_err() && outcome.borrow().is_none());
        slot.held.take_if(|held| now >= held.expires_ms);
        slot.failed.take_if(|(_, until)| now >= *until);
        let look = match (&slot.held, &slot.flight, &slot.failed) {
            (Some(held), _, _) => {
                let due = now >= held.refresh_ms;
                let next = if due { now.saturating_add(LOOK_AGAIN_MS) } else { held.refresh_ms };
                let credentials = Arc::clone(&held.credentials);
                let look = Look::Held(Held { credentials, look_ms: next.min(held.expires_ms) });
                if !due || slot.flight.is_some() || slot.failed.is_some() {
                    return (look, None);
                }
                Some(look)
            }
            (None, Some((_, outcome)), _) => return (Look::Wait(outcome.clone()), None),
            (None, None, Some((error, _))) => return (Look::Failed(error.clone()), None),
            (None, None, None) => None,
        };
        self.flights += 1;
        let (tell, outcome) = watch::channel(None);
        slot.flight = Some((self.flights, outcome.clone()));
        let flight = Flight { key: key.clone(), number: self.flights, begun_ms: now, tell };
        (look.unwrap_or(Look::Wait(outcome)), Some(flight))
    }

    /// Takes in what came of a fetch; what it says is for those who wait.
    pub(crate) fn settle(
        &mut self,
        flight: &Flight,
        result: Result<Credentials, CredentialError>,
        now: u64,
    ) -> Result<Held, CredentialError> {
        let result = result.and_then(|credentials| self.taken(flight, credentials, now));
        let Some(slot) = self.slots.get_mut(&flight.key) else { return result.map(|fetched| fetched.held()) };
        slot.flight.take_if(|(number, _)| *number == flight.number);
        match result {
            Ok(fetched) => {
                let held = fetched.held();
                *slot = Slot { held: Some(fetched), flight: slot.flight.take(), ..Slot::default() };
                Ok(held)
            }
            Err(error) => {
                let pause = match &error {
                    CredentialError::Refused { .. } => millis(self.settings.refusal_kept),
                    // Where there is something to hand out meanwhile, there is time.
                    CredentialError::Unavailable { .. } if slot.held.is_some() => {
                        let doubled = millis(self.settings.retry) << slot.failures.min(16);
                        doubled.min(millis(self.settings.retry_max))
                    }
                    CredentialError::Unavailable { .. } => millis(self.settings.retry),
                };
                slot.failures = slot.failures.saturating_add(1);
                slot.failed = Some((error.clone(), now.saturating_add(pause)));
                Err(error)
            }
        }
    }

    /// What there is in the place of credentials that whoever they are meant for does not take: those that a fetch gives, unless
    /// they have been replaced already. Everybody else goes on with them until then, for the refusal may be wrong. Those that
    /// are younger than [`Settings::refusals_apart`] stay: others would be no better.
    pub(crate) fn replace(
        &mut self,
        key: &CredentialKey,
        refused: &Credentials,
        now: u64,
    ) -> (Look, Option<Flight>) {
        let apart = millis(self.settings.refusals_apart);
        let held = self.slots.get_mut(key).and_then(|slot| slot.held.as_mut());
        let held = held.filter(|held| std::ptr::eq(&*held.credentials, refused));
        let Some(held) = held.filter(|held| now.saturating_sub(held.fetched_ms) >= apart) else {
            return self.look(key, now);
        };
        held.refresh_ms = held.refresh_ms.min(now);
        let (look, begun) = self.look(key, now);
        let flight = self.slots.get(key).and_then(|slot| slot.flight.as_ref());
        (flight.map_or(look, |(_, outcome)| Look::Wait(outcome.clone())), begun)
    }

    /// With the times at which they are refreshed and no longer handed out.
    fn taken(&self, flight: &Flight, credentials: Credentials, now: u64) -> Result<Fetched, CredentialError> {
        let expires =
            credentials.expires_at.map(|at| millis(at.duration_since(UNIX_EPOCH).unwrap_or_default()));
        let credentials = Arc::new(credentials);
        let Some(expires) = expires else {
            let forever = u64::MAX;
            return Ok(Fetched { credentials, fetched_ms: now, refresh_ms: forever, expires_ms: forever });
        };
        let lifetime = expires.saturating_sub(now);
        let lifetime = lifetime - millis(self.settings.margin).min(lifetime / 20);
        if lifetime == 0 {
            let why = "what was given has expired already; see whether the clocks of the node and of whoever gave it agree";
            return Err(CredentialError::unavailable(&flight.key, why));
        }
        let percent = REFRESH_FROM + self.spread.hash_one(flight.number) % (REFRESH_SPREAD + 1);
        let refresh = u128::from(lifetime) * u128::from(percent) / 100;
        let refresh_ms = now.saturating_add(u64::try_from(refresh).unwrap_or(u64::MAX));
        Ok(Fetched { credentials, fetched_ms: now, refresh_ms, expires_ms: now.saturating_add(lifetime) })
    }

    /// Lets a key go where there are as many as there may be: an expired or refused one, else the one that is nearest to its
    /// refresh, which costs least. `false` where all that were looked at are being fetched.
    fn make_room(&mut self, now: u64) -> bool {
        if self.slots.len() < self.settings.entries_max {
            return true;
        }
        let idle = self.slots.iter().filter(|(_, slot)| slot.flight.is_none()).take(CANDIDATES);
        let worth =
            |slot: &Slot| slot.held.as_ref().filter(|held| now < held.expires_ms).map(|held| held.refresh_ms);
        let least = idle.min_by_key(|(_, slot)| worth(slot)).map(|(key, _)| key.clone());
        least.is_some_and(|key| self.slots.remove(&key).is_some())
    }
}

impl Fetched {
    fn held(&self) -> Held {
        Held { credentials: Arc::clone(&self.credentials), look_ms: self.refresh_ms }
    }
}
