//! The public HTTP door: AWS's Step Functions API (JSON 1.0) and Tencent's ASW API (3.0) on one port, told apart by header.
//!
//! Purpose: clients as they are (boto3, the AWS CLI, Tencent's SDKs) speak to whatever stands behind ([`Gate`]), of which this
//! crate knows nothing. Invariants: a call that reaches the gate is whole, signed by a key that is known, allowed, and of the
//! shape that its operation's model asks for; everything that a peer can make the door keep is bounded ([`Limits`]); threads share
//! nothing but what they are configured with; no secret reaches a message. What may fail: opening the door, with [`Error`];
//! calls, with a [`Fault`] in the words of the API that was called.
//!
//! Rooms: [`Operation`] (what can be asked), [`Call`] and [`Gate`] (what is asked, who answers), [`Admission`] (who is let in),
//! [`Desk`] (that by access keys), [`Fault`] (what is refused), [`Front`] (the server), [`Tell`] (what is counted).

mod admission;
mod auth;
mod call;
mod fault;
mod limits;
mod operations;
mod server;
mod shape;
mod tell;

pub use admission::Admission;
pub use auth::{Checks, Desk, NoChecks, Question, fits};
pub use call::{Answer, Call, Caller, Gate};
pub use fault::{Fault, Kind};
pub use limits::Limits;
pub use operations::{Api, Machine, Member, Operation, Pattern, Right, Shape, Subject};
pub use server::{Clock, Front, FrontConfig};
pub use tell::{Connection, Outcome, Silent, Tell, Told};

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or may not be bound.
    #[error("cannot listen on {address}: {source}; choose another address, or end what listens there")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Off loopback, secrets and payloads would be read on the way.
    #[error(
        "{0} is not on loopback: give the front door a certificate and its key, or listen on 127.0.0.1 or [::1] behind a proxy \
         that has one"
    )]
    NoTls(std::net::SocketAddr),
    /// Off loopback, everybody could do everything.
    #[error(
        "{0} is not on loopback: calls must be signed there; give the front door access keys, or listen on 127.0.0.1 or [::1]"
    )]
    NoAuth(std::net::SocketAddr),
    /// A thread or its runtime could not be made.
    #[error("a thread of the front door cannot be started: {0}")]
    Thread(std::io::Error),
    /// A limit that cannot work.
    #[error("{0}")]
    Limits(&'static str),
    /// What stands in the credentials file.
    #[error("{path}: {message}")]
    Credentials {
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// That file, or one that it names, cannot be read: it may be there later.
    #[error("{path}: {message}")]
    CredentialsUnreadable {
        /// Which file.
        path: std::path::PathBuf,
        /// What the system said, and of which file.
        message: String,
    },
}
