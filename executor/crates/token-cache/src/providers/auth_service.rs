//! Our authorization service, over pooled gRPC channels.
//!
//! Requests of different keys that come while calls are under way travel together: a call is begun as soon as there is room for
//! it, with whatever waits by then. So a lone request waits for nobody, and many cost few calls. Bounds: [`ASKED_MAX`] requests
//! wait, a batch has [`BATCH_MAX`], so many calls are under way as the settings say.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proto::auth::v1::auth_client::AuthClient;
use proto::auth::v1::outcome::Result as Told;
use proto::auth::v1::{self, AssumeRoleRequest, BatchAssumeRoleRequest, Outcome, Reason};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tonic::transport::Channel;
use tonic::{Request, Status};
use zeroize::Zeroizing;

use super::times::after;
use super::{Fetch, Provider};
use crate::{CredentialError, CredentialKey, Credentials, Now};

/// Requests of one call; what the service takes.
const BATCH_MAX: usize = 256;
/// Requests that wait for a call.
const ASKED_MAX: usize = 1_024;

/// How the service is asked.
#[derive(Debug, Clone, Copy)]
pub struct AuthServiceSettings {
    /// Calls under way at once.
    pub calls_max: usize,
    /// Longest call; a call that fails is made once more on another channel.
    pub call_timeout: Duration,
    /// For how long keys shall be good; zero: as long as the service likes.
    pub duration: Duration,
}

impl Default for AuthServiceSettings {
    fn default() -> Self {
        Self { calls_max: 4, call_timeout: Duration::from_secs(4), duration: Duration::ZERO }
    }
}

struct Asked {
    key: CredentialKey,
    answer: oneshot::Sender<Result<Credentials, CredentialError>>,
}

/// See the module.
pub struct AuthService(mpsc::Sender<Asked>);

impl AuthService {
    /// Asks over these channels, in turns; at least one is needed, or nothing can be had. Calls run on `runtime`.
    #[must_use]
    pub fn new(channels: Vec<Channel>, settings: AuthServiceSettings, now: Now, runtime: &Handle) -> Self {
        let (ask, asked) = mpsc::channel(ASKED_MAX);
        let caller = Caller { channels, settings, now, turn: AtomicUsize::new(0) };
        runtime.spawn(gather(asked, Arc::new(caller)));
        Self(ask)
    }
}

impl Provider for AuthService {
    fn fetch<'a>(&'a self, key: &'a CredentialKey) -> Fetch<'a> {
        Box::pin(async move {
            let (answer, told) = oneshot::channel();
            let gone = || CredentialError::unavailable(key, "the node is shutting down");
            self.0.send(Asked { key: key.clone(), answer }).await.map_err(|_| gone())?;
            told.await.map_err(|_| gone())?
        })
    }
}

/// Begins calls until nobody can ask any more.
async fn gather(mut asked: mpsc::Receiver<Asked>, caller: Arc<Caller>) {
    let room = Arc::new(Semaphore::new(caller.settings.calls_max.max(1)));
    while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
        let mut batch = Vec::new();
        if asked.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return;
        }
        // While the service hangs, those who have given up would fill the calls of those who wait.
        batch.retain(|asked| !asked.answer.is_closed());
        if !batch.is_empty() {
            tokio::spawn(Arc::clone(&caller).answer(batch, permit));
        }
    }
}

struct Caller {
    channels: Vec<Channel>,
    settings: AuthServiceSettings,
    now: Now,
    /// Whose turn it is.
    turn: AtomicUsize,
}

impl Caller {
    async fn answer(self: Arc<Self>, batch: Vec<Asked>, _room: OwnedSemaphorePermit) {
        let sent_ms = (self.now)();
        let result = match self.call(&batch).await {
            // It is for the whole batch to be made again, or for another channel.
            Err(status) if repeatable(&status) && self.channels.len() > 1 => self.call(&batch).await,
            result => result,
        };
        // Who asked may have gone; then nobody is told.
        match result {
            Ok(outcomes) if outcomes.len() == batch.len() => {
                for (asked, outcome) in batch.into_iter().zip(outcomes) {
                    let _ = asked.answer.send(read(&asked.key, outcome, sent_ms));
                }
            }
            result => {
                let why = match result {
                    Ok(outcomes) => {
                        format!(
                            "the authorization service has answered {} of {} requests, which is its fault",
                            outcomes.len(),
                            batch.len()
                        )
                    }
                    Err(status) => format!(
                        "the authorization service (--auth-service) does not answer as it should ({:?}: {})",
                        status.code(),
                        status.message()
                    ),
                };
                for asked in batch {
                    let _ = asked.answer.send(Err(CredentialError::unavailable(&asked.key, &why)));
                }
            }
        }
    }

    async fn call(&self, batch: &[Asked]) -> Result<Vec<Outcome>, Status> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let none = || Status::failed_precondition("no address of it is configured");
        let channel = self.channels.get(turn % self.channels.len().max(1)).ok_or_else(none)?;
        let duration_seconds = u32::try_from(self.settings.duration.as_secs()).unwrap_or(u32::MAX);
        let roles = batch.iter().map(|asked| AssumeRoleRequest {
            role: asked.key.role.to_string(),
            session: asked.key.session.to_string(),
            duration_seconds,
        });
        let mut request = Request::new(BatchAssumeRoleRequest { roles: roles.collect() });
        request.set_timeout(self.settings.call_timeout);
        let response = AuthClient::new(channel.clone()).batch_assume_role(request).await?;
        Ok(response.into_inner().outcomes)
    }
}

/// Whether the same call may work on another channel.
fn repeatable(status: &Status) -> bool {
    use tonic::Code;
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Internal | Code::Unknown
    )
}

fn read(key: &CredentialKey, outcome: Outcome, sent_ms: u64) -> Result<Credentials, CredentialError> {
    match outcome.result {
        Some(Told::Credentials(v1::Credentials { id, secret, token, lifetime_ms, expires_at_ms: _ })) => {
            Ok(Credentials {
                id,
                secret: Zeroizing::new(secret),
                token: (!token.is_empty()).then(|| Zeroizing::new(token)),
                expires_at: Some(after(sent_ms, Duration::from_millis(lifetime_ms))),
            })
        }
        Some(Told::Refusal(refusal)) if refusal.reason() == Reason::Refused => {
            Err(CredentialError::refused(key, refusal.message))
        }
        Some(Told::Refusal(refusal)) => Err(CredentialError::unavailable(key, refusal.message)),
        None => Err(CredentialError::unavailable(key, "the authorization service gave no outcome")),
    }
}
