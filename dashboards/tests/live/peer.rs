//! Small HTTP servers: the API that tasks call, and the collector that exporters send to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of a head and of a body, at most.
const HEAD_MAX: u64 = 16 << 10;
const BODY_MAX: usize = 16 << 20;

/// A server that says the same to everybody, or that it cannot.
pub struct Peer {
    pub address: SocketAddr,
    /// Always fails.
    pub fails: Arc<AtomicBool>,
}

/// What one says.
#[derive(Clone)]
struct Manner {
    /// Type and text of a good answer.
    answer: (&'static str, &'static str),
    /// One request of so many fails.
    fails_each: u64,
    fails: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

impl Peer {
    /// An API whose answers are JSON, and which fails now and then.
    pub async fn api(fails_each: u64) -> Self {
        Self::open(("application/json", "{}"), fails_each).await
    }

    /// A collector that takes all that comes by OTLP.
    pub async fn collector() -> Self {
        Self::open(("application/x-protobuf", ""), u64::MAX).await
    }

    async fn open(answer: (&'static str, &'static str), fails_each: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, fails) = (listener.local_addr().expect("an address"), Arc::<AtomicBool>::default());
        let manner =
            Manner { answer, fails_each, fails: Arc::clone(&fails), asked: Arc::new(AtomicU64::new(1)) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let manner = manner.clone();
                // A client that goes away in the middle is no concern of this server.
                tokio::spawn(async move { drop(serve(stream, &manner).await) });
            }
        });
        Self { address, fails }
    }
}

/// Answers until the client has no more to ask.
async fn serve(stream: TcpStream, manner: &Manner) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(length) = head(&mut stream).await? {
        let mut body = vec![0; length.min(BODY_MAX)];
        stream.read_exact(&mut body).await?;
        let number = manner.asked.fetch_add(1, Ordering::Relaxed);
        let fails = manner.fails.load(Ordering::Relaxed) || number.is_multiple_of(manner.fails_each);
        let line = if fails { "503 Service Unavailable" } else { "200 OK" };
        let (kind, text) = manner.answer;
        let length = text.len();
        let answer =
            format!("HTTP/1.1 {line}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{text}");
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// The length of the body of the next request; nothing at the end.
async fn head(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<usize>> {
    let (mut length, mut limited) = (0, stream.take(HEAD_MAX));
    loop {
        let mut line = String::new();
        if limited.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap_or_default();
            }
            None if line.trim_end().is_empty() => return Ok(Some(length)),
            _ => {}
        }
    }
}
