//! The front door of a scheduler, over sockets: opened, asked, shut; who is let in.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use executor::clock::Clock;
use http::{HeaderMap, HeaderValue, Method};
use journal::memory::MemoryStore;
use journal::store::Connect;
use scheduler_stub::auth::{AuthConfig, AuthStub, Faults, Issuer, KeyRights, Roles};
use scheduler_stub::doors::{Callers, HttpConfig};
use scheduler_stub::{Error, Scheduler, SchedulerConfig};
use sign::{Keys, Unsigned, sigv4};
use testkit::eventually_async;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use trust::Secret;
use zeroize::Zeroizing;

use crate::fake::PATIENCE;

const SECRET: &str = "a-secret-of-the-tests";

async fn scheduler(http: HttpConfig) -> Result<Scheduler, Error> {
    let store = MemoryStore::new().connect().await.expect("memory");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let config =
        SchedulerConfig { listen, http: Some(http), metrics: Some(listen), ..SchedulerConfig::default() };
    Scheduler::start(config, store).await
}

fn config(listen: &str, callers: Callers) -> HttpConfig {
    HttpConfig { listen: listen.parse().expect("an address"), threads: 1, callers, tls: None }
}

fn keys(path: &Path, auth: Option<String>) -> Callers {
    Callers::Keys { file: path.to_owned(), auth }
}

/// One key, with what the file says besides.
fn file(more: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "[[key]]\nid = \"AKID\"\nsecret = \"{SECRET}\"\naccount = \"1\"\n{more}")
        .expect("it is written");
    file
}

/// The status and the body of what is answered.
async fn post(url: &str, operation: &str, body: &str, signed: bool) -> (u16, String) {
    let address = url.strip_prefix("http://").expect("plain HTTP");
    let mut headers = HeaderMap::new();
    let target = format!("AWSStepFunctions.{operation}");
    headers.insert("x-amz-target", HeaderValue::from_str(&target).expect("a header"));
    headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.0"));
    if signed {
        let keys = Keys { id: "AKID".to_owned(), secret: Zeroizing::new(SECRET.to_owned()), token: None };
        let url = format!("{url}/");
        let mut request =
            Unsigned { method: &Method::POST, url: &url, headers: &mut headers, body: body.as_bytes() };
        let now = Clock::System.now_ms() / 1_000;
        sigv4::sign(&mut request, &keys, "states", "local", now).expect("it can be signed");
    }
    let lines = headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().expect("text")));
    let lines: String = lines.collect();
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{lines}\r\n{body}"
    );
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

const CREATE: &str = r#"{"name":"orders","roleArn":"arn:aws:iam::1:role/r",
    "definition":"{\"StartAt\":\"A\",\"States\":{\"A\":{\"Type\":\"Pass\",\"End\":true}}}"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_front_door_answers_until_its_scheduler_is_shut_down() {
    let scheduler = scheduler(config("127.0.0.1:0", Callers::Anybody)).await.expect("it starts");
    let url = scheduler.http_url().expect("a door").to_owned();
    let (status, body) = post(&url, "CreateStateMachine", CREATE, false).await;
    assert_eq!(status, 200, "{body}");
    let (status, body) = post(&url, "ListStateMachines", "{}", false).await;
    assert!(status == 200 && body.contains(":stateMachine:orders"), "{body}");
    scheduler.shut_down().await;
    let address: SocketAddr = url.strip_prefix("http://").expect("plain").parse().expect("an address");
    assert!(TcpStream::connect(address).await.is_err());
}

/// The status and the body of what the metrics port answers.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_through_the_front_door_is_counted_by_operation_and_code_at_the_metrics_port() {
    let scheduler = scheduler(config("127.0.0.1:0", Callers::Anybody)).await.expect("it starts");
    let (url, port) = (scheduler.http_url().expect("a door").to_owned(), scheduler.metrics_address());
    let port = port.expect("it was asked for");
    let refused = r#"scheduler_http_requests_total{api="sfn",operation="DescribeStateMachine",code="InvalidArn",outcome="refused"}"#;
    let (_, before) = get(port, "/metrics").await;
    assert!(before.contains(&format!("{refused} 0\n")), "the first one is a growth: {before}");
    for _ in 0..2 {
        assert_eq!(post(&url, "CreateStateMachine", CREATE, false).await.0, 200);
    }
    assert_eq!(post(&url, "DescribeStateMachine", r#"{"stateMachineArn":"x"}"#, false).await.0, 400);
    assert_eq!(post(&url, "NoSuchOperation", "{}", false).await.0, 400);
    let (status, text) = get(port, "/metrics").await;
    assert_eq!(status, 200);
    for wanted in [
        r#"scheduler_http_requests_total{api="sfn",operation="CreateStateMachine",code="OK",outcome="succeeded"} 2"#,
        &format!("{refused} 1"),
        r#"scheduler_http_requests_total{api="sfn",operation="-",code="UnknownOperationException",outcome="refused"} 1"#,
        r#"scheduler_http_requests_total{api="asw",operation="StartExecution",code="OK",outcome="succeeded"} 0"#,
        r#"scheduler_http_request_duration_seconds_count{api="sfn",operation="CreateStateMachine"} 2"#,
        "scheduler_http_connections_opened_total 4",
    ] {
        assert!(text.lines().any(|line| line == wanted), "{wanted}: {text}");
    }
    assert!(!text.contains("executor_"), "{text}");
    let (status, text) = get(port, "/livez").await;
    assert_eq!((status, text.as_str()), (200, "alive\n"));
    eventually_async("it says that it has no node", PATIENCE, async || {
        let (status, text) = get(port, "/healthz").await;
        let says = status == 503 && text.starts_with("no node takes starts: none reports");
        if says { Ok(()) } else { Err(format!("{status} {text}")) }
    })
    .await;
    let (_, text) = get(port, "/metrics").await;
    for wanted in ["scheduler_ready 0", "scheduler_store_available 1", "scheduler_shards_serving 0"] {
        assert!(text.lines().any(|line| line == wanted), "{wanted}: {text}");
    }
    scheduler.shut_down().await;
    assert!(TcpStream::connect(port).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_the_file_does_not_grant_is_asked_of_the_authorization_service() {
    let service = AuthStub::start(AuthConfig {
        listen: "127.0.0.1:0".parse().expect("an address"),
        roles: Roles::new(Vec::new(), Duration::from_secs(900), Duration::from_secs(900)),
        rights: KeyRights::parse("AKID manage orders").expect("a line"),
        issuer: Issuer::new(Secret::from_key(&[7; 32])),
        faults: Faults::default(),
        trust: None,
    });
    let service = service.expect("it starts");
    let file = file("ask = true\n[[key.grant]]\nrights = [\"read\"]");
    let auth = Some(format!("http://{}", service.address()));
    let scheduler = scheduler(config("127.0.0.1:0", keys(file.path(), auth))).await.expect("it starts");
    let url = scheduler.http_url().expect("a door").to_owned();
    let (status, body) = post(&url, "CreateStateMachine", CREATE, true).await;
    assert_eq!(status, 200, "{body}");
    let other = CREATE.replace("\"orders\"", "\"bills\"");
    let (status, body) = post(&url, "CreateStateMachine", &other, true).await;
    assert!(status == 400 && body.contains("AccessDeniedException"), "{body}");
    let (status, body) = post(&url, "ListStateMachines", "{}", false).await;
    assert!(status == 400 && body.contains("MissingAuthenticationToken"), "{body}");

    // What cannot be asked is no right, and is told as what may be tried again.
    service.set_faults(Faults { errors: 1.0, ..Faults::default() });
    let unasked = r#"{"stateMachineArn":"arn:aws:states:local:000000000000:stateMachine:third"}"#;
    let (status, body) = post(&url, "DeleteStateMachine", unasked, true).await;
    assert!(status == 503 && body.contains("ServiceUnavailable"), "{body}");
    scheduler.shut_down().await;
}

#[tokio::test]
async fn what_cannot_be_opened_keeps_the_scheduler_from_starting_and_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let good = file("[[key.grant]]\nrights = [\"read\"]");
    let asks = file("ask = true");
    let (nothing, nowhere) = (file(""), Path::new("/nonexistent/keys"));
    for (config, told) in [
        (config("0.0.0.0:0", Callers::Anybody), "loopback"),
        (config("0.0.0.0:0", keys(good.path(), None)), "certificate"),
        (config("127.0.0.1:0", keys(nothing.path(), None)), "grant"),
        (config("127.0.0.1:0", keys(asks.path(), None)), "authorization service"),
        (config("127.0.0.1:0", keys(nowhere, None)), "/nonexistent/keys"),
        (config("127.0.0.1:0", keys(good.path(), Some("no url".to_owned()))), "--auth"),
        (config(&taken, Callers::Anybody), "cannot listen"),
    ] {
        let error = scheduler(config).await.err().expect(told).to_string();
        assert!(error.contains(told) && !error.contains(SECRET), "{error}");
    }
}
