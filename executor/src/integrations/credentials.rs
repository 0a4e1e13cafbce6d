//! Who gives credentials, as configured, behind the node's one cache.
//!
//! Invariant: long-lived keys come from the environment alone. What may fail: a setting whose keys are not there.

use std::sync::Arc;
use std::time::Duration;

use tasks::http::Tls;
use token_cache::providers::{
    AuthService, AuthServiceSettings, AwsSts, Fixed, OAuth, OAuthClients, Routes, TencentSts, Transport,
    Vendor,
};
use token_cache::{Now, Provider, Settings, TokenCache};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use super::{IntegrationError, Surroundings};
use crate::config::{ConfigError, CredentialKind, IntegrationOptions};

/// Begins the names of clients that have tokens and no role.
pub(super) const OAUTH: &str = "oauth:";
/// In the place of a role: the keys of the environment themselves.
const OF_ENVIRONMENT: (&str, &str) = ("environment:aws", "environment:tencent");
/// Begin roles of AWS, and of Tencent Cloud.
const ROLES: (&str, &str) = ("arn:", "qcs:");
/// How long keys of an STS are good: as long as a chained role may be.
const DURATION: Duration = Duration::from_hours(1);
/// Channels to each authorization service.
const CHANNELS: usize = 2;

/// What machines without a role act as, towards AWS and towards Tencent Cloud.
pub(super) fn default_roles(options: &IntegrationOptions) -> (Arc<str>, Arc<str>) {
    let environment = options.credentials.contains(&CredentialKind::Environment);
    let of_environment = |name: &'static str| if environment { name } else { "" };
    let given = |tencent: bool| {
        let mut roles = options.default_role.iter().map(|role| role.trim());
        roles.find(|role| role.starts_with(ROLES.1) == tencent)
    };
    (
        given(false).unwrap_or_else(|| of_environment(OF_ENVIRONMENT.0)).into(),
        given(true).unwrap_or_else(|| of_environment(OF_ENVIRONMENT.1)).into(),
    )
}

/// The node's cache.
///
/// # Errors
/// [`IntegrationError`]
pub(super) fn cache(
    options: &IntegrationOptions,
    clients: watch::Receiver<Arc<OAuthClients>>,
    tls: &Tls,
    surroundings: Surroundings,
) -> Result<Arc<TokenCache>, IntegrationError> {
    let clock = surroundings.clock.clone();
    let now: Now = Arc::new(move || clock.now_ms());
    let transport: Arc<dyn Transport> = tasks::http::transport(tls)?;
    let oauth = OAuth::new(Arc::clone(&transport), clients, Arc::clone(&now));
    let mut routes = Routes::default().and(OAUTH, Arc::new(oauth));
    for kind in &options.credentials {
        routes = match kind {
            CredentialKind::Auth => routes.and("", auth_service(options, &surroundings, &now)?),
            CredentialKind::AwsSts => routes.and(ROLES.0, aws_sts(options, &transport, &now)?),
            CredentialKind::TencentSts => routes.and(ROLES.1, tencent_sts(options, &transport, &now)?),
            CredentialKind::Environment => environment(routes)?,
        };
    }
    let Surroundings { runtime, metrics, .. } = surroundings;
    Ok(TokenCache::new(Arc::new(routes), Settings::default(), now, runtime, metrics.credentials()))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn missing(message: &str) -> IntegrationError {
    IntegrationError::Keys { setting: "--credentials", message: message.to_owned() }
}

/// The keys of both vendors, as far as they are there.
fn environment(mut routes: Routes) -> Result<Routes, IntegrationError> {
    let keys = [Vendor::Aws, Vendor::Tencent].map(|vendor| Fixed::environment(vendor, variable));
    if keys.iter().all(Option::is_none) {
        return Err(missing(
            "`environment` needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or TENCENTCLOUD_SECRET_ID and \
             TENCENTCLOUD_SECRET_KEY, in the node's environment",
        ));
    }
    let [aws, tencent] = keys;
    let prefixes = [(aws, OF_ENVIRONMENT.0, ROLES.0), (tencent, OF_ENVIRONMENT.1, ROLES.1)];
    for (keys, itself, role) in prefixes {
        let Some(keys) = keys.map(Arc::new) else { continue };
        routes = routes.and(itself, Arc::clone(&keys) as Arc<dyn Provider>).and(role, keys);
    }
    Ok(routes)
}

fn sts_url(region: &str) -> String {
    format!("https://sts.{region}.{}/", tasks::lambda::aws_domain(region))
}

fn aws_sts(
    options: &IntegrationOptions,
    transport: &Arc<dyn Transport>,
    now: &Now,
) -> Result<Arc<dyn Provider>, IntegrationError> {
    let keys = Fixed::environment(Vendor::Aws, variable).ok_or_else(|| {
        missing("`aws-sts` needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the node's environment")
    })?;
    let region = options.aws_region.clone().unwrap_or_else(|| "us-east-1".to_owned());
    let own = || sts_url(&region);
    let url = options.aws_sts_endpoint.clone().unwrap_or_else(own);
    let (transport, now) = (Arc::clone(transport), Arc::clone(now));
    Ok(Arc::new(AwsSts::new(transport, url, region, keys.into_keys(), DURATION, now)))
}

fn tencent_sts(
    options: &IntegrationOptions,
    transport: &Arc<dyn Transport>,
    now: &Now,
) -> Result<Arc<dyn Provider>, IntegrationError> {
    let keys = Fixed::environment(Vendor::Tencent, variable).ok_or_else(|| {
        missing(
            "`tencent-sts` needs TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY in the node's environment",
        )
    })?;
    let region = options.tencent_region.as_deref().unwrap_or("ap-guangzhou");
    let own = || "https://sts.tencentcloudapi.com/".to_owned();
    let url = options.tencent_sts_endpoint.clone().unwrap_or_else(own);
    let (transport, now) = (Arc::clone(transport), Arc::clone(now));
    let sts = TencentSts::new(transport, url, region, keys.into_keys(), DURATION, now);
    let wrong = |error| IntegrationError::Keys {
        setting: "--tencent-region",
        message: format!("{region:?} is no region ({error}): write one such as ap-guangzhou"),
    };
    let sts = sts.map_err(wrong)?;
    Ok(Arc::new(sts))
}

/// Channels that connect when they are first used.
fn auth_service(
    options: &IntegrationOptions,
    surroundings: &Surroundings,
    now: &Now,
) -> Result<Arc<dyn Provider>, IntegrationError> {
    let endpoint = |url: &String| {
        Endpoint::from_shared(url.clone()).map_err(|error| {
            let (setting, message) = ("--auth-service", format!("{url:?} cannot be called: {error}"));
            ConfigError::Value { setting, message }
        })
    };
    let endpoints = options.auth_service.iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
    let channels: Vec<Channel> = endpoints
        .into_iter()
        .map(trust::lively)
        .flat_map(|endpoint| {
            [(); CHANNELS].map(|()| trust::channel_lazy(&endpoint, surroundings.trust.as_ref()))
        })
        .collect();
    let settings = AuthServiceSettings::default();
    Ok(Arc::new(AuthService::new(channels, settings, Arc::clone(now), &surroundings.runtime)))
}

#[cfg(test)]
mod tests {
    use super::sts_url;

    #[test]
    fn a_region_has_its_sts_in_the_domain_of_its_partition() {
        assert_eq!(sts_url("eu-west-1"), "https://sts.eu-west-1.amazonaws.com/");
        assert_eq!(sts_url("cn-north-1"), "https://sts.cn-north-1.amazonaws.com.cn/");
    }
}
