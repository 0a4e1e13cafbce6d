//! For tests only: real processes, a real Redis on a free port, lost replies, the ack ledger.
//!
//! Purpose: tests that kill processes and cut connections, without a line of that in what ships. Invariants:
//! nothing outlives its handle (a dropped handle kills its process and removes its directory); every wait has
//! a bound and a message that says what was waited for; no test sleeps to synchronise. What may fail:
//! starting a process, with a [`TestkitError`] that carries the end of its log.
//!
//! Rooms: [`wait`] (bounded waits), [`port`] (free ports), [`process`] (start, signal, watch, collect),
//! [`redis`] (a Redis server of one's own), [`cluster`] (a Redis Cluster), [`proxy`] (lose, delay and reset on the way), [`ledger`] (what
//! was acknowledged), [`manual`] (what a command line keeps to), [`authority`] (certificates).

pub mod authority;
pub mod cluster;
pub mod ledger;
pub mod manual;
pub mod port;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod wait;

pub use authority::{Authority, Certificate};
pub use cluster::RedisCluster;
pub use ledger::AckLedger;
pub use port::{free_port, free_ports};
pub use process::{Exit, Killer, Process, ProcessOptions};
pub use proxy::Proxy;
pub use redis::{AppendFsync, Redis, RedisOptions};
pub use wait::{eventually, eventually_async};

/// Why a process or a file of a test could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TestkitError {
    /// The program is not installed, or could not be started.
    #[error("cannot start {program}: {why}")]
    Start {
        /// What was to be started.
        program: String,
        /// The system's words, and what to do.
        why: String,
    },
    /// It did not become ready, or did not end, in time.
    #[error("{what} did not happen within {seconds:.1} s; the end of the log:\n{log}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: f64,
        /// The last lines of the process.
        log: String,
    },
    /// It ended while something else was expected of it.
    #[error("{program} ended with {exit} while waiting for {what}; the end of the log:\n{log}")]
    Ended {
        /// What ended.
        program: String,
        /// How.
        exit: String,
        /// What was waited for.
        what: String,
        /// The last lines of the process.
        log: String,
    },
    /// A directory on a real disk is needed: writing through to memory proves nothing.
    #[error("{path} is on a memory file system (tmpfs): set TESTKIT_DIR to a directory on a real disk")]
    MemoryDisk {
        /// Which.
        path: String,
    },
    /// The file system or the network said no.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// Redis answered something else than was expected.
    #[error("redis answered {answer:?} to {command:?}")]
    Redis {
        /// What was sent.
        command: String,
        /// What came back.
        answer: String,
    },
}

impl TestkitError {
    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}
