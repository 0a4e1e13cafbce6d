//! Completions of all shards of a port, merged into one stream.
//!
//! A watcher that reads too slowly misses completions and is told how many; it never slows a shard.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use proto::executor::v1;
use tokio::sync::mpsc;
use tonic::Status;

use super::Surface;
use crate::error::Error;
use crate::shard::Command;

/// Messages that one shard may be ahead of a watcher.
const AHEAD_MAX: usize = 1_024;

/// The completions of one stream.
pub struct Completions {
    shards: Vec<Shard>,
    /// Which shard is asked first: none may starve another.
    turn: usize,
    closing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

struct Shard {
    completions: mpsc::Receiver<v1::CompletionBatch>,
    /// As the shard counted last.
    dropped: u64,
    ended: bool,
}

impl Stream for Completions {
    type Item = Result<v1::CompletionBatch, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.closing.as_mut().is_some_and(|closing| closing.as_mut().poll(cx).is_ready()) {
            self.closing = None;
            // What is queued is still delivered.
            self.shards.iter_mut().for_each(|shard| shard.completions.close());
        }
        let shards = self.shards.len();
        for step in 0..shards {
            let at = (self.turn + step) % shards;
            let shard = &mut self.shards[at];
            if shard.ended {
                continue;
            }
            match shard.completions.poll_recv(cx) {
                Poll::Ready(Some(mut batch)) => {
                    shard.dropped = batch.dropped;
                    batch.dropped = self.shards.iter().map(|shard| shard.dropped).sum();
                    self.turn = (at + 1) % shards;
                    return Poll::Ready(Some(Ok(batch)));
                }
                Poll::Ready(None) => shard.ended = true,
                Poll::Pending => {}
            }
        }
        if self.shards.iter().all(|shard| shard.ended) { Poll::Ready(None) } else { Poll::Pending }
    }
}

/// Subscribes to every shard of the port.
pub(super) async fn serve(
    surface: &Surface,
    request: v1::WatchCompletionsRequest,
) -> Result<Completions, Error> {
    let mut shards = Vec::new();
    for shard in surface.streamed()? {
        let (sender, completions) = mpsc::channel(AHEAD_MAX);
        let command = Command::Watch { include_outcomes: request.include_outcomes, completions: sender };
        shard.sender.send(command).await.map_err(|_| Error::ShardGone)?;
        shards.push(Shard { completions, dropped: 0, ended: false });
    }
    Ok(Completions { shards, turn: 0, closing: Some(Box::pin(surface.node.closing())) })
}
