//! A door with a gate and an admission that do as a test says, and clients that write bytes.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use front::{
    Admission, Answer, Api, Call, Caller, Connection, Error, Fault, Front, FrontConfig, Gate, Kind, Limits,
    Operation, Right, Tell, Told,
};
use http::request::Parts;
use serde_json::{Value, json};
use tokio::sync::watch;

/// No wait of a test is longer: what is waited for comes, or the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Answers with what it was asked; calls of `GetActivityTask` and `StartSyncExecution` wait until they are let go.
pub struct Echo {
    calls: watch::Sender<Seen>,
    let_go: watch::Sender<bool>,
}

/// What the gate has seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub calls: usize,
    pub waiting: usize,
    /// Calls whose futures were dropped while they waited.
    pub dropped: usize,
}

struct Waiting<'a>(&'a watch::Sender<Seen>, bool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|seen| {
            seen.waiting -= 1;
            seen.dropped += usize::from(!self.1);
        });
    }
}

impl Gate for Echo {
    async fn call(&self, call: Call) -> Result<Answer, Fault> {
        self.calls.send_modify(|seen| seen.calls += 1);
        match call.operation.name {
            "GetActivityTask" | "StartSyncExecution" => {
                self.calls.send_modify(|seen| seen.waiting += 1);
                let mut waiting = Waiting(&self.calls, false);
                let _ = self.let_go.subscribe().wait_for(|go| *go).await;
                waiting.1 = true;
            }
            "StopExecution" => {
                let fault = Fault::new(Kind::ExecutionDoesNotExist, "there is no such execution");
                return Err(fault);
            }
            "ListTagsForResource" => {
                let fault = Fault::new(Kind::ResourceNotFound, "there is no such \"thing\"");
                return Err(fault.with_detail("resourceName", "thing"));
            }
            _ => {}
        }
        Answer::of(&json!({
            "operation": call.operation.name,
            "input": call.input,
            "key": call.caller.access_key_id(),
            "account": call.caller.account(),
            "requestId": call.request_id,
            "region": call.region,
        }))
    }

    async fn machine(&self, call: &Call) -> Result<Option<String>, Fault> {
        Ok(call.text("ExecutionQrn").map(|token| format!("machine-of-{token}")))
    }
}

/// Takes `key NAME` for a signature; `key narrow` may look at everything, and do anything to the machine `orders` alone.
pub struct Doorman {
    open: bool,
    asked: Mutex<Vec<(Right, Option<String>)>>,
    /// Heads that it has seen.
    heads: AtomicUsize,
}

impl Admission for Doorman {
    type Claim<'r> = (Api, &'r str);

    fn claim<'r>(
        &self,
        api: Api,
        _operation: &'static Operation,
        parts: &'r Parts,
        now: SystemTime,
    ) -> Result<(Api, &'r str), Fault> {
        assert_eq!(now, SystemTime::UNIX_EPOCH, "the time is what the door was given");
        assert!(!parts.headers["host"].is_empty(), "signatures are over the host");
        self.heads.fetch_add(1, Ordering::SeqCst);
        let signature = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
        let name = signature.and_then(|signature| signature.strip_prefix("key "));
        let unsigned = || Fault::new(Kind::MissingAuthentication, "the request is not signed");
        name.map(|name| (api, name)).ok_or_else(unsigned)
    }

    fn admit(&self, (api, name): (Api, &str), _body: &[u8], now: SystemTime) -> Result<Caller, Fault> {
        assert_eq!(now, SystemTime::UNIX_EPOCH, "the time is what the door was given");
        if name == "broken" {
            return Err(Fault::new(Kind::SignatureMismatch, "the signature does not match"));
        }
        Ok(Caller::known(name, if api == Api::Sfn { "123456789012" } else { "100" }))
    }

    async fn allow(&self, caller: &Caller, right: Right, machine: Option<&str>) -> Result<(), Fault> {
        self.asked.lock().expect("no panic").push((right, machine.map(str::to_owned)));
        let all = caller.access_key_id() != Some("narrow");
        if all || right == Right::Read || machine == Some("orders") {
            return Ok(());
        }
        Err(Fault::new(Kind::AccessDenied, format!("the key may not {} {machine:?}", right.as_str())))
    }

    fn is_open(&self) -> bool {
        self.open
    }
}

/// Counts what it is told.
#[derive(Default)]
pub struct Counts {
    connections: Mutex<HashMap<Connection, usize>>,
    most_open: Mutex<(usize, usize)>,
    answered: Mutex<Vec<Told>>,
}

impl Tell for Counts {
    fn answered(&self, told: Told) {
        self.answered.lock().expect("no panic").push(told);
    }

    fn connection(&self, _thread: usize, what: Connection) {
        *self.connections.lock().expect("no panic").entry(what).or_default() += 1;
        let mut open = self.most_open.lock().expect("no panic");
        match what {
            Connection::Opened => open.0 += 1,
            Connection::Closed => open.0 -= 1,
            _ => {}
        }
        open.1 = open.1.max(open.0);
    }
}

impl Counts {
    pub fn of(&self, what: Connection) -> usize {
        self.connections.lock().expect("no panic").get(&what).copied().unwrap_or_default()
    }

    /// How many connections were open at once.
    pub fn most_open(&self) -> usize {
        self.most_open.lock().expect("no panic").1
    }

    pub fn answered(&self) -> Vec<Told> {
        self.answered.lock().expect("no panic").clone()
    }

    /// Waits until something was told as often.
    pub fn wait(&self, what: Connection, times: usize) {
        testkit::eventually(&format!("{what:?} is told {times} times"), PATIENCE, || {
            let told = self.of(what);
            if told >= times { Ok(()) } else { Err(format!("{told} times")) }
        });
    }
}

/// An open door.
pub struct Door {
    pub front: Option<Front>,
    pub address: SocketAddr,
    pub gate: Arc<Echo>,
    pub doorman: Arc<Doorman>,
    pub counts: Arc<Counts>,
}

impl Door {
    /// With one thread, so that its limits are those of the door.
    pub fn open() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        Self::start(limits, "127.0.0.1:0", None, false).expect("it opens")
    }

    pub fn start(
        limits: Limits,
        listen: &str,
        tls: Option<trust::PublicIdentity>,
        open: bool,
    ) -> Result<Self, Error> {
        let gate = Arc::new(Echo { calls: watch::Sender::default(), let_go: watch::Sender::default() });
        let doorman = Arc::new(Doorman { open, asked: Mutex::default(), heads: AtomicUsize::new(0) });
        let counts = Arc::new(Counts::default());
        let front = Front::start(FrontConfig {
            listen: listen.parse().expect("an address"),
            threads: 1,
            limits,
            tls,
            gate: Arc::clone(&gate),
            admission: Arc::clone(&doorman),
            tell: Arc::clone(&counts) as Arc<dyn Tell>,
            now: Arc::new(|| SystemTime::UNIX_EPOCH),
        })?;
        Ok(Self { address: front.address(), front: Some(front), gate, doorman, counts })
    }

    pub fn client(&self) -> Client {
        Client::new(TcpStream::connect(self.address).expect("connects"))
    }

    pub fn seen(&self) -> Seen {
        self.gate.calls.borrow().clone()
    }

    /// Waits until the gate has seen this.
    pub fn saw(&self, what: &str, is: impl Fn(&Seen) -> bool) {
        testkit::eventually(what, PATIENCE, || {
            let seen = self.seen();
            if is(&seen) { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }

    /// Lets the calls go that wait, and those that will come.
    pub fn let_go(&self) {
        self.gate.let_go.send_replace(true);
    }

    /// What the admission was asked.
    pub fn asked(&self) -> Vec<(Right, Option<String>)> {
        std::mem::take(&mut self.doorman.asked.lock().expect("no panic"))
    }

    /// Waits until the admission has seen as many heads.
    pub fn saw_heads(&self, many: usize) {
        testkit::eventually("heads are seen", PATIENCE, || {
            let seen = self.doorman.heads.load(Ordering::SeqCst);
            if seen >= many { Ok(()) } else { Err(format!("{seen} of {many}")) }
        });
    }

    /// A call on a new connection succeeds.
    pub fn is_well(&self) {
        let response = self.client().call("ListStateMachines", "{}");
        assert_eq!(response.status, 200, "{}", response.text());
    }

    pub fn shut_down(&mut self) {
        let front = self.front.take().expect("it is open");
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(async { tokio::time::timeout(PATIENCE, front.shut_down()).await })
            .expect("it is shut in time");
    }
}

/// A client on one connection.
pub struct Client<S = TcpStream> {
    pub stream: S,
    unread: Vec<u8>,
}

/// What a client got.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Response {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The name of the error in either API; empty where there is none.
    pub fn error(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let name = body["__type"].as_str().or(body["Response"]["Error"]["Code"].as_str());
        name.unwrap_or_default().rsplit('#').next().unwrap_or_default().to_owned()
    }
}

/// A Step Functions call as bytes.
pub fn sfn(operation: &str, body: &str) -> String {
    request(
        &[
            "Host: localhost",
            "Authorization: key good",
            "Content-Type: application/x-amz-json-1.0",
            &format!("X-Amz-Target: AWSStepFunctions.{operation}"),
        ],
        body,
    )
}

/// An ASW call as bytes.
pub fn asw(action: &str, body: &str) -> String {
    request(
        &[
            "Host: localhost",
            "Authorization: key good",
            "Content-Type: application/json",
            "X-TC-Version: 2020-07-22",
            "X-TC-Region: ap-guangzhou",
            &format!("X-TC-Action: {action}"),
        ],
        body,
    )
}

/// `POST /` with these headers, and the length of this body.
pub fn request(headers: &[&str], body: &str) -> String {
    format!("POST / HTTP/1.1\r\n{}\r\nContent-Length: {}\r\n\r\n{body}", headers.join("\r\n"), body.len())
}

impl Client {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        Self { stream, unread: Vec::new() }
    }
}

impl<S: std::io::Read + std::io::Write> Client<S> {
    pub fn on(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("sent");
    }

    /// Sends as much as the door takes before it closes.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    pub fn call(&mut self, operation: &str, body: &str) -> Response {
        self.send(sfn(operation, body));
        self.receive()
    }

    pub fn action(&mut self, action: &str, body: &str) -> Response {
        self.send(asw(action, body));
        self.receive()
    }

    /// The next answer.
    pub fn receive(&mut self) -> Response {
        self.try_receive().expect("an answer, not the end")
    }

    /// The next answer; `None` at the connection's end.
    pub fn try_receive(&mut self) -> Option<Response> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more() {
                assert!(
                    self.unread.is_empty(),
                    "half an answer: {:?}",
                    String::from_utf8_lossy(&self.unread)
                );
                return None;
            }
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).expect("text");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").expect("a header"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, length)| length.parse().expect("a length"));
        while self.unread.len() < length {
            assert!(self.more(), "half a body");
        }
        let body = self.unread.drain(..length).collect::<Vec<u8>>().into();
        Some(Response { status: status.parse().expect("a number"), headers, body })
    }

    /// Waits for the connection's end; nothing comes before it.
    pub fn ends(&mut self) {
        let more = self.try_receive();
        assert!(more.is_none(), "{more:?}");
    }

    /// Whether more came; `false` at the end.
    pub fn more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
            Err(error) => panic!("nothing came: {error}"),
        }
    }

    pub fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }
}
