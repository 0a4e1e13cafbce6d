//! Who may speak to whom: mutual TLS with an allow-list of names, rights by role, and the cluster's secret.
//!
//! Purpose: every process of an installation has a certificate of one authority; what a peer may do follows from the names in
//! its certificate, by patterns that configuration binds to roles ([`Allow`]). Invariants: a chain that does not lead to the
//! authority, or whose names are not on the list, is refused in the handshake or before the first call; files are read again
//! while the process runs, what cannot be used changes nothing, and what they do not allow any more ends; private keys and secrets reach no message. What may fail:
//! reading the files, with [`TrustError`], which names the file.
//!
//! Rooms: [`Allow`] and [`Role`] (names to roles), [`Trust`] (certificates, kept fresh), [`connect`] (towards a server),
//! [`accept`] (from clients), [`PublicIdentity`] (towards the public, who shows no certificate), [`Rights`] (which role may call what), [`Secret`] (tokens that cannot be forged).

mod accept;
mod allow;
mod connect;
mod explain;
mod flags;
mod identity;
mod public;
mod rights;
mod secret;
mod settings;
mod standing;

pub use accept::{Accepted, Peer, accept};
pub use allow::{Allow, Role, Roles};
pub use connect::{channel, channel_lazy, lively, with_causes};
pub use flags::TlsFlags;
pub use identity::{TlsFiles, Trust};
pub use public::{PublicIdentity, PublicStream};
pub use rights::{Rights, RightsLayer};
pub use secret::{Secret, draw_key};
pub use settings::TlsSettings;
pub use standing::Watched;

/// Why certificates or secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file cannot be read, or does not hold what it should.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// What is wrong, and what was expected.
        why: String,
    },
    /// Certificate, key and authority do not fit together.
    #[error("{path}: {why}")]
    Unusable {
        /// The certificate's file.
        path: String,
        /// What rustls says.
        why: String,
    },
    /// Settings that cannot work together.
    #[error("{0}")]
    Settings(&'static str),
    /// An entry of the allow-list is none.
    #[error(
        "{0:?} is no ROLE=NAME: roles are node, scheduler, caller, operator, worker and worker:POOL; a name is that of a DNS or URI subject alternative name, without spaces, and * in it is any text"
    )]
    Allow(String),
}
