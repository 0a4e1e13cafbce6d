//! The signals that end a process in order.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Returns when SIGINT or SIGTERM has come.
///
/// # Errors
/// The kernel does not let signals be watched.
pub async fn asked_to_end() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
