//! `arn:aws:states:::http:invoke`: calls an HTTPS API.
//!
//! Purpose: the request is made from the state's arguments ([`call`]), merged with what its connection adds ([`connection`]),
//! and the answer becomes the task's output, or its failure ([`answer`]). Invariants: where the connection and the state say
//! something about the same header, parameter or member, the connection wins, as at AWS; a connection's secrets go to the hosts
//! that it names ([`audience`]), and are in no output and no cause. What may fail: arguments that make no request
//! (`States.Runtime`), a connection that is not known, is not for this call or has no token (`Events.ConnectionResource.…`, as
//! EventBridge's), the call (`States.Http.Socket`), and an answer with a status of 300 or more (`States.Http.StatusCode.NNN`).

mod answer;
mod audience;
mod call;
mod connection;
mod form;
mod in_force;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use asl::history::TaskResource;
use asl::{Payload, Str, Value};
use http::StatusCode;
use telemetry::CallKind;
use token_cache::{CredentialKey, Credentials};
use tokio::sync::watch;

use crate::credentials::CredentialSource;
use crate::errors;
use crate::http::{Client, Inbound, target_of};
use crate::request::{Answer, Call, Failure, Integration, Origin, Request};

use call::{Endpoints, Parsed};
use in_force::InForce;

pub use connection::{
    Connection, ConnectionError, ConnectionProblem, Connections, Settings as ConnectionSettings,
};

/// An HTTP task's bound at AWS.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;

/// The integration.
pub struct HttpInvoke {
    client: Rc<Client>,
    connections: InForce,
    credentials: Rc<dyn CredentialSource>,
    endpoints: Endpoints,
}

impl HttpInvoke {
    /// With these connections, as they change; `credentials` gives the tokens of those that use OAuth.
    #[must_use]
    pub fn new(
        client: Rc<Client>,
        connections: watch::Receiver<Arc<Connections>>,
        credentials: Rc<dyn CredentialSource>,
    ) -> Self {
        Self { client, connections: InForce::new(connections), credentials, endpoints: Endpoints::default() }
    }

    async fn invoke(&self, request: &Request) -> Result<Payload, Failure> {
        let (call, origin) = (call::parse(request.input.value(), &self.endpoints)?, &request.origin);
        let Some(name) = call.connection.clone() else {
            return answer::output(self.send(call, origin).await?);
        };
        let connections = self.connections.get();
        let connection = connections.get(&name).ok_or_else(|| connection::unknown(&name))?;
        connection.admits(&call, &origin.machine_role_arn)?;
        answer::output(self.connected(call, (&name, connection), origin).await?)
    }

    /// As a connection has it; once more, with another token, where its token is not taken any more.
    async fn connected(
        &self,
        call: Parsed,
        (name, connection): (&str, &Connection),
        origin: &Origin,
    ) -> Result<Inbound, Failure> {
        let send = |mut call: Parsed, token: Option<&Credentials>| {
            connection.apply(&mut call, name, token)?;
            Ok(self.send(call, origin))
        };
        let Some(client) = connection.client() else { return send(call, None)?.await };
        let token = self.token(name, client).await?;
        let answer = send(call.clone(), Some(&token))?.await?;
        let refused = [StatusCode::UNAUTHORIZED, StatusCode::PROXY_AUTHENTICATION_REQUIRED];
        if !refused.contains(&answer.status) {
            return Ok(answer);
        }
        let other = self.credentials.replace(client, &token).await;
        if Arc::ptr_eq(&token, &other) { Ok(answer) } else { send(call, Some(&other))?.await }
    }

    async fn token(&self, name: &str, client: &CredentialKey) -> Result<Arc<Credentials>, Failure> {
        let token = self.credentials.get(client).await;
        token.map_err(|error| connection::without_token(name, &error))
    }

    /// The request is made at once: thousands may wait for their turn, each with what it needs from then on.
    fn send(&self, mut call: Parsed, origin: &Origin) -> impl Future<Output = Result<Inbound, Failure>> {
        origin.trace(&mut call.headers);
        let request = call.into_outbound(TIMEOUT, REDIRECTS_MAX);
        async move {
            let sent = self.client.send(request?).await;
            sent.map_err(|error| Failure::of_call(&error, errors::HTTP_SOCKET))
        }
    }
}

impl Integration for HttpInvoke {
    fn kind(&self) -> CallKind {
        CallKind::Http
    }

    fn serves(&self, resource: &str) -> bool {
        let TaskResource { service, call, .. } = TaskResource::parse(resource);
        (service, call) == ("http", "invoke")
    }

    fn target(&self, request: &Request) -> Str {
        let endpoint = request.input.value().get("ApiEndpoint").and_then(Value::as_str);
        match endpoint.and_then(|endpoint| self.endpoints.read(endpoint).ok()) {
            Some(url) => target_of(&url).into(),
            None => request.resource.clone(),
        }
    }

    fn begin<'a>(&'a self, request: &'a Request) -> Call<'a, Answer> {
        Box::pin(async move { self.invoke(request).await.map(Answer::Output) })
    }

    fn complete<'a>(&'a self, request: &'a Request, _: &'a Payload) -> Call<'a, Payload> {
        Box::pin(async move {
            Err(Failure::runtime(format!(
                "{} begins no job whose end could be waited for.",
                request.resource
            )))
        })
    }
}
