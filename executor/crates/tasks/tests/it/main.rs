//! Integrations against real peers on loopback, good ones and bad ones.

mod connections;
mod credentials;
mod failures;
mod faults;
mod isolation;
mod lambda;
mod names;
mod peers;
mod redirects;
mod tencent;
mod tls;
