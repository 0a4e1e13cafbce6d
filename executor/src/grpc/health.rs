//! Health: NOT_SERVING until every shard serves, whenever one does not or answers nothing, and for good once a drain has
//! begun.
//!
//! Invariant: once latched, nothing makes a service SERVING again. (tonic-health begins as SERVING and knows
//! no latch; both are dealt with here.) Nothing here fails.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::select_all;
use futures_util::{Stream, StreamExt};
use proto::executor::v1::executor_server::ExecutorServer;
use proto::executor::v1::worker_server::WorkerServer;
use telemetry::{Form, NodeMetrics};
use tokio::sync::{Mutex, watch};
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as Probed, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

use crate::metrics_http::Told;
use crate::shard::ShardState;

/// The name of every service that has a status; the empty one is the node as a whole.
const SERVICES: [&str; 3] = [
    "",
    <ExecutorServer<super::Surface> as NamedService>::NAME,
    <WorkerServer<super::Surface> as NamedService>::NAME,
];

/// The node's health, shared by all ports.
#[derive(Debug, Clone)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reporter: HealthReporter,
    latched: AtomicBool,
    /// Whether all shards serve, as they say.
    fit: AtomicBool,
    /// Whether one of them answers nothing.
    hangs: AtomicBool,
    /// Held while a status is decided and set, so that a late SERVING never overtakes the latch.
    deciding: Mutex<()>,
    serving: watch::Sender<bool>,
    /// What the shards have come to, the one that is worst off.
    worst: watch::Sender<ShardState>,
    /// Why the scheduler does not take the node in; empty where it does.
    refusal: watch::Sender<String>,
    /// Why the store is not the node's ([`crate::cluster::Cluster::wrong`]); empty where it is.
    wrong_store: watch::Receiver<String>,
    metrics: NodeMetrics,
}

impl Told for Health {
    fn metrics(&self, form: Form) -> String {
        self.0.metrics.render(form)
    }

    fn health(&self) -> (bool, Cow<'static, str>) {
        (self.is_serving() && !self.is_draining(), self.explain())
    }
}

impl Health {
    /// NOT_SERVING everywhere. `wrong_store` says why the store is not the node's, where it is not.
    pub async fn new(metrics: NodeMetrics, wrong_store: watch::Receiver<String>) -> Self {
        let (serving, reporter) = (watch::Sender::new(false), HealthReporter::new());
        let [latched, fit, hangs] = [false; 3].map(AtomicBool::new);
        let (deciding, worst) = (Mutex::new(()), watch::Sender::new(ShardState::Connecting));
        let refusal = watch::Sender::default();
        let inner =
            Inner { reporter, latched, fit, hangs, deciding, serving, worst, refusal, wrong_store, metrics };
        let health = Self(Arc::new(inner));
        health.publish(false).await;
        health
    }

    /// The service that answers probes. Its `Watch` streams end when `closing` becomes true: a probe that
    /// watches would hold up the node's end for ever.
    #[must_use]
    pub fn service(&self, closing: watch::Receiver<bool>) -> HealthServer<impl Probed> {
        let service = HealthService::from_health_reporter(self.0.reporter.clone());
        HealthServer::new(Probes { service, closing })
    }

    /// SERVING or NOT_SERVING, as it changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.serving.subscribe()
    }

    /// Whether the node is SERVING.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        *self.0.serving.borrow()
    }

    /// How the node fares, in one line for people.
    #[must_use]
    pub fn explain(&self) -> Cow<'static, str> {
        if self.is_draining() {
            return "draining".into();
        }
        if self.0.hangs.load(Ordering::Acquire) {
            return "not serving: a shard answers nothing; see the log".into();
        }
        let refusal = self.0.refusal.borrow();
        if !refusal.is_empty() {
            return format!("refused by the scheduler: {}", *refusal).into();
        }
        let wrong_store = self.0.wrong_store.borrow();
        if !wrong_store.is_empty() && !self.is_serving() {
            return format!("store refused: {}", *wrong_store).into();
        }
        let told = match *self.0.worst.borrow() {
            ShardState::Serving if self.is_serving() => "serving",
            ShardState::Serving => "not serving: a shard has ended; see the log",
            ShardState::Draining => "draining",
            ShardState::Connecting => "starting: the store has not been reached yet",
            ShardState::Unassigned => {
                "starting: the scheduler has not said yet which partitions this node shall have"
            }
            ShardState::Recovering => "starting: partitions are being recovered",
            ShardState::StoreDown => "store down: it does not confirm; starts are refused until it does",
            ShardState::Failed => "failed: a shard has lost all its partitions to other owners; see the log",
        };
        told.into()
    }

    /// Why the node does not serve; empty where it does.
    #[must_use]
    pub fn condition(&self) -> String {
        if self.is_serving() { String::new() } else { self.explain().into_owned() }
    }

    /// The scheduler has said why it does not take the node in, or that it does (with an empty text).
    pub fn refused_by_scheduler(&self, why: &str) {
        let changed = self.0.refusal.send_if_modified(|known| {
            let changes = known != why;
            if changes {
                why.clone_into(known);
            }
            changes
        });
        if changed && !why.is_empty() {
            tracing::error!("the scheduler does not take this node in: {why}");
        }
    }

    /// Tells the metrics whether the store is the node's, until the node is gone.
    pub async fn follow_store(self) {
        let mut wrong_store = self.0.wrong_store.clone();
        loop {
            let foreign = !wrong_store.borrow_and_update().is_empty();
            self.0.metrics.set_store_foreign(foreign);
            if wrong_store.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether a drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.latched.load(Ordering::Acquire)
    }

    /// NOT_SERVING for good.
    pub async fn latch(&self) {
        self.0.latched.store(true, Ordering::Release);
        self.0.metrics.begin_drain();
        self.decide().await;
    }

    /// Whether a shard answers nothing, as whoever asks them has seen.
    pub async fn hangs(&self, hangs: bool) {
        if self.0.hangs.swap(hangs, Ordering::AcqRel) != hangs {
            self.decide().await;
        }
    }

    async fn set(&self, fit: bool) {
        self.0.fit.store(fit, Ordering::Release);
        self.decide().await;
    }

    async fn decide(&self) {
        let _deciding = self.0.deciding.lock().await;
        let [fit, hangs] = [&self.0.fit, &self.0.hangs].map(|known| known.load(Ordering::Acquire));
        let serving = fit && !hangs && !self.is_draining();
        // A probe that watches hears of changes only.
        if self.is_serving() != serving {
            self.publish(serving).await;
            self.0.serving.send_replace(serving);
            tracing::info!(serving, draining = self.is_draining(), "health changed");
        }
    }

    async fn publish(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES {
            self.0.reporter.set_service_status(service, status).await;
        }
        self.0.metrics.set_ready(serving);
    }

    /// Follows the shards until all of them are gone.
    pub async fn follow(&self, mut shards: Vec<watch::Receiver<ShardState>>) {
        while !shards.is_empty() {
            // Every state is marked as seen, or the wait below would end at once.
            let states = shards.iter_mut().map(|state| *state.borrow_and_update());
            let worst = states.max().unwrap_or(ShardState::Failed);
            self.0.worst.send_replace(worst);
            self.set(worst == ShardState::Serving).await;
            let changes = shards.iter_mut().map(|state| Box::pin(state.changed()));
            let (changed, index, _) = select_all(changes).await;
            if changed.is_err() {
                // A thread that ended cannot serve any more, and takes the node's health with it.
                shards.swap_remove(index);
                self.set(false).await;
                break;
            }
        }
    }
}

struct Probes {
    service: HealthService,
    closing: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl Probed for Probes {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.service.check(request).await
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let statuses = self.service.watch(request).await?.into_inner();
        let mut closing = self.closing.clone();
        let end = async move {
            // An error means that the node is gone, which ends the stream as well.
            let _ = closing.wait_for(|closing| *closing).await;
        };
        Ok(Response::new(Box::pin(statuses.take_until(Box::pin(end)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn status(health: &Health) -> Vec<bool> {
        let service = HealthService::from_health_reporter(health.0.reporter.clone());
        let mut all = Vec::new();
        for name in SERVICES {
            let request = Request::new(HealthCheckRequest { service: name.to_owned() });
            let answer = service.check(request).await.expect("a known service");
            all.push(
                answer.get_ref().status() == tonic_health::pb::health_check_response::ServingStatus::Serving,
            );
        }
        all
    }

    #[tokio::test]
    async fn the_node_serves_when_all_shards_do_and_never_again_once_it_drains() {
        let wrong = watch::Sender::<String>::default();
        let health = Health::new(NodeMetrics::new("0", 0), wrong.subscribe()).await;
        assert_eq!(status(&health).await, [false; 3]);
        wrong.send_replace("it is empty".to_owned());
        assert_eq!(health.condition(), "store refused: it is empty");
        wrong.send_replace(String::new());
        assert!(health.explain().starts_with("starting"), "{}", health.explain());
        let (first, second) =
            (watch::Sender::new(ShardState::Recovering), watch::Sender::new(ShardState::Serving));
        let follower = tokio::spawn({
            let (health, states) = (health.clone(), vec![first.subscribe(), second.subscribe()]);
            async move { health.follow(states).await }
        });
        let mut serving = health.subscribe();
        first.send_replace(ShardState::Serving);
        serving.wait_for(|serving| *serving).await.expect("serves");
        assert_eq!(status(&health).await, [true; 3]);
        assert_eq!(health.explain(), "serving");
        second.send_replace(ShardState::StoreDown);
        serving.wait_for(|serving| !serving).await.expect("stops serving");
        assert!(health.explain().starts_with("store down"), "{}", health.explain());
        wrong.send_replace("it is another cluster's".to_owned());
        assert_eq!(health.explain(), "store refused: it is another cluster's");
        wrong.send_replace(String::new());
        assert_eq!(status(&health).await, [false; 3]);
        second.send_replace(ShardState::Serving);
        serving.wait_for(|serving| *serving).await.expect("serves again");
        health.refused_by_scheduler("it has 9 partitions");
        assert_eq!(health.explain(), "refused by the scheduler: it has 9 partitions");
        health.refused_by_scheduler("");
        assert_eq!(health.explain(), "serving");
        health.hangs(true).await;
        assert_eq!(status(&health).await, [false; 3]);
        assert!(health.condition().contains("answers nothing"), "{}", health.condition());
        health.hangs(false).await;
        assert_eq!((status(&health).await, health.condition().as_str()), (vec![true; 3], ""));
        health.latch().await;
        second.send_replace(ShardState::Serving);
        drop(first);
        follower.await.expect("ends with the shard");
        assert_eq!(status(&health).await, [false; 3]);
    }
}
