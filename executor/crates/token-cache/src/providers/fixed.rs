//! The same keys for every role: from the configuration or the environment. They never expire.

use sign::Keys;
use zeroize::Zeroizing;

use super::{Fetch, Provider};
use crate::{CredentialKey, Credentials};

/// See the module.
#[derive(Debug)]
pub struct Fixed(Keys);

impl Fixed {
    /// These.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        Self(keys)
    }

    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, where it is there, `AWS_SESSION_TOKEN`, or Tencent Cloud's
    /// `TENCENTCLOUD_SECRET_ID`, `TENCENTCLOUD_SECRET_KEY` and `TENCENTCLOUD_TOKEN`, of whatever `variable` reads: mostly
    /// `|name| std::env::var(name).ok()`. `None` where they are not there.
    pub fn environment(vendor: Vendor, variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let [id, secret, token] = match vendor {
            Vendor::Aws => ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"],
            Vendor::Tencent => ["TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "TENCENTCLOUD_TOKEN"],
        };
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let (id, secret) = (given(id)?, Zeroizing::new(given(secret)?));
        Some(Self(Keys { id, secret, token: given(token).map(Zeroizing::new) }))
    }

    /// The keys themselves: a provider that assumes roles is asked with them.
    #[must_use]
    pub fn into_keys(self) -> Keys {
        self.0
    }
}

/// Whose environment variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    /// AWS.
    Aws,
    /// Tencent Cloud.
    Tencent,
}

impl Provider for Fixed {
    fn fetch<'a>(&'a self, _: &'a CredentialKey) -> Fetch<'a> {
        let Keys { id, secret, token } = self.0.clone();
        Box::pin(std::future::ready(Ok(Credentials { id, secret, token, expires_at: None })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_the_environment_if_both_halves_are_there() {
        let variables = |given: &'static [(&str, &str)]| {
            move |name: &str| given.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let aws = variables(&[
            ("AWS_ACCESS_KEY_ID", "A"),
            ("AWS_SECRET_ACCESS_KEY", "B"),
            ("AWS_SESSION_TOKEN", ""),
        ]);
        let keys = Fixed::environment(Vendor::Aws, aws).expect("both are there").into_keys();
        assert_eq!((keys.id.as_str(), keys.secret.as_str(), keys.token), ("A", "B", None));
        assert!(Fixed::environment(Vendor::Tencent, aws).is_none());
        let half = variables(&[("TENCENTCLOUD_SECRET_ID", "A")]);
        assert!(Fixed::environment(Vendor::Tencent, half).is_none());
    }
}
