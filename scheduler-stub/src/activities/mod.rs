//! Activities: names for work that waits for workers to ask for it, kept in the store.
//!
//! A machine names an activity by its ARN; nodes keep the tasks, and ask nobody whether it exists. Invariants: of one name there
//! is one activity, whoever creates it, and creating it again changes nothing; there are at most [`ACTIVITIES_MAX`], give or
//! take what is created at the same time; one that polls look up is at most [`FRESH_FOR`] old. What may fail: the name, the
//! ARN, the store.

mod polls;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use executor::clock::Clock;
use executor::secret::ClusterSecret;
use executor::shard::is_activity;
use journal::store::KEY_BYTES_MAX;
use journal::{Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::names::{self, Naming};
use crate::templates::{ARN_BYTES_MAX, tags};

pub use polls::{Full, POLL_WAIT, Polls};

/// Activities that there may be (Step Functions).
pub const ACTIVITIES_MAX: usize = 10_000;

/// Activities of one page of a listing.
pub const PAGE_MAX: u32 = 1_000;

/// How long a looked-up activity serves polls before the store is asked again.
pub const FRESH_FOR: Duration = Duration::from_secs(2);

const RECORDS: &str = "scheduler/activity/";

/// The ARN of an activity that is made, in bytes: keys of the store hold it, and more.
const NEW_ARN_BYTES_MAX: usize = KEY_BYTES_MAX - RECORDS.len();

/// How often a change is tried while others change the activity.
const TRIES_MAX: usize = 16;

/// What the tokens of pages are sealed for.
const PURPOSE: &str = "activities";

/// An activity, as it is kept under `scheduler/activity/ARN`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Its ARN.
    pub arn: String,
    /// Its own name.
    pub name: String,
    /// Unix time in milliseconds.
    pub created_ms: u64,
    /// Labels of the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl Activity {
    fn encode(&self) -> Result<Bytes, StoreError> {
        let json = serde_json::to_vec(self).map_err(|error| StoreError::Refused(error.to_string()))?;
        Ok(json.into())
    }

    fn decode(bytes: &Bytes) -> Result<Self, StoreError> {
        serde_json::from_slice(bytes)
            .map_err(|error| StoreError::Corrupt(format!("an activity's record is unreadable: {error}")))
    }
}

fn key(arn: &str) -> Bytes {
    format!("{RECORDS}{arn}").into()
}

/// See the module.
pub struct Activities {
    store: Arc<dyn Store>,
    clock: Clock,
    naming: Naming,
    secret: Arc<ClusterSecret>,
    /// When each was looked up.
    known: RwLock<HashMap<String, u64>>,
}

impl Activities {
    /// Activities kept in `store`; the secret seals the tokens of pages.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock, naming: Naming, secret: Arc<ClusterSecret>) -> Self {
        Self { store, clock, naming, secret, known: RwLock::default() }
    }

    /// Creates an activity without tags, or gives the one of this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] (`InvalidName`), [`Error::Limit`] (`ActivityLimitExceeded`), [`Error::Store`].
    pub async fn create(&self, name: &str) -> Result<Activity, Error> {
        self.create_tagged(name, BTreeMap::new()).await
    }

    /// Creates an activity with tags, or gives the one of this name, whose tags stay as they are.
    ///
    /// # Errors
    /// As [`Activities::create`]; [`Error::Limit`] (`TooManyTags`).
    pub async fn create_tagged(&self, name: &str, tags: BTreeMap<String, String>) -> Result<Activity, Error> {
        names::check_name("activity", name)?;
        tags::check(&tags)?;
        let arn = self.naming.activity(name);
        if arn.len() > NEW_ARN_BYTES_MAX {
            let length = arn.len();
            let message = format!(
                "the activity's ARN has {length} bytes: at most {NEW_ARN_BYTES_MAX} are allowed, a shorter name helps"
            );
            return Err(Error::invalid("InvalidName", message));
        }
        if let Some(known) = self.store.get(key(&arn)).await? {
            return Ok(Activity::decode(&known)?);
        }
        let all = self.store.scan(Bytes::from_static(RECORDS.as_bytes()), None, ACTIVITIES_MAX).await?;
        if all.len() >= ACTIVITIES_MAX {
            let message = format!("there are {ACTIVITIES_MAX} activities, which is the most: delete some");
            return Err(Error::Limit { code: "ActivityLimitExceeded".to_owned(), message });
        }
        let activity = Activity { arn, name: name.to_owned(), created_ms: self.clock.now_ms(), tags };
        if self.store.compare_and_put(key(&activity.arn), None, Some(activity.encode()?)).await? {
            return Ok(activity);
        }
        // Somebody else was quicker.
        self.describe(&activity.arn).await
    }

    /// The activity with this ARN.
    ///
    /// # Errors
    /// [`Error::NotFound`] (`ActivityDoesNotExist`), [`Error::Invalid`] for what is no activity's ARN, [`Error::Store`].
    pub async fn describe(&self, arn: &str) -> Result<Activity, Error> {
        Ok(self.record(arn).await?.1)
    }

    async fn record(&self, arn: &str) -> Result<(Bytes, Activity), Error> {
        if arn.len() > ARN_BYTES_MAX || !is_activity(arn) {
            let message =
                "activity_arn is not the ARN of an activity: arn:aws:states:REGION:ACCOUNT:activity:NAME";
            return Err(Error::invalid("InvalidArn", message));
        }
        let Some(bytes) = self.store.get(key(arn)).await? else {
            self.known.write().unwrap_or_else(PoisonError::into_inner).remove(arn);
            let message = format!("{arn} does not exist: create it, or list the activities that do");
            return Err(Error::not_found("ActivityDoesNotExist", message));
        };
        let activity = Activity::decode(&bytes)?;
        Ok((bytes, activity))
    }

    /// Whether there is such an activity, for polls: from memory when it was looked up a moment ago.
    ///
    /// # Errors
    /// As [`Activities::describe`].
    pub async fn check(&self, arn: &str) -> Result<(), Error> {
        let now = self.clock.now_us();
        let fresh = u64::try_from(FRESH_FOR.as_micros()).unwrap_or(u64::MAX);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(arn).copied();
        if known.is_some_and(|at| now.saturating_sub(at) < fresh) {
            return Ok(());
        }
        match self.describe(arn).await {
            Ok(activity) => {
                // As many as there are activities.
                self.known.write().unwrap_or_else(PoisonError::into_inner).insert(activity.arn, now);
                Ok(())
            }
            // While the store is away, what is known goes on serving.
            Err(Error::Store(store)) if known.is_some() && store.is_retryable() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One page of activities in the order of their ARNs. The token of the last page is empty.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a token that this call did not give, [`Error::Store`].
    pub async fn list(&self, max_results: u32, token: &str) -> Result<(Vec<Activity>, String), Error> {
        let limit = if max_results == 0 { 100 } else { max_results.min(PAGE_MAX) } as usize;
        let secret = self.secret.get().map_err(|error| Error::unavailable(error.to_string()))?;
        let after = match token {
            "" => None,
            token => {
                let message = "next_token was not given by this call: begin again without one";
                let place = secret.open_text(PURPOSE, token);
                Some(key(&place.ok_or_else(|| Error::invalid("InvalidToken", message))?))
            }
        };
        let records = Bytes::from_static(RECORDS.as_bytes());
        let mut entries = self.store.scan(records, after, limit + 1).await?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        let page = entries.iter().map(|(_, value)| Activity::decode(value)).collect::<Result<Vec<_>, _>>()?;
        let last = page.last().filter(|_| more);
        let next = last.map(|last| secret.seal_text(PURPOSE, &last.arn)).unwrap_or_default();
        Ok((page, next))
    }

    /// Deletes an activity. Tasks that wait for it go on waiting, and can be taken once it is created again.
    ///
    /// # Errors
    /// As [`Activities::describe`]; [`Error::Unavailable`] while others change it without a pause.
    pub async fn delete(&self, arn: &str) -> Result<(), Error> {
        self.amend(arn, |_| Ok(None)).await?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(arn);
        Ok(())
    }

    /// Gives an activity tags; one that is there has a new value then.
    ///
    /// # Errors
    /// As [`Activities::delete`]; [`Error::Limit`] (`TooManyTags`).
    pub async fn tag(&self, arn: &str, tags: &BTreeMap<String, String>) -> Result<(), Error> {
        let add = |mut activity: Activity| {
            activity.tags.extend(tags.iter().map(|(key, value)| (key.clone(), value.clone())));
            tags::check(&activity.tags)?;
            Ok(Some(activity))
        };
        self.amend(arn, add).await
    }

    /// Takes tags of an activity away, those of them that are there.
    ///
    /// # Errors
    /// As [`Activities::delete`].
    pub async fn untag(&self, arn: &str, keys: &[String]) -> Result<(), Error> {
        let remove = |mut activity: Activity| {
            activity.tags.retain(|key, _| !keys.contains(key));
            Ok(Some(activity))
        };
        self.amend(arn, remove).await
    }

    /// Changes what is kept of an activity; tried again while others change it.
    async fn amend(
        &self,
        arn: &str,
        change: impl Fn(Activity) -> Result<Option<Activity>, Error>,
    ) -> Result<(), Error> {
        for _ in 0..TRIES_MAX {
            let (bytes, activity) = self.record(arn).await?;
            let new = change(activity)?.as_ref().map(Activity::encode).transpose()?;
            if self.store.compare_and_put(key(arn), Some(bytes), new).await? {
                return Ok(());
            }
        }
        Err(Error::unavailable(format!("{arn} is being changed by others at the same time: try again")))
    }
}
