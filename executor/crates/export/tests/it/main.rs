//! Sinks against real files, a real Redis, and servers on loopback that speak the protocols of CLS, Kafka, OTLP, CloudWatch
//! and Tencent Cloud Monitor.

mod clouds;
mod cls;
mod crash;
mod disk_full;
mod kafka;
mod otlp;
mod outage;
mod redis;
mod support;
