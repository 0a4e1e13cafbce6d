//! Streams to all shards of a node, opened again when they break.
//!
//! Invariants: a shard has one stream at most; after each end the node is asked again where its shards are, so that one that
//! came back elsewhere, or with another number of them, is served whole; a shard that cannot be reached keeps no other from its
//! stream. The pause between two attempts grows while they fail, and is spread. What may fail: a node that refuses the worker.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::executor::v1::executor_client::ExecutorClient;
use proto::executor::v1::{DescribeNodeRequest, Shard};
use tokio::task::{Id, JoinError, JoinSet};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::{Handler, Phase, Shared, WorkerError, stream};

/// The pause after the first failure, and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a node may take to say where its shards are.
const DESCRIBE_WITHIN: Duration = Duration::from_secs(5);

/// The streams of a node.
struct Streams<'a, H> {
    shared: &'a Arc<Shared<H>>,
    node: &'a str,
    running: JoinSet<Result<(), Status>>,
    /// Which shard a stream serves.
    shards: HashMap<Id, u32>,
}

/// Serves a node until everything is reported.
///
/// # Errors
/// [`WorkerError::Refused`]
pub(crate) async fn attend(shared: &Arc<Shared<impl Handler>>, node: &str) -> Result<(), WorkerError> {
    let mut streams = Streams { shared, node, running: JoinSet::new(), shards: HashMap::new() };
    let mut phase = shared.phase.subscribe();
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        let trouble = match streams.open_missing().await {
            Ok(()) => streams.an_end().await?,
            Err(refused @ WorkerError::Refused { .. }) => return Err(refused),
            Err(error) => {
                streams.note_ended()?;
                error.to_string()
            }
        };
        if *phase.borrow() == Phase::Done {
            while streams.running.join_next().await.is_some() {}
            return Ok(());
        }
        failures = if begun.elapsed() > PAUSE_MAX { 1 } else { failures + 1 };
        let pause = pause(failures);
        tracing::warn!(node, pause_ms = pause.as_millis(), "{trouble}; streams are opened again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // The sender lives in what is shared.
            _ = phase.wait_for(|phase| *phase == Phase::Done) => {}
        }
    }
}

impl<H: Handler> Streams<'_, H> {
    /// Opens a stream to each shard that has none.
    async fn open_missing(&mut self) -> Result<(), WorkerError> {
        let shards = self.describe().await?;
        self.open(shards).await
    }

    /// Opens those to these shards that there are none to; the error is that of the last one that cannot be reached.
    async fn open(&mut self, shards: Vec<Shard>) -> Result<(), WorkerError> {
        let concurrency = self.shared.settings.concurrency as usize;
        // Each shard has some, for it does not know of the others.
        let credit = concurrency.div_ceil(shards.len().max(1));
        let credit = u32::try_from(credit).unwrap_or(u32::MAX);
        let served: HashSet<u32> = self.shards.values().copied().collect();
        let mut opened = Ok(());
        for shard in shards.into_iter().filter(|shard| !served.contains(&shard.index)) {
            let channel = match self.connect(&shard.data_address).await {
                Ok(channel) => channel,
                Err(error) => {
                    opened = Err(error);
                    continue;
                }
            };
            let serving = stream::serve(Arc::clone(self.shared), channel, credit);
            let id = self.running.spawn(serving).id();
            self.shards.insert(id, shard.index);
            tracing::info!(node = self.node, address = shard.data_address, "stream opened");
        }
        opened
    }

    async fn describe(&self) -> Result<Vec<Shard>, WorkerError> {
        let mut client = ExecutorClient::new(self.connect(self.node).await?);
        let described = client.describe_node(DescribeNodeRequest {});
        let described = tokio::time::timeout(DESCRIBE_WITHIN, described).await;
        let silent = |_| unreachable(self.node, "it does not say where its shards are".to_owned());
        match described.map_err(silent)? {
            Ok(described) => Ok(described.into_inner().shards),
            Err(status) if is_final(&status) => Err(self.refused(&status)),
            Err(status) => Err(unreachable(self.node, status.message().to_owned())),
        }
    }

    async fn connect(&self, address: &str) -> Result<Channel, WorkerError> {
        let trust = self.shared.settings.trust.as_ref().map(trust::Trust::towards_nodes);
        let channel = trust::channel(&endpoint(address)?, trust.as_ref()).await;
        channel.map_err(|error| unreachable(address, trust::with_causes(&error.to_string(), &error)))
    }

    /// Waits until a stream ends, and takes note of all that have; says why one did.
    async fn an_end(&mut self) -> Result<String, WorkerError> {
        let Some(ended) = self.running.join_next_with_id().await else {
            return Ok("the node has no shards yet".to_owned());
        };
        let told = self.note(ended)?;
        self.note_ended()?;
        Ok(told)
    }

    /// Takes note of the streams that have ended, so that they are opened again.
    fn note_ended(&mut self) -> Result<(), WorkerError> {
        while let Some(ended) = self.running.try_join_next_with_id() {
            self.note(ended)?;
        }
        Ok(())
    }

    fn note(&mut self, ended: Result<(Id, Result<(), Status>), JoinError>) -> Result<String, WorkerError> {
        let (id, told) = match ended {
            Ok((_, Err(status))) if is_final(&status) => return Err(self.refused(&status)),
            Ok((id, Err(status))) => (id, format!("a stream broke: {}", status.message())),
            Ok((id, Ok(()))) => (
                id,
                "the node has ended a stream, as it does when no function is bound to the pool".to_owned(),
            ),
            Err(error) => (error.id(), format!("a stream failed: {error}")),
        };
        self.shards.remove(&id);
        Ok(told)
    }

    fn refused(&self, status: &Status) -> WorkerError {
        WorkerError::Refused { node: self.node.to_owned(), message: status.message().to_owned() }
    }
}

/// Whether who said this will say it again.
fn is_final(status: &Status) -> bool {
    matches!(status.code(), Code::PermissionDenied | Code::InvalidArgument | Code::Unimplemented)
}

/// The endpoint of `host:port`, or of a URL.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, WorkerError> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let wrong = |error| {
        WorkerError::Settings(format!("{address:?} is no address of a node ({error}): give HOST:PORT"))
    };
    Endpoint::from_shared(url).map(trust::lively).map_err(wrong)
}

fn unreachable(address: &str, why: String) -> WorkerError {
    WorkerError::Unreachable { address: address.to_owned(), why }
}

/// The pause after so many failures in a row: half of it is drawn, so that workers do not come back all at once.
fn pause(failures: u32) -> Duration {
    let whole = PAUSE_FIRST.saturating_mul(1 << (failures.saturating_sub(1)).min(10)).min(PAUSE_MAX);
    let half = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
    Duration::from_millis(half + RandomState::new().hash_one(failures) % (half + 1))
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn a_shard_that_cannot_be_reached_keeps_no_other_from_its_stream() {
        let reached = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        // Bound and not listened on: the system refuses connections, and nobody else can take the port.
        let refused = TcpSocket::new_v4().expect("a socket");
        refused.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let shards = [refused.local_addr(), reached.local_addr()].map(|address| address.expect("an address"));
        let shard = |(index, address): (u32, std::net::SocketAddr)| Shard {
            index,
            data_address: address.to_string(),
            ..Shard::default()
        };
        let handler = |_: proto::executor::v1::Task| async { Ok(bytes::Bytes::new()) };
        let shared = Arc::new(crate::shared(crate::tests::settings(), handler));
        let mut streams =
            Streams { shared: &shared, node: "one", running: JoinSet::new(), shards: HashMap::new() };
        let opened = streams.open((0..).zip(shards).map(shard).collect()).await;
        assert!(matches!(opened, Err(WorkerError::Unreachable { .. })), "{opened:?}");
        assert_eq!(streams.shards.values().collect::<Vec<_>>(), [&1]);
    }

    #[test]
    fn an_address_that_is_none_is_a_mistake_and_no_reason_to_try_again() {
        for address in ["h:7400", "http://h:7400", "[::1]:7400"] {
            endpoint(address).unwrap_or_else(|error| panic!("{error}"));
        }
        let error = endpoint("x y").expect_err("no address");
        assert!(matches!(error, WorkerError::Settings(_)), "{error:?}");
        let told = error.to_string();
        assert!(told.contains("x y") && told.contains("HOST:PORT"), "{told}");
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        for failures in [1, 2, 8, 40, u32::MAX] {
            let most = PAUSE_FIRST.saturating_mul(1 << (failures - 1).min(10)).min(PAUSE_MAX);
            let drawn = pause(failures);
            assert!(drawn >= most / 2 && drawn <= most, "{failures}: {drawn:?}");
        }
    }
}
