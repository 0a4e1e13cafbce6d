//! The desk at the door: signatures verified against the access keys of a file, and what each key may.
//!
//! Purpose: [`Desk`] is the door's [`Admission`]. Keys stand in a credentials file that is read again when it changes; rights
//! are those that the file grants, and where a key says so those that an authorization service gives ([`Checks`]). Without a file
//! ([`Desk::no_auth`]) everybody is let in, on loopback alone.
//!
//! Invariants:
//! - No lock and no derivation of a key on the way of a call whose key was used before: each thread keeps what follows from
//!   secrets, within a bound, and drops it when the file changes. Only what was verified is kept, so that nobody fills it with
//!   names.
//! - Whoever names no key that there is, is refused by the headers alone: ids of keys are no secrets.
//! - Secrets, tokens and signatures reach no message.
//! - A signed request may come again within five minutes, unless its key is `once`: whose signature makes one change, and none
//!   after it was used for a look, for Tencent's clients do not sign which action they ask for. This process alone knows what
//!   was used.
//!
//! What may fail: reading the file ([`Error`]), and whoever calls, with a [`Fault`].

mod checks;
mod file;
mod once;
mod rate;
mod recent;
mod refuse;
mod reload;
mod ring;
mod thread;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::request::Parts;
use sign::{Head, Signed, VerifyError};

pub use checks::{Checks, NoChecks, Question};
pub use ring::fits;

use self::once::{Once, Use};
use self::reload::Credentials;
use self::ring::{Key, TokenHash};
use crate::Error;
use crate::admission::Admission;
use crate::call::Caller;
use crate::fault::{Fault, Kind};
use crate::operations::{Api, Operation, Right};

/// What browsers send along, and nobody else.
const OF_BROWSERS: [&str; 2] = ["origin", "sec-fetch-site"];

/// Lets in who signs with an access key of a credentials file, or everybody.
///
/// The file is TOML. Paths in it are relative to its own folder; a key may what one of its grants gives; calls that are about no
/// machine, as listings are, take a grant on all machines.
///
/// ```toml
/// [[key]]
/// id = "AKIAMADEUPEXAMPLE"
/// secret = { file = "secrets/ci" }   # or { env = "VARIABLE" }, or the text itself
/// account = "123456789012"           # AWS's account id, Tencent's uin
/// apis = ["sfn", "asw"]              # both, unless it says
/// token = { file = "secrets/token" } # of temporary keys, as the secret
/// expires = 2027-01-31T00:00:00Z
/// rate = 100                         # calls a second; any, unless it says
/// once = true                        # a signature makes one change only
/// ask = true                         # what no grant gives is asked of the authorization service
///
/// [[key.grant]]
/// rights = ["read", "start"]         # and "manage"
/// machines = ["orders-*"]            # by name, * is any text; all, unless it says
/// ```
///
/// A request that comes again within its five minutes is made again, as at AWS and Tencent. Not so a change by a key that is
/// `once`: its signature is refused when it comes again, or for another action than it came for. Clients that make the same
/// request twice in a second sign it alike: then the second one is refused.
#[derive(Debug)]
pub struct Desk<C = NoChecks> {
    /// `None`: everybody is let in.
    file: Option<Arc<Credentials>>,
    checks: Option<C>,
    /// Which of a process's desks this is: threads keep things of one.
    number: u64,
    /// Made when the first key needs it.
    once: OnceLock<Once>,
}

impl<C: Checks> Desk<C> {
    /// With the keys of a credentials file, and perhaps a service that knows more rights.
    ///
    /// # Errors
    /// [`Error::Credentials`], [`Error::CredentialsUnreadable`]; a key wants a service to be asked, and there is none.
    pub fn open(path: &Path, checks: Option<C>) -> Result<Self, Error> {
        let file = Credentials::open(path, checks.is_some())?;
        Ok(Self::new(Some(Arc::new(file)), checks))
    }

    /// Lets everybody in: for a door on loopback, which is the only one that it opens.
    ///
    /// # Errors
    /// [`Error::NoAuth`]: the address is none of loopback.
    pub fn no_auth(listen: SocketAddr) -> Result<Self, Error> {
        if !listen.ip().is_loopback() {
            return Err(Error::NoAuth(listen));
        }
        Ok(Self::new(None, None))
    }

    fn new(file: Option<Arc<Credentials>>, checks: Option<C>) -> Self {
        static DESKS: AtomicU64 = AtomicU64::new(0);
        let number = DESKS.fetch_add(1, Ordering::Relaxed);
        Self { file, checks, number, once: OnceLock::new() }
    }

    /// True while a changed credentials file cannot be used; `None` where there is no file.
    #[must_use]
    pub fn failing(&self) -> Option<Arc<AtomicBool>> {
        self.file.as_ref().map(|file| file.failing())
    }

    /// Reads the credentials file again and again. To be spawned on a runtime with time; ends with it, or at once where there is
    /// no file.
    pub fn keep_fresh(&self) -> impl Future<Output = ()> + Send + use<C> {
        let file = self.file.clone();
        async move {
            if let Some(file) = file {
                file.keep_fresh().await;
            }
        }
    }

    /// What is wrong with a key whose signature was good, or its caller.
    fn look_at(
        &self,
        api: Api,
        operation: &Operation,
        signed: &Signed<'_>,
        key: &Key,
        now: Duration,
    ) -> Result<Caller, Fault> {
        if !key.apis.contains(&api) {
            return Err(refuse::other_api(api, &key.id));
        }
        if signed.head.token.map(TokenHash::of) != key.token {
            return Err(refuse::wrong_token(api, &key.id, key.token.is_some()));
        }
        if key.expires.is_some_and(|expires| expires <= now.as_secs()) {
            return Err(refuse::expired(&key.id));
        }
        if let Some(rate) = key.rate.as_ref().filter(|rate| !rate.take(now)) {
            return Err(refuse::too_often(&key.id, rate.per_second()));
        }
        if key.once {
            self.note(api, operation, signed, now.as_secs()).map_err(|used| match used {
                Use::Full => refuse::too_many_once(),
                Use::First | Use::Again => refuse::used(&key.id),
            })?;
        }
        Ok(Caller::known(Arc::clone(&key.id), Arc::clone(&key.account)))
    }

    /// Notes that a signature was used, and whether it may be.
    fn note(&self, api: Api, operation: &Operation, signed: &Signed<'_>, now: u64) -> Result<(), Use> {
        let header = match api {
            Api::Sfn => "x-amz-target",
            Api::Asw => "x-tc-action",
        };
        let (head, reads) = (&signed.head, operation.right == Right::Read);
        if reads && head.signs(header) {
            return Ok(());
        }
        let once = self.once.get_or_init(Once::new);
        match once.note(head.signature(), now, head.signed_at.saturating_add(sign::SKEW_SECONDS_MAX)) {
            Use::First => Ok(()),
            // What was only looked at changes nothing, however often.
            Use::Again if reads => Ok(()),
            other => Err(other),
        }
    }

    /// Whether the authorization service gives a right that the file does not.
    async fn ask(
        &self,
        file: &Credentials,
        caller: &Caller,
        right: Right,
        machine: Option<&str>,
    ) -> Result<bool, Fault> {
        let (Some(id), Some(account), Some(checks)) =
            (caller.access_key_id(), caller.account(), &self.checks)
        else {
            return Ok(false);
        };
        let (id, account) = (id.into(), account.into());
        let question = Question { id, account, right, machine: machine.map(Into::into) };
        let place = thread::with(self.number, file, |thread| thread.answers.place(&question));
        let answer = checks::answer(&place, checks, &question).await;
        answer.said.clone().map_err(|why| refuse::unchecked(&why))
    }
}

/// What a signed request says of itself in its headers.
#[derive(Debug)]
pub struct Claim<'r> {
    api: Api,
    operation: &'static Operation,
    head: Head<'r>,
}

impl<C: Checks> Admission for Desk<C> {
    /// `None` where everybody is let in.
    type Claim<'r> = Option<Claim<'r>>;

    fn claim<'r>(
        &self,
        api: Api,
        operation: &'static Operation,
        parts: &'r Parts,
        now: SystemTime,
    ) -> Result<Self::Claim<'r>, Fault> {
        let Some(file) = &self.file else { return anybody(&parts.headers).map(|()| None) };
        let now = since_1970(now).as_secs();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let read = match api {
            Api::Sfn => sign::sigv4::read,
            Api::Asw => sign::tc3::read,
        };
        let refused = |error, id: &str| refuse::unverified(api, error, id, now);
        let head = read(&parts.method, target, &parts.headers, now).map_err(|error| refused(error, ""))?;
        if head.service != refuse::service(api) {
            return Err(refuse::other_service(api));
        }
        if !thread::with(self.number, file, |thread| thread.ring().get(head.id).is_some()) {
            return Err(refused(VerifyError::UnknownKey, head.id));
        }
        Ok(Some(Claim { api, operation, head }))
    }

    fn admit(&self, claim: Self::Claim<'_>, body: &[u8], now: SystemTime) -> Result<Caller, Fault> {
        let (Some(file), Some(Claim { api, operation, head })) = (&self.file, claim) else {
            return Ok(Caller::anonymous());
        };
        let (now, id) = (since_1970(now), head.id);
        let refused = |error| refuse::unverified(api, error, id, now.as_secs());
        let signed = head.with_body(body, now.as_secs()).map_err(refused)?;
        thread::with(self.number, file, |thread| {
            let key = thread.verify(&signed).map_err(refused)?;
            self.look_at(api, operation, &signed, key, now)
        })
    }

    async fn allow(&self, caller: &Caller, right: Right, machine: Option<&str>) -> Result<(), Fault> {
        let Some(file) = &self.file else { return Ok(()) };
        let id = caller.access_key_id().unwrap_or_default();
        let (may, ask) = thread::with(self.number, file, |thread| {
            // It may have gone since it was let in.
            thread.ring().get(id).map_or((false, false), |key| (key.may(right, machine), key.ask))
        });
        if may || ask && self.ask(file, caller, right, machine).await? {
            return Ok(());
        }
        Err(refuse::denied(id, right, machine))
    }

    fn is_open(&self) -> bool {
        self.file.is_none()
    }
}

/// Lets in whoever is no browser: pages from anywhere can make one call what is on loopback.
fn anybody(headers: &HeaderMap) -> Result<(), Fault> {
    if OF_BROWSERS.iter().any(|name| headers.contains_key(*name)) {
        let message = "calls without signatures are not taken from browsers: any page could make them";
        return Err(Fault::new(Kind::AccessDenied, message));
    }
    Ok(())
}

fn since_1970(now: SystemTime) -> Duration {
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
