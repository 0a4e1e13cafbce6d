//! The node's cache: one lock around [`Slots`], fetches on the node's runtime.
//!
//! The lock is held for look-ups in memory alone, never while somebody is asked. A shard comes here when what it holds is due
//! for a refresh or unknown to it, so that the lock is taken a few times a second.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};

use futures_util::FutureExt as _;
use telemetry::{CredentialFailure, CredentialMetrics, ShardMetrics};
use tokio::runtime::Handle;

use crate::local::LocalCache;
use crate::settings::{Now, Settings};
use crate::slots::{Flight, Held, Look, Slots};
use crate::sync::{Mutex, MutexGuard};
use crate::{CredentialError, CredentialKey, Credentials, Provider};

/// What shards share.
pub(crate) struct Shared(Mutex<Slots>);

impl Shared {
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Mutex::new(Slots::new(settings)))
    }

    pub(crate) fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module.
pub struct TokenCache {
    shared: Shared,
    pub(crate) settings: Settings,
    provider: Arc<dyn Provider>,
    now: Now,
    runtime: Handle,
    metrics: Arc<CredentialMetrics>,
}

impl TokenCache {
    /// A cache of what a provider gives; fetches run on `runtime`.
    #[must_use]
    pub fn new(
        provider: Arc<dyn Provider>,
        settings: Settings,
        now: Now,
        runtime: Handle,
        metrics: Arc<CredentialMetrics>,
    ) -> Arc<Self> {
        Arc::new(Self { shared: Shared::new(settings), settings, provider, now, runtime, metrics })
    }

    /// The part of a shard.
    #[must_use]
    pub fn local(self: &Arc<Self>, metrics: Arc<ShardMetrics>) -> LocalCache {
        LocalCache::new(Arc::clone(self), metrics)
    }

    /// Credentials for who has no shard.
    ///
    /// # Errors
    /// [`CredentialError`], when there are none and none can be had.
    pub async fn get(self: &Arc<Self>, key: &CredentialKey) -> Result<Arc<Credentials>, CredentialError> {
        self.ask(key, (self.now)()).await.map(|held| held.credentials)
    }

    /// Others in the place of credentials that whoever they are meant for does not take, or the same: where no others can be had,
    /// and where these are younger than [`Settings::refusals_apart`]. Whoever asks otherwise has what there is meanwhile.
    pub async fn replace(
        self: &Arc<Self>,
        key: &CredentialKey,
        refused: &Arc<Credentials>,
    ) -> Arc<Credentials> {
        let held = self.ask_again(key, refused, (self.now)()).await;
        held.map_or_else(|_| Arc::clone(refused), |held| held.credentials)
    }

    pub(crate) async fn ask(
        self: &Arc<Self>,
        key: &CredentialKey,
        now: u64,
    ) -> Result<Held, CredentialError> {
        self.have(key, now, |slots| slots.look(key, now)).await
    }

    /// See [`TokenCache::replace`].
    pub(crate) async fn ask_again(
        self: &Arc<Self>,
        key: &CredentialKey,
        refused: &Credentials,
        now: u64,
    ) -> Result<Held, CredentialError> {
        self.have(key, now, |slots| slots.replace(key, refused, now)).await
    }

    async fn have(
        self: &Arc<Self>,
        key: &CredentialKey,
        now: u64,
        look: impl FnOnce(&mut Slots) -> (Look, Option<Flight>),
    ) -> Result<Held, CredentialError> {
        let (look, flight) = {
            let mut slots = self.shared.slots();
            let looked = look(&mut slots);
            self.observe(&mut slots, now);
            looked
        };
        if let Some(flight) = flight {
            let cache = Arc::clone(self);
            self.runtime.spawn(async move { cache.fetch(flight).await });
        }
        match look {
            Look::Held(held) => Ok(held),
            Look::Failed(error) => Err(error),
            Look::Wait(mut outcome) => {
                let told = outcome.wait_for(Option::is_some).await;
                let told = told.ok().and_then(|outcome| outcome.clone());
                told.unwrap_or_else(|| Err(CredentialError::unavailable(key, "the node is shutting down")))
            }
        }
    }

    async fn fetch(&self, flight: Flight) {
        let provider = AssertUnwindSafe(self.provider.fetch(&flight.key)).catch_unwind();
        let result = match tokio::time::timeout(self.settings.fetch_timeout, provider).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CredentialError::unavailable(
                &flight.key,
                "the provider has failed for a reason of its own",
            )),
            Err(_) => {
                let limit = self.settings.fetch_timeout.as_secs();
                Err(CredentialError::unavailable(&flight.key, format!("no answer within {limit} s")))
            }
        };
        let now = (self.now)();
        let mut slots = self.shared.slots();
        let settled = slots.settle(&flight, result, now);
        match &settled {
            Ok(_) => self.metrics.fetched.add(1),
            Err(CredentialError::Refused { .. }) => self.failed(CredentialFailure::Refused),
            Err(CredentialError::Unavailable { .. }) => self.failed(CredentialFailure::Unavailable),
        }
        self.metrics.fetch_latency.observe(now.saturating_sub(flight.begun_ms).saturating_mul(1_000));
        self.observe(&mut slots, now);
        let first = slots.failures(&flight.key) == 1;
        drop(slots);
        if let Err(error @ CredentialError::Unavailable { .. }) = &settled
            && first
        {
            tracing::warn!(session = %flight.key.session, "{error}");
        }
        flight.tell.send_replace(Some(settled));
    }

    fn failed(&self, reason: CredentialFailure) {
        self.metrics.failures[reason as usize].add(1);
    }

    /// Under the lock: the cells have one writer at a time.
    fn observe(&self, slots: &mut Slots, now: u64) {
        self.metrics.entries.set(slots.len() as u64);
        self.metrics.oldest_age_ms.set(slots.oldest_age_ms(now));
    }
}
