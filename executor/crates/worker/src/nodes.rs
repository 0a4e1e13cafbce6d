//! Streams to all shards of a node, opened again when they break.
//!
//! Invariants: a shard has one stream at most; after each end the node is asked again where its shards are, so that one that
//! came back elsewhere, or with another number of them, is served whole; a shard that cannot be reached keeps no other from its
//! stream, nor does the pause after it, which is cut where a stream ends that had lasted. The pause between two attempts grows
//! while they fail, and is spread. What may fail: a node that refuses the worker.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream as futures};
use proto::executor::v1::executor_client::ExecutorClient;
use proto::executor::v1::{DescribeNodeRequest, Shard};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::{Handler, Phase, Shared, WorkerError, stream};

/// The pause after the first failure, and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a node may take to say where its shards are.
const DESCRIBE_WITHIN: Duration = Duration::from_secs(5);
/// Shards that are connected to at the same time.
const CONNECTS_AT_ONCE: usize = 64;

/// The streams of a node.
struct Streams<'a, H> {
    shared: &'a Arc<Shared<H>>,
    node: &'a str,
    running: JoinSet<Result<(), Status>>,
    /// Which shard a stream serves, and since when.
    shards: HashMap<Id, (u32, Instant)>,
}

/// Why streams are to be opened again.
struct Trouble {
    why: String,
    /// Whether a stream has ended that had lasted: that is no failure in a row of failures.
    lasted: bool,
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
        let Trouble { why, lasted } = match streams.open_missing().await {
            Ok(()) => streams.an_end().await?,
            Err(refused @ WorkerError::Refused { .. }) => return Err(refused),
            Err(error) => Trouble { why: error.to_string(), lasted: streams.note_ended()? },
        };
        if *phase.borrow() == Phase::Done {
            while streams.running.join_next().await.is_some() {}
            return Ok(());
        }
        failures = if lasted { 1 } else { failures + 1 };
        let pause = pause(failures);
        tracing::warn!(node, pause_ms = pause.as_millis(), "{why}; streams are opened again");
        tokio::select! {
            rested = streams.rest(pause) => {
                if rested? {
                    failures = 0;
                }
            }
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
        let served: HashSet<u32> = self.shards.values().map(|(shard, _)| *shard).collect();
        let missing = shards.into_iter().filter(|shard| !served.contains(&shard.index));
        let shared = self.shared;
        let connects =
            missing.map(|shard| async move { (connect(shared, &shard.data_address).await, shard) });
        let connects: Vec<_> = connects.collect();
        let mut connects = std::pin::pin!(futures::iter(connects).buffer_unordered(CONNECTS_AT_ONCE));
        let mut opened = Ok(());
        while let Some((channel, shard)) = connects.next().await {
            let channel = match channel {
                Ok(channel) => channel,
                Err(error) => {
                    opened = Err(error);
                    continue;
                }
            };
            let serving = stream::serve(Arc::clone(self.shared), channel, credit);
            let id = self.running.spawn(serving).id();
            self.shards.insert(id, (shard.index, Instant::now()));
            tracing::info!(node = self.node, address = shard.data_address, "stream opened");
        }
        opened
    }

    async fn describe(&self) -> Result<Vec<Shard>, WorkerError> {
        let mut client = ExecutorClient::new(connect(self.shared, self.node).await?);
        let described = client.describe_node(DescribeNodeRequest {});
        let described = tokio::time::timeout(DESCRIBE_WITHIN, described).await;
        let silent = |_| unreachable(self.node, "it does not say where its shards are".to_owned());
        match described.map_err(silent)? {
            Ok(described) => Ok(described.into_inner().shards),
            Err(status) if is_final(&status) => Err(self.refused(&status)),
            Err(status) => Err(unreachable(self.node, status.message().to_owned())),
        }
    }

    /// Pauses, less long where a stream ends that had lasted: its shard is to be served again soon. Whether one did.
    async fn rest(&mut self, pause: Duration) -> Result<bool, WorkerError> {
        let mut cut = false;
        let mut over = std::pin::pin!(tokio::time::sleep(pause));
        loop {
            tokio::select! {
                () = &mut over => return Ok(cut),
                Some(ended) = self.running.join_next_with_id() => {
                    let ended = self.note(ended)?;
                    tracing::warn!(node = self.node, "{}", ended.why);
                    if ended.lasted && !cut {
                        cut = true;
                        let soon = Instant::now() + self::pause(1);
                        let deadline = over.deadline().min(soon);
                        over.as_mut().reset(deadline);
                    }
                }
            }
        }
    }

    /// Waits until a stream ends, and takes note of all that have; says why one did.
    async fn an_end(&mut self) -> Result<Trouble, WorkerError> {
        let Some(ended) = self.running.join_next_with_id().await else {
            return Ok(Trouble { why: "the node has no shards yet".to_owned(), lasted: false });
        };
        let Trouble { why, lasted } = self.note(ended)?;
        Ok(Trouble { why, lasted: self.note_ended()? || lasted })
    }

    /// Takes note of the streams that have ended, so that they are opened again; whether one had lasted.
    fn note_ended(&mut self) -> Result<bool, WorkerError> {
        let mut lasted = false;
        while let Some(ended) = self.running.try_join_next_with_id() {
            lasted |= self.note(ended)?.lasted;
        }
        Ok(lasted)
    }

    fn note(&mut self, ended: Result<(Id, Result<(), Status>), JoinError>) -> Result<Trouble, WorkerError> {
        let (id, why) = match ended {
            Ok((_, Err(status))) if is_final(&status) => return Err(self.refused(&status)),
            Ok((id, Err(status))) => (id, format!("a stream broke: {}", status.message())),
            Ok((id, Ok(()))) => (
                id,
                "the node has ended a stream, as it does when no function is bound to the pool".to_owned(),
            ),
            Err(error) => (error.id(), format!("a stream failed: {error}")),
        };
        let since = self.shards.remove(&id).map(|(_, since)| since);
        Ok(Trouble { why, lasted: since.is_some_and(|since| since.elapsed() > PAUSE_MAX) })
    }

    fn refused(&self, status: &Status) -> WorkerError {
        WorkerError::Refused { node: self.node.to_owned(), message: status.message().to_owned() }
    }
}

async fn connect(shared: &Shared<impl Handler>, address: &str) -> Result<Channel, WorkerError> {
    let trust = shared.settings.trust.as_ref().map(trust::Trust::towards_nodes);
    let channel = trust::channel(&endpoint(address)?, trust.as_ref()).await;
    channel.map_err(|error| unreachable(address, trust::with_causes(&error.to_string(), &error)))
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
    use std::net::SocketAddr;

    use bytes::Bytes;
    use proto::executor::v1::Task;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    use super::*;
    use crate::TaskFailure;

    fn shard((index, address): (u32, SocketAddr)) -> Shard {
        Shard { index, data_address: address.to_string(), ..Shard::default() }
    }

    fn shared() -> Arc<Shared<impl Handler>> {
        let handler = |_: Task| async { Ok::<_, TaskFailure>(Bytes::new()) };
        Arc::new(crate::shared(crate::tests::settings(), handler))
    }

    fn streams<H>(shared: &Arc<Shared<H>>) -> Streams<'_, H> {
        Streams { shared, node: "one", running: JoinSet::new(), shards: HashMap::new() }
    }

    #[tokio::test]
    async fn a_shard_that_cannot_be_reached_keeps_no_other_from_its_stream() {
        let reached = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        // Bound and not listened on: the system refuses connections, and nobody else can take the port.
        let refused = TcpSocket::new_v4().expect("a socket");
        refused.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let shards = [refused.local_addr(), reached.local_addr()].map(|address| address.expect("an address"));
        let shared = shared();
        let mut streams = streams(&shared);
        let opened = streams.open((0..).zip(shards).map(shard).collect()).await;
        assert!(matches!(opened, Err(WorkerError::Unreachable { .. })), "{opened:?}");
        assert_eq!(streams.shards.values().map(|(shard, _)| *shard).collect::<Vec<_>>(), [1]);
    }

    #[tokio::test]
    async fn a_shard_that_does_not_answer_is_not_waited_for_before_the_next_is_connected_to() {
        let reached = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let silent = TcpSocket::new_v4().expect("a socket");
        silent.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let silent = silent.listen(1).expect("it listens");
        let silent_address = silent.local_addr().expect("an address");
        // What is not accepted fills the queue, so that the system answers nobody else.
        let _queued = fill(silent_address).await;
        let shards = [silent_address, reached.local_addr().expect("an address")];
        let shared = shared();
        let mut streams = streams(&shared);
        tokio::select! {
            biased;
            opened = streams.open((0..).zip(shards).map(shard).collect()) => panic!("nobody came before: {opened:?}"),
            accepted = reached.accept() => drop(accepted.expect("a connection")),
        }
    }

    /// Connections to a listener that accepts none, until one is not answered.
    async fn fill(address: SocketAddr) -> Vec<TcpStream> {
        let mut queued = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            queued.push(connected.expect("queued"));
        }
        queued
    }

    /// Serves shard 7 since so long, until so much later.
    fn serve_one(streams: &mut Streams<'_, impl Handler>, since: Instant, until: Duration) {
        let serving = async move {
            tokio::time::sleep(until).await;
            Ok(())
        };
        let id = streams.running.spawn(serving).id();
        streams.shards.insert(id, (7, since));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_had_lasted_and_ends_cuts_the_pause_after_a_failure_of_others() {
        let (shared, since, second) = (shared(), Instant::now(), Duration::from_secs(1));
        tokio::time::advance(PAUSE_MAX).await;
        let mut streams = streams(&shared);
        serve_one(&mut streams, since, second);
        let begun = Instant::now();
        assert!(streams.rest(PAUSE_MAX).await.expect("no refusal"));
        assert!(begun.elapsed() <= second + PAUSE_FIRST * 2, "{:?}", begun.elapsed());
        assert!(streams.shards.is_empty(), "it is opened again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_ends_soon_after_it_was_opened_cuts_no_pause() {
        let shared = shared();
        let mut streams = streams(&shared);
        let begun = Instant::now();
        serve_one(&mut streams, begun, Duration::from_secs(1));
        assert!(!streams.rest(PAUSE_MAX).await.expect("no refusal"));
        assert!(begun.elapsed() >= PAUSE_MAX && streams.shards.is_empty());
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
