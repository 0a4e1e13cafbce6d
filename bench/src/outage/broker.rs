//! A broker of one topic with one partition that takes whatever is produced, as far as a producer needs one: ApiVersions,
//! Metadata, Produce. It looks at nothing: what records are made of is for the tests of the exporter.
//!
//! What may fail: the port. A client that says what it does not know is disconnected.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The topic.
pub(super) const TOPIC: &str = "histories";

const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
/// One version of each: without tagged fields.
const VERSIONS: [(i16, i16); 3] = [(PRODUCE, 3), (METADATA, 1), (API_VERSIONS, 0)];
const UNSUPPORTED_VERSION: i16 = 35;
/// A request is no longer.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Serves on this runtime. Clients are told to come to `advertised`.
pub(super) fn serve(listener: TcpListener, advertised: SocketAddr) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A connection that breaks is its client's affair.
            tokio::spawn(async move { connection(stream, advertised).await.ok() });
        }
    });
}

/// Requests of one connection, one after the other.
async fn connection(mut stream: TcpStream, advertised: SocketAddr) -> io::Result<()> {
    loop {
        let length = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
        if length > REQUEST_BYTES_MAX {
            return Ok(());
        }
        let mut request = vec![0; length];
        stream.read_exact(&mut request).await?;
        let mut request = Reader(&request);
        let head = (request.short(), request.short(), request.int(), request.text());
        let (Some(key), Some(version), Some(correlation), Some(_client)) = head else { return Ok(()) };
        let body = match key {
            API_VERSIONS => Some(versions(version)),
            METADATA => Some(metadata(advertised)),
            PRODUCE => produced(&mut request),
            _ => None,
        };
        let Some(body) = body else { return Ok(()) };
        let answer = [correlation.to_be_bytes().to_vec(), body].concat();
        stream.write_i32(answer.len() as i32).await?;
        stream.write_all(&answer).await?;
    }
}

/// To those who ask in a newer version it answers in the oldest, as brokers do.
fn versions(asked: i16) -> Vec<u8> {
    let error = if asked == 0 { 0 } else { UNSUPPORTED_VERSION };
    let ranges = VERSIONS.map(|(key, version)| [short(key), short(version), short(version)].concat());
    [short(error), array(&ranges)].concat()
}

/// One broker, which leads the one partition.
fn metadata(advertised: SocketAddr) -> Vec<u8> {
    let no_rack = short(-1);
    let port = int(i32::from(advertised.port()));
    let broker = [int(0), text(&advertised.ip().to_string()), port, no_rack].concat();
    let replicas = [int(1), int(0)].concat();
    let partition = [short(0), int(0), int(0), replicas.clone(), replicas].concat();
    let topic = [short(0), text(TOPIC), vec![0], array(&[partition])].concat();
    [array(&[broker]), int(0), array(&[topic])].concat()
}

/// The batches were taken, from an offset that says nothing.
fn produced(request: &mut Reader<'_>) -> Option<Vec<u8>> {
    let _transaction = request.text()?;
    let _acks = request.short()?;
    let (_timeout, topics, topic) = (request.int()?, request.int()?, request.text()?);
    let (partitions, partition) = (request.int()?, request.int()?);
    if (topics, topic.as_str(), partitions, partition) != (1, TOPIC, 1, 0) {
        return None;
    }
    let long = |value: i64| value.to_be_bytes().to_vec();
    let partition = [int(0), short(0), long(0), long(-1)].concat();
    let topic = [text(TOPIC), array(&[partition])].concat();
    Some([array(&[topic]), int(0)].concat())
}

/// Reads from the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn short(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Empty where there is none.
    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.short()?).unwrap_or(0);
        Some(String::from_utf8_lossy(self.take(length)?).into_owned())
    }
}

fn short(value: i16) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn int(value: i32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn text(text: &str) -> Vec<u8> {
    [short(text.len() as i16), text.as_bytes().to_vec()].concat()
}

fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [int(items.len() as i32), items.concat()].concat()
}
