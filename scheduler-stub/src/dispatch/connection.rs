//! The stream to one shard, as its link sees it: being opened, open, or to be opened again. Nothing here is retried; what may
//! fail is told as news.

use std::future::Future;
use std::pin::Pin;

use proto::executor::v1::{StartAck, StartBatch};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

pub(super) type Opening = Pin<Box<dyn Future<Output = Result<Open, Status>> + Send>>;

pub(super) struct Open {
    pub(super) batches: mpsc::Sender<StartBatch>,
    pub(super) acks: Streaming<StartAck>,
}

pub(super) enum Connection {
    Down { retry_at_us: u64 },
    Opening(Opening),
    Up(Box<Open>),
}

pub(super) enum News {
    Opened(Box<Open>),
    Ack(StartAck),
    Lost(Status),
}

impl Connection {
    /// Waits for news. Cancel-safe: what is under way is kept in the connection.
    pub(super) async fn news(&mut self) -> News {
        match self {
            Self::Down { .. } => std::future::pending().await,
            Self::Opening(opening) => match opening.await {
                Ok(open) => News::Opened(Box::new(open)),
                Err(status) => News::Lost(status),
            },
            Self::Up(open) => match open.acks.message().await {
                Ok(Some(ack)) => News::Ack(ack),
                Ok(None) => News::Lost(Status::unavailable("the node ended the stream")),
                Err(status) => News::Lost(status),
            },
        }
    }
}
