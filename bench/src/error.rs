//! What can go wrong in a bench run.

/// A server's own words; where the transport failed, what to look at.
fn words(status: &tonic::Status) -> String {
    let (code, message) = (status.code(), status.message());
    match std::error::Error::source(status) {
        None => format!("{message} ({code:?})"),
        Some(_) => format!(
            "the connection broke ({message}): see whether what listens there is a node or a scheduler"
        ),
    }
}

/// A run that cannot begin, or whose figures cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server cannot be reached.
    #[error("{address} cannot be reached: {reason}; start it, or give its address")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// A call failed.
    #[error("{call} failed: {}", words(status))]
    Call {
        /// Which.
        call: &'static str,
        /// What came back.
        status: Box<tonic::Status>,
    },
    /// The store holds something else than was acknowledged.
    #[error("the run is void: {0}")]
    Void(String),
    /// Certificates cannot be used.
    #[error("{0}")]
    Certificate(Box<trust::TrustError>),
    /// The settings make no sense, or the surroundings forbid a fair figure.
    #[error("{0}")]
    Settings(String),
    /// A process of the suite.
    #[error("{0}")]
    Process(String),
    /// The store, when read back.
    #[error("the store cannot be read back: {0}")]
    Store(#[from] journal::StoreError),
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}
