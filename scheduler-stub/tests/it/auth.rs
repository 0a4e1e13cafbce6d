//! The stub of the authorization service as nodes see it: through their cache.

use std::sync::Arc;
use std::time::Duration;

use executor::clock::{Clock, ManualClock};
use proto::auth::v1::auth_client::AuthClient;
use proto::auth::v1::{AssumeRoleRequest, BatchAssumeRoleRequest};
use scheduler_stub::auth::{AuthConfig, AuthStub, Faults, Issuer, KeyRights, Roles};
use token_cache::providers::{AuthService, AuthServiceSettings};
use token_cache::{CredentialError, CredentialKey, Settings, TokenCache};
use tokio::runtime::Handle;
use tonic::Code;
use tonic::transport::Endpoint;
use trust::Secret;

const ROLE: &str = "arn:aws:iam::123456789012:role/orders";
/// How long keys are good.
const LIFETIME: Duration = Duration::from_secs(900);

fn issuer() -> Issuer {
    Issuer::new(Secret::from_key(&[7; 32]))
}

fn stub(faults: Faults) -> AuthStub {
    let roles = vec!["arn:aws:iam::123456789012:role/*".to_owned()];
    let config = AuthConfig {
        listen: "127.0.0.1:0".parse().expect("an address"),
        roles: Roles::new(roles, LIFETIME, LIFETIME),
        rights: KeyRights::default(),
        issuer: issuer(),
        faults,
        trust: None,
    };
    AuthStub::start(config).expect("it starts")
}

/// A node's cache in front of a stub, and the clock of the node.
fn cache(stub: &AuthStub) -> (Arc<TokenCache>, ManualClock) {
    let manual = ManualClock::at_ms(Clock::System.now_ms());
    let clock = Clock::Manual(manual.clone());
    let now: token_cache::Now = Arc::new(move || clock.now_ms());
    let endpoint = Endpoint::from_shared(format!("http://{}", stub.address())).expect("a URL");
    let channels = (0..2).map(|_| trust::channel_lazy(&endpoint, None)).collect();
    let settings = AuthServiceSettings::default();
    let service = AuthService::new(channels, settings, Arc::clone(&now), &Handle::current());
    let settings = Settings::default();
    let cache = TokenCache::new(Arc::new(service), settings, now, Handle::current(), Arc::default());
    (cache, manual)
}

fn orders() -> CredentialKey {
    CredentialKey::new(ROLE, "s1")
}

#[tokio::test]
async fn roles_of_the_console_get_keys_that_whoever_has_the_secret_knows() {
    let stub = stub(Faults::default());
    let (cache, _) = cache(&stub);
    let given = cache.get(&orders()).await.expect("keys");
    let token = given.token.as_deref().expect("a token");
    let (issued, secret) = issuer().open(&given.id, token, Clock::System.now_ms()).expect("they are known");
    assert_eq!((issued.role.as_str(), issued.session.as_str()), (ROLE, "s1"));
    assert_eq!(secret, *given.secret);
    let stranger = CredentialKey::new("arn:aws:iam::999999999999:role/orders", "s1");
    let error = cache.get(&stranger).await.expect_err("another account");
    assert!(matches!(&error, CredentialError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("make it in the console"), "{error}");
    stub.shut_down().await;
}

#[tokio::test]
async fn a_service_that_is_down_for_longer_than_keys_live_is_asked_again_when_it_is_back() {
    let stub = stub(Faults::default());
    let (cache, clock) = cache(&stub);
    let first = cache.get(&orders()).await.expect("keys");
    stub.set_faults(Faults { errors: 1.0, ..Faults::default() });
    clock.advance(LIFETIME * 95 / 100);
    assert_eq!(cache.get(&orders()).await.expect("the old ones").id, first.id);
    clock.advance(LIFETIME);
    let error = cache.get(&orders()).await.expect_err("they have expired");
    assert!(error.to_string().contains("fails on purpose"), "{error}");
    stub.set_faults(Faults::default());
    clock.advance(Duration::from_secs(31));
    let last = cache.get(&orders()).await.expect("it is back");
    assert_ne!(last.id, first.id);
    assert_eq!(stub.issued(), 2);
}

#[tokio::test]
async fn a_clock_of_the_service_that_is_wrong_changes_nothing() {
    for skew_ms in [-86_400_000, 86_400_000] {
        let stub = stub(Faults { skew_ms, ..Faults::default() });
        let (cache, clock) = cache(&stub);
        let first = cache.get(&orders()).await.expect("keys");
        clock.advance(LIFETIME * 69 / 100);
        assert_eq!(cache.get(&orders()).await.expect("the same").id, first.id);
        assert_eq!(stub.calls(), 1, "nothing is due before its time");
        clock.advance(LIFETIME);
        assert_ne!(cache.get(&orders()).await.expect("new ones").id, first.id);
    }
}

#[tokio::test]
async fn calls_that_a_caller_makes_by_itself_are_told_what_is_wrong() {
    let stub = stub(Faults::default());
    let address = format!("http://{}", stub.address());
    let mut client = AuthClient::connect(address).await.expect("a connection");
    let request =
        |role: &str| AssumeRoleRequest { role: role.into(), session: "s1".into(), duration_seconds: 0 };
    let given = client.assume_role(request(ROLE)).await.expect("keys").into_inner();
    assert_eq!(given.credentials.expect("keys").lifetime_ms, 900_000);
    let refused = client.assume_role(request("orders")).await.expect_err("it is none");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("is not the ARN of a role"), "{refused}");
    let many = BatchAssumeRoleRequest { roles: vec![request(ROLE); 257] };
    let refused = client.batch_assume_role(many).await.expect_err("too many");
    assert_eq!(refused.code(), Code::InvalidArgument);
}
