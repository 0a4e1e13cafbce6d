//! One connection: its handshake, its requests, its end.
//!
//! Invariants: it ends when it is told to, or when [`Activity`] says so, whatever its peer does; what goes wrong with it is its
//! own end. What may fail: everything, and it is counted.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::io::InspectReader;

use super::activity::{Activity, Order};
use super::lane::Lane;
use super::request;
use crate::admission::Admission;
use crate::call::Gate;
use crate::tell::Connection;

/// Serves a connection until it ends, and says why where it was not the peer's wish.
pub(super) async fn serve<G: Gate, A: Admission>(
    lane: &Rc<Lane<G, A>>,
    stream: TcpStream,
    me: &Rc<Activity>,
) -> Option<Connection> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone before it began");
        return None;
    }
    let Some(identity) = &lane.door.tls else { return speak(lane, stream, me).await };
    let handshake = tokio::select! {
        handshake = identity.accept(stream) => handshake,
        order = me.told() => match order {
            Order::End => return Some(Connection::Evicted),
            Order::Drain => return None,
        },
        what = me.overdue(&lane.door.limits) => return Some(what),
    };
    match handshake {
        Ok(stream) => {
            me.waits();
            speak(lane, stream, me).await
        }
        Err(error) => {
            tracing::debug!(%error, "a TLS handshake failed");
            Some(Connection::Handshake)
        }
    }
}

/// HTTP on a stream.
async fn speak<G: Gate, A: Admission, S>(
    lane: &Rc<Lane<G, A>>,
    stream: S,
    me: &Rc<Activity>,
) -> Option<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let (lane, under_way) = (Rc::clone(lane), me.begin());
        async move { Ok::<_, Infallible>(request::answer(&lane, request, under_way).await) }
    });
    let activity = Rc::clone(me);
    let stream = TokioIo::new(InspectReader::new(stream, move |bytes: &[u8]| activity.received(bytes)));
    let mut connection = pin!(lane.http.serve_connection(stream, service));
    let limits = &lane.door.limits;
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            // First, so that an answer which is ready by then says that its connection ends. The end of draining is its lane's.
            order = me.told(), if !draining => match order {
                Order::End => return Some(Connection::Evicted),
                Order::Drain => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
            },
            ended = &mut connection => {
                let error = ended.err()?;
                tracing::debug!(error = &*error, "a connection broke");
                return Some(Connection::Broken);
            }
            what = me.overdue(limits), if !draining => return Some(what),
        }
    }
}
