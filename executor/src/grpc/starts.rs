//! Streams of batches in, streams of acknowledgements out.
//!
//! Invariants: a stream holds at most [`EXECUTIONS_MAX`] executions that are received and whose
//! acknowledgement the client has not read, so that the queue of acknowledgements never fills and a slow
//! reader slows its own sender only; a batch is answered by the shard that has its partition, or by that of the
//! port, or refused here. A stream that ends for a bad message first delivers what was acknowledged before.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use ids::BatchId;
use proto::executor::v1;
use proto::executor::v1::start_refusal::Reason;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tonic::{Status, Streaming};

use super::Surface;
use crate::error::Error;
use crate::limits::BATCH_EXECUTIONS_MAX;
use crate::shard::{Command, ShardHandle};

/// Executions of one stream that are received and not acknowledged to its reader.
const EXECUTIONS_MAX: usize = 65_536;

/// The acknowledgements of one stream.
#[derive(Debug)]
pub struct Acks {
    acks: mpsc::Receiver<v1::StartAck>,
    room: Arc<Semaphore>,
    /// Why the stream of batches ended, if for a bad message.
    failure: Option<oneshot::Receiver<Status>>,
}

/// Permits of a batch or of an acknowledgement with so many executions.
fn permits(executions: usize) -> usize {
    executions.clamp(1, BATCH_EXECUTIONS_MAX)
}

impl Stream for Acks {
    type Item = Result<v1::StartAck, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.acks.poll_recv(cx) {
            Poll::Ready(Some(ack)) => {
                let read = permits(ack.to.saturating_sub(ack.from) as usize);
                // A batch that was sent twice may be acknowledged twice: room never grows beyond its bound.
                self.room.add_permits(read.min(EXECUTIONS_MAX - self.room.available_permits()));
                Poll::Ready(Some(Ok(ack)))
            }
            Poll::Ready(None) => {
                let failure = self.failure.take().and_then(|mut failure| failure.try_recv().ok());
                Poll::Ready(failure.map(Err))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Acks {
    fn drop(&mut self) {
        self.room.close();
    }
}

/// Begins to pump batches towards their shards.
pub(super) fn serve(surface: &Surface, batches: Streaming<v1::StartBatch>) -> Result<Acks, Error> {
    surface.node.shards()?;
    let (sender, acks) = mpsc::channel(EXECUTIONS_MAX);
    let room = Arc::new(Semaphore::new(EXECUTIONS_MAX));
    let (failed, failure) = oneshot::channel();
    let pump = Pump { surface: surface.clone(), acks: sender, room: Arc::clone(&room) };
    tokio::spawn(async move {
        if let Err(status) = pump.run(batches).await {
            // Nobody waits for it any more if the client has gone.
            let _ = failed.send(status);
        }
    });
    Ok(Acks { acks, room, failure: Some(failure) })
}

struct Pump {
    surface: Surface,
    acks: mpsc::Sender<v1::StartAck>,
    room: Arc<Semaphore>,
}

impl Pump {
    /// Until the client ends its stream, breaks it, or the node closes.
    async fn run(self, mut batches: Streaming<v1::StartBatch>) -> Result<(), Status> {
        let mut closing = pin!(self.surface.node.closing());
        loop {
            let batch = tokio::select! {
                biased;
                batch = batches.message() => batch?,
                () = &mut closing => return Ok(()),
            };
            let Some(batch) = batch else { return Ok(()) };
            if !self.forward(batch).await {
                return Ok(());
            }
        }
    }

    /// `false` when nobody reads the acknowledgements any more.
    async fn forward(&self, batch: v1::StartBatch) -> bool {
        let permits = u32::try_from(permits(batch.input.len())).unwrap_or(1);
        match self.room.acquire_many(permits).await {
            Ok(permits) => permits.forget(),
            Err(_) => return false,
        }
        let shard = match self.owner(&batch) {
            Ok(shard) => shard,
            Err(refusal) => return self.refuse(batch, refusal).await,
        };
        let command = Command::Start { batch, acks: self.acks.clone() };
        match shard.sender.send(command).await {
            Ok(()) => true,
            Err(mpsc::error::SendError(Command::Start { batch, .. })) => {
                let message = "the shard has ended; another node will take its partitions".to_owned();
                self.refuse(batch, v1::StartRefusal { message, ..refusal(Reason::Draining, "ShardGone") })
                    .await
            }
            Err(_) => false,
        }
    }

    fn owner(&self, batch: &v1::StartBatch) -> Result<&ShardHandle, v1::StartRefusal> {
        if let [only] = self.surface.streamed().unwrap_or_default() {
            // It knows best what it has, and refuses the rest.
            return Ok(only);
        }
        let id = batch.id.as_ref().ok_or_else(|| v1::StartRefusal {
            message: "`id` is missing: each batch needs one, made from RegisterDispatcher's incarnation"
                .to_owned(),
            ..refusal(Reason::Invalid, "InvalidBatch")
        })?;
        let id = BatchId::try_from(id).map_err(|error| v1::StartRefusal {
            message: format!("`id`: {error}"),
            ..refusal(Reason::Invalid, "InvalidBatch")
        })?;
        self.surface.node.owner(id.partition).map_err(|error| v1::StartRefusal {
            message: error.to_string(),
            ..refusal(Reason::NotOwner, "NotOwner")
        })
    }

    async fn refuse(&self, batch: v1::StartBatch, refusal: v1::StartRefusal) -> bool {
        let to = u32::try_from(batch.input.len()).unwrap_or(u32::MAX);
        let ack = v1::StartAck { id: batch.id, from: 0, to, refusal: Some(refusal), running: None };
        self.acks.send(ack).await.is_ok()
    }
}

fn refusal(reason: Reason, code: &str) -> v1::StartRefusal {
    v1::StartRefusal { reason: reason.into(), code: code.to_owned(), ..Default::default() }
}
