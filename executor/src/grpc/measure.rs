//! Counts calls: how many, how they ended, how long they took.
//!
//! Invariants: every call is counted once, when the last of its answer was handed to the transport or nobody wants it any
//! more; a stream is one call, whatever goes over it. What may fail: nothing, and nothing of a call is changed.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use hyper::body::{Frame, SizeHint};
use telemetry::{GrpcCode, GrpcMetrics, MethodMetrics};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::clock::Clock;

/// Puts the counting before a port's services.
#[derive(Debug, Clone)]
pub(crate) struct MeasureLayer {
    /// The port's own.
    pub metrics: Arc<GrpcMetrics>,
    pub clock: Clock,
}

impl<S> Layer<S> for MeasureLayer {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, layer: self.clone() }
    }
}

/// See [`MeasureLayer`].
#[derive(Debug, Clone)]
pub(crate) struct Measured<S> {
    inner: S,
    layer: MeasureLayer,
}

impl<S, B> Service<http::Request<B>> for Measured<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Answer>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Answer>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let mut call = Call::begin(&self.layer, request.uri().path());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            // A call that failed at once has its status here, and no body.
            call.look(response.headers());
            Ok(response.map(|body| Answer { body, call }))
        })
    }
}

/// A call under way: it is counted when this is dropped.
#[derive(Debug)]
struct Call {
    method: Arc<MethodMetrics>,
    clock: Clock,
    since_us: u64,
    /// How it has ended if nothing more is told.
    code: GrpcCode,
}

impl Call {
    fn begin(layer: &MeasureLayer, path: &str) -> Self {
        let method = layer.metrics.method(path);
        method.under_way.add(1);
        let clock = layer.clock.clone();
        Self { method, since_us: clock.now_us(), clock, code: GrpcCode::Cancelled }
    }

    /// Headers or trailers that may say how it has ended.
    fn look(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get(Status::GRPC_STATUS) {
            self.code = code_of(Code::from_bytes(status.as_bytes()));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.method.under_way.sub(1);
        self.method.calls[self.code as usize].add(1);
        self.method.latency.observe(self.clock.now_us().saturating_sub(self.since_us));
    }
}

fn code_of(code: Code) -> GrpcCode {
    match code {
        Code::Ok => GrpcCode::Ok,
        Code::Cancelled => GrpcCode::Cancelled,
        Code::InvalidArgument => GrpcCode::InvalidArgument,
        Code::NotFound => GrpcCode::NotFound,
        Code::AlreadyExists => GrpcCode::AlreadyExists,
        Code::PermissionDenied => GrpcCode::PermissionDenied,
        Code::ResourceExhausted => GrpcCode::ResourceExhausted,
        Code::FailedPrecondition => GrpcCode::FailedPrecondition,
        Code::Unavailable => GrpcCode::Unavailable,
        Code::Internal => GrpcCode::Internal,
        _ => GrpcCode::Other,
    }
}

/// The body of an answer, whose trailers say how the call has ended.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Body,
    call: Call,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => frame.trailers_ref().into_iter().for_each(|trailers| self.call.look(trailers)),
            Some(Err(_)) => self.call.code = GrpcCode::Internal,
            // It was no call of gRPC's.
            None if self.call.code == GrpcCode::Cancelled => self.call.code = GrpcCode::Other,
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use http_body_util::BodyExt;

    use super::*;
    use crate::clock::ManualClock;

    const STOP: &str = "/executor.v1.Executor/StopExecution";

    fn port() -> (Arc<GrpcMetrics>, MeasureLayer, ManualClock) {
        let (metrics, clock) = (Arc::<GrpcMetrics>::default(), ManualClock::at_ms(1));
        let layer = MeasureLayer { metrics: Arc::clone(&metrics), clock: Clock::Manual(clock.clone()) };
        (metrics, layer, clock)
    }

    fn request(path: &str) -> http::Request<()> {
        http::Request::get(path).body(()).expect("a request")
    }

    fn trailers(status: Option<&'static str>) -> HeaderMap {
        let status = status.map(http::HeaderValue::from_static);
        status.into_iter().map(|status| (http::HeaderName::from_static("grpc-status"), status)).collect()
    }

    /// Answers with a body that ends with these trailers.
    async fn answered(layer: &MeasureLayer, path: &str, status: Option<&'static str>) {
        let mut service = layer.layer(tower::service_fn(move |_: http::Request<()>| async move {
            let end = async move { Some(Ok::<_, Infallible>(trailers(status))) };
            let body = http_body_util::Full::new(Bytes::from_static(b"x")).with_trailers(end);
            Ok::<_, Infallible>(http::Response::new(Body::new(body.map_err(|never| match never {}))))
        }));
        let response = service.call(request(path)).await.expect("infallible");
        response.into_body().collect().await.expect("a body");
    }

    fn counts(metrics: &GrpcMetrics, path: &str) -> Vec<(&'static str, u64)> {
        let method = metrics.method(path);
        let all = GrpcCode::ALL.iter().map(|(code, text)| (*text, method.calls[*code as usize].get()));
        all.filter(|(_, count)| *count > 0).collect()
    }

    #[tokio::test]
    async fn a_call_counts_with_the_code_of_its_trailers_and_the_time_until_they_are_sent() {
        let (metrics, layer, _) = port();
        for status in ["0", "0", "8", "99"] {
            answered(&layer, STOP, Some(status)).await;
        }
        answered(&layer, STOP, None).await;
        assert_eq!(counts(&metrics, STOP), [("OK", 2), ("RESOURCE_EXHAUSTED", 1), ("other", 2)]);
        let method = metrics.method(STOP);
        assert_eq!((method.under_way.get(), method.latency.snapshot().count()), (0, 5));
        answered(&layer, "/made.up/Call", Some("12")).await;
        assert_eq!(counts(&metrics, "/another/Call"), [("other", 1)], "whatever is called shares one series");
    }

    #[tokio::test]
    async fn a_call_that_fails_at_once_counts_with_the_code_of_its_headers() {
        let (metrics, layer, _) = port();
        let mut service = layer.layer(tower::service_fn(|_: http::Request<()>| async {
            Ok::<_, Infallible>(Status::permission_denied("no").into_http())
        }));
        let response = service.call(request(STOP)).await.expect("infallible");
        assert_eq!(metrics.method(STOP).under_way.get(), 1);
        drop(response);
        assert_eq!(counts(&metrics, STOP), [("PERMISSION_DENIED", 1)]);
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_counts_as_cancelled_with_the_time_that_it_took() {
        let (metrics, layer, clock) = port();
        let mut service = layer.layer(tower::service_fn(|_: http::Request<()>| pending()));
        let call = service.call(request(STOP));
        clock.advance(std::time::Duration::from_millis(7));
        drop(call);
        let mut service = layer.layer(tower::service_fn(|_: http::Request<()>| async {
            Ok::<_, Infallible>(http::Response::new(Body::new(http_body_util::Empty::new())))
        }));
        drop(service.call(request(STOP)).await.expect("infallible"));
        assert_eq!(counts(&metrics, STOP), [("CANCELLED", 2)]);
        assert_eq!(metrics.method(STOP).latency.snapshot().sum_us, 7_000);
    }

    #[test]
    fn every_call_of_the_services_has_cells_of_its_own() {
        let proto = include_str!("../../crates/proto/proto/executor/v1/executor.proto");
        let (mut service, mut calls) = ("", 0);
        for line in proto.lines().map(str::trim) {
            let word = |line: &'static str| line.split([' ', '(']).nth(1).unwrap_or_default();
            if line.starts_with("service ") {
                service = word(line);
            } else if line.starts_with("rpc ") {
                let path = format!("/executor.v1.{service}/{}", word(line));
                assert!(telemetry::GRPC_METHODS.contains(&path.as_str()), "{path}");
                calls += 1;
            }
        }
        assert_eq!(calls + 2, telemetry::GRPC_METHODS.len(), "and those of the health service");
    }
}
