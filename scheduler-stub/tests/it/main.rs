//! The scheduler as its users and its nodes see it: over gRPC, in one process.

mod activities;
mod auth;
mod callbacks;
mod certificates;
mod cloud;
mod cluster;
mod credentials;
mod doors;
mod examples;
mod fake;
mod late;
mod links;
mod lists;
mod managed;
mod nested;
mod owning;
mod pages;
mod quickstart;
mod real;
mod standing_apart;
mod strangers;
mod sts;
mod sync;
mod templates;
mod versions;
