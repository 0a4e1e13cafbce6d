//! The cache under threads and time, and its providers against peers on loopback.

mod auth_service;
mod cache;
mod crowd;
mod http;
mod oauth;
mod sts;
mod support;
