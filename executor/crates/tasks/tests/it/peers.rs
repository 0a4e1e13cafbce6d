//! Small servers on loopback that do what a test says, and the client that calls them.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tasks::http::{Client, ClientOptions, Egress, NameSources};
use tasks::{Failure, Integration, Origin};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What a server has seen so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Connections.
    pub opened: usize,
    /// Connections that have ended.
    pub closed: usize,
    /// Requests.
    pub asked: usize,
    /// The most requests that were under way at once.
    pub at_once: usize,
    under_way: usize,
}

/// A server.
#[derive(Clone)]
pub struct Peer {
    pub address: SocketAddr,
    counts: watch::Sender<Counts>,
}

/// What a server received.
#[derive(Debug)]
pub struct Received {
    pub version: Version,
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub type Answered = Response<Bytes>;

impl Received {
    pub fn signed(&self) -> sign::Received<'_> {
        let Self { method, target, headers, body, .. } = self;
        sign::Received { method, target, headers, body }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text")
    }
}

impl Peer {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Returns when the server has seen that.
    pub async fn saw(&self, what: impl Fn(&Counts) -> bool + Send + Sync) {
        let mut counts = self.counts.subscribe();
        counts.wait_for(|counts| what(counts)).await.expect("the server lives");
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }
}

pub fn answer(status: u16, kind: &str, body: impl Into<Bytes>) -> Answered {
    Response::builder().status(status).header("content-type", kind).body(body.into()).expect("an answer")
}

pub fn json(body: impl Into<Bytes>) -> Answered {
    answer(200, "application/json", body)
}

/// Speaks whatever `talk` speaks on each connection.
pub async fn raw<F, T>(talk: F) -> Peer
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let peer = Peer { address, counts: watch::Sender::default() };
    let counted = peer.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.count(|counts| counts.opened += 1);
            let (talk, counted) = (talk(stream), counted.clone());
            tokio::spawn(async move {
                talk.await;
                counted.count(|counts| counts.closed += 1);
            });
        }
    });
    peer
}

/// Reads the head of a request.
pub async fn head(stream: &mut TcpStream) {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => return,
        }
    }
}

/// Speaks HTTP; `answer` decides what it says, and may take its time.
pub async fn slowly(
    answer: impl Fn(Received) -> BoxFuture<'static, Answered> + Send + Sync + 'static,
) -> Peer {
    let answer: Arc<Answer> = Arc::new(answer);
    let counts = watch::Sender::default();
    let peer = Peer { address: ([127, 0, 0, 1], 0).into(), counts };
    let talked = peer.clone();
    let listening = raw(move |stream| {
        let (answer, counted) = (Arc::clone(&answer), talked.clone());
        async move { serve(stream, answer, counted).await }
    });
    Peer { address: listening.await.address, ..peer }
}

pub async fn http(answer: impl Fn(Received) -> Answered + Send + Sync + 'static) -> Peer {
    slowly(move |received| Box::pin(std::future::ready(answer(received)))).await
}

type Answer = dyn Fn(Received) -> BoxFuture<'static, Answered> + Send + Sync;

/// HTTP/1.1 or HTTP/2 on a connection, whatever its peer speaks.
pub async fn serve<S>(stream: S, answer: Arc<Answer>, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    peer.count(|counts| counts.opened += 1);
    let counted = peer.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, counted) = (Arc::clone(&answer), counted.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
            let http::request::Parts { version, method, headers, .. } = parts;
            counted.count(|counts| {
                counts.asked += 1;
                counts.under_way += 1;
                counts.at_once = counts.at_once.max(counts.under_way);
            });
            let answered = answer(Received { version, method, target, headers, body }).await;
            counted.count(|counts| counts.under_way -= 1);
            Ok::<_, hyper::Error>(answered.map(Full::new))
        }
    });
    // It ends with an error when the client has left, which many tests are about.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    peer.count(|counts| counts.closed += 1);
}

/// A peer whose connections another listener accepts.
pub fn counted(address: SocketAddr) -> Peer {
    Peer { address, counts: watch::Sender::default() }
}

/// A client that may call loopback addresses.
pub fn client() -> Rc<Client> {
    client_with(|_| {})
}

pub fn client_with(change: impl FnOnce(&mut ClientOptions)) -> Rc<Client> {
    let loopback = Egress::network("127.0.0.0/8").expect("a network");
    let mut options = ClientOptions {
        egress: Egress::new(vec![loopback], false),
        calls_max: 1_024,
        target_calls_max: 64,
        target_waiting_max: 64,
        names: NameSources::default(),
        tls: Arc::new(trusting(rustls::RootCertStore::empty())),
    };
    change(&mut options);
    Rc::new(Client::new(&options).expect("a client"))
}

/// TLS that trusts these authorities.
pub fn trusting(roots: rustls::RootCertStore) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("versions").with_root_certificates(roots).with_no_client_auth()
}

/// A machine's origin.
pub fn origin() -> Origin {
    Origin {
        names: Rc::new(("arn:aws:states:eu-west-1:123456789012:execution:orders:e1", "a-1")),
        machine_arn: "arn:aws:states:eu-west-1:123456789012:stateMachine:orders".into(),
        role_arn: "arn:aws:iam::123456789012:role/orders".into(),
        machine_role_arn: "arn:aws:iam::123456789012:role/orders".into(),
    }
}

/// What an integration says to a request.
pub async fn ask(integration: &impl Integration, resource: &str, input: &str) -> Result<String, Failure> {
    let input = asl::Payload::check(input.to_owned().into(), asl::value::JsonLimits::PAYLOAD).expect("JSON");
    let request = tasks::Request { resource: resource.into(), input, origin: origin() };
    match integration.begin(&request).await? {
        tasks::Answer::Output(output) => Ok(output.text().to_owned()),
        tasks::Answer::Submitted(_) => panic!("nothing here submits jobs"),
    }
}
