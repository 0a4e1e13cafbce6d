//! The signals that end a process in order.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM, which end nothing by themselves from when they are watched.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Which of them has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGINT: Ctrl-C, as a rule.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signals {
    /// Begins to watch. Whatever the process says before this, a signal after it still ends the process out of order.
    ///
    /// # Errors
    /// The kernel does not let signals be watched.
    pub fn watch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns when SIGINT or SIGTERM has come.
    pub async fn asked_to_end(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Terminate,
            _ = self.interrupt.recv() => Asked::Interrupt,
        }
    }
}
