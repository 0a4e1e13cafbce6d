//! The door, opened on loopback and spoken to over real sockets: by good clients and by hostile ones.

mod calls;
mod crowds;
mod http2;
mod refusals;
mod shutdown;
mod support;
mod tls;
mod wire;
