//! Asking name servers for the addresses of a name.
//!
//! Purpose: what the system's own look-up does (`/etc/resolv.conf` with its search domains, `/etc/hosts`, `localhost`), without
//! a thread that is blocked meanwhile. Invariants: a question has a bound of its own, and a socket of its own, so that one that
//! is not answered holds up no other; a system's file that has changed is read again. What may fail: the answer, with
//! [`NameError`]. Of `resolv.conf` the bounds of time and the number of attempts are not taken, for ours are what a call has.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::system_conf::parse_resolv_conf;

use super::names::NameError;

/// How long one attempt to ask may take. Two fit into the time of a look-up ([`super::names`]).
const ATTEMPT_WITHIN: Duration = Duration::from_millis(1_500);
/// Attempts after the first.
const ATTEMPTS_MORE: usize = 1;
/// Name servers, and their port where they are the system's.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Names that are known without asking.
const HOSTS: &str = "/etc/hosts";

/// A name's addresses, and until when they are its own.
pub(super) struct Found {
    pub addresses: Vec<IpAddr>,
    pub ttl: Duration,
}

/// When the system's files were written last.
type Written = [Option<SystemTime>; 2];

/// The name servers of one client.
pub(super) struct NameServers {
    /// In the place of the system's; empty: those.
    given: Vec<SocketAddr>,
    made: Mutex<Option<(Written, TokioResolver)>>,
}

impl NameServers {
    pub fn new(given: Vec<SocketAddr>) -> Self {
        Self { given, made: Mutex::default() }
    }

    pub async fn ask(&self, name: &str) -> Result<Found, NameError> {
        // A URL's name is ASCII already.
        let name = Name::from_ascii(name).map_err(|error| NameError::Unknown(error.to_string()))?;
        let resolver = self.resolver().map_err(|error| NameError::Unanswered(error.to_string()))?;
        let found = resolver.lookup_ip(name).await.map_err(|error| unfound(&error))?;
        let ttl = found.valid_until().saturating_duration_since(Instant::now());
        Ok(Found { addresses: found.into_iter().collect(), ttl })
    }

    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let now = [RESOLV_CONF, HOSTS].map(|file| std::fs::metadata(file).and_then(|it| it.modified()).ok());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, resolver)) = made.as_ref().filter(|(written, _)| *written == now) {
            return Ok(resolver.clone());
        }
        let resolver = make(&self.given)?;
        *made = Some((now, resolver.clone()));
        Ok(resolver)
    }
}

fn make(given: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let (config, options) = if given.is_empty() { of_system()? } else { of(given) };
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let taken = builder.options_mut();
    *taken = options;
    (taken.timeout, taken.attempts) = (ATTEMPT_WITHIN, ATTEMPTS_MORE);
    taken.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // What is known is kept by whoever asks, once.
    taken.cache_size = 0;
    builder.build()
}

fn of(given: &[SocketAddr]) -> (ResolverConfig, ResolverOpts) {
    let servers = given.iter().map(|address| {
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        server.connections.iter_mut().for_each(|connection| connection.port = address.port());
        server
    });
    (ResolverConfig::from_parts(None, Vec::new(), servers.collect()), ResolverOpts::default())
}

fn of_system() -> Result<(ResolverConfig, ResolverOpts), NetError> {
    let file = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    // Where none is named it is this machine, as for the system's own look-up (resolv.conf(5)).
    let local = || parse_resolv_conf(format!("{file}\nnameserver {}\n", Ipv4Addr::LOCALHOST));
    parse_resolv_conf(&file).or_else(|_| local())
}

/// Why there is no address: because the name has none, or because nobody said.
fn unfound(error: &NetError) -> NameError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => match *response_code {
            ResponseCode::NXDomain => NameError::Unknown("there is no such name".to_owned()),
            ResponseCode::NoError => NameError::Unknown("none was given".to_owned()),
            code => NameError::Unanswered(format!("the name server said: {code}")),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => {
            NameError::Unanswered(format!("the name server said: {code}"))
        }
        NetError::Timeout => NameError::Unanswered("no name server has answered".to_owned()),
        other => NameError::Unanswered(other.to_string()),
    }
}
