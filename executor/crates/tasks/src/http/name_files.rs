//! What a machine's files say of names: `hosts` and `resolv.conf`.
//!
//! Invariants: a name of `hosts` has the addresses that it has there, and no others; a file that has changed is read again; a
//! file that is missing says nothing, and a search domain that is none is left out with the others, since name servers still
//! answer. What may fail: nothing here that would keep a name server from being asked.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::SystemTime;

use hickory_resolver::Hosts;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;

/// Name servers that are asked: as many as the system's own look-up takes (resolv.conf(5)).
const SERVERS_MAX: usize = 3;
/// Search domains that are tried.
const SEARCH_MAX: usize = 32;

/// Where it is written what a name's addresses are, and who knows those of others.
#[derive(Debug, Clone)]
pub struct NameSources {
    /// Names that are known without asking.
    pub hosts: PathBuf,
    /// Name servers and search domains.
    pub resolv_conf: PathBuf,
    /// Name servers in the place of the file's; empty: those.
    pub servers: Vec<SocketAddr>,
}

impl Default for NameSources {
    /// The system's.
    fn default() -> Self {
        Self { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into(), servers: Vec::new() }
    }
}

/// When the files were written last, and how long they are: one that is being written may be read half.
pub(super) type Written = [Option<(SystemTime, u64)>; 2];

/// What they say.
pub(super) struct NameFiles {
    hosts: Hosts,
    pub servers: Vec<NameServerConfig>,
    search: Vec<Name>,
    pub options: ResolverOpts,
}

impl NameSources {
    pub(super) fn written(&self) -> Written {
        [&self.hosts, &self.resolv_conf].map(|file| {
            let known = fs::metadata(file).ok()?;
            Some((known.modified().ok()?, known.len()))
        })
    }

    pub(super) fn read(&self) -> Result<NameFiles, NetError> {
        let mut hosts = Hosts::default();
        // What could be read of it holds.
        let _ = fs::File::open(&self.hosts).and_then(|file| hosts.read_hosts_conf(file));
        let (config, options) = parse(&fs::read_to_string(&self.resolv_conf).unwrap_or_default())?;
        let given = self.servers.iter().map(|address| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            server.connections.iter_mut().for_each(|connection| connection.port = address.port());
            server
        });
        let (domain, search, named) = config.into_parts();
        let servers = if self.servers.is_empty() { named } else { given.collect() };
        // This machine's own domain is searched where the file names none.
        let search = if search.is_empty() { domain.into_iter().collect() } else { search };
        let search = search.into_iter().filter(|domain| !domain.is_root()).take(SEARCH_MAX).collect();
        Ok(NameFiles { hosts, servers: servers.into_iter().take(SERVERS_MAX).collect(), search, options })
    }
}

fn parse(file: &str) -> Result<(ResolverConfig, ResolverOpts), NetError> {
    // Where no name server is named it is this machine, as for the system's own look-up (resolv.conf(5)).
    let local = |file: &str| parse_resolv_conf(format!("{file}\nnameserver {}\n", Ipv4Addr::LOCALHOST));
    let searches = |line: &&str| line.starts_with("search") || line.starts_with("domain");
    let kept: Vec<&str> = file.lines().filter(|line| !searches(&line.trim_start())).collect();
    // One that searches in the root alone has no domain of the machine's.
    let bare = format!("{}\nsearch .\n", kept.join("\n"));
    parse_resolv_conf(file)
        .or_else(|_| local(file))
        .or_else(|_| parse_resolv_conf(&bare))
        .or_else(|_| local(&bare))
}

impl NameFiles {
    /// The addresses that `hosts` has for a name.
    pub fn known(&self, name: &Name) -> Vec<IpAddr> {
        let of = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of);
        found.flat_map(|found| addresses(&found).collect::<Vec<_>>()).collect()
    }

    /// The names that name servers are asked for, in order, instead of one that may be short.
    pub fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut whole = name.clone();
        whole.set_fqdn(true);
        if name.is_fqdn() {
            return vec![whole];
        }
        let longer = self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
        let mut candidates: Vec<Name> = longer.collect();
        let is_whole = usize::from(name.num_labels()) > self.options.ndots || name.is_localhost();
        candidates.insert(if is_whole { 0 } else { candidates.len() }, whole);
        candidates
    }
}

/// The addresses of an answer.
pub(super) fn addresses(found: &Lookup) -> impl Iterator<Item = IpAddr> {
    found.answers().iter().filter_map(|record| record.data.ip_addr())
}
