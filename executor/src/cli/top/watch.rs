//! Asks nodes for their metrics, again and again.
//!
//! Invariants: a node that does not answer delays nobody for longer than an interval (a second at least, [`WITHIN_MAX`] at most);
//! an answer is bounded by [`TEXT_MAX`]; of each node one reading is kept. What may fail: a node, which is then down.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::uri::Authority;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::picture::{Heard, State};
use super::reading::Reading;

/// A node has this long to answer.
const WITHIN_MAX: Duration = Duration::from_secs(5);
const WITHIN_MIN: Duration = Duration::from_secs(1);
/// A text of a thousand machines is some megabytes.
const TEXT_MAX: usize = 64 << 20;
/// The port of `--metrics` where nobody says another.
const PORT: u16 = 7490;

/// Where a node's metrics are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    host: String,
    port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no address: write HOST or HOST:PORT, for example 10.0.0.6:{PORT}");
        let authority = text.parse::<Authority>().map_err(|_| wrong())?;
        let port = authority.port_u16();
        let named = authority.host().len() + authority.port().map_or(0, |port| port.as_str().len() + 1);
        if authority.host().is_empty() || named != text.len() {
            return Err(wrong());
        }
        Ok(Self { host: authority.host().to_owned(), port: port.unwrap_or(PORT) })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The nodes that are asked.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Vec<(Address, Option<Earlier>)>,
    within: Duration,
}

/// What a node said last.
#[derive(Debug)]
struct Earlier {
    at: Instant,
    reading: Reading,
}

impl Nodes {
    /// Nodes that are asked at this interval, each address once.
    pub(super) fn new(addresses: &[Address], interval: Duration) -> Self {
        let mut nodes = Vec::<(Address, Option<Earlier>)>::new();
        for address in addresses {
            if nodes.iter().all(|(known, _)| known != address) {
                nodes.push((address.clone(), None));
            }
        }
        Self { nodes, within: interval.clamp(WITHIN_MIN, WITHIN_MAX) }
    }

    /// Asks all of them, at the same time.
    pub(super) async fn ask(&mut self) -> Vec<Heard> {
        let within = self.within;
        join_all(self.nodes.iter_mut().map(|(address, earlier)| async move {
            let answer = tokio::time::timeout(within, fetch(address)).await;
            let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {within:?}")));
            let read = answer.and_then(|text| Reading::of(&text).map_err(|error| error.to_string()));
            Heard { address: address.to_string(), state: state(earlier, read, Instant::now()) }
        }))
        .await
    }
}

/// How a node fares, and what is kept of it.
fn state(earlier: &mut Option<Earlier>, read: Result<Reading, String>, at: Instant) -> State {
    let reading = match read {
        Ok(reading) => reading,
        Err(why) => {
            // Rates are of the last interval: what was before an outage does not count.
            *earlier = None;
            return State::Down(why);
        }
    };
    let state = match &earlier {
        Some(before) => {
            let seconds = at.saturating_duration_since(before.at).max(Duration::from_millis(1)).as_secs_f64();
            State::Up(Box::new(reading.since(&before.reading, seconds)))
        }
        None => State::First(Box::new(reading.clone())),
    };
    *earlier = Some(Earlier { at, reading });
    state
}

/// The text of `/metrics`.
async fn fetch(address: &Address) -> Result<String, String> {
    let host = address.host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, address.port)).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::get("/metrics")
        .header(header::HOST, address.to_string())
        .header(header::ACCEPT, "text/plain; version=0.0.4")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answers {}", response.status()));
        }
        let body = Limited::new(response.into_body(), TEXT_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        String::from_utf8(body.into()).map_err(|_| "its metrics are no UTF-8".to_owned())
    };
    // The connection ends with the exchange, which tells what went wrong.
    let connection = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        text = exchange => text,
        nothing = connection => nothing,
    }
}

#[cfg(test)]
mod tests {
    use telemetry::{Form, NodeMetrics};

    use super::*;

    #[test]
    fn an_address_is_a_host_with_or_without_a_port() {
        for (text, shown) in [
            ("10.0.0.6", "10.0.0.6:7490"),
            ("node-1:80", "node-1:80"),
            ("[::1]:9", "[::1]:9"),
            ("[::1]", "[::1]:7490"),
        ] {
            assert_eq!(text.parse::<Address>().expect("an address").to_string(), shown);
        }
        for wrong in ["", ":7490", "http://a:1", "a:b", "a:70000", "a b", "user@a:1", "a:", "a/metrics"] {
            assert!(wrong.parse::<Address>().expect_err("none").contains("HOST:PORT"), "{wrong}");
        }
    }

    fn read(node: &NodeMetrics) -> Result<Reading, String> {
        Reading::of(&node.render(Form::Prometheus)).map_err(|error| error.to_string())
    }

    #[test]
    fn rates_are_those_of_the_last_interval_and_begin_anew_after_an_outage() {
        let node = NodeMetrics::new("1.2.3", 1);
        let machine = node.shard(0).expect("there is one").machine("m");
        machine.started.add(1_000);
        let (mut earlier, begin) = (None, Instant::now());
        let mut after = |seconds, read| state(&mut earlier, read, begin + Duration::from_secs(seconds));
        let started = |state: &State| match state {
            State::Up(rates) => Some(rates.machines["m"].started),
            State::First(_) | State::Down(_) => None,
        };
        assert!(matches!(after(0, read(&node)), State::First(_)));
        machine.started.add(50);
        assert_eq!(started(&after(2, read(&node))), Some(25.0));
        assert!(matches!(after(4, Err("away".to_owned())), State::Down(_)));
        machine.started.add(50);
        assert!(matches!(after(6, read(&node)), State::First(_)));
        machine.started.add(10);
        assert_eq!(started(&after(8, read(&node))), Some(5.0));
    }

    #[test]
    fn a_node_that_was_started_again_counts_from_nothing() {
        let rates = |began_later: f64| {
            let (before, after) = (NodeMetrics::new("1", 1), NodeMetrics::new("1", 1));
            let count = |node: &NodeMetrics, n| {
                node.shard(0).expect("there is one").machine("m").started.add(n);
                node.shard(0).expect("there is one").start_ack.observe_n(1_000, n);
            };
            count(&before, 40);
            count(&after, 60);
            let (before, mut after) = (read(&before).expect("read"), read(&after).expect("read"));
            after.began += began_later;
            after.since(&before, 10.0).machines["m"].started
        };
        assert_eq!(rates(0.0), 2.0, "the same process has counted on");
        assert_eq!(rates(5.0), 6.0, "another one has counted 60 since it began");
    }

    #[test]
    fn what_is_no_node_is_said_to_be_none() {
        let why = |text: &str| Reading::of(text).expect_err("no node").to_string();
        assert!(why("up 1\n").contains("no metrics of a node"));
        assert!(why("").contains("no metrics of a node"));
        assert!(why("<html>\n").contains("line 1"));
        let machines: String = (0..10_002)
            .map(|n| format!("executor_executions_started_total{{machine=\"{n}\"}} 1\n"))
            .collect();
        assert!(why(&machines).contains("a node has fewer"));
    }
}
