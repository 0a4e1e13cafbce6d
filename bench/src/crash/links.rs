//! The ways between the processes: a proxy on each, where connections are cut, held, delayed, and replies are lost.
//!
//! A node is told to advertise another loopback address than it listens on; there its proxies have its ports. The way to
//! its scheduler and to a single Redis leads through a proxy by the node's own configuration. Workers, checks and the
//! dispatcher beside the scheduler take none of these ways. What may fail: an address that cannot be listened on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use testkit::{Proxy, TestkitError};

use super::plan::{Blow, Dice, Strike, Target};

/// Where the proxies before nodes listen: loopback as well, on every Linux.
pub(super) const BEFORE_NODES: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// The proxies of one node.
struct NodeLinks {
    /// Before its public port and its data ports.
    data: Vec<Proxy>,
    report: Proxy,
    store: Option<Proxy>,
}

/// The proxies of a run.
#[derive(Default)]
pub(super) struct Links(Vec<NodeLinks>);

impl Links {
    /// Adds the proxies of the next node, which listens on `ports` of 127.0.0.1.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub fn add(
        &mut self,
        ports: impl IntoIterator<Item = u16>,
        scheduler: SocketAddr,
        redis: Option<SocketAddr>,
    ) -> Result<(), TestkitError> {
        let before = |port| {
            Proxy::listen(
                SocketAddr::new(BEFORE_NODES, port),
                SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            )
        };
        self.0.push(NodeLinks {
            data: ports.into_iter().map(before).collect::<Result<_, _>>()?,
            report: Proxy::start(scheduler)?,
            store: redis.map(Proxy::start).transpose()?,
        });
        Ok(())
    }

    /// Where a node finds its scheduler.
    pub fn scheduler_of(&self, node: u16) -> Option<SocketAddr> {
        self.0.get(usize::from(node)).map(|links| links.report.address())
    }

    /// Where a node finds its Redis, if it is a single one.
    pub fn redis_of(&self, node: u16) -> Option<SocketAddr> {
        self.0.get(usize::from(node))?.store.as_ref().map(Proxy::address)
    }

    fn of(&self, target: Target) -> Vec<&Proxy> {
        let links = |node: u16| self.0.get(usize::from(node)).into_iter();
        match target {
            Target::StoreLink(node) => links(node).filter_map(|links| links.store.as_ref()).collect(),
            Target::DataLink(node) => links(node).flat_map(|links| &links.data).collect(),
            Target::ReportLink(node) => links(node).map(|links| &links.report).collect(),
            Target::Scheduler | Target::Node(_) | Target::Redis(_) => Vec::new(),
        }
    }

    /// Hits the ways that a strike names.
    pub fn strike(&self, strike: &Strike) {
        let mut dice = Dice::new(strike.seed);
        let replies = 1 + usize::try_from(dice.below(8)).unwrap_or(0);
        let delay = Duration::from_millis(20 + dice.below(181));
        for proxy in strike.targets.iter().flat_map(|target| self.of(*target)) {
            match strike.blow {
                Blow::LostReplies => proxy.lose_replies(replies),
                Blow::Cut => {
                    proxy.refuse(true);
                    proxy.reset();
                }
                Blow::Partition => proxy.freeze(true),
                Blow::Delay => proxy.delay(delay),
                _ => {}
            }
        }
    }

    /// All ways are open again.
    pub fn heal(&self, strike: &Strike) {
        for proxy in strike.targets.iter().flat_map(|target| self.of(*target)) {
            proxy.lose_replies(0);
            proxy.refuse(false);
            proxy.freeze(false);
            proxy.delay(Duration::ZERO);
        }
    }

    /// Replies that were lost so far.
    pub fn lost_replies(&self) -> u64 {
        let all =
            self.0.iter().flat_map(|links| links.data.iter().chain([&links.report]).chain(&links.store));
        all.map(|proxy| proxy.lost_replies() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::super::plan::{Field, Plan};
    use super::*;

    /// Sends everything back.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut byte = [0];
                while stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte)).is_ok() {}
            }
        });
        address
    }

    fn passes(at: SocketAddr) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect(at)?;
            stream.write_all(&[7])?;
            stream.read_exact(&mut [0])
        };
        ask().is_ok()
    }

    #[test]
    fn each_way_is_hit_alone_and_is_open_again_after_the_strike() {
        let (node, scheduler, redis) = (echo(), echo(), echo());
        let mut links = Links::default();
        links.add([node.port()], scheduler, Some(redis)).expect("proxies");
        let ways = [
            (Target::DataLink(0), SocketAddr::new(BEFORE_NODES, node.port())),
            (Target::ReportLink(0), links.scheduler_of(0).expect("a proxy")),
            (Target::StoreLink(0), links.redis_of(0).expect("a proxy")),
        ];
        let field = Field { nodes: 1, masters: 1, lease: Duration::from_secs(1), blows: vec![Blow::Cut] };
        let mut strike = Plan::new(1, field).next().expect("endless");
        for (target, hit) in ways {
            strike.targets = vec![target];
            links.strike(&strike);
            for (_, way) in ways {
                assert_eq!(passes(way), way != hit, "{way} while {target} is cut");
            }
            links.heal(&strike);
            assert!(passes(hit), "{hit} after the strike");
        }
        strike.blow = Blow::LostReplies;
        links.strike(&strike);
        assert!(!passes(ways[2].1));
        assert_eq!(links.lost_replies(), 1);
    }
}
