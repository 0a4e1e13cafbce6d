//! Serves a node's ports, each until its streams have ended or the node is cut off.
//!
//! Invariant: a data port is served on its shard's thread, and keeps that thread until the whole node ends. What may fail: a
//! port that cannot be used, which is told to the log.

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use crate::grpc::{NodeContext, Scope, Surface, listener, router};
use crate::shard::Serve;

/// The data port's server, to be run on the shard's thread, and the word that its streams have ended.
pub(super) fn data_port(
    context: &Arc<NodeContext>,
    index: u32,
    port: TcpListener,
    connections_max: usize,
    mut abort: watch::Receiver<bool>,
) -> (Serve, oneshot::Receiver<()>) {
    let context = Arc::clone(context);
    let (ended_sender, ended) = oneshot::channel();
    let serve: Serve = Box::new(move |_| {
        Box::pin(async move {
            let aborted = abort.clone();
            match serve_port(&context, Scope::Shard(index), port, connections_max, aborted) {
                Ok(server) => server.await,
                Err(error) => tracing::error!(shard = index, %error, "the data port cannot be served"),
            }
            // Nobody waits for it where the drain was cut.
            let _ = ended_sender.send(());
            // The shard's thread ends with this future: it goes on until the whole node ends.
            let _ = abort.wait_for(|abort| *abort).await;
        })
    });
    (serve, ended)
}

/// Serves one port until streams have ended after `closing`, or at once on `abort`.
pub(super) fn serve_port(
    context: &Arc<NodeContext>,
    scope: Scope,
    port: TcpListener,
    connections_max: usize,
    mut abort: watch::Receiver<bool>,
) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let incoming = listener::incoming(port, connections_max, context.trust.clone())?;
    let mut closing = context.closing.subscribe();
    let server =
        router(Surface::new(Arc::clone(context), scope)).serve_with_incoming_shutdown(incoming, async move {
            // An error means that the node is gone, which closes the port as well.
            let _ = closing.wait_for(|closing| *closing).await;
        });
    Ok(async move {
        tokio::select! {
            served = server => if let Err(error) = served {
                tracing::error!(?scope, %error, "a port ended");
            },
            _ = abort.wait_for(|abort| *abort) => {}
        }
    })
}
