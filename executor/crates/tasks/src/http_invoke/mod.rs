//! `arn:aws:states:::http:invoke`: calls an HTTPS API.
//!
//! Purpose: the request is made from the state's arguments ([`call`]), merged with what its connection adds ([`connection`]),
//! and the answer becomes the task's output, or its failure ([`answer`]). Invariants: where the connection and the state say
//! something about the same header, parameter or member, the connection wins, as at AWS; a connection's secrets are in no
//! output and no cause. What may fail: arguments that make no request (`States.Runtime`), a connection that is not known or
//! whose token cannot be had, the call (`States.Http.Socket`), and an answer with a status of 300 or more
//! (`States.Http.StatusCode.NNN`).

mod answer;
mod call;
mod connection;
mod form;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use asl::Payload;
use asl::history::TaskResource;
use telemetry::CallKind;

use crate::credentials::CredentialSource;
use crate::http::{Client, HttpError};
use crate::request::{Answer, Call, Failure, Integration, Request};

pub use connection::{Connection, ConnectionError, Connections, Settings as ConnectionSettings};

/// An HTTP task's bound at AWS.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;

/// The integration.
pub struct HttpInvoke {
    client: Rc<Client>,
    connections: Arc<Connections>,
    credentials: Rc<dyn CredentialSource>,
}

impl HttpInvoke {
    /// With these connections; `credentials` gives the tokens of those that use OAuth.
    #[must_use]
    pub fn new(
        client: Rc<Client>,
        connections: Arc<Connections>,
        credentials: Rc<dyn CredentialSource>,
    ) -> Self {
        Self { client, connections, credentials }
    }

    async fn invoke(&self, request: &Request) -> Result<Payload, Failure> {
        let mut call = call::parse(request.input.value())?;
        if let Some(name) = &call.connection {
            let known = self.connections.get(name);
            let connection = known.ok_or_else(|| connection::unknown(name))?;
            connection.apply(&mut call, &*self.credentials).await?;
        }
        let sent = self.client.send(call.into_outbound(TIMEOUT, REDIRECTS_MAX)?).await;
        answer::output(sent.map_err(|error| socket(&error))?)
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

    fn begin<'a>(&'a self, request: &'a Request) -> Call<'a, Answer> {
        Box::pin(async move { self.invoke(request).await.map(Answer::Output) })
    }

    fn complete<'a>(&'a self, request: &'a Request, _: &'a Payload) -> Call<'a, Payload> {
        Box::pin(
            async move { Err(Failure::runtime(format!("{} has no jobs to wait for.", request.resource))) },
        )
    }
}

/// The failure of a call that was not answered.
fn socket(error: &HttpError) -> Failure {
    match error {
        HttpError::Request { .. } | HttpError::Egress { .. } => Failure::runtime(error.to_string()),
        _ => Failure::new("States.Http.Socket", error.to_string()),
    }
}
