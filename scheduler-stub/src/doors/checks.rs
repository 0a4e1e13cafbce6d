//! Rights that the authorization service gives, asked for by the front door.
//!
//! Invariants: one channel, on the scheduler's runtime, connected when it is first needed; a question that nobody waits for any
//! more ends; what cannot be asked is no right (the door answers `ServiceUnavailable`). No secret is sent. What may fail: the
//! service, in words.

use std::time::Duration;

use front::{Question, Right};
use proto::auth::v1::rights_client::RightsClient;
use proto::auth::v1::{self, CheckRightRequest};
use tokio::runtime::Handle;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use trust::Trust;

use super::{Kind, on_main};
use crate::error::Error;

/// How long an answer may take; then the door says that it cannot tell.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct RightsService {
    main: Handle,
    client: RightsClient<Channel>,
}

impl RightsService {
    /// Of the service at `url`. To be made on the scheduler's runtime.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it is no URL.
    pub fn new(url: &str, trust: Option<&Trust>) -> Result<Self, Error> {
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| {
            Error::invalid("InvalidAuth", format!("--auth {url:?}: {error}; write http://HOST:PORT"))
        })?;
        let channel = trust::channel_lazy(&trust::lively(endpoint), trust);
        Ok(Self { main: Handle::current(), client: RightsClient::new(channel) })
    }
}

impl front::Checks for RightsService {
    async fn check(&self, question: &Question) -> Result<bool, String> {
        let right = match question.right {
            Right::Read => v1::Right::Read,
            Right::Start => v1::Right::Start,
            Right::Manage => v1::Right::Manage,
        };
        let mut request = Request::new(CheckRightRequest {
            key_id: question.id.to_string(),
            account: question.account.to_string(),
            right: right.into(),
            machine: question.machine.as_deref().unwrap_or_default().to_owned(),
        });
        request.set_timeout(ANSWERS_WITHIN);
        let mut client = self.client.clone();
        let answer = async move {
            let answer = tokio::time::timeout(ANSWERS_WITHIN, client.check_right(request)).await;
            let answer = answer.map_err(|_| format!("no answer within {ANSWERS_WITHIN:?}"))?;
            answer.map(|answer| answer.into_inner().allowed).map_err(|status| {
                tracing::warn!(%status, "the authorization service cannot be asked for a right");
                "it does not answer, or not as it should; the scheduler's log says more".to_owned()
            })
        };
        on_main(&self.main, Kind::Question, answer).await.map_err(|fault| fault.message().to_owned())?
    }
}

#[cfg(test)]
mod tests {
    use front::Checks as _;
    use trust::Secret;

    use super::*;
    use crate::auth::{AuthConfig, AuthStub, Faults, Issuer, KeyRights, Roles};

    fn stub() -> AuthStub {
        let config = AuthConfig {
            listen: "127.0.0.1:0".parse().expect("an address"),
            roles: Roles::new(Vec::new(), Duration::from_secs(900), Duration::from_secs(900)),
            rights: KeyRights::parse("AKID1 start orders-*").expect("a line"),
            issuer: Issuer::new(Secret::from_key(&[7; 32])),
            faults: Faults::default(),
            trust: None,
        };
        AuthStub::start(config).expect("it starts")
    }

    fn question(id: &str, machine: &str) -> Question {
        Question { id: id.into(), account: "1".into(), right: Right::Start, machine: Some(machine.into()) }
    }

    #[tokio::test]
    async fn a_right_is_what_the_service_says_and_an_outage_is_told() {
        let stub = stub();
        let service = RightsService::new(&format!("http://{}", stub.address()), None).expect("a URL");
        assert_eq!(service.check(&question("AKID1", "orders-1")).await, Ok(true));
        assert_eq!(service.check(&question("AKID1", "bills")).await, Ok(false));
        assert_eq!(service.check(&question("AKID2", "orders-1")).await, Ok(false));
        stub.set_faults(Faults { errors: 1.0, ..Faults::default() });
        let told = service.check(&question("AKID1", "orders-1")).await.expect_err("it fails");
        assert!(told.contains("does not answer"), "{told}");
    }

    #[tokio::test]
    async fn what_is_no_url_is_told_by_its_flag() {
        let error = RightsService::new("not a url", None).expect_err("it is none").to_string();
        assert!(error.contains("--auth"), "{error}");
    }
}
