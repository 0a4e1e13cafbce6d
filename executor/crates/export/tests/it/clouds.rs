//! CloudWatch and Tencent Cloud Monitor: a server on loopback that verifies signatures and holds requests to the services'
//! bounds.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use export::push::{CloudWatch, CloudWatchOptions, TencentMonitor, TencentOptions};
use export::{Batch, Sink, SinkError};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sign::{Claim, Received, VerifyError};
use telemetry::{NodeMetrics, Snapshot};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use crate::support::{NOW_SECONDS, SECRET_ID, SECRET_KEY, keys_file, now, tls};

/// Answers in turn what it was told to, and what the service says when it takes a request after that.
#[derive(Clone)]
struct Cloud {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: Vec<(u16, &'static str)>,
    taken: Vec<Value>,
    refused: Vec<&'static str>,
}

impl Cloud {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let cloud = Self { address, state: Arc::default() };
        let served = cloud.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let cloud = served.clone();
                let service = service_fn(move |request| {
                    let cloud = cloud.clone();
                    async move { Ok::<_, Infallible>(cloud.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        cloud
    }

    fn answers_once(&self, status: u16, body: &'static str) {
        self.state.lock().expect("no panic").answers.insert(0, (status, body));
    }

    fn taken(&self) -> Vec<Value> {
        self.state.lock().expect("no panic").taken.clone()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let mut state = self.state.lock().expect("no panic");
        let (verified, service, taken) = match header("x-amz-target") {
            Some(target) => {
                assert_eq!(target, "GraniteServiceVersion20100801.PutMetricData");
                assert_eq!(header("content-type"), Some("application/x-amz-json-1.0"));
                let verified = verify(&parts, &body, sign::sigv4::verify);
                (verified.map(|claim| (claim.service, claim.region)), ("monitoring", "us-east-1"), "{}")
            }
            None => {
                assert_eq!(header("x-tc-action"), Some("PutMonitorData"));
                assert_eq!(header("x-tc-version"), Some("2018-07-24"));
                let verified = verify(&parts, &body, sign::tc3::verify);
                let taken = r#"{"Response":{"RequestId":"r"}}"#;
                (verified.map(|claim| (claim.service, claim.region)), ("monitor", "ap-guangzhou"), taken)
            }
        };
        let (status, text) = match verified {
            Err(error) => {
                state.refused.push(error.tencent_code());
                let refusal = if service.0 == "monitor" {
                    r#"{"Response":{"Error":{"Code":"AuthFailure.SignatureFailure","Message":"no"}}}"#
                } else {
                    r#"{"__type":"com.amazon.coral.service#SignatureDoesNotMatch","message":"no"}"#
                };
                (if service.0 == "monitor" { 200 } else { 403 }, refusal)
            }
            Ok(claim) => {
                assert_eq!((claim.0.as_str(), claim.1.as_str()), service);
                state.answers.pop().unwrap_or((200, taken))
            }
        };
        if text == taken {
            state.taken.push(serde_json::from_slice(&body).expect("JSON"));
        }
        let response = Response::builder().status(status);
        response.body(Full::new(Bytes::from_static(text.as_bytes()))).expect("a response")
    }
}

fn verify(
    parts: &http::request::Parts,
    body: &[u8],
    verify: impl Fn(&Received<'_>, u64, fn(&Claim) -> Option<Zeroizing<String>>) -> Result<Claim, VerifyError>,
) -> Result<Claim, VerifyError> {
    let received = Received { method: &parts.method, target: "/", headers: &parts.headers, body };
    verify(&received, NOW_SECONDS, |claim| {
        (claim.id == SECRET_ID).then(|| Zeroizing::new(SECRET_KEY.to_owned()))
    })
}

fn aws_keys(dir: &Path, key: &str) -> PathBuf {
    let path = dir.join("aws");
    let text =
        format!("AWS_ACCESS_KEY_ID={SECRET_ID}\nAWS_SECRET_ACCESS_KEY={key}\nAWS_SESSION_TOKEN=temporary\n");
    std::fs::write(&path, text).expect("written");
    path
}

fn cloudwatch(cloud: &Cloud, keys_file: PathBuf) -> CloudWatch {
    let options = CloudWatchOptions {
        region: "us-east-1".to_owned(),
        endpoint: Some(format!("http://{}", cloud.address)),
        namespace: "Myriad/States".to_owned(),
        keys_file,
    };
    CloudWatch::new(options, &tls(), now()).expect("a client")
}

fn snapshot(node: &NodeMetrics) -> Batch<Arc<Snapshot>> {
    Batch::of(vec![Arc::new(node.snapshot())])
}

const ARN: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:m";

/// The metrics of a request by name, without what all of them have.
fn metrics(request: &Value) -> Vec<(String, Value)> {
    assert_eq!(request["Namespace"], "Myriad/States");
    let metrics = request["MetricData"].as_array().expect("metrics");
    assert!((1..=1_000).contains(&metrics.len()) && request.to_string().len() < 1_000_000);
    let of = |metric: &Value| {
        assert_eq!(metric["Dimensions"], json!([{ "Name": "StateMachineArn", "Value": ARN }]));
        assert!(metric["Timestamp"].as_u64().is_some());
        let name = metric["MetricName"].as_str().expect("a name").to_owned();
        let is_time = name == "ExecutionTime";
        assert_eq!(metric["Unit"], if is_time { "Milliseconds" } else { "Count" });
        let value =
            if is_time { json!([metric["Values"], metric["Counts"]]) } else { metric["Value"].clone() };
        (name, value)
    };
    metrics.iter().map(of).collect()
}

fn told(name: &str, value: Value) -> (String, Value) {
    (name.to_owned(), value)
}

#[tokio::test]
async fn cloudwatch_gets_what_has_come_since_the_last_push_under_the_names_of_step_functions() {
    let (cloud, dir) = (Cloud::start().await, tempfile::tempdir().expect("a folder"));
    let node = NodeMetrics::new("test", 2);
    let machine = |shard| node.shard(shard).expect("a shard").machine(ARN);
    let mut sink = cloudwatch(&cloud, aws_keys(dir.path(), SECRET_KEY));
    assert_eq!(sink.send(&snapshot(&node)).await, Ok(0.into()), "nothing has happened");
    machine(0).started.add(3);
    machine(1).started.add(1);
    machine(0).succeeded.add(1);
    machine(0).throttled.add(2);
    machine(0).duration.observe(1_500);
    assert!(sink.send(&snapshot(&node)).await.expect("taken").bytes > 0);
    assert_eq!(sink.send(&snapshot(&node)).await, Ok(0.into()), "nothing is new");
    machine(1).failed.add(1);
    machine(1).aborted.add(1);
    machine(1).timed_out.add(1);
    sink.send(&snapshot(&node)).await.expect("taken");
    let taken = cloud.taken();
    assert_eq!(taken.len(), 2);
    let first = [
        told("ExecutionsStarted", json!(4)),
        told("ExecutionsSucceeded", json!(1)),
        told("ExecutionThrottled", json!(2)),
        told("ExecutionTime", json!([[1.5], [1]])),
    ];
    assert_eq!(metrics(&taken[0]), first);
    let second = ["ExecutionsFailed", "ExecutionsAborted", "ExecutionsTimedOut"];
    assert_eq!(metrics(&taken[1]), second.map(|name| told(name, json!(1))));
}

#[tokio::test]
async fn what_cloudwatch_does_not_take_is_told_with_what_comes_after_it() {
    let (cloud, dir) = (Cloud::start().await, tempfile::tempdir().expect("a folder"));
    let node = NodeMetrics::new("test", 1);
    let machine = node.shard(0).expect("a shard").machine(ARN);
    let mut sink = cloudwatch(&cloud, aws_keys(dir.path(), "another-secret"));
    machine.started.add(1);
    let error = sink.send(&snapshot(&node)).await.expect_err("a wrong key");
    let SinkError::Refused { why } = error else { panic!("it is tried again") };
    assert!(why.contains("SignatureDoesNotMatch") && !why.contains("another-secret"), "{why}");
    aws_keys(dir.path(), SECRET_KEY);
    cloud.answers_once(400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#);
    let error = sink.send(&snapshot(&node)).await.expect_err("too fast");
    assert!(matches!(error, SinkError::Unavailable { .. }), "{error}");
    machine.started.add(4);
    sink.send(&snapshot(&node)).await.expect("taken");
    assert_eq!(metrics(&cloud.taken()[0]), [told("ExecutionsStarted", json!(5))]);
}

#[tokio::test]
async fn a_request_that_is_refused_does_not_keep_the_others_back_and_none_is_repeated() {
    let (cloud, dir) = (Cloud::start().await, tempfile::tempdir().expect("a folder"));
    let node = NodeMetrics::new("test", 1);
    // Two metrics each: 600 of them do not fit into a request.
    for number in 0..600 {
        let machine = node.shard(0).expect("a shard").machine(&format!("m{number:03}"));
        machine.started.add(1);
        machine.succeeded.add(1);
    }
    let mut sink = cloudwatch(&cloud, aws_keys(dir.path(), SECRET_KEY));
    cloud.answers_once(400, r#"{"__type":"InvalidParameterValueException","message":"no"}"#);
    let error = sink.send(&snapshot(&node)).await.expect_err("one is refused");
    assert!(matches!(error, SinkError::Refused { .. }), "{error}");
    let sizes = || {
        cloud
            .taken()
            .iter()
            .map(|taken| taken["MetricData"].as_array().map_or(0, Vec::len))
            .collect::<Vec<_>>()
    };
    assert_eq!(sizes(), [200]);
    sink.send(&snapshot(&node)).await.expect("taken");
    assert_eq!(sizes(), [200, 1_000]);
    assert_eq!(sink.send(&snapshot(&node)).await, Ok(0.into()));
}

#[tokio::test]
async fn tencent_gets_the_nodes_totals_for_a_whole_minute() {
    let (cloud, dir) = (Cloud::start().await, tempfile::tempdir().expect("a folder"));
    let options = TencentOptions {
        endpoint: format!("http://{}", cloud.address),
        region: Some("ap-guangzhou".to_owned()),
        instance: "node-1".to_owned(),
        keys_file: keys_file(dir.path(), SECRET_KEY, Some("temporary")),
    };
    let mut sink = TencentMonitor::new(options, &tls(), now()).expect("a client");
    let node = NodeMetrics::new("test", 1);
    for (name, started) in [("a", 2), ("b", 3)] {
        let machine = node.shard(0).expect("a shard").machine(name);
        machine.started.add(started);
        machine.duration.observe_n(2_500_000, started);
    }
    let refusal =
        r#"{"Response":{"Error":{"Code":"RequestLimitExceeded","Message":"later"},"RequestId":"r"}}"#;
    cloud.answers_once(200, refusal);
    let error = sink.send(&snapshot(&node)).await.expect_err("later");
    assert!(matches!(error, SinkError::Unavailable { .. }), "{error}");
    sink.send(&snapshot(&node)).await.expect("taken");
    sink.send(&snapshot(&node)).await.expect("taken");
    let taken = cloud.taken();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0]["AnnounceInstance"], "node-1");
    assert_eq!(taken[0]["AnnounceTimestamp"].as_u64().expect("a time") % 60, 0);
    let pairs = |report: &Value| -> Vec<(String, u64)> {
        let metrics = report["Metrics"].as_array().expect("metrics");
        let pair =
            |metric: &Value| Some((metric["MetricName"].as_str()?.to_owned(), metric["Value"].as_u64()?));
        metrics.iter().map(|metric| pair(metric).expect("a pair")).collect()
    };
    let (first, second) = (pairs(&taken[0]), pairs(&taken[1]));
    assert_eq!(first[0], ("myriad_executions_started".to_owned(), 5));
    assert_eq!(first[6], ("myriad_execution_time_ms".to_owned(), 2_500));
    assert!(second.len() == 6 && second.iter().all(|(_, value)| *value == 0), "{second:?}");
    keys_file(dir.path(), "wrong", None);
    let error = sink.send(&snapshot(&node)).await.expect_err("a wrong key");
    assert!(matches!(error, SinkError::Refused { .. }), "{error}");
    assert_eq!(cloud.state.lock().expect("no panic").refused, ["AuthFailure.SignatureFailure"]);
}
