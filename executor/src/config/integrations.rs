//! What Tasks reach without a worker, as people give it.
//!
//! Invariants: no secret is given here, only the file or the environment variable that holds it. What may fail: a value that
//! cannot work, with [`ConfigError`].

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use tasks::http::Egress;
use url::Url;

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

/// Whose roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cloud {
    Aws,
    Tencent,
}

impl Cloud {
    fn of(role: &str) -> Self {
        if role.starts_with("qcs:") { Self::Tencent } else { Self::Aws }
    }
}

impl CredentialKind {
    /// Whether it may give credentials of such roles.
    fn serves(self, cloud: Cloud) -> bool {
        match self {
            Self::Auth | Self::Environment => true,
            Self::AwsSts => cloud == Cloud::Aws,
            Self::TencentSts => cloud == Cloud::Tencent,
        }
    }
}

/// The settings of integrations.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[command(next_help_heading = "Integrations")]
pub struct IntegrationOptions {
    /// Connections of http:invoke: a TOML file with their ARNs, and where their secrets stand. Read
    /// again when it changes, and so are the files of its secrets
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
    /// Role of machines that have none: one that begins with qcs: towards Tencent Cloud, with arn: towards AWS. Repeat for
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
            check_url(setting, url, &["https", "http"])?;
        }
        for url in &self.auth_service {
            check_url("--auth-service", url, &["http"])?;
        }
        for (setting, region) in
            [("--aws-region", &self.aws_region), ("--tencent-region", &self.tencent_region)]
        {
            let Some(region) = region.as_deref().filter(|region| !tasks::lambda::is_region(region)) else {
                continue;
            };
            let message = format!("{region:?} is no region: write one such as us-east-1 or ap-guangzhou");
            return Err(value(setting, message));
        }
        let asked = self.credentials.contains(&CredentialKind::Auth);
        if asked == self.auth_service.is_empty() {
            let message = match asked {
                true => "`auth` needs the service's address: add --auth-service URL",
                false => "nobody asks the service of --auth-service: add `auth`",
            };
            return Err(value("--credentials", message.to_owned()));
        }
        self.check_default_roles()
    }

    /// Each is a role, one for each cloud at most, and somebody gives its credentials.
    fn check_default_roles(&self) -> Result<(), ConfigError> {
        let wrong = |message: String| Err(value("--default-role", message));
        let roles: Vec<&str> = self.default_role.iter().map(|role| role.trim()).collect();
        for (at, role) in roles.iter().enumerate() {
            if let Err(error) = ids::check_role(role) {
                return wrong(error.to_string());
            }
            let cloud = Cloud::of(role);
            if let Some(other) = roles[..at].iter().find(|other| Cloud::of(other) == cloud) {
                return wrong(format!("{other} and {role} are for the same cloud: leave one away"));
            }
            if !self.credentials.iter().any(|kind| kind.serves(cloud)) {
                let sts = if cloud == Cloud::Aws { "aws-sts" } else { "tencent-sts" };
                return wrong(format!(
                    "nobody gives the credentials of {role}: add --credentials auth, {sts} or environment"
                ));
            }
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

/// As whoever calls it reads it, so that it cannot be refused later.
pub(super) fn check_url(setting: &'static str, text: &str, schemes: &[&str]) -> Result<(), ConfigError> {
    // Before it is parsed, for what is no URL is shown, and may hold a password as well.
    if text.contains('@') {
        let message =
            "an `@` is in the URL, as after a user name or password, which is not sent: leave it away";
        return Err(value(setting, message.to_owned()));
    }
    let known = Url::parse(text).ok().filter(|url| url.has_host() && schemes.contains(&url.scheme()));
    if known.is_none() {
        let spoken = schemes.join(":// or ");
        return Err(value(
            setting,
            format!("{text:?} is no {spoken}:// URL: write {}://HOST:PORT", schemes[0]),
        ));
    }
    Ok(())
}

fn is_date(text: &str) -> bool {
    let digits = |part: &str, count| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').collect();
    matches!(parts[..], [year, month, day] if digits(year, 4) && digits(month, 2) && digits(day, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWS_ROLE: &str = "arn:aws:iam::123456789012:role/r";
    const TENCENT_ROLE: &str = "qcs::cam::uin/1:roleName/r";

    #[test]
    fn values_that_cannot_work_are_named() {
        let base = IntegrationOptions::default;
        let sts = || IntegrationOptions { credentials: vec![CredentialKind::AwsSts], ..base() };
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
            (
                "--lambda-endpoint",
                IntegrationOptions { lambda_endpoint: text("http://u:hunter2@h"), ..base() },
            ),
            (
                "--tencent-endpoint",
                IntegrationOptions { tencent_endpoint: text("http://u:/hunter2@h"), ..base() },
            ),
            ("--auth-service", IntegrationOptions { auth_service: list("http://u:p#hunter2@h"), ..base() }),
            ("--aws-region", IntegrationOptions { aws_region: text("EU West"), ..base() }),
            ("--tencent-region", IntegrationOptions { tencent_region: text(""), ..base() }),
            ("--default-role", IntegrationOptions { default_role: list("orders"), ..sts() }),
            ("--default-role", IntegrationOptions { default_role: list(AWS_ROLE), ..base() }),
            ("--default-role", IntegrationOptions { default_role: list(TENCENT_ROLE), ..sts() }),
            (
                "--default-role",
                IntegrationOptions { default_role: [list(AWS_ROLE), list(AWS_ROLE)].concat(), ..sts() },
            ),
        ];
        for (setting, options) in wrong {
            let error = options.check().expect_err(setting).to_string();
            assert!(error.starts_with(setting) && !error.contains("hunter2"), "{error}");
        }
        let good = IntegrationOptions {
            lambda_endpoint: text("aws"),
            tencent_endpoint: text("tencentcloud"),
            egress_allow: list("10.0.0.0/8"),
            tencent_version: list("live=2018-08-01"),
            aws_region: text("eu-west-1"),
            default_role: list(AWS_ROLE),
            ..sts()
        };
        assert!(good.check().is_ok());
    }
}
