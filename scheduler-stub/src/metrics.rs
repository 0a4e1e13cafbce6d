//! A scheduler's `/metrics`, `/healthz` and `/livez`, on a port of their own.
//!
//! Invariants: as the nodes' port ([`executor::metrics_http`]). What may fail: the port is taken.

use std::borrow::Cow;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use executor::grpc::listener;
use executor::metrics_http::{self, Told};
use telemetry::{Form, SchedulerMetrics};

use crate::error::Error;
use crate::readiness::Readiness;

/// The port, bound and not served yet.
pub(crate) struct Port {
    listener: TcpListener,
    address: SocketAddr,
}

impl Port {
    /// Binds it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the address is taken.
    pub fn bind(listen: SocketAddr) -> Result<Self, Error> {
        let bound = listener::bind(listen)
            .and_then(|listener| listener.local_addr().map(|address| Self { listener, address }));
        bound.map_err(|error| {
            let message =
                format!("cannot listen on {listen}: {error}; choose another with --metrics, or leave it out");
            Error::unavailable(message)
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is dropped.
    pub async fn serve(self, metrics: SchedulerMetrics, readiness: Readiness) {
        let readiness = Arc::new(readiness);
        let asked = Asked { metrics, readiness: Arc::clone(&readiness) };
        tokio::select! {
            ended = metrics_http::serve(self.listener, asked) => {
                if let Err(error) = ended {
                    tracing::error!("the metrics port ended: {error}");
                }
            }
            () = readiness.keep_asking() => {}
        }
    }
}

struct Asked {
    metrics: SchedulerMetrics,
    readiness: Arc<Readiness>,
}

impl Told for Asked {
    fn metrics(&self, form: Form) -> String {
        self.metrics.snapshot(self.readiness.state()).text(form)
    }

    fn health(&self) -> (bool, Cow<'static, str>) {
        self.readiness.explain()
    }
}
