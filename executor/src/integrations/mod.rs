//! The integrations of a node: what its configuration makes of them.
//!
//! Purpose: settings are read once, at start, and the file of connections again when it changes ([`reload`]); each shard makes
//! its own integrations of them, on its thread ([`MakeIntegrations`]), with its own part of the node's one cache of credentials.
//! Invariants: secrets come from files and environment variables, and reach no message; credentials are fetched on the node's
//! own runtime, beside the shards. What may fail: the configuration and what it names, with [`IntegrationError`], before
//! anything runs.

mod connections;
mod credentials;
mod executions;
mod reload;

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use tasks::http::{Client, ClientOptions, NameSources, SetupError};
use tasks::tencent::TencentSettings;
use tasks::{CredentialSource, IntegrationSettings, Integrations, LambdaSettings};
use telemetry::NodeMetrics;
use token_cache::{CredentialError, CredentialKey, Credentials, LocalCache, TokenCache};
use tokio::runtime::Handle;
use trust::Trust;

use crate::clock::Clock;
use crate::config::{ConfigError, IntegrationOptions};
use crate::limits;
use crate::shard::{MakeIntegrations, ShardContext};
use executions::Scheduler;

/// Why a node has no integrations.
#[derive(Debug, thiserror::Error)]
pub enum IntegrationError {
    /// A setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] SetupError),
    /// What stands in a file that a setting names.
    #[error("{path}: {message}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// That file, or one that it names, cannot be read: it may be there later.
    #[error("{path}: {message}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said, and of which file.
        message: String,
    },
    /// Keys that a setting needs are not there.
    #[error("{setting}: {message}")]
    Keys {
        /// Which.
        setting: &'static str,
        /// What is missing.
        message: String,
    },
}

/// What integrations need of their node.
pub(crate) struct Surroundings {
    /// Where credentials are fetched.
    pub runtime: Handle,
    pub metrics: NodeMetrics,
    /// Towards the authorization service and the scheduler.
    pub trust: Option<Trust>,
    /// The URL of the scheduler that the node follows, if any.
    pub scheduler: Option<String>,
    pub clock: Clock,
}

/// The part of a shard, for whoever signs.
struct ShardCredentials {
    cache: LocalCache,
    clock: Clock,
}

impl CredentialSource for ShardCredentials {
    fn get<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> LocalBoxFuture<'a, Result<Arc<Credentials>, CredentialError>> {
        Box::pin(async move {
            let lease = self.cache.get(key, self.clock.now_ms()).await?;
            Ok(lease.shared())
        })
    }

    fn replace<'a>(
        &'a self,
        key: &'a CredentialKey,
        refused: &'a Arc<Credentials>,
    ) -> LocalBoxFuture<'a, Arc<Credentials>> {
        Box::pin(async move { self.cache.replace(key, refused, self.clock.now_ms()).await.shared() })
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
}

/// Reads what the settings name.
///
/// # Errors
/// [`IntegrationError`]
pub(crate) fn open(
    options: &IntegrationOptions,
    surroundings: Surroundings,
) -> Result<MakeIntegrations, IntegrationError> {
    let (connections, clients) = reload::open(options.connections.as_deref(), &surroundings)?;
    let tls = tasks::http::tls(options.egress_ca.as_deref())?;
    let client = ClientOptions {
        egress: options.egress()?,
        calls_max: limits::CALLS_MAX,
        target_calls_max: limits::TARGET_CALLS_MAX,
        target_waiting_max: limits::TARGET_CALLS_WAITING_MAX,
        names: NameSources::default(),
        tls,
    };
    // Whether there is a client at all is seen here and not by the shards.
    Client::new(&client)?;
    let settings = IntegrationSettings {
        connections,
        lambda: lambda(options),
        tencent: tencent(options)?,
        default_roles: credentials::default_roles(options),
        client,
    };
    let clock = surroundings.clock.clone();
    let scheduler = Scheduler::at(surroundings.scheduler.as_deref(), surroundings.trust.as_ref());
    let cache = credentials::cache(options, clients, &settings.client.tls, surroundings)?;
    Ok(Arc::new(move |context| {
        let all = of_shard(context, &settings, &cache, &clock);
        scheduler.iter().fold(all, |all, scheduler| all.and(scheduler.integration()))
    }))
}

fn of_shard(
    context: &ShardContext,
    settings: &IntegrationSettings,
    cache: &Arc<TokenCache>,
    clock: &Clock,
) -> Integrations {
    let cache = cache.local(Arc::clone(&context.metrics));
    let source: Rc<dyn CredentialSource> = Rc::new(ShardCredentials { cache, clock: clock.clone() });
    Integrations::new(settings, &source).unwrap_or_else(|error| {
        tracing::error!(%error, "a shard has no integrations: its tasks are done by workers alone");
        Integrations::default()
    })
}

fn lambda(options: &IntegrationOptions) -> Option<LambdaSettings> {
    let endpoint = options.lambda_endpoint.as_deref()?;
    let region = options.aws_region.as_deref().unwrap_or("us-east-1").into();
    // That it is a URL was checked.
    Some(LambdaSettings { endpoint: endpoint.parse().ok(), region })
}

fn tencent(options: &IntegrationOptions) -> Result<Option<Arc<TencentSettings>>, ConfigError> {
    let Some(endpoint) = options.tencent_endpoint.as_deref() else { return Ok(None) };
    let versions: HashMap<_, _> = options.tencent_versions()?.into_iter().collect();
    Ok(Some(Arc::new(TencentSettings { endpoint: endpoint.parse().ok(), versions })))
}
