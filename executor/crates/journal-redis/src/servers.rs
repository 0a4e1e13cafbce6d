//! The servers that the store is spread over: one Redis, or the masters of a Redis Cluster.
//!
//! Why the routing is our own, on one [`Link`] for each master: the cluster client of the redis crate sends a command
//! whose reply was lost once more by itself, up to 16 times, on a new connection. It would raise a counter twice, push a
//! list entry twice, and send a block behind the gap of a log that went back; without its retries it follows no redirect
//! either. It also puts one channel and one task between all commands of all masters. What is left to do here is small:
//! keys of a partition share a slot, so no command spans masters.
//!
//! Invariants: a redirect says that the command was not carried out, so it is followed at once; every other refusal and
//! every lost reply goes to the caller. A server that is away delays nobody but the callers of its own slots. The map is
//! read anew when a redirect, a lost connection or a missing master says that it is old, at most once in
//! [`REFRESH_PAUSE`], from any node that answers. What may fail: as [`crate::error`] tells.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use journal::StoreError;
use redis::{Cmd, ConnectionInfo, Pipeline, RedisError, Value};
use tokio::time::Instant;

use crate::access::Access;
use crate::error;
use crate::link::{Current, Link};
use crate::map::{self, Address, Range};
use crate::queue::Queue;
use crate::tops::Reign;
use crate::write::{Led, Write};

/// The map is read at most this often.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);
/// How long one node may take to tell the map before the next one is asked.
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// Redirects that one command follows.
const HOPS_MAX: u32 = 6;
/// The first pause of a command whose keys are on their way to another server; it doubles.
const TRY_AGAIN_PAUSE: Duration = Duration::from_millis(5);

/// One server, and its connection.
pub(crate) struct Server {
    pub link: Link,
    /// As what it is known to those who look at logs.
    pub reign: Reign,
    /// Whether a timer of derived writes runs; set and cleared below the lock of the queue.
    pub lingers: AtomicBool,
    /// Until then it is sent no derived writes: it has refused some.
    paused_until: Mutex<Option<Instant>>,
    /// For redirects that leave it out.
    host: String,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("link", &self.link).finish_non_exhaustive()
    }
}

impl Server {
    fn new(access: &Arc<Access>, info: ConnectionInfo) -> Arc<Self> {
        let host = match info.addr() {
            redis::ConnectionAddr::Tcp(host, _) | redis::ConnectionAddr::TcpTls { host, .. } => host.clone(),
            _ => String::new(),
        };
        let link = Link::new(Arc::clone(access), info);
        let (lingers, paused_until, reign) = Default::default();
        Arc::new(Self { link, reign, lingers, paused_until, host })
    }

    /// Until when it is sent no derived writes.
    pub fn paused_until(&self) -> Option<Instant> {
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is sent no derived writes now.
    pub fn is_paused(&self) -> bool {
        self.paused_until().is_some_and(|until| Instant::now() < until)
    }

    /// It has refused derived writes.
    pub fn pause(&self, pause: Duration) {
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + pause);
    }

    /// The cause of a pause may be gone.
    pub fn resume(&self) {
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// See the module.
pub(crate) struct Servers {
    /// For tasks, which must not keep it alive.
    pub me: Weak<Self>,
    access: Arc<Access>,
    kind: Kind,
    /// Derived writes that are not known to be written.
    pub queue: Queue,
}

enum Kind {
    One(Arc<Server>),
    Cluster(Cluster),
}

struct Cluster {
    map: RwLock<Arc<Map>>,
    /// When the map was read.
    refreshed: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Clone, Default)]
struct Map {
    /// All that are known, replicas too: each may be asked for the map.
    servers: HashMap<Address, Arc<Server>>,
    ranges: Vec<Range>,
}

/// Where a command of one slot goes.
pub(crate) struct Route {
    slot: u16,
    pub server: Arc<Server>,
    /// The slot is on its way there: each command says that it knows.
    pub asking: bool,
    hops: u32,
}

/// A command that a server refused.
pub(crate) struct Refusal {
    pub error: RedisError,
    pub address: String,
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        error::of_command(&refusal.error, &refusal.address)
    }
}

impl Route {
    /// Sends a command on this connection.
    pub async fn try_command_on(
        &self,
        current: &Current,
        command: &Cmd,
    ) -> Result<Result<Value, RedisError>, StoreError> {
        if !self.asking {
            return self.server.link.try_command_on(current, command).await;
        }
        let mut both = Pipeline::with_capacity(2);
        both.add_command(redis::cmd("ASKING")).add_command(command.clone());
        let reply = self.server.link.pipeline_on(current, &both).await?.pop();
        Ok(reply.unwrap_or(Ok(Value::Nil)))
    }
}

impl Map {
    fn master(&self, slot: u16) -> Option<&Arc<Server>> {
        let at = self.ranges.partition_point(|range| range.to < slot);
        let range = self.ranges.get(at).filter(|range| range.from <= slot)?;
        self.servers.get(&range.master)
    }
}

impl Cluster {
    fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Servers {
    /// Connects to the first seed that answers, and learns from it whether it is a cluster.
    pub async fn connect(access: Arc<Access>) -> Result<Arc<Self>, StoreError> {
        let mut failure = StoreError::Refused("the Redis URL names no server".to_owned());
        for info in &access.seeds {
            let seed = Server::new(&access, info.clone());
            match read_map(&seed).await {
                Ok(Some(ranges)) => {
                    let cluster =
                        Cluster { map: RwLock::default(), refreshed: tokio::sync::Mutex::default() };
                    let servers = Self::new(&access, Kind::Cluster(cluster));
                    servers.install(ranges);
                    return Ok(servers);
                }
                Ok(None) if access.seeds.len() > 1 => {
                    let message = format!(
                        "the Redis URL names several servers, and {} belongs to no cluster: name one server",
                        seed.link.address
                    );
                    return Err(StoreError::Refused(message));
                }
                Ok(None) => return Ok(Self::new(&access, Kind::One(seed))),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn new(access: &Arc<Access>, kind: Kind) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            access: Arc::clone(access),
            kind,
            queue: Queue::default(),
        })
    }

    /// Whether it is a cluster.
    pub fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster(_))
    }

    /// Derived writes that were given up.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }

    /// Who serves a slot, as far as is known.
    pub fn master(&self, slot: u16) -> Option<Arc<Server>> {
        match &self.kind {
            Kind::One(server) => Some(Arc::clone(server)),
            Kind::Cluster(cluster) => cluster.map().master(slot).cloned(),
        }
    }

    /// Whether a derived write is for this server, as things stand now.
    pub fn for_server<'a>(&self, server: &'a Arc<Server>) -> impl Fn(&Write) -> bool + 'a {
        let map = match &self.kind {
            Kind::One(_) => None,
            Kind::Cluster(cluster) => Some(cluster.map()),
        };
        // What waits is mostly of one slot for a while.
        let known: Cell<Option<(u16, bool)>> = Cell::default();
        move |write| match (&write.led, &map, known.get()) {
            (Some(led), ..) => Arc::ptr_eq(&led.to, server),
            (None, None, _) => true,
            (None, Some(_), Some((slot, goes))) if slot == write.slot => goes,
            (None, Some(map), _) => {
                let goes = map.master(write.slot).is_some_and(|master| Arc::ptr_eq(master, server));
                known.set(Some((write.slot, goes)));
                goes
            }
        }
    }

    /// Where a redirect that a server gave leads a derived write; `None`: where the map says.
    pub fn led(&self, from: &Arc<Server>, refusal: &RedisError) -> Option<Led> {
        let Kind::Cluster(cluster) = &self.kind else { return None };
        let redirect = map::redirect(refusal, &from.host)?;
        Some(Led { to: self.at(cluster, &redirect.to).ok()?, asking: redirect.once })
    }

    /// All that serve slots.
    pub fn masters(&self) -> Vec<Arc<Server>> {
        match &self.kind {
            Kind::One(server) => vec![Arc::clone(server)],
            Kind::Cluster(cluster) => {
                let map = cluster.map();
                let mut addresses: Vec<&Address> = map.ranges.iter().map(|range| &range.master).collect();
                addresses.sort();
                addresses.dedup();
                addresses.into_iter().filter_map(|address| map.servers.get(address).cloned()).collect()
            }
        }
    }

    /// Who serves a slot.
    pub async fn route(&self, slot: u16) -> Result<Route, StoreError> {
        let server = match &self.kind {
            Kind::One(server) => Arc::clone(server),
            Kind::Cluster(cluster) => {
                let known = cluster.map().master(slot).cloned();
                match known.filter(|server| server.link.is_connected()) {
                    Some(server) => server,
                    None => {
                        self.refresh(cluster, None).await;
                        cluster.map().master(slot).cloned().ok_or_else(|| {
                            StoreError::Unavailable(format!(
                                "no master of the Redis Cluster serves slot {slot}: see `redis-cli --cluster check`"
                            ))
                        })?
                    }
                }
            }
        };
        Ok(Route { slot, server, asking: false, hops: 0 })
    }

    /// If the refusal sends us elsewhere, leads the route there; else it is the answer.
    pub async fn follow(&self, route: &mut Route, refusal: &RedisError) -> Result<bool, StoreError> {
        let Kind::Cluster(cluster) = &self.kind else { return Ok(false) };
        route.hops += 1;
        if refusal.code() == Some("TRYAGAIN") {
            if route.hops > HOPS_MAX {
                return Ok(false);
            }
            tokio::time::sleep(TRY_AGAIN_PAUSE * (1 << route.hops.min(HOPS_MAX))).await;
            return Ok(true);
        }
        let Some(redirect) = map::redirect(refusal, &route.server.host) else { return Ok(false) };
        if route.hops > HOPS_MAX {
            let message = format!(
                "the nodes of the Redis Cluster do not agree on who serves slot {}: wait until they do",
                route.slot
            );
            return Err(StoreError::Unavailable(message));
        }
        if !redirect.once {
            // Who sends us away knows where everything is.
            self.refresh(cluster, Some(&route.server)).await;
        }
        route.server = self.at(cluster, &redirect.to)?;
        route.asking = redirect.once;
        Ok(true)
    }

    /// Sends a command to the master of a slot; the inner result is the reply.
    pub async fn try_command(&self, slot: u16, command: &Cmd) -> Result<Result<Value, Refusal>, StoreError> {
        let mut route = self.route(slot).await?;
        loop {
            let current = route.server.link.connection().await?;
            match route.try_command_on(&current, command).await? {
                Ok(value) => return Ok(Ok(value)),
                Err(refusal) if self.follow(&mut route, &refusal).await? => {}
                Err(error) => {
                    return Ok(Err(Refusal { error, address: route.server.link.address.clone() }));
                }
            }
        }
    }

    /// Sends a command to the master of a slot; an error reply is an error.
    pub async fn command(&self, slot: u16, command: &Cmd) -> Result<Value, StoreError> {
        Ok(self.try_command(slot, command).await??)
    }

    /// Whether Redis answers; of a cluster, whether any master does: of the others their own appends tell.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let masters = self.masters();
        if masters.is_empty() {
            return Err(StoreError::Unavailable("no node of the Redis Cluster serves any slot".to_owned()));
        }
        let pings = masters.iter().map(|server| Box::pin(server.link.ping()));
        match futures_util::future::select_ok(pings).await {
            Ok(((), _)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether scripts may be run, which looks at logs and durable keys need.
    pub async fn check_scripts(&self) -> Result<(), StoreError> {
        let mut script = redis::cmd("EVAL");
        script.arg("return 1").arg(0);
        for server in self.masters() {
            match server.link.try_command(&script).await {
                Ok(Err(refusal)) if refusal.code() == Some("NOPERM") => {
                    let address = &server.link.address;
                    let said = refusal.detail().unwrap_or_default();
                    let why =
                        format!("Redis at {address} runs no scripts for us ({said}): {}", error::RIGHTS);
                    return Err(StoreError::Refused(why));
                }
                Ok(Ok(_)) => return Ok(()),
                // It is away, or refuses for a while: the first use tells.
                Ok(Err(_)) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The server at an address.
    fn at(&self, cluster: &Cluster, address: &Address) -> Result<Arc<Server>, StoreError> {
        if let Some(server) = cluster.map().servers.get(address) {
            return Ok(Arc::clone(server));
        }
        let mut map = cluster.map.write().unwrap_or_else(PoisonError::into_inner);
        let map = Arc::make_mut(&mut map);
        self.server_of(&mut map.servers, address).ok_or_else(|| {
            StoreError::Refused("a Redis Cluster cannot be reached through a socket's path".to_owned())
        })
    }

    fn server_of(
        &self,
        servers: &mut HashMap<Address, Arc<Server>>,
        address: &Address,
    ) -> Option<Arc<Server>> {
        if let Some(server) = servers.get(address) {
            return Some(Arc::clone(server));
        }
        let server = Server::new(&self.access, self.access.at(&address.0, address.1)?);
        servers.insert(address.clone(), Arc::clone(&server));
        Some(server)
    }

    /// Reads the map from the first node that tells it.
    async fn refresh(&self, cluster: &Cluster, first: Option<&Arc<Server>>) {
        let asked = Instant::now();
        let mut refreshed = cluster.refreshed.lock().await;
        if refreshed.is_some_and(|last| last + REFRESH_PAUSE > asked) {
            return;
        }
        let mut others: Vec<Arc<Server>> = cluster.map().servers.values().cloned().collect();
        others.extend(self.access.seeds.iter().map(|seed| Server::new(&self.access, seed.clone())));
        // A node that was just lost is asked last: it may stand still, or be cut off with an old map.
        others.sort_by_key(|server| !server.link.is_connected());
        for server in first.into_iter().chain(&others) {
            match tokio::time::timeout(ASK_WITHIN, read_map(server)).await {
                Ok(Ok(Some(ranges))) if !ranges.is_empty() => {
                    self.install(ranges);
                    break;
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a node of the Redis Cluster does not tell the map")
                }
                Ok(Ok(_)) | Err(_) => {}
            }
        }
        *refreshed = Some(Instant::now());
    }

    /// Takes a new map.
    fn install(&self, ranges: Vec<Range>) {
        let Kind::Cluster(cluster) = &self.kind else { return };
        {
            let mut map = cluster.map.write().unwrap_or_else(PoisonError::into_inner);
            let mut servers = HashMap::new();
            for address in ranges.iter().flat_map(|range| range.replicas.iter().chain([&range.master])) {
                if let Some(server) = map.servers.get(address) {
                    servers.insert(address.clone(), Arc::clone(server));
                } else {
                    self.server_of(&mut servers, address);
                }
            }
            *map = Arc::new(Map { servers, ranges });
        }
        self.see_to_timers();
    }
}

/// The map as a server tells it; `None`: it belongs to no cluster.
async fn read_map(server: &Server) -> Result<Option<Vec<Range>>, StoreError> {
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("SLOTS");
    match server.link.try_command(&slots).await? {
        Ok(reply) => map::ranges(reply, &server.host).map(Some),
        // `ERR This instance has cluster support disabled`, and what services say that hide the command. A cluster that
        // does not let us ask shows itself by its first MOVED.
        Err(refusal) if matches!(refusal.code(), Some("ERR" | "NOPERM")) => Ok(None),
        Err(refusal) => Err(error::of_command(&refusal, &server.link.address)),
    }
}
