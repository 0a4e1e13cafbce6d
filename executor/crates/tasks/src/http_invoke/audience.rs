//! Where a connection's secrets may go, and on whose behalf.
//!
//! Invariants: hosts are compared as a URL has them, in lower case and ASCII, whole or by their last labels; plain HTTP is for
//! connections that say so. A redirect needs no second look: a request to another origin leaves its headers and body behind.
//! What may fail: a host that is none ([`Audience::new`]), and a call that the connection is not for ([`Audience::admits`]).

use url::{Host, Url};

use super::connection::ConnectionProblem;

/// See the module.
#[derive(PartialEq, Eq)]
pub(super) struct Audience {
    hosts: Vec<Pattern>,
    insecure: bool,
    /// None: every role.
    roles: Vec<String>,
}

#[derive(PartialEq, Eq)]
enum Pattern {
    /// `api.example`
    Host(String),
    /// `*.example`, without its asterisk.
    Within(String),
}

impl Audience {
    /// These hosts and roles.
    ///
    /// # Errors
    /// There is no host, or one is none.
    pub fn new(hosts: &[String], insecure: bool, roles: Vec<String>) -> Result<Self, ConnectionProblem> {
        let known = |text: &String| pattern(text).ok_or_else(|| ConnectionProblem::Host(text.clone()));
        let hosts = hosts.iter().map(known).collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() {
            return Err(ConnectionProblem::NoHost);
        }
        Ok(Self { hosts, insecure, roles })
    }

    /// Whether a call to this URL as this role may have the connection's secrets.
    ///
    /// # Errors
    /// Why not, and what to change.
    pub fn admits(&self, url: &Url, role: &str) -> Result<(), String> {
        match url.scheme() {
            "https" => {}
            "http" if self.insecure => {}
            _ => return Err("is for https alone (`insecure = true` allows plain http)".to_owned()),
        }
        let host = url.host_str().unwrap_or_default();
        if !self.hosts.iter().any(|pattern| pattern.has(host)) {
            return Err(format!("is not for the host {host:?} (`hosts` names those that it is for)"));
        }
        if !self.roles.is_empty() && !self.roles.iter().any(|known| known == role) {
            return Err(format!("is not for machines with the role {role:?} (`roles` names them)"));
        }
        Ok(())
    }
}

impl Pattern {
    fn has(&self, host: &str) -> bool {
        match self {
            Self::Host(known) => known == host,
            Self::Within(domain) => host.strip_suffix(domain.as_str()).is_some_and(|label| !label.is_empty()),
        }
    }
}

fn pattern(text: &str) -> Option<Pattern> {
    let domain = text.strip_prefix("*.");
    // An asterisk elsewhere would be a character of the name, which nobody means.
    let host = Host::parse(domain.unwrap_or(text)).ok().filter(|host| !host.to_string().contains('*'))?;
    match (domain, host) {
        (None, host) => Some(Pattern::Host(host.to_string())),
        (Some(_), Host::Domain(domain)) => Some(Pattern::Within(format!(".{domain}"))),
        (Some(_), Host::Ipv4(_) | Host::Ipv6(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audience(hosts: &[&str], insecure: bool, roles: &[&str]) -> Result<Audience, ConnectionProblem> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Audience::new(&owned(hosts), insecure, owned(roles))
    }

    fn admits(audience: &Audience, url: &str, role: &str) -> bool {
        audience.admits(&Url::parse(url).expect("a URL"), role).is_ok()
    }

    #[test]
    fn a_host_is_meant_whole_or_by_its_last_labels() {
        let of = audience(&["API.example", "*.bücher.example", "[::1]"], false, &[]).expect("an audience");
        for url in [
            "https://api.example/a?b",
            "https://API.example:8443",
            "https://a.b.xn--bcher-kva.example",
            "https://[::1]/",
        ] {
            assert!(admits(&of, url, ""), "{url}");
        }
        for url in [
            "https://evil.example",
            "https://api.example.evil",
            "https://evil-api.example",
            "https://api.example@evil.example",
            "https://xn--bcher-kva.example",
            "https://evilxn--bcher-kva.example",
            "https://api.example./",
            "http://api.example",
            "ftp://api.example",
        ] {
            assert!(!admits(&of, url, ""), "{url}");
        }
    }

    #[test]
    fn plain_http_and_roles_are_allowed_by_name() {
        let of = audience(&["api.example"], true, &["arn:aws:iam::1:role/pay"]).expect("an audience");
        assert!(admits(&of, "http://api.example", "arn:aws:iam::1:role/pay"));
        assert!(!admits(&of, "http://api.example", "arn:aws:iam::1:role/payroll"));
        assert!(!admits(&of, "https://api.example", ""));
    }

    #[test]
    fn an_audience_of_no_host_or_of_every_host_is_none() {
        for hosts in [&[][..], &[""], &["*"], &["*."], &["*.*"], &["https://a.example"], &["*.10.0.0.1"]] {
            assert!(audience(hosts, true, &[]).is_err(), "{hosts:?}");
        }
    }
}
