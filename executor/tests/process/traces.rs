//! Traces of a real node: a target on loopback that sees the headers, and a collector that decodes the spans.

use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use proto::executor::v1;
use testkit::eventually_async;
use tokio::net::TcpListener;

use crate::support::PATIENCE;
use crate::support::node::{Node, start_request};
use crate::support::store::StoreUnderTest;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A path that was asked for, with its `traceparent` and `tracestate`.
type Asked = (String, String, String);

/// Target and collector in one.
#[derive(Clone)]
struct Peer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Peer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let peer = Self { address, asked: Arc::default(), spans: Arc::default() };
        let served = peer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let peer = served.clone();
                let service = service_fn(move |request| {
                    let peer = peer.clone();
                    async move { Ok::<_, Infallible>(peer.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        peer
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let body = body.collect().await.expect("a body").to_bytes();
        if path == "/v1/traces" {
            let mut raw = Vec::new();
            GzDecoder::new(&body[..]).read_to_end(&mut raw).expect("gzip");
            let request = ExportTraceServiceRequest::decode(raw.as_slice()).expect("protobuf");
            let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            self.spans.lock().expect("no panic").extend(scopes.flat_map(|scope| scope.spans));
            return Response::default();
        }
        let header = |name| parts.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
        let header = |name| header(name).unwrap_or_default();
        let asked = (path.clone(), header("traceparent"), header("tracestate"));
        let before = {
            let mut all = self.asked.lock().expect("no panic");
            all.push(asked);
            all.iter().filter(|asked| asked.0 == path).count()
        };
        // Whoever asks first for this waits until it dies.
        if path == "/hangs" && before == 1 {
            std::future::pending::<()>().await;
        }
        Response::new(Full::new(Bytes::from_static(b"{}")))
    }

    fn asked(&self, path: &str) -> Vec<Asked> {
        self.asked.lock().expect("no panic").iter().filter(|asked| asked.0 == path).cloned().collect()
    }

    async fn was_asked(&self, path: &str, times: usize) -> Vec<Asked> {
        let what = format!("{path} is asked for {times} times");
        eventually_async(&what, PATIENCE, async || {
            let asked = self.asked(path);
            if asked.len() >= times { Ok(asked) } else { Err(format!("{asked:?}")) }
        })
        .await
    }

    /// The last span of this name, as soon as it is told.
    async fn span(&self, name: &str) -> Span {
        eventually_async(&format!("the span {name} is told"), PATIENCE, async || {
            let spans = self.spans.lock().expect("no panic");
            let span = spans.iter().rfind(|span| span.name == name).cloned();
            span.ok_or_else(|| format!("{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>()))
        })
        .await
    }

    /// A state that calls this path.
    fn state(&self, path: &str, then: &str) -> String {
        let address = self.address;
        format!(
            r#"{{"Type":"Task","Resource":"arn:aws:states:::http:invoke","Parameters":{{
            "ApiEndpoint":"http://{address}{path}","Method":"POST"}},{then}}}"#
        )
    }

    async fn node(&self, store: &StoreUnderTest) -> Node {
        let url = format!("http://{}", self.address);
        let flags = ["--traces-otlp", &url, "--traces-sample", "0", "--egress-allow", "127.0.0.1"];
        Node::serving(&store.flags(), &flags).await
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The header of whoever is called from the state with this span.
fn below(span: &Span) -> String {
    format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id))
}

fn caller() -> v1::TraceContext {
    v1::TraceContext { traceparent: format!("00-{TRACE}-{CALLER}-01"), tracestate: "vendor=1".to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_goes_on_through_the_death_of_its_node() {
    let (peer, store) = (Peer::start().await, StoreUnderTest::file());
    let definition = format!(
        r#"{{"StartAt":"First","States":{{"First":{},"Second":{}}}}}"#,
        peer.state("/answers", r#""Next":"Second""#),
        peer.state("/hangs", r#""End":true"#)
    );
    let mut node = peer.node(&store).await;
    let request = v1::StartExecutionRequest { trace: Some(caller()), ..start_request(&definition, "{}") };
    node.client().await.expect("it answers").start_execution(request).await.expect("started");
    peer.was_asked("/hangs", 1).await;
    node.kill9();
    node.relaunch();
    node.wait_serving().await;
    let hung = peer.was_asked("/hangs", 2).await;
    let (run, first, second) =
        (peer.span("plain").await, peer.span("First").await, peer.span("Second").await);
    assert_eq!((hex(&run.trace_id).as_str(), hex(&run.parent_span_id).as_str()), (TRACE, CALLER));
    assert_eq!(run.trace_state, "vendor=1");
    for state in [&first, &second] {
        assert_eq!((&state.trace_id, &state.parent_span_id), (&run.trace_id, &run.span_id));
        assert!(state.status.is_none() && state.start_time_unix_nano <= state.end_time_unix_nano);
    }
    let expected = |span: &Span, path: &str| (path.to_owned(), below(span), "vendor=1".to_owned());
    assert_eq!(peer.asked("/answers"), [expected(&first, "/answers")]);
    // Before the crash and after it.
    assert_eq!(hung, vec![expected(&second, "/hangs"); 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_context_of_a_calls_metadata_goes_on_and_that_of_a_caller_who_is_not_sampled_goes_on_as_it_came()
{
    let (peer, store) = (Peer::start().await, StoreUnderTest::file());
    let task = peer.state("/answers", r#""Next":"Bad""#);
    let bad = r#"{"Type":"Fail","Error":"Wrong","Cause":"an execution's data"}"#;
    let definition = format!(r#"{{"StartAt":"Call","States":{{"Call":{task},"Bad":{bad}}}}}"#);
    let mut node = peer.node(&store).await;
    let mut client = node.client().await.expect("it answers");
    for flags in ["01", "00"] {
        let mode = v1::Mode::Express.into();
        let message = v1::StartExecutionRequest { mode, ..start_request(&definition, "{}") };
        let mut request = tonic::Request::new(message);
        let parent = format!("00-{TRACE}-{CALLER}-{flags}").parse().expect("a value");
        request.metadata_mut().insert("traceparent", parent);
        let ended = client.start_sync_execution(request).await.expect("an end").into_inner();
        assert_eq!(ended.error.as_deref(), Some("Wrong"));
    }
    let asked = peer.was_asked("/answers", 2).await;
    let (run, call, bad) = (peer.span("plain").await, peer.span("Call").await, peer.span("Bad").await);
    assert_eq!(asked[0].1, below(&call));
    assert_eq!(asked[1].1, format!("00-{TRACE}-{CALLER}-00"));
    for failed in [&run, &bad] {
        let status = failed.status.as_ref().expect("a status");
        assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "Wrong"));
    }
    node.terminate();
    let told = peer.spans.lock().expect("no panic").len();
    assert_eq!(told, 3, "nothing is told of the second one");
}
