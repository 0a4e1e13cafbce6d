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
pub struct RightsLayer(pub Rights);

impl<S> Layer<S> for RightsLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, rights: self.0 }
    }
}

/// See [`RightsLayer`].
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    inner: S,
    rights: Rights,
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
        if roles.is_none_or(|roles| (self.rights)(path, roles)) {
            return Either::Left(self.inner.call(request));
        }
        let message = format!(
            "the certificate of this connection does not give the right to call {path}: ask whoever keeps the \
             allow-list (--tls-allow)"
        );
        Either::Right(ready(Ok(Status::permission_denied(message).into_http())))
    }
}
