//! Sinks against real files, a real Redis, and servers on loopback that speak the protocols of CLS and Kafka.

mod cls;
mod crash;
mod disk_full;
mod kafka;
mod outage;
mod redis;
mod support;
