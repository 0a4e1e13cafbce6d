//! The certificate of this process, as its command line gives it.
//!
//! Invariant: it is set once, before anything connects; every connection shows it, and every process that is started is given
//! it too. Without one everything is plain text. What may fail: reading the files.

use std::sync::OnceLock;

use trust::{TlsFlags, Trust};

use crate::error::Error;

static OURS: OnceLock<(TlsFlags, Trust)> = OnceLock::new();

/// Takes what the command line says.
///
/// # Errors
/// The flags do not fit together, or a file cannot be used.
pub fn set(flags: &TlsFlags) -> Result<(), Error> {
    let trust = flags.settings().trust().map_err(|error| Error::Certificate(Box::new(error)))?;
    if let Some(trust) = trust {
        // It is set once.
        let _ = OURS.set((flags.clone(), trust));
    }
    Ok(())
}

pub(crate) fn trust() -> Option<&'static Trust> {
    OURS.get().map(|(_, trust)| trust)
}

/// For a process that is started.
pub(crate) fn arguments() -> Vec<String> {
    OURS.get().map(|(flags, _)| flags.arguments()).unwrap_or_default()
}
