//! Which role may call what: asked once for each call, before the service sees it.
//!
//! Invariants: without TLS everything is allowed, for then nobody is known; what no rule names is refused. A refusal is
//! PERMISSION_DENIED and says which call it was, not which roles would do.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::accept::Peer;
use crate::allow::Roles;

/// Whether a peer with these roles may make a call, by its path (`/package.Service/Method`).
pub type Rights = fn(path: &str, roles: &Roles) -> bool;

/// Puts a server's rights before its services.
#[derive(Debug, Clone, Copy)]
pub struct RightsLayer {
    /// Which role may call what.
    pub rights: Rights,
    /// Whether the server has certificates: then whoever is nobody may call nothing, however the call came in.
    pub knows_peers: bool,
}

impl<S> Layer<S> for RightsLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, layer: *self }
    }
}

/// See [`RightsLayer`].
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    inner: S,
    layer: RightsLayer,
}

impl<S, B> Service<http::Request<B>> for Guarded<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>, Error = Infallible>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<http::Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let roles = request.extensions().get::<Peer>().and_then(|peer| peer.roles.as_deref());
        let path = request.uri().path();
        let allowed = match roles {
            Some(roles) => (self.layer.rights)(path, roles),
            None => !self.layer.knows_peers,
        };
        if allowed {
            return Either::Left(self.inner.call(request));
        }
        let message = format!(
            "the certificate of this connection does not give the right to call {path}: ask whoever keeps the \
             allow-list (--tls-allow, --tls-allow-file)"
        );
        Either::Right(ready(Ok(Status::permission_denied(message).into_http())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::allow::Allow;

    async fn call(knows_peers: bool, peer: Option<Peer>) -> http::StatusCode {
        let layer = RightsLayer { rights: |path, _| path == "/allowed", knows_peers };
        let mut service = layer.layer(tower::service_fn(|_: http::Request<()>| async {
            Ok::<_, Infallible>(
                http::Response::builder().status(202).body(Body::empty()).expect("a response"),
            )
        }));
        let mut request = http::Request::get("/allowed").body(()).expect("a request");
        request.extensions_mut().extend(
            peer.map(|peer| {
                let mut extensions = http::Extensions::new();
                extensions.insert(peer);
                extensions
            })
            .unwrap_or_default(),
        );
        service.call(request).await.expect("infallible").status()
    }

    #[tokio::test]
    async fn whoever_is_nobody_may_call_nothing_on_a_server_that_has_certificates() {
        let known = Allow::parse(["caller=x"]).expect("an entry").roles(["x"].into_iter());
        let peer = |roles| Some(Peer { address: None, roles });
        let roles = Some(Arc::new(known));
        assert_eq!(call(true, peer(roles)).await, 202);
        for nobody in [None, peer(None)] {
            // A refusal of gRPC is a response whose trailers say so.
            assert_eq!(call(true, nobody.clone()).await, 200);
            assert_eq!(call(false, nobody).await, 202, "without certificates everybody may do everything");
        }
    }
}
