//! Which integration serves a resource.
//!
//! Invariants: of several that serve one the first is asked; a resource that nobody serves is nobody's failure here: whoever
//! asks tells the operator what to configure.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;
use url::Url;

use crate::credentials::{CredentialSource, Signer};
use crate::http::{Client, ClientOptions, SetupError};
use crate::http_invoke::{Connections, HttpInvoke};
use crate::lambda::Lambda;
use crate::request::Integration;
use crate::tencent::{Tencent, TencentSettings};

/// What the integrations of all shards of a node are made of; cheap to clone.
#[derive(Debug, Clone)]
pub struct IntegrationSettings {
    /// The HTTP client of each shard.
    pub client: ClientOptions,
    /// Of `http:invoke`, as they change.
    pub connections: watch::Receiver<Arc<Connections>>,
    /// Where functions are invoked; without it Lambda is not served.
    pub lambda: Option<LambdaSettings>,
    /// Tencent Cloud; without it none of its APIs and functions is served.
    pub tencent: Option<Arc<TencentSettings>>,
    /// What machines without a role act as towards AWS, and towards Tencent Cloud; empty: they may not.
    pub default_roles: (Arc<str>, Arc<str>),
}

/// Settings of [`Lambda`].
#[derive(Debug, Clone)]
pub struct LambdaSettings {
    /// In the place of each region's own endpoint.
    pub endpoint: Option<Url>,
    /// Of functions that are named without one.
    pub region: Arc<str>,
}

/// The integrations of a shard.
#[derive(Default)]
pub struct Integrations(Vec<Rc<dyn Integration>>);

impl Integrations {
    /// Those that configuration names.
    ///
    /// # Errors
    /// [`SetupError`]
    pub fn new(
        settings: &IntegrationSettings,
        credentials: &Rc<dyn CredentialSource>,
    ) -> Result<Self, SetupError> {
        let client = Rc::new(Client::new(&settings.client)?);
        let signer = |role: &Arc<str>| Rc::new(Signer::new(Rc::clone(credentials), Arc::clone(role)));
        let (aws_role, tencent_role) = &settings.default_roles;
        let connections = settings.connections.clone();
        let http = HttpInvoke::new(Rc::clone(&client), connections, Rc::clone(credentials));
        let lambda = settings.lambda.clone().map(|LambdaSettings { endpoint, region }| {
            Lambda::new(Rc::clone(&client), signer(aws_role), endpoint, region.to_string())
        });
        let tencent = settings.tencent.as_ref().map(|settings| {
            Tencent::new(Rc::clone(&client), signer(tencent_role), TencentSettings::clone(settings))
        });
        let all = Self::default().and(Rc::new(http));
        let all = lambda.into_iter().fold(all, |all, lambda| all.and(Rc::new(lambda)));
        Ok(tencent.into_iter().fold(all, |all, tencent| all.and(Rc::new(tencent))))
    }

    /// One more.
    #[must_use]
    pub fn and(mut self, integration: Rc<dyn Integration>) -> Self {
        self.0.push(integration);
        self
    }

    /// Who serves a state's `Resource`.
    #[must_use]
    pub fn find(&self, resource: &str) -> Option<&Rc<dyn Integration>> {
        self.0.iter().find(|integration| integration.serves(resource))
    }
}
