//! A clock that tests move, and a provider that does what they say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use telemetry::CredentialMetrics;
use token_cache::providers::Fetch;
use token_cache::{CredentialError, CredentialKey, Credentials, Now, Provider, Settings, TokenCache};
use tokio::runtime::Handle;
use tokio::sync::watch;

pub const BEGIN_MS: u64 = 1_700_000_000_000;
/// How long keys of [`Source`] are good.
pub const LIFETIME: Duration = Duration::from_secs(900);

#[derive(Clone)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(BEGIN_MS)))
    }

    pub fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }

    pub fn reader(&self) -> Now {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

/// How a [`Source`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Gives,
    Refuses,
    Down,
    /// Answers nobody until it is in another mood.
    Hangs,
}

/// A provider that counts who asks; the keys that it gives have the number of the call as their id.
pub struct Source {
    clock: Clock,
    calls: watch::Sender<u64>,
    pub mood: watch::Sender<Mood>,
}

impl Source {
    pub fn new(clock: &Clock) -> Arc<Self> {
        Arc::new(Self {
            clock: clock.clone(),
            calls: watch::Sender::new(0),
            mood: watch::Sender::new(Mood::Gives),
        })
    }

    pub fn calls(&self) -> u64 {
        *self.calls.borrow()
    }

    /// Returns when it was asked so often.
    pub async fn asked(&self, times: u64) {
        let mut calls = self.calls.subscribe();
        calls.wait_for(|calls| *calls >= times).await.expect("the source lives");
    }
}

impl Provider for Source {
    fn fetch<'a>(&'a self, key: &'a CredentialKey) -> Fetch<'a> {
        Box::pin(async move {
            let mut number = 0;
            self.calls.send_modify(|calls| {
                *calls += 1;
                number = *calls;
            });
            let mut mood = self.mood.subscribe();
            let mood = *mood.wait_for(|mood| *mood != Mood::Hangs).await.expect("the source lives");
            match mood {
                Mood::Gives => Ok(Credentials {
                    id: number.to_string(),
                    secret: "hidden".to_owned().into(),
                    token: Some("veiled".to_owned().into()),
                    expires_at: Some(UNIX_EPOCH + Duration::from_millis(self.clock.now()) + LIFETIME),
                }),
                Mood::Refuses => Err(CredentialError::refused(key, "it trusts somebody else")),
                Mood::Down | Mood::Hangs => Err(CredentialError::unavailable(key, "nobody answers")),
            }
        })
    }
}

/// A cache of what a source gives.
pub struct World {
    pub clock: Clock,
    pub source: Arc<Source>,
    pub cache: Arc<TokenCache>,
    pub metrics: Arc<CredentialMetrics>,
}

impl World {
    pub fn new(settings: Settings, runtime: &Handle) -> Self {
        let clock = Clock::new();
        let (source, metrics) = (Source::new(&clock), Arc::<CredentialMetrics>::default());
        let provider = Arc::clone(&source) as Arc<dyn Provider>;
        let cache =
            TokenCache::new(provider, settings, clock.reader(), runtime.clone(), Arc::clone(&metrics));
        Self { clock, source, cache, metrics }
    }

    /// The id of a key's credentials.
    pub async fn id(&self, key: &CredentialKey) -> Result<String, CredentialError> {
        self.cache.get(key).await.map(|credentials| credentials.id.clone())
    }

    /// Returns when the cache has taken in so many answers.
    pub async fn fetched(&self, times: u64) {
        testkit::eventually_async("fetches are taken in", Duration::from_secs(20), || async {
            let got =
                self.metrics.fetched.get() + self.metrics.failures.iter().map(|cell| cell.get()).sum::<u64>();
            if got == times { Ok(()) } else { Err(format!("{got} of {times}")) }
        })
        .await;
    }
}

pub fn role(name: &str) -> CredentialKey {
    CredentialKey::new(name, "session")
}
