//! Who looks at the node: a collector for OTLP, one in the place of CLS, a broker, each behind a proxy that can make it hang or
//! refuse; and a scraper that can stand still in the middle of a scrape.

use std::net::SocketAddr;
use std::path::Path;

use testkit::Proxy;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::broker;
use crate::collector;
use crate::error::Error;

/// Scrapers that stand still.
const SCRAPERS: usize = 8;
/// The smallest that a node takes.
const QUEUE: &str = "8MiB";
/// The same in bytes.
pub(super) const QUEUE_BYTES: u64 = 8 << 20;

/// How peers behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// Connections are taken, and nothing is answered.
    Hang,
    /// Connections are reset.
    Refuse,
}

/// See the module.
pub(super) struct Peers {
    otlp: Proxy,
    cls: Proxy,
    kafka: Proxy,
    /// Scrapes that nobody reads the answers of.
    scrapes: Vec<TcpStream>,
    collectors: Vec<JoinHandle<Result<(), Error>>>,
}

fn proxy(upstream: SocketAddr) -> Result<Proxy, Error> {
    Proxy::start(upstream).map_err(|error| Error::Process(error.to_string()))
}

async fn port() -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |error: std::io::Error| Error::Process(format!("a peer's port: {error}"));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

impl Peers {
    /// Starts all of them, well.
    pub async fn start() -> Result<Self, Error> {
        let mut collectors = Vec::new();
        let mut collector = || {
            let listen = SocketAddr::from(([127, 0, 0, 1], testkit::free_port()));
            collectors.push(tokio::spawn(collector::serve(listen, |_| {})));
            proxy(listen)
        };
        let (otlp, cls) = (collector()?, collector()?);
        let (listener, address) = port().await?;
        let kafka = proxy(address)?;
        broker::serve(listener, kafka.address());
        Ok(Self { otlp, cls, kafka, scrapes: Vec::new(), collectors })
    }

    /// Flags of a node that tells them everything, with the smallest queues; its files are in `directory`.
    pub fn node_flags(&self, directory: &Path) -> Result<Vec<String>, Error> {
        let keys = directory.join("cls-keys");
        let failed = |source| Error::File { path: keys.display().to_string(), source };
        std::fs::write(&keys, "TENCENTCLOUD_SECRET_ID=AKIDbench\nTENCENTCLOUD_SECRET_KEY=bench\n")
            .map_err(failed)?;
        let (otlp, cls) =
            (format!("http://{}", self.otlp.address()), format!("http://{}", self.cls.address()));
        let (kafka, histories) = (self.kafka.address().to_string(), directory.join("histories"));
        let flags = [
            ("--log", "json"),
            ("--metrics-otlp", &otlp),
            ("--metrics-otlp-interval", "1s"),
            ("--history-files", &histories.display().to_string()),
            ("--history-otlp", &otlp),
            ("--history-cls", &cls),
            ("--history-cls-topic", "11111111-2222-3333-4444-555555555555"),
            ("--history-cls-keys-file", &keys.display().to_string()),
            ("--history-kafka", &kafka),
            ("--history-kafka-topic", broker::TOPIC),
            ("--history-queue", QUEUE),
        ];
        Ok(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]).collect())
    }

    /// All behave like this from now on. `metrics` is the node's address that is scraped.
    pub async fn become_(&mut self, mood: Mood, metrics: &str) -> Result<(), Error> {
        for proxy in [&self.otlp, &self.cls, &self.kafka] {
            proxy.freeze(mood == Mood::Hang);
            proxy.refuse(mood == Mood::Refuse);
            if mood == Mood::Refuse {
                proxy.reset();
            }
        }
        self.scrapes.clear();
        if mood == Mood::Hang {
            for number in 0..SCRAPERS {
                // Half of them stand still before they have asked.
                let request: &[u8] = if number % 2 == 0 {
                    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
                } else {
                    b"GET /metr"
                };
                self.scrapes.push(stand_still(metrics, request).await?);
            }
        }
        Ok(())
    }
}

async fn stand_still(address: &str, request: &[u8]) -> Result<TcpStream, Error> {
    let failed =
        |error: std::io::Error| Error::Connect { address: address.to_owned(), reason: error.to_string() };
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.write_all(request).await.map_err(failed)?;
    Ok(stream)
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.collectors.iter().for_each(JoinHandle::abort);
    }
}
