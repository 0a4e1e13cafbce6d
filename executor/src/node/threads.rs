//! Threads that end, and tasks that may fail, told to the log.

use std::future::Future;
use std::io;
use std::thread::JoinHandle;

/// Waits for threads without holding up this one's runtime.
pub(super) async fn join_threads(threads: Vec<JoinHandle<()>>) {
    let joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a shard's thread panicked");
            }
        }
    });
    if let Err(error) = joined.await {
        tracing::error!(%error, "the shards' threads could not be awaited");
    }
}

pub(super) fn spawn_logged(what: &'static str, task: impl Future<Output = io::Result<()>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = task.await {
            tracing::error!(%error, "{what} ended");
        }
    });
}
