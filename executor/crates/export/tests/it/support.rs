//! Pages, clocks, and a double of CLS that verifies, decompresses and decodes what it gets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use asl::history::{EventKind, Record, StateType};
use asl::{Payload, Timestamp, Value};
use bytes::Bytes;
use export::sinks::cls::{Cls, ClsOptions, Log, LogGroupList};
use export::{Batch, Events, Line, Now, Page, PumpOptions, Retry};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::{ClientConfig, RootCertStore};
use sign::Received;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

/// What every test's clock says, in seconds.
pub const NOW_SECONDS: u64 = 1_700_000_000;
pub const TOPIC: &str = "11111111-2222-3333-4444-555555555555";
pub const SECRET_ID: &str = "AKIDexample";
pub const SECRET_KEY: &str = "a-secret-key-that-nobody-may-see";

pub fn now() -> Now {
    Arc::new(|| NOW_SECONDS * 1_000)
}

/// Events `ids` of one execution; each says whose it is.
pub fn page(execution: &str, ids: std::ops::Range<u64>) -> Page {
    let mut page = Page {
        execution: arn(execution).into(),
        machine: "arn:aws:states:r:a:stateMachine:m".into(),
        map_run: None,
        redrive_count: 0,
        events: Events::default(),
    };
    for id in ids {
        push(&mut page, id, format!("{execution} {id}"));
    }
    page
}

/// One more event, with a text as its input.
pub fn push(page: &mut Page, id: u64, input: String) {
    let (state, name, resource) = (StateType::Pass, &"A".into(), None);
    let input = &Payload::from_value(Value::from(input));
    let kind = EventKind::StateEntered { state, name, place: 0, input, resource };
    page.push(&Record { id, previous: id - 1, at: Timestamp(1_700_000_000_000), kind }, true);
}

pub fn arn(execution: &str) -> String {
    format!("arn:aws:states:r:a:execution:m:{execution}")
}

pub fn batch(pages: &[Page]) -> Batch<Arc<Line>> {
    Batch::of(pages.iter().flat_map(export::lines).map(Arc::new).collect())
}

/// A queue of a hundred lines, a quick retry.
pub fn small_pump() -> PumpOptions {
    PumpOptions {
        queue_items: 100,
        queue_bytes: 1 << 20,
        batch_items: 10,
        batch_bytes: 1 << 18,
        batch_age: Duration::from_millis(10),
        send_timeout: Duration::from_millis(200),
        retry: Retry {
            first: Duration::from_millis(5),
            longest: Duration::from_millis(50),
            attempts: u32::MAX,
            age: Duration::from_secs(600),
        },
        latest: false,
    }
}

/// What the double does with a good request.
#[derive(Debug, Clone, PartialEq)]
pub enum Mood {
    Takes,
    /// Answers nothing.
    Hangs,
    /// A status, a body, and headers beside it.
    Answers(u16, &'static str, Vec<(&'static str, &'static str)>),
}

#[derive(Debug)]
pub struct State {
    pub mood: Mood,
    pub packets: Vec<LogGroupList>,
    /// Requests whose signature held.
    pub requests: u64,
    /// The token that came along last.
    pub token: Option<String>,
    /// What was wrong with requests.
    pub wrong: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct ClsDouble {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl ClsDouble {
    /// Serves on the runtime of the test.
    pub async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = State { mood, packets: Vec::new(), requests: 0, token: None, wrong: Vec::new() };
        let double = Self { address, state: Arc::new(Mutex::new(state)) };
        let served = double.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let double = served.clone();
                let service = service_fn(move |request| {
                    let double = double.clone();
                    async move { Ok::<_, Infallible>(double.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        double
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// All logs that were taken, in order.
    pub fn logs(&self) -> Vec<Log> {
        let state = self.state();
        let groups = state.packets.iter().flat_map(|packet| &packet.log_group_list);
        groups.flat_map(|group| group.logs.clone()).collect()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let packet = read(&parts, &body);
        let mood = {
            let mut state = self.state();
            match packet {
                Err((status, code)) => {
                    state.wrong.push(code.clone());
                    return told(status, &format!(r#"{{"errorcode":"{code}","errormessage":"wrong"}}"#), &[]);
                }
                Ok(packet) => {
                    state.requests += 1;
                    let token = parts.headers.get("x-cls-token");
                    state.token = token.map(|token| token.to_str().expect("text").to_owned());
                    if state.mood == Mood::Takes {
                        state.packets.push(packet);
                    }
                    state.mood.clone()
                }
            }
        };
        match mood {
            Mood::Takes => told(200, "", &[]),
            Mood::Hangs => std::future::pending().await,
            Mood::Answers(status, body, headers) => told(status, body, &headers),
        }
    }
}

fn told(status: u16, body: &str, headers: &[(&str, &str)]) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header("X-Cls-Requestid", "the-request");
    let response = headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
    response.body(Full::new(Bytes::from(body.to_owned()))).expect("a response")
}

/// As CLS reads a request: signature, compression, protobuf, limits.
fn read(parts: &http::request::Parts, body: &[u8]) -> Result<LogGroupList, (u16, String)> {
    let wrong = |status: u16, code: &str| (status, code.to_owned());
    let target = parts.uri.path_and_query().expect("a target").as_str();
    let received = Received { method: &parts.method, target, headers: &parts.headers, body };
    let secret = |claim: &sign::Claim| (claim.id == SECRET_ID).then(|| Zeroizing::new(SECRET_KEY.to_owned()));
    sign::cls::verify(&received, NOW_SECONDS, secret)
        .map_err(|error| (401, error.tencent_code().to_owned()))?;
    if parts.method != "POST" || parts.uri.path() != "/structuredlog" {
        return Err(wrong(404, "NotFound"));
    }
    if parts.uri.query() != Some(&format!("topic_id={TOPIC}")) {
        return Err(wrong(404, "TopicNotExist"));
    }
    if parts.headers["content-type"] != "application/x-protobuf" {
        return Err(wrong(400, "InvalidContentType"));
    }
    if parts.headers["x-cls-compress-type"] != "lz4" {
        return Err(wrong(400, "InvalidCompressType"));
    }
    // A raw block does not say how long it is: CLS takes up to 6 MB.
    let raw = lz4_flex::block::decompress(body, 6_000_000).map_err(|_| wrong(400, "InvalidContent"))?;
    let packet = LogGroupList::decode(raw.as_slice()).map_err(|_| wrong(400, "InvalidContent"))?;
    let groups = &packet.log_group_list;
    let values = || groups.iter().flat_map(|group| &group.logs).flat_map(|log| &log.contents);
    let fits = (1..=10).contains(&groups.len())
        && groups.iter().all(|group| (1..=10_000).contains(&group.logs.len()))
        && values().all(|content| content.value.len() <= 1_000_000 && !content.key.starts_with('_'))
        && values().map(|content| content.value.len()).sum::<usize>() <= 5_000_000;
    fits.then_some(packet).ok_or_else(|| wrong(403, "LogSizeExceed"))
}

/// The value of a log's key.
pub fn value<'a>(log: &'a Log, key: &str) -> &'a str {
    let found = log.contents.iter().find(|content| content.key == key);
    &found.unwrap_or_else(|| panic!("no {key} in {log:?}")).value
}

/// The keys that the double knows, in a file.
pub fn keys_file(dir: &Path, key: &str, token: Option<&str>) -> std::path::PathBuf {
    let path = dir.join("keys");
    let token = token.map_or_else(String::new, |token| format!("TENCENTCLOUD_TOKEN={token}\n"));
    let text = format!("TENCENTCLOUD_SECRET_ID={SECRET_ID}\nTENCENTCLOUD_SECRET_KEY={key}\n{token}");
    std::fs::write(&path, text).expect("written");
    path
}

/// Trusts nobody.
pub fn tls() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.expect("versions").with_root_certificates(RootCertStore::empty());
    Arc::new(tls.with_no_client_auth())
}

/// A sink towards the double.
pub fn cls(double: &ClsDouble, dir: &Path) -> Cls {
    let options = ClsOptions {
        endpoint: format!("http://{}", double.address),
        topic: TOPIC.to_owned(),
        keys_file: dir.join("keys"),
        source: "node-1".to_owned(),
    };
    Cls::new(options, tls(), now()).expect("a client")
}
