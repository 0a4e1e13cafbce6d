//! `auth.v1.Auth` and `auth.v1.Rights` on a port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use executor::clock::Clock;
use executor::grpc::listener;
use proto::auth::v1::auth_server::{Auth, AuthServer};
use proto::auth::v1::outcome::Result as Told;
use proto::auth::v1::rights_server::{Rights, RightsServer};
use proto::auth::v1::{
    AssumeRoleRequest, AssumeRoleResponse, BatchAssumeRoleRequest, BatchAssumeRoleResponse,
    CheckRightRequest, CheckRightResponse, Credentials, Outcome, Reason, Refusal,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use trust::{RightsLayer, Role, Trust};

use super::{Faults, Issued, Issuer, KeyRights, Roles};
use crate::error::Error;

/// Connections that are open at once.
const CONNECTIONS_MAX: usize = 1_024;
/// Requests of one call.
const BATCH_MAX: usize = 256;

/// What a stub is configured with.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Where it listens; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Which roles there are.
    pub roles: Roles,
    /// What access keys may do.
    pub rights: KeyRights,
    /// Makes the keys.
    pub issuer: Issuer,
    /// What goes wrong.
    pub faults: Faults,
    /// Our certificate, and who may ask: nodes, schedulers and operators. Plain text without.
    pub trust: Option<Trust>,
}

/// A running stub.
pub struct AuthStub {
    address: SocketAddr,
    service: Arc<Service>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl AuthStub {
    /// Starts it; answers calls when it returns.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the address is taken.
    pub fn start(config: AuthConfig) -> Result<Self, Error> {
        let AuthConfig { listen, roles, rights, issuer, faults, trust } = config;
        let taken = |error: std::io::Error| {
            Error::unavailable(format!("cannot listen on {listen}: {error}; choose another with --listen"))
        };
        let port = listener::bind(listen).map_err(taken)?;
        let address = port.local_addr().map_err(taken)?;
        let knows_peers = trust.is_some();
        let connections = listener::incoming(port, CONNECTIONS_MAX, trust).map_err(taken)?;
        let service = Arc::new(Service {
            roles,
            rights,
            issuer,
            faults: watch::Sender::new(faults),
            clock: Clock::System,
            calls: AtomicU64::new(0),
            issued: AtomicU64::new(0),
        });
        let (stop, mut stopped) = watch::channel(false);
        let router = Server::builder()
            .tcp_nodelay(true)
            .layer(RightsLayer { rights: may_call, knows_peers })
            .add_service(AuthServer::from_arc(Arc::clone(&service)))
            .add_service(RightsServer::from_arc(Arc::clone(&service)));
        let server = tokio::spawn(async move {
            // An error means that the stub itself is gone.
            let stop = async move { _ = stopped.wait_for(|stopped| *stopped).await };
            if let Err(error) = router.serve_with_incoming_shutdown(connections, stop).await {
                tracing::error!("the authorization service ended: {error}");
            }
        });
        tracing::info!(%address, "the authorization service serves");
        Ok(Self { address, service, stop, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls so far, failed ones among them.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.service.calls.load(Ordering::Relaxed)
    }

    /// Keys issued so far.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.service.issued.load(Ordering::Relaxed)
    }

    /// From now on, this goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.service.faults.send_replace(faults);
    }

    /// Ends when the calls under way are answered.
    pub async fn shut_down(self) {
        self.stop.send_replace(true);
        // A panic of the server has been told by its hook.
        let _ = self.server.await;
    }
}

/// Whether a peer with these roles may make this call.
fn may_call(path: &str, roles: &trust::Roles) -> bool {
    let asks = match path.strip_prefix("/auth.v1.").and_then(|path| path.split('/').next()) {
        Some("Auth") => roles.has(&Role::Node),
        Some("Rights") => roles.has(&Role::Scheduler),
        _ => return false,
    };
    asks || roles.has(&Role::Operator)
}

struct Service {
    roles: Roles,
    rights: KeyRights,
    issuer: Issuer,
    faults: watch::Sender<Faults>,
    clock: Clock,
    calls: AtomicU64,
    issued: AtomicU64,
}

impl Service {
    /// What goes wrong with this call: it takes its time, and then perhaps fails.
    async fn suffer(&self) -> Result<Faults, Status> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let faults = *self.faults.borrow();
        let delay = faults.delay(call);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if faults.fails(call) {
            return Err(Status::unavailable("the authorization service fails on purpose (--error-rate)"));
        }
        Ok(faults)
    }

    fn assume(&self, request: AssumeRoleRequest, faults: Faults) -> Result<Credentials, String> {
        let AssumeRoleRequest { role, session, duration_seconds } = request;
        let duration = self.roles.check(&role, &session, duration_seconds)?;
        let now_ms = faults.clock_ms(self.clock.now_ms());
        let expires_at_ms = now_ms.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        let number = self.issued.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(self.issuer.issue(&Issued { role, session, expires_at_ms }, number, now_ms))
    }
}

#[tonic::async_trait]
impl Auth for Service {
    async fn assume_role(
        &self,
        request: Request<AssumeRoleRequest>,
    ) -> Result<Response<AssumeRoleResponse>, Status> {
        let faults = self.suffer().await?;
        let credentials = self.assume(request.into_inner(), faults).map_err(Status::permission_denied)?;
        Ok(Response::new(AssumeRoleResponse { credentials: Some(credentials) }))
    }

    async fn batch_assume_role(
        &self,
        request: Request<BatchAssumeRoleRequest>,
    ) -> Result<Response<BatchAssumeRoleResponse>, Status> {
        let roles = request.into_inner().roles;
        if roles.len() > BATCH_MAX {
            let count = roles.len();
            return Err(Status::invalid_argument(format!(
                "a call asks for {BATCH_MAX} roles at most, this for {count}"
            )));
        }
        let faults = self.suffer().await?;
        let outcome = |request| {
            let result = match self.assume(request, faults) {
                Ok(credentials) => Told::Credentials(credentials),
                Err(message) => Told::Refusal(Refusal { reason: Reason::Refused.into(), message }),
            };
            Outcome { result: Some(result) }
        };
        let outcomes = roles.into_iter().map(outcome).collect();
        Ok(Response::new(BatchAssumeRoleResponse { outcomes }))
    }
}

#[tonic::async_trait]
impl Rights for Service {
    async fn check_right(
        &self,
        request: Request<CheckRightRequest>,
    ) -> Result<Response<CheckRightResponse>, Status> {
        self.suffer().await?;
        let allowed = self.rights.allow(request.get_ref());
        Ok(Response::new(CheckRightResponse { allowed }))
    }
}
