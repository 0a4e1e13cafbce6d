//! A scheduler before the node, as a process, and clients at its front door: calls of both APIs that are done, and some that are
//! refused.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Process, ProcessOptions, eventually_async};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use crate::stage::PATIENCE;

/// Bytes of a head, at most, and of a body.
const HEAD_MAX: u64 = 16 << 10;
const BODY_MAX: usize = 16 << 20;
const STARTS_EACH: Duration = Duration::from_millis(50);
/// How often somebody connects who speaks no HTTP.
const STRANGER_EACH: Duration = Duration::from_secs(4);

/// A scheduler that knows this node, lets everybody in, and is ready; its front door, and the port of its metrics.
pub async fn scheduler(folder: &Path, node: SocketAddr) -> (Process, SocketAddr, SocketAddr) {
    let (node, free) = (format!("http://{node}"), "127.0.0.1:0");
    let secret = folder.join("secret");
    std::fs::write(&secret, format!("1 {}", "7".repeat(64))).expect("written");
    let secret = secret.display().to_string();
    let listen = ["--listen", free, "--http-listen", free, "--no-auth", "--metrics", free];
    let flags = listen.into_iter().chain(["--node", &node, "--cluster-secret-file", &secret]);
    let program = testkit::process::built_binary("scheduler-stub", "scheduler-stub")
        .unwrap_or_else(|error| panic!("{error}"));
    let arguments = std::iter::once("serve").chain(flags).map(str::to_owned);
    let process = Process::start(&ProcessOptions::new("scheduler", program, arguments));
    let mut process = process.unwrap_or_else(|error| panic!("{error}"));
    let mut says = |words: &str| -> SocketAddr {
        let line = process.wait_for_line(words, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        let (_, url) = line.split_once("http://").expect("a URL");
        url.trim_end_matches("/metrics").parse().expect("an address")
    };
    let (door, metrics) = (says("front door listens on"), says("metrics on"));
    eventually_async("the scheduler serves", PATIENCE, || async {
        let (status, body) = Client::new(metrics).get("/healthz").await.map_err(|error| error.to_string())?;
        if status == 200 { Ok(()) } else { Err(String::from_utf8_lossy(&body).into_owned()) }
    })
    .await;
    (process, door, metrics)
}

/// Calls again and again, for as long as the runtime lives.
pub async fn call(door: SocketAddr) {
    let (mut client, mut machines) = (Client::new(door), Vec::new());
    for kind in ["STANDARD", "EXPRESS"] {
        let created = client.sfn("CreateStateMachine", &machine(kind)).await.expect("an answer");
        machines.push(created["stateMachineArn"].as_str().expect("a machine").to_owned());
    }
    let absent = "arn:aws:states:local:000000000000:stateMachine:absent";
    let qrn = "qrn:qcs:asw:local:000000000000:http:json:flowmachine:absent:00000000";
    let calls = [
        (Api::Sfn, "CreateStateMachine", machine("STANDARD"), 2_000),
        (Api::Sfn, "ListExecutions", json!({"stateMachineArn": machines[0], "maxResults": 10}), 500),
        (Api::Sfn, "StartSyncExecution", json!({"stateMachineArn": machines[1], "input": "{}"}), 600),
        (Api::Asw, "DescribeFlowServices", json!({}), 400),
        // Refused, each for a reason of its own.
        (Api::Sfn, "DescribeStateMachine", json!({"stateMachineArn": absent}), 700),
        (Api::Sfn, "StartExecution", json!({"stateMachineArn": machines[0], "input": "no JSON"}), 900),
        (Api::Sfn, "NoSuchOperation", json!({}), 3_000),
        (Api::Asw, "StartExecution", json!({"StateMachineResourceName": qrn}), 1_500),
    ];
    for (api, operation, input, pace) in calls {
        tokio::spawn(go_on(Client::new(door), api, operation, input, Duration::from_millis(pace)));
    }
    tokio::spawn(start_and_look(Client::new(door), machines.swap_remove(0)));
    tokio::spawn(strangers(door));
}

fn machine(kind: &str) -> Value {
    let definition = r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#;
    let name = format!("door-{}", kind.to_lowercase());
    json!({"name": name, "type": kind, "definition": definition, "roleArn": "arn:aws:iam::000000000000:role/door"})
}

/// By which API something is asked.
#[derive(Clone, Copy)]
enum Api {
    Sfn,
    Asw,
}

/// Those of ASW do not keep their connections.
async fn go_on(mut client: Client, api: Api, operation: &'static str, input: Value, pace: Duration) {
    let mut beat = beat(pace);
    loop {
        beat.tick().await;
        // Whatever becomes of a call is for the scheduler to count.
        let _ = match api {
            Api::Sfn => client.sfn(operation, &input).await,
            Api::Asw => client.asw(operation, &input).await,
        };
        if let Api::Asw = api {
            client.stream = None;
        }
    }
}

async fn start_and_look(mut client: Client, machine: String) {
    let mut beat = beat(STARTS_EACH);
    loop {
        beat.tick().await;
        let input = json!({"stateMachineArn": machine, "input": "{}"});
        let Ok(started) = client.sfn("StartExecution", &input).await else { continue };
        let _ = client.sfn("DescribeExecution", &json!({"executionArn": started["executionArn"]})).await;
    }
}

async fn strangers(door: SocketAddr) {
    let mut beat = beat(STRANGER_EACH);
    loop {
        beat.tick().await;
        if let Ok(mut stream) = TcpStream::connect(door).await {
            let _ = stream.write_all(b"HELO door\r\n\r\n").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }
}

fn beat(pace: Duration) -> tokio::time::Interval {
    let mut beat = tokio::time::interval(pace);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    beat
}

/// Speaks HTTP/1.1 on one connection, and on a new one after trouble.
struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    async fn sfn(&mut self, operation: &str, input: &Value) -> std::io::Result<Value> {
        let target = format!("X-Amz-Target: AWSStepFunctions.{operation}");
        self.post(&[&target, "Content-Type: application/x-amz-json-1.0"], input).await
    }

    async fn asw(&mut self, action: &str, input: &Value) -> std::io::Result<Value> {
        let action = format!("X-TC-Action: {action}");
        let headers =
            [&action, "X-TC-Version: 2020-07-22", "X-TC-Region: local", "Content-Type: application/json"];
        self.post(&headers, input).await
    }

    async fn post(&mut self, headers: &[&str], input: &Value) -> std::io::Result<Value> {
        let (headers, body) = (headers.join("\r\n"), input.to_string());
        let length = body.len();
        let text =
            format!("POST / HTTP/1.1\r\nHost: door\r\n{headers}\r\nContent-Length: {length}\r\n\r\n{body}");
        let (_, body) = self.exchange(&text).await?;
        serde_json::from_slice(&body).map_err(std::io::Error::other)
    }

    async fn get(mut self, path: &str) -> std::io::Result<(u16, Vec<u8>)> {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: door\r\n\r\n")).await
    }

    async fn exchange(&mut self, text: &str) -> std::io::Result<(u16, Vec<u8>)> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(TcpStream::connect(self.address).await?),
        };
        stream.get_mut().write_all(text.as_bytes()).await?;
        let (mut status, mut length, mut keeps) = (None, 0, true);
        let mut head = (&mut stream).take(HEAD_MAX);
        loop {
            let mut line = String::new();
            if head.read_line(&mut line).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end().split_once(':') {
                None if line.trim_end().is_empty() => break,
                None => status = line.split(' ').nth(1).and_then(|status| status.parse().ok()),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().unwrap_or_default();
                }
                Some((name, value)) if name.eq_ignore_ascii_case("connection") => {
                    keeps = !value.trim().eq_ignore_ascii_case("close");
                }
                Some(_) => {}
            }
        }
        let mut body = vec![0; usize::min(length, BODY_MAX)];
        stream.read_exact(&mut body).await?;
        if keeps {
            self.stream = Some(stream);
        }
        Ok((status.unwrap_or_default(), body))
    }
}
