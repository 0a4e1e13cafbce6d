//! OTLP: a collector on loopback that unpacks and decodes what it gets.

use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use asl::Timestamp;
use asl::history::{EventKind, Fault, Record};
use bytes::Bytes;
use export::otlp::{OtlpLogs, OtlpMetrics, OtlpOptions, OtlpTraces};
use export::push::MetricsPush;
use export::{
    Batch, Exporter, IntakeBounds, Page, PumpOptions, Sink, SinkError, Span, SpanKind, SpanPage, Traces,
};
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use telemetry::{DropReason, ExportMetrics, NodeMetrics, Signal};
use testkit::eventually_async;
use tokio::net::TcpListener;

use crate::support::{Mood, NOW_SECONDS, arn, batch, now, page, tls};

const WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Taken {
    metrics: Vec<ExportMetricsServiceRequest>,
    logs: Vec<ExportLogsServiceRequest>,
    traces: Vec<ExportTraceServiceRequest>,
    /// Requests so far, good and bad.
    requests: u64,
    /// The `authorization` that came last.
    authorization: Option<String>,
    /// Log records and spans that it says it rejected.
    rejects: i64,
}

#[derive(Clone)]
struct Collector {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    taken: Arc<Mutex<Taken>>,
}

impl Collector {
    async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let collector = Self { address, mood: Arc::new(Mutex::new(mood)), taken: Arc::default() };
        let served = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let collector = served.clone();
                let service = service_fn(move |request| {
                    let collector = collector.clone();
                    async move { Ok::<_, Infallible>(collector.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        collector
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().expect("no panic")
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().expect("no panic") = mood;
    }

    fn options(&self, path: &str) -> OtlpOptions {
        OtlpOptions {
            endpoint: format!("http://{}{path}", self.address),
            headers_file: None,
            instance: "node-1".to_owned(),
            version: "1.2.3".to_owned(),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let mood = self.mood.lock().expect("no panic").clone();
        self.taken().requests += 1;
        match mood {
            Mood::Takes => told(200, self.take(&parts, &body), &[]),
            Mood::Hangs => std::future::pending().await,
            Mood::Answers(status, body, headers) => told(status, body.as_bytes().to_vec(), &headers),
        }
    }

    fn take(&self, parts: &http::request::Parts, body: &[u8]) -> Vec<u8> {
        assert_eq!(parts.method, "POST");
        assert_eq!(
            (&parts.headers["content-type"], &parts.headers["content-encoding"]),
            (
                &http::HeaderValue::from_static("application/x-protobuf"),
                &http::HeaderValue::from_static("gzip")
            )
        );
        let mut raw = Vec::new();
        GzDecoder::new(body).read_to_end(&mut raw).expect("gzip");
        let mut taken = self.taken();
        let authorization = parts.headers.get("authorization");
        taken.authorization = authorization.map(|value| value.to_str().expect("text").to_owned());
        match parts.uri.path() {
            "/v1/metrics" | "/behind/v1/metrics" => {
                taken.metrics.push(ExportMetricsServiceRequest::decode(raw.as_slice()).expect("protobuf"));
                Vec::new()
            }
            "/v1/logs" => {
                taken.logs.push(ExportLogsServiceRequest::decode(raw.as_slice()).expect("protobuf"));
                let rejected_log_records = taken.rejects;
                let error_message = "too old".to_owned();
                let partial_success = Some(ExportLogsPartialSuccess { rejected_log_records, error_message });
                ExportLogsServiceResponse { partial_success }.encode_to_vec()
            }
            "/v1/traces" => {
                taken.traces.push(ExportTraceServiceRequest::decode(raw.as_slice()).expect("protobuf"));
                let rejected_spans = taken.rejects;
                let partial_success =
                    Some(ExportTracePartialSuccess { rejected_spans, ..Default::default() });
                ExportTraceServiceResponse { partial_success }.encode_to_vec()
            }
            path => panic!("nobody serves {path}"),
        }
    }

    fn metrics(&self) -> Vec<Metric> {
        let taken = self.taken();
        let resources = taken.metrics.iter().flat_map(|request| &request.resource_metrics);
        resources
            .flat_map(|resource| &resource.scope_metrics)
            .flat_map(|scope| scope.metrics.clone())
            .collect()
    }
}

fn told(status: u16, body: Vec<u8>, headers: &[(&str, &str)]) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status);
    let response = headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
    response.body(Full::new(Bytes::from(body))).expect("a response")
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

fn text(text: &str) -> Option<Value> {
    Some(Value::StringValue(text.to_owned()))
}

fn is_node_1(resource: Option<&Resource>) -> bool {
    let attributes = &resource.expect("a resource").attributes;
    let said = ["service.name", "service.instance.id", "service.version"].map(|key| value(attributes, key));
    said.map(Option::<&Value>::cloned) == ["myriad", "node-1", "1.2.3"].map(text)
}

/// A node with two shards that has started three executions of one machine.
fn node() -> NodeMetrics {
    let node = NodeMetrics::new("1.2.3", 2);
    for (shard, started) in [(0, 1), (1, 2)] {
        let machine = node.shard(shard).expect("a shard").machine("m");
        machine.started.add(started);
        machine.duration.observe_n(3_000, started);
        machine.open.set(5);
    }
    node
}

#[tokio::test]
async fn a_snapshot_arrives_as_otlp_has_it() {
    let (collector, node) = (Collector::start(Mood::Takes).await, node());
    let mut sink = OtlpMetrics::new(collector.options("/"), &tls()).expect("a client");
    let snapshot = node.snapshot();
    let since = u64::try_from(snapshot.since.duration_since(UNIX_EPOCH).expect("after").as_nanos());
    let at = u64::try_from(snapshot.at.duration_since(UNIX_EPOCH).expect("after").as_nanos());
    let (since, at) = (since.expect("small"), at.expect("small"));
    let sent = sink.send(&Batch::of(vec![Arc::new(snapshot)])).await.expect("taken");
    assert!(sent.bytes > 0);
    let metrics = collector.metrics();
    assert!(is_node_1(collector.taken().metrics[0].resource_metrics[0].resource.as_ref()));
    let find = |name: &str| metrics.iter().find(|metric| metric.name == name).expect(name).data.clone();

    let Some(Data::Sum(started)) = find("executor_executions_started") else { panic!("no sum") };
    assert!(started.is_monotonic && started.aggregation_temporality == 2);
    let point =
        started.data_points.iter().find(|point| value(&point.attributes, "machine") == text("m").as_ref());
    let point = point.expect("the machine");
    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (since, at));
    assert_eq!(point.value, Some(Number::AsInt(3)));

    let Some(Data::Gauge(open)) = find("executor_machine_executions_open") else { panic!("no gauge") };
    assert!(open.data_points.iter().any(|point| point.value == Some(Number::AsInt(10))));
    let Some(Data::Sum(build)) = find("executor_build_info") else { panic!("no sum") };
    assert!(!build.is_monotonic);
    assert_eq!(value(&build.data_points[0].attributes, "version"), text("1.2.3").as_ref());

    let Some(Data::Histogram(duration)) = find("executor_execution_duration_seconds") else { panic!("none") };
    let point = duration.data_points.iter().find(|point| point.count == 3).expect("the machine");
    assert_eq!((point.sum, point.explicit_bounds.len(), point.bucket_counts.len()), (Some(0.009), 19, 20));
    assert_eq!((point.explicit_bounds[2], point.bucket_counts[2]), (0.005, 3));
    let unit = |name: &str| &metrics.iter().find(|metric| metric.name == name).expect(name).unit;
    assert_eq!(
        (unit("executor_execution_duration_seconds").as_str(), unit("executor_build_info").as_str()),
        ("s", "")
    );
}

#[tokio::test]
async fn headers_come_from_their_file_and_the_path_is_kept() {
    let (collector, node) = (Collector::start(Mood::Takes).await, node());
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("headers");
    let options = OtlpOptions { headers_file: Some(path.clone()), ..collector.options("/behind/") };
    let mut sink = OtlpMetrics::new(options, &tls()).expect("a client");
    let snapshot = || Batch::of(vec![Arc::new(node.snapshot())]);
    let error = sink.send(&snapshot()).await.expect_err("no file");
    assert!(matches!(error, SinkError::Unavailable { .. }), "{error}");
    for token in ["one", "two"] {
        std::fs::write(&path, format!("authorization: Bearer {token}\n")).expect("written");
        sink.send(&snapshot()).await.expect("taken");
        assert_eq!(collector.taken().authorization.as_deref(), Some(format!("Bearer {token}").as_str()));
    }
    std::fs::write(&path, "secret-without-a-name").expect("written");
    let error = sink.send(&snapshot()).await.expect_err("no header").to_string();
    assert!(error.contains("NAME: VALUE") && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn what_may_be_tried_again_is_and_what_may_not_is_refused() {
    let collector = Collector::start(Mood::Takes).await;
    let mut sink = OtlpLogs::new(collector.options(""), &tls(), now()).expect("a client");
    for status in [429, 502, 503, 504] {
        collector.set(Mood::Answers(status, "busy", vec![("retry-after", "7")]));
        let error = sink.send(&batch(&[page("a", 1..2)])).await.expect_err("busy");
        let SinkError::Unavailable { why, after } = error else { panic!("{status} is refused") };
        assert!(why.contains("busy") && after == Some(Duration::from_secs(7)), "{why}");
    }
    for status in [400, 413] {
        collector.set(Mood::Answers(status, "no", Vec::new()));
        let error = sink.send(&batch(&[page("a", 1..2)])).await.expect_err("refused");
        assert!(matches!(error, SinkError::RefusedWhole { .. }), "{status}: {error}");
    }
    for status in [307, 401, 404, 500] {
        collector.set(Mood::Answers(status, "no", Vec::new()));
        let error = sink.send(&batch(&[page("a", 1..2)])).await.expect_err("refused");
        assert!(matches!(error, SinkError::Refused { .. }), "{status}: {error}");
    }
    let nobody = OtlpOptions { endpoint: "http://127.0.0.1:1".to_owned(), ..collector.options("") };
    let mut sink = OtlpLogs::new(nobody, &tls(), now()).expect("a client");
    let error = sink.send(&batch(&[page("a", 1..2)])).await.expect_err("nobody there");
    assert!(matches!(error, SinkError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn events_arrive_as_log_records_and_what_is_rejected_is_counted() {
    let collector = Collector::start(Mood::Takes).await;
    collector.taken().rejects = 2;
    let mut sink = OtlpLogs::new(collector.options(""), &tls(), now()).expect("a client");
    let mut failed = page("b", 7..7);
    let kind = EventKind::ExecutionFailed(Fault { error: Some(&"E".into()), cause: None });
    failed.push(&Record { id: 7, previous: 6, at: Timestamp(1_700_000_000_000), kind }, true);
    let child = Page { map_run: Some("run".into()), redrive_count: 3, ..page("c", 8..9) };
    let sent = batch(&[child, page("a", 1..4), failed]);
    assert_eq!(sink.send(&sent).await.expect("taken").rejected, 2);
    let taken = collector.taken();
    let resource = &taken.logs[0].resource_logs[0];
    assert!(is_node_1(resource.resource.as_ref()));
    let records = &resource.scope_logs[0].log_records;
    assert_eq!(records.len(), 5);
    for (record, line) in records.iter().zip(&sent.items) {
        let body = record.body.as_ref().and_then(|body| body.value.clone());
        assert_eq!(body, text(&line.text));
        let attributes = &record.attributes;
        assert_eq!(value(attributes, "myriad.execution.arn"), text(&line.execution).as_ref());
        assert_eq!(value(attributes, "myriad.state_machine.arn"), text(&line.machine).as_ref());
        assert_eq!(value(attributes, "myriad.event.type"), text(line.kind).as_ref());
        let numbers = [("myriad.event.id", line.id), ("myriad.redrive_count", u64::from(line.redrive_count))];
        for (name, number) in numbers {
            assert_eq!(value(attributes, name), Some(&Value::IntValue(number.cast_signed())), "{name}");
        }
        assert_eq!(value(attributes, "myriad.map_run.arn").cloned(), line.map_run.as_deref().and_then(text));
        assert_eq!(record.event_name, line.kind);
        assert_eq!(record.time_unix_nano, u64::try_from(line.at_ms).expect("positive") * 1_000_000);
        assert_eq!(record.observed_time_unix_nano, NOW_SECONDS * 1_000_000_000);
    }
    assert_eq!(value(&records[4].attributes, "myriad.execution.arn"), text(&arn("b")).as_ref());
    assert_eq!((records[1].severity_number, records[4].severity_number), (9, 21));
}

/// Pushes what the node counts to the collector, quickly.
fn push(node: &NodeMetrics, collector: &Collector) -> (Exporter, Arc<ExportMetrics>) {
    let cells = node.exporter(Signal::Metrics, "otlp");
    let sink = OtlpMetrics::new(collector.options(""), &tls()).expect("a client");
    let push = MetricsPush::new(node.clone()).and("otlp", Duration::from_millis(20), &cells, || sink);
    (push.start().expect("a thread"), cells)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    eventually_async(what, WITHIN, || async { if holds() { Ok(()) } else { Err("not yet") } }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_pushed_at_an_interval_and_the_last_one_at_the_end() {
    let (collector, node) = (Collector::start(Mood::Takes).await, node());
    let (exporter, cells) = push(&node, &collector);
    until("snapshots arrive", || cells.items.get() >= 3).await;
    node.shard(0).expect("a shard").machine("m").started.add(39);
    assert!(exporter.stop(WITHIN).await);
    let last = collector.metrics().into_iter().rfind(|metric| metric.name == "executor_executions_started");
    let Some(Data::Sum(last)) = last.expect("sent").data else { panic!("no sum") };
    assert!(last.data_points.iter().any(|point| point.value == Some(Number::AsInt(42))), "{last:?}");
    assert!(cells.records.get() > cells.items.get() && cells.offered() >= cells.items.get());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_refuses_or_is_gone_costs_counted_snapshots_and_gets_the_counts_when_it_is_back() {
    let (collector, node) = (Collector::start(Mood::Answers(503, "later", Vec::new())).await, node());
    let (exporter, cells) = push(&node, &collector);
    until("snapshots were given up", || cells.dropped_for(DropReason::GaveUp).0 >= 2).await;
    collector.set(Mood::Answers(400, "never", Vec::new()));
    until("snapshots were refused", || cells.dropped_for(DropReason::Refused).0 >= 2).await;
    assert!(cells.queue_items.get() <= 2 && cells.items.get() == 0);
    collector.set(Mood::Takes);
    until("snapshots arrive", || cells.items.get() >= 1).await;
    assert!(exporter.stop(WITHIN).await);
    let started = collector.metrics().into_iter().find(|metric| metric.name == "executor_executions_started");
    let Some(Data::Sum(started)) = started.expect("sent").data else { panic!("no sum") };
    assert!(started.data_points.iter().any(|point| point.value == Some(Number::AsInt(3))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_holds_two_snapshots_and_no_more() {
    let (collector, node) = (Collector::start(Mood::Hangs).await, node());
    let (exporter, cells) = push(&node, &collector);
    until("snapshots found no room", || cells.dropped_for(DropReason::QueueFull).0 >= 5).await;
    assert!(cells.queue_items.get() <= 2 && collector.taken().requests >= 1);
    assert!(exporter.stop(Duration::from_millis(50)).await, "it ends by its deadline");
    assert!(cells.dropped_for(DropReason::Closing).0 >= 1);
}

fn span(id: u8, of: SpanKind, status: &'static str) -> Span {
    let (since, until) = (asl::Timestamp(1_000), asl::Timestamp(3_000));
    let (error, cause) = (Some("E".into()), Some("C".into()));
    let (parent, link) = (Some([9; 8]), None);
    Span { id: [id; 8], parent, link, name: "pay".into(), of, since, until, status, error, cause }
}

fn span_page(spans: Vec<Span>) -> SpanPage {
    SpanPage {
        trace_id: [7; 16],
        trace_state: "a=1".into(),
        execution: arn("a").into(),
        machine: "m".into(),
        spans,
    }
}

#[tokio::test]
async fn spans_arrive_as_otlp_has_them_and_what_is_rejected_is_counted() {
    let collector = Collector::start(Mood::Takes).await;
    collector.taken().rejects = 1;
    let mut sink = OtlpTraces::new(collector.options(""), &tls()).expect("a client");
    let redriven = Span { link: Some([3; 8]), ..span(1, SpanKind::Run { redrives: 2 }, "FAILED") };
    let quiet = Span { cause: None, ..span(2, SpanKind::State("Task"), "ABORTED") };
    let first = Span { parent: None, error: None, ..span(4, SpanKind::State("Pass"), "SUCCEEDED") };
    let page = span_page(vec![redriven, quiet, span(3, SpanKind::State("Task"), "CAUGHT"), first]);
    assert_eq!(sink.send(&Batch::of(vec![Arc::new(page)])).await.expect("taken").rejected, 1);
    let taken = collector.taken();
    let resource = &taken.traces[0].resource_spans[0];
    assert!(is_node_1(resource.resource.as_ref()));
    let [run, task, caught, first] = &resource.scope_spans[0].spans[..] else { panic!("other spans") };
    assert!([run, task, caught, first].iter().all(|span| {
        (span.trace_id.as_slice(), span.trace_state.as_str(), span.flags) == (&[7; 16][..], "a=1", 1)
    }));
    // SERVER, CLIENT, INTERNAL.
    assert_eq!([run.kind, task.kind, caught.kind, first.kind], [2, 3, 3, 1]);
    assert_eq!((run.span_id.as_slice(), run.parent_span_id.as_slice()), (&[1; 8][..], &[9; 8][..]));
    assert_eq!((run.links[0].span_id.as_slice(), first.parent_span_id.len()), (&[3; 8][..], 0));
    let message = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
        span.status.as_ref().map(|status| (status.code, status.message.clone()))
    };
    let errors = [run, task, caught, first].map(message);
    assert_eq!(errors, [Some((2, "E: C".to_owned())), Some((2, "E".to_owned())), None, None]);
    assert_eq!(value(&run.attributes, "myriad.execution.arn"), text(&arn("a")).as_ref());
    assert_eq!(value(&run.attributes, "myriad.redrive_count"), Some(&Value::IntValue(2)));
    assert_eq!(value(&caught.attributes, "error.type"), text("E").as_ref());
    assert_eq!(value(&task.attributes, "myriad.state.name"), text("pay").as_ref());
    assert_eq!(value(&task.attributes, "myriad.state.type"), text("Task").as_ref());
    assert_eq!(run.end_time_unix_nano - run.start_time_unix_nano, 2_000_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_for_a_collector_that_is_down_wait_within_their_bound_and_the_rest_is_counted() {
    let collector = Collector::start(Mood::Answers(503, "later", Vec::new())).await;
    let cells = Arc::<ExportMetrics>::default();
    let sink = OtlpTraces::new(collector.options(""), &tls()).expect("a client");
    let options = PumpOptions { queue_items: 4, batch_age: Duration::ZERO, ..PumpOptions::default() };
    let traces = Traces::new(IntakeBounds::default()).and("otlp", options, Arc::clone(&cells), move || sink);
    let (exporter, intakes) = traces.start(1).expect("a thread");
    for _ in 0..10 {
        assert!(intakes[0].offer(span_page(vec![span(1, SpanKind::State("Pass"), "SUCCEEDED")])));
    }
    until("what has no room is dropped", || cells.dropped_for(DropReason::QueueFull).0 == 6).await;
    collector.set(Mood::Takes);
    until("the rest arrives", || cells.items.get() == 4).await;
    assert_eq!((cells.offered(), cells.records.get()), (10, 4));
    assert!(exporter.stop(WITHIN).await);
}
