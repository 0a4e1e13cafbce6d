//! A scheduler's `/metrics` and `/healthz`, on a port of their own.
//!
//! Invariants: as the nodes' port ([`executor::metrics_http`]). What may fail: the port is taken.

use std::borrow::Cow;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use executor::grpc::listener;
use executor::metrics_http::{self, Told};
use telemetry::{Form, SchedulerMetrics};

use crate::directory::Directory;
use crate::error::Error;

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
    pub async fn serve(self, metrics: SchedulerMetrics, directory: Arc<Directory>) {
        if let Err(error) = metrics_http::serve(self.listener, Asked { metrics, directory }).await {
            tracing::error!("the metrics port ended: {error}");
        }
    }
}

struct Asked {
    metrics: SchedulerMetrics,
    directory: Arc<Directory>,
}

impl Told for Asked {
    fn metrics(&self, form: Form) -> String {
        self.metrics.snapshot().text(form)
    }

    /// A scheduler serves from its start on; whether there is a node that takes starts is said beside it.
    fn health(&self) -> (bool, Cow<'static, str>) {
        let shards = self.directory.view().shards.len();
        (true, format!("serving; shards known: {shards}").into())
    }
}
