//! The client of `auth.v1` against servers on loopback whose answers a test decides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use proto::auth::v1::auth_server::{Auth, AuthServer};
use proto::auth::v1::outcome::Result as Told;
use proto::auth::v1::{
    AssumeRoleRequest, AssumeRoleResponse, BatchAssumeRoleRequest, BatchAssumeRoleResponse, Credentials,
    Outcome, Reason, Refusal,
};
use token_cache::providers::{AuthService, AuthServiceSettings};
use token_cache::{CredentialError, CredentialKey, Provider};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::support::{BEGIN_MS, Clock, role};

/// Answers when it is let; notes how many were asked for by each call.
struct Peer {
    open: watch::Receiver<bool>,
    batches: watch::Sender<Vec<usize>>,
}

fn answer(request: AssumeRoleRequest) -> Outcome {
    let refusal = |reason: Reason, message: &str| {
        Told::Refusal(Refusal { reason: reason.into(), message: message.into() })
    };
    let result = match request.role.as_str() {
        "nobody" => Some(refusal(Reason::Refused, "make it in the console")),
        "busy" => Some(refusal(Reason::Unavailable, "try later")),
        "mute" => None,
        _ => Some(Told::Credentials(Credentials {
            id: format!("{}/{}/{}", request.role, request.session, request.duration_seconds),
            secret: "hidden".into(),
            token: "veiled".into(),
            lifetime_ms: 60_000,
            expires_at_ms: 1,
        })),
    };
    Outcome { result }
}

#[tonic::async_trait]
impl Auth for Peer {
    async fn assume_role(
        &self,
        _: Request<AssumeRoleRequest>,
    ) -> Result<Response<AssumeRoleResponse>, Status> {
        Err(Status::unimplemented("nobody asks like this"))
    }

    async fn batch_assume_role(
        &self,
        request: Request<BatchAssumeRoleRequest>,
    ) -> Result<Response<BatchAssumeRoleResponse>, Status> {
        let roles = request.into_inner().roles;
        self.batches.send_modify(|batches| batches.push(roles.len()));
        let mut open = self.open.clone();
        open.wait_for(|open| *open).await.map_err(|_| Status::unavailable("it ends"))?;
        if roles.iter().any(|request| request.role == "short") {
            return Ok(Response::new(BatchAssumeRoleResponse { outcomes: Vec::new() }));
        }
        Ok(Response::new(BatchAssumeRoleResponse { outcomes: roles.into_iter().map(answer).collect() }))
    }
}

/// A server; what lets it answer, and what it was asked.
async fn serve() -> (SocketAddr, watch::Sender<bool>, watch::Receiver<Vec<usize>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (let_go, open) = watch::channel(true);
    let (batches, seen) = watch::channel(Vec::new());
    let server = Server::builder().add_service(AuthServer::new(Peer { open, batches }));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (address, let_go, seen)
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).expect("a URL").connect_lazy()
}

fn client(channels: Vec<Channel>, calls_max: usize) -> Arc<AuthService> {
    let settings = AuthServiceSettings { calls_max, duration: Duration::from_secs(60), ..Default::default() };
    Arc::new(AuthService::new(channels, settings, Clock::new().reader(), &Handle::current()))
}

#[tokio::test]
async fn roles_that_are_asked_for_together_travel_together() {
    let (address, _let_go, batches) = serve().await;
    let service = client(vec![channel(address)], 4);
    let keys: Vec<CredentialKey> = (0..100).map(|n| role(&n.to_string())).collect();
    let given = join_all(keys.iter().map(|key| service.fetch(key))).await;
    for (key, given) in keys.iter().zip(given) {
        let given = given.expect("credentials");
        assert_eq!(given.id, format!("{}/session/60", key.role), "each has its own");
        assert_eq!(
            given.expires_at,
            Some(UNIX_EPOCH + Duration::from_millis(BEGIN_MS + 60_000)),
            "by our clock"
        );
    }
    assert_eq!(*batches.borrow(), [100]);
}

#[tokio::test]
async fn a_call_asks_for_no_more_roles_than_the_service_takes() {
    let (address, let_go, mut batches) = serve().await;
    let service = client(vec![channel(address)], 1);
    let_go.send_replace(false);
    let keys: Vec<CredentialKey> = (0..600).map(|n| role(&n.to_string())).collect();
    let all = join_all(keys.iter().map(|key| service.fetch(key)));
    let opened = async {
        batches.wait_for(|batches| !batches.is_empty()).await.expect("the server lives");
        let_go.send_replace(true);
    };
    let (all, ()) = tokio::join!(all, opened);
    assert!(all.iter().all(Result::is_ok));
    let batches = batches.borrow();
    assert_eq!(batches.iter().sum::<usize>(), 600);
    assert!(batches.len() <= 4 && batches.iter().all(|batch| *batch <= 256), "{batches:?}");
}

/// A client that may make one call at once, and has one under way.
struct Busy {
    service: Arc<AuthService>,
    first: JoinHandle<Result<token_cache::Credentials, CredentialError>>,
    let_go: watch::Sender<bool>,
    batches: watch::Receiver<Vec<usize>>,
}

async fn busy() -> Busy {
    let (address, let_go, mut batches) = serve().await;
    let service = client(vec![channel(address)], 1);
    let_go.send_replace(false);
    let asks = Arc::clone(&service);
    let first = tokio::spawn(async move { asks.fetch(&role("first")).await });
    batches.wait_for(|batches| batches.len() == 1).await.expect("the server lives");
    Busy { service, first, let_go, batches }
}

#[tokio::test]
async fn a_lone_role_waits_for_nobody_and_those_that_come_meanwhile_share_the_next_call() {
    let Busy { service, first, let_go, batches } = busy().await;
    let keys: Vec<CredentialKey> = (0..50).map(|n| role(&n.to_string())).collect();
    let rest = join_all(keys.iter().map(|key| service.fetch(key)));
    let opened = async {
        tokio::task::yield_now().await;
        let_go.send_replace(true);
    };
    let (rest, ()) = tokio::join!(rest, opened);
    first.await.expect("no panic").expect("credentials");
    assert!(rest.iter().all(Result::is_ok));
    assert_eq!(*batches.borrow(), [1, 50]);
}

#[tokio::test]
async fn roles_that_nobody_waits_for_any_more_are_not_asked_for() {
    let Busy { service, first, let_go, batches } = busy().await;
    let keys: Vec<CredentialKey> = (0..50).map(|n| role(&n.to_string())).collect();
    let given_up = join_all(keys.iter().map(|key| service.fetch(key)));
    assert!(given_up.now_or_never().is_none(), "they wait until they are dropped");
    let last = role("last");
    let opened = async {
        let_go.send_replace(true);
        first.await.expect("no panic").expect("credentials");
    };
    let (last, ()) = tokio::join!(service.fetch(&last), opened);
    last.expect("credentials");
    assert_eq!(*batches.borrow(), [1, 1]);
}

#[tokio::test]
async fn each_role_of_a_call_has_an_outcome_of_its_own() {
    let (address, _let_go, batches) = serve().await;
    let service = client(vec![channel(address)], 4);
    let keys = ["fine", "nobody", "busy", "mute"].map(role);
    let [fine, nobody, busy, mute] =
        join_all(keys.iter().map(|key| service.fetch(key))).await.try_into().expect("four");
    assert_eq!(batches.borrow().len(), 1);
    let fine = fine.expect("credentials");
    assert_eq!(fine.secret.as_str(), "hidden");
    assert_eq!(nobody, Err(CredentialError::refused(&keys[1], "make it in the console")));
    assert_eq!(busy, Err(CredentialError::unavailable(&keys[2], "try later")));
    assert!(matches!(mute, Err(CredentialError::Unavailable { .. })));
    let short = service.fetch(&role("short")).await.expect_err("no outcomes at all");
    assert!(short.to_string().contains("answered 0 of 1"), "{short}");
}

#[tokio::test]
async fn a_channel_that_is_broken_is_made_up_for_by_another() {
    let (address, _let_go, batches) = serve().await;
    let nobody = SocketAddr::from(([127, 0, 0, 1], testkit::free_port()));
    let service = client(vec![channel(nobody), channel(address)], 1);
    for n in 1..=4 {
        service.fetch(&role("a")).await.expect("credentials");
        assert_eq!(batches.borrow().len(), n);
    }
    let alone = client(vec![channel(nobody)], 1);
    let error = alone.fetch(&role("a")).await.expect_err("nobody listens");
    assert!(error.to_string().contains("(--auth-service) does not answer"), "{error}");
    let none = client(Vec::new(), 1).fetch(&role("a")).await.expect_err("no address");
    assert!(none.to_string().contains("no address of it is configured"), "{none}");
}
