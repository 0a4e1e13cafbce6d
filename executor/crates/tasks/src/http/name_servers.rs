//! Asking for the addresses of a name.
//!
//! Purpose: what the system's own look-up does (`/etc/hosts`, `localhost`, `/etc/resolv.conf` with its search domains), without
//! a thread that is blocked meanwhile. Invariants: a question has a bound of its own, and a socket of its own, so that one that
//! is not answered holds up no other; a name that is not there is told from one of which nobody says so, and the next candidate
//! of a search is asked for after the former alone; a name server that fails or is slow does not keep the next from being asked.
//! What may fail: the answer, with [`NameError`]. Of `resolv.conf` the bounds of time and the number of attempts are not taken,
//! for ours are what a call has.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::timeout;

use super::name_files::{NameFiles, NameSources, Written, addresses};
use super::names::NameError;

/// How long one attempt to ask may take. Two fit into the time of a look-up ([`super::names`]).
const ATTEMPT_WITHIN: Duration = Duration::from_millis(1_500);
/// Attempts after the first.
const ATTEMPTS_MORE: usize = 1;
/// How long a name server may take before the next is asked too: all fit into the time of a look-up.
const NEXT_AFTER: Duration = Duration::from_millis(500);

/// A name's addresses, and for how long they are its own.
pub(super) struct Found {
    pub addresses: Vec<IpAddr>,
    pub ttl: Duration,
}

/// Who knows the names of one client.
pub(super) struct NameServers {
    sources: NameSources,
    made: Mutex<Option<(Written, Arc<Made>)>>,
}

struct Made {
    files: NameFiles,
    /// One for each name server, in order.
    servers: Vec<TokioResolver>,
}

impl NameServers {
    pub fn new(sources: NameSources) -> Self {
        Self { sources, made: Mutex::default() }
    }

    /// What is known without asking. It holds for as long as its file does, which is looked at each time.
    pub fn known(&self, name: &str) -> Result<Option<Found>, NameError> {
        let addresses = self.made()?.files.known(&parse(name)?);
        Ok((!addresses.is_empty()).then_some(Found { addresses, ttl: Duration::ZERO }))
    }

    pub async fn ask(&self, name: &str) -> Result<Found, NameError> {
        let made = self.made()?;
        let mut answer = Err(unknown());
        for candidate in made.files.candidates(&parse(name)?) {
            answer = first_to_say(&made.servers, &candidate).await;
            if !matches!(answer, Err(NameError::Unknown(_))) {
                break;
            }
        }
        answer
    }

    fn made(&self) -> Result<Arc<Made>, NameError> {
        let now = self.sources.written();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, made)) = made.as_ref().filter(|(written, _)| *written == now) {
            return Ok(Arc::clone(made));
        }
        let read = self.sources.read().and_then(Made::new);
        let read = Arc::new(read.map_err(|error| NameError::Unanswered(error.to_string()))?);
        *made = Some((now, Arc::clone(&read)));
        Ok(read)
    }
}

/// A URL's name is ASCII already.
fn parse(name: &str) -> Result<Name, NameError> {
    Name::from_ascii(name).map_err(|error| NameError::Unknown(error.to_string()))
}

impl Made {
    fn new(files: NameFiles) -> Result<Self, NetError> {
        let servers = files.servers.iter().map(|server| resolver(server.clone(), files.options.clone()));
        Ok(Self { servers: servers.collect::<Result<_, _>>()?, files })
    }
}

fn resolver(server: NameServerConfig, options: ResolverOpts) -> Result<TokioResolver, NetError> {
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let taken = builder.options_mut();
    *taken = options;
    (taken.timeout, taken.attempts) = (ATTEMPT_WITHIN, ATTEMPTS_MORE);
    taken.use_hosts_file = ResolveHosts::Never;
    // What is known is kept by whoever asks, once.
    taken.cache_size = 0;
    builder.build()
}

/// Asks one name server after another, and takes what the first says that knows.
async fn first_to_say(servers: &[TokioResolver], name: &Name) -> Result<Found, NameError> {
    let mut left = servers.iter();
    let mut asked: FuturesUnordered<_> =
        left.next().map(|server| ask_one(server, name)).into_iter().collect();
    let mut said = NameError::Unanswered("there is no name server".to_owned());
    loop {
        let answer = match left.len() {
            0 => Ok(asked.next().await),
            _ => timeout(NEXT_AFTER, asked.next()).await,
        };
        match answer {
            Ok(Some(Err(error @ NameError::Unanswered(_)))) => said = error,
            Ok(Some(answer)) => return answer,
            Ok(None) if left.len() == 0 => return Err(said),
            Ok(None) | Err(_) => {}
        }
        asked.extend(left.next().map(|server| ask_one(server, name)));
    }
}

async fn ask_one(server: &TokioResolver, name: &Name) -> Result<Found, NameError> {
    let (four, six) = tokio::join!(
        server.lookup(name.clone(), RecordType::A),
        server.lookup(name.clone(), RecordType::AAAA)
    );
    let answers = [four, six].map(|answer| answer.map_err(|error| unfound(&error)));
    let found: Vec<&Lookup> = answers.iter().flatten().collect();
    let addresses: Vec<IpAddr> = found.iter().flat_map(|found| addresses(found)).collect();
    if !addresses.is_empty() {
        let until = found.iter().map(|found| found.valid_until()).min().unwrap_or_else(Instant::now);
        return Ok(Found { addresses, ttl: until.saturating_duration_since(Instant::now()) });
    }
    // That one family has none says nothing of the other.
    let mut failures: Vec<NameError> = answers.into_iter().filter_map(Result::err).collect();
    failures.sort_by_key(|error| !matches!(error, NameError::Unanswered(_)));
    Err(failures.into_iter().next().unwrap_or_else(unknown))
}

fn unknown() -> NameError {
    NameError::Unknown("none was given".to_owned())
}

/// Why there is no address: because the name has none, or because nobody said.
fn unfound(error: &NetError) -> NameError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => match *response_code {
            ResponseCode::NXDomain => NameError::Unknown("there is no such name".to_owned()),
            ResponseCode::NoError => unknown(),
            code => NameError::Unanswered(format!("the name server said: {code}")),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => {
            NameError::Unanswered(format!("the name server said: {code}"))
        }
        NetError::Timeout => NameError::Unanswered("no name server has answered".to_owned()),
        other => NameError::Unanswered(other.to_string()),
    }
}
