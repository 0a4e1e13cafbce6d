//! What Tasks reach without a worker, as people give it.
//!
//! Invariants: no secret is given here, only the file or the environment variable that holds it. What may fail: a value that
//! cannot work, with [`ConfigError`].

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use http::Uri;
use serde::{Deserialize, Serialize};
use tasks::http::Egress;

use super::ConfigError;

/// Who gives the credentials with which calls of cloud APIs are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialKind {
    /// The authorization service of --auth-service, for every role.
    Auth,
    /// AWS STS, for roles that begin with arn: (AssumeRole with the keys of AWS_ACCESS_KEY_ID and so on).
    AwsSts,
    /// Tencent Cloud's STS, for roles that begin with qcs: (with the keys of TENCENTCLOUD_SECRET_ID and so on).
    TencentSts,
    /// The keys of these variables themselves, in the place of any role's.
    Environment,
}

/// The settings of integrations.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[command(next_help_heading = "Integrations")]
pub struct IntegrationOptions {
    /// Connections of http:invoke: a TOML file with their ARNs, and where their secrets stand. Read at start
    #[arg(long, value_name = "FILE", env = "MYRIAD_CONNECTIONS")]
    pub connections: Option<PathBuf>,
    /// Network (or address) that Tasks may call beside public addresses, for example 10.1.0.0/16. Repeat, or separate by
    /// commas
    #[arg(long, value_name = "NETWORK", env = "MYRIAD_EGRESS_ALLOW", value_delimiter = ',')]
    pub egress_allow: Vec<String>,
    /// Let Tasks call all private addresses; link-local ones, and those of metadata services, need --egress-allow still
    #[arg(long, value_name = "BOOL", env = "MYRIAD_EGRESS_ALLOW_PRIVATE", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub egress_allow_private: Option<bool>,
    /// Authorities (PEM) that servers may have certificates of, beside the system's
    #[arg(long, value_name = "FILE", env = "MYRIAD_EGRESS_CA")]
    pub egress_ca: Option<PathBuf>,
    /// Invoke functions that no pool is bound to here: a URL that speaks the Invoke API, or `aws` for each region's own
    /// [default: none, and they fail]
    #[arg(long, value_name = "URL", env = "MYRIAD_LAMBDA_ENDPOINT")]
    pub lambda_endpoint: Option<String>,
    /// Region of functions that are named without one, and of AWS's STS [default: us-east-1]
    #[arg(long, value_name = "REGION", env = "MYRIAD_AWS_REGION")]
    pub aws_region: Option<String>,
    /// Call Tencent Cloud's APIs and functions that no pool is bound to here: a URL that speaks API 3.0, or
    /// `tencentcloud` for each service's own [default: none, and they fail]
    #[arg(long, value_name = "URL", env = "MYRIAD_TENCENT_ENDPOINT")]
    pub tencent_endpoint: Option<String>,
    /// Version of a service's API that the node does not know, or another one, for example live=2018-08-01. Repeat, or
    /// separate by commas
    #[arg(long, value_name = "SERVICE=DATE", env = "MYRIAD_TENCENT_VERSION", value_delimiter = ',')]
    pub tencent_version: Vec<String>,
    /// Region of Tencent Cloud's STS [default: ap-guangzhou]
    #[arg(long, value_name = "REGION", env = "MYRIAD_TENCENT_REGION")]
    pub tencent_region: Option<String>,
    /// Who gives credentials. Repeat, or separate by commas; the first that serves a role is asked [default: nobody]
    #[arg(long, value_name = "KIND", env = "MYRIAD_CREDENTIALS", value_delimiter = ',')]
    pub credentials: Vec<CredentialKind>,
    /// Authorization service, for example http://127.0.0.1:7600; with --tls-cert it speaks TLS. Repeat, or separate by
    /// commas
    #[arg(long, value_name = "URL", env = "MYRIAD_AUTH_SERVICE", value_delimiter = ',')]
    pub auth_service: Vec<String>,
    /// AWS's STS [default: the region's]
    #[arg(long, value_name = "URL", env = "MYRIAD_AWS_STS_ENDPOINT")]
    pub aws_sts_endpoint: Option<String>,
    /// Tencent Cloud's STS [default: https://sts.tencentcloudapi.com/]
    #[arg(long, value_name = "URL", env = "MYRIAD_TENCENT_STS_ENDPOINT")]
    pub tencent_sts_endpoint: Option<String>,
    /// Role of machines that have none: one that begins with qcs: towards Tencent Cloud, any other towards AWS. Repeat for
    /// both [default: none, and their calls of cloud APIs fail]
    #[arg(long, value_name = "ROLE", env = "MYRIAD_DEFAULT_ROLE", value_delimiter = ',')]
    pub default_role: Vec<String>,
}

fn first(given: Vec<String>, other: Vec<String>) -> Vec<String> {
    if given.is_empty() { other } else { given }
}

impl IntegrationOptions {
    /// Each value from `self`, else from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            connections: self.connections.or(other.connections),
            egress_allow: first(self.egress_allow, other.egress_allow),
            egress_allow_private: self.egress_allow_private.or(other.egress_allow_private),
            egress_ca: self.egress_ca.or(other.egress_ca),
            lambda_endpoint: self.lambda_endpoint.or(other.lambda_endpoint),
            aws_region: self.aws_region.or(other.aws_region),
            tencent_endpoint: self.tencent_endpoint.or(other.tencent_endpoint),
            tencent_version: first(self.tencent_version, other.tencent_version),
            tencent_region: self.tencent_region.or(other.tencent_region),
            credentials: if self.credentials.is_empty() { other.credentials } else { self.credentials },
            auth_service: first(self.auth_service, other.auth_service),
            aws_sts_endpoint: self.aws_sts_endpoint.or(other.aws_sts_endpoint),
            tencent_sts_endpoint: self.tencent_sts_endpoint.or(other.tencent_sts_endpoint),
            default_role: first(self.default_role, other.default_role),
        }
    }

    /// Whether these values can work.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.egress()?;
        self.tencent_versions()?;
        let urls = [
            ("--lambda-endpoint", self.lambda_endpoint.as_deref().filter(|url| *url != "aws")),
            ("--tencent-endpoint", self.tencent_endpoint.as_deref().filter(|url| *url != "tencentcloud")),
            ("--aws-sts-endpoint", self.aws_sts_endpoint.as_deref()),
            ("--tencent-sts-endpoint", self.tencent_sts_endpoint.as_deref()),
        ];
        for (setting, url) in urls {
            let Some(url) = url else { continue };
            if !is_url(url, &["http", "https"]) {
                return Err(value(setting, format!("{url:?} is no http:// or https:// URL")));
            }
        }
        for url in &self.auth_service {
            if !is_url(url, &["http"]) {
                let message = format!("{url:?} is no http:// URL, such as http://127.0.0.1:7600");
                return Err(value("--auth-service", message));
            }
        }
        let asked = self.credentials.contains(&CredentialKind::Auth);
        if asked == self.auth_service.is_empty() {
            let message = "--credentials auth and --auth-service URL are given together, or neither";
            return Err(value("--credentials", message.to_owned()));
        }
        Ok(())
    }

    /// Where Tasks may go.
    ///
    /// # Errors
    /// A network is none.
    pub fn egress(&self) -> Result<Egress, ConfigError> {
        let networks = self.egress_allow.iter().map(|text| Egress::network(text.trim()));
        let networks = networks.collect::<Result<_, _>>();
        let networks = networks.map_err(|error| value("--egress-allow", error.to_string()))?;
        Ok(Egress::new(networks, self.egress_allow_private.unwrap_or(false)))
    }

    /// Services and the versions of their APIs.
    ///
    /// # Errors
    /// One is none.
    pub fn tencent_versions(&self) -> Result<Vec<(String, String)>, ConfigError> {
        let version = |text: &String| match text.split_once('=') {
            Some((service, date)) if !service.trim().is_empty() && is_date(date.trim()) => {
                Ok((service.trim().to_owned(), date.trim().to_owned()))
            }
            _ => {
                let message = format!("{text:?} is not SERVICE=DATE, for example live=2018-08-01");
                Err(value("--tencent-version", message))
            }
        };
        self.tencent_version.iter().map(version).collect()
    }
}

fn value(setting: &'static str, message: String) -> ConfigError {
    ConfigError::Value { setting, message }
}

pub(super) fn is_url(text: &str, schemes: &[&str]) -> bool {
    text.parse::<Uri>().is_ok_and(|uri| {
        uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme)) && uri.host().is_some()
    })
}

fn is_date(text: &str) -> bool {
    let digits = |part: &str, count| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').collect();
    matches!(parts[..], [year, month, day] if digits(year, 4) && digits(month, 2) && digits(day, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_work_are_named() {
        let base = IntegrationOptions::default;
        let text = |text: &str| Some(text.to_owned());
        let list = |text: &str| vec![text.to_owned()];
        let wrong = [
            ("--egress-allow", IntegrationOptions { egress_allow: list("ten"), ..base() }),
            ("--lambda-endpoint", IntegrationOptions { lambda_endpoint: text("amazon"), ..base() }),
            ("--tencent-endpoint", IntegrationOptions { tencent_endpoint: text("aws"), ..base() }),
            ("--tencent-version", IntegrationOptions { tencent_version: list("live=2018"), ..base() }),
            ("--aws-sts-endpoint", IntegrationOptions { aws_sts_endpoint: text("ftp://h"), ..base() }),
            ("--tencent-sts-endpoint", IntegrationOptions { tencent_sts_endpoint: text("h"), ..base() }),
            ("--auth-service", IntegrationOptions { auth_service: list("127.0.0.1:7600"), ..base() }),
            ("--credentials", IntegrationOptions { auth_service: list("http://h"), ..base() }),
            ("--credentials", IntegrationOptions { credentials: vec![CredentialKind::Auth], ..base() }),
        ];
        for (setting, options) in wrong {
            let error = options.check().expect_err(setting).to_string();
            assert!(error.starts_with(setting), "{error}");
        }
        let good = IntegrationOptions {
            lambda_endpoint: text("aws"),
            tencent_endpoint: text("tencentcloud"),
            egress_allow: list("10.0.0.0/8"),
            tencent_version: list("live=2018-08-01"),
            ..base()
        };
        assert!(good.check().is_ok());
    }
}
