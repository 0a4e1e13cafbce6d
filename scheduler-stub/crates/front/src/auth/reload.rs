//! The credentials file, read again while the door is open: keys are replaced without a restart.
//!
//! Purpose: every few seconds the file and the files of its secrets are read, as connections and certificates are, and what has
//! changed is in force at once, all of it. Invariants: a file that cannot be used leaves in force what was, and is told once; one
//! that is just being written is not taken by half, for two looks in a row have to see the same. What may fail: the first
//! reading, with [`Error`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::file;
use super::ring::Ring;
use crate::Error;

/// How often the files are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);
/// When they are looked at again after something has changed.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Credentials {
    path: PathBuf,
    /// Whether there is an authorization service, which keys may want to be asked.
    may_ask: bool,
    in_force: watch::Sender<Arc<Ring>>,
    failing: Arc<AtomicBool>,
}

/// What a look has seen: the keys, or what is wrong.
type Seen = Result<Arc<Ring>, String>;

impl Credentials {
    pub(super) fn open(path: &Path, may_ask: bool) -> Result<Self, Error> {
        let ring = read(path, may_ask)?;
        let in_force = watch::Sender::new(Arc::new(ring));
        Ok(Self { path: path.to_owned(), may_ask, in_force, failing: Arc::default() })
    }

    pub(super) fn follow(&self) -> watch::Receiver<Arc<Ring>> {
        self.in_force.subscribe()
    }

    /// True while changed files cannot be used.
    pub(super) fn failing(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.failing)
    }

    /// Reads the files again and again. Ends with its runtime.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        let mut last: Seen = Ok(Arc::clone(&self.in_force.borrow()));
        let (mut settled, mut told) = (true, None);
        loop {
            tokio::time::sleep(if settled { LOOK_EVERY } else { SETTLED_AFTER }).await;
            let (path, may_ask) = (self.path.clone(), self.may_ask);
            let look = move || read(&path, may_ask).map(Arc::new).map_err(|error| error.to_string());
            // A look that panics is one that failed: the next may see what can be used.
            let seen = tokio::task::spawn_blocking(look).await;
            let seen = seen.unwrap_or_else(|error| Err(format!("the files could not be looked at: {error}")));
            settled = seen == last;
            if settled {
                self.take(&seen, &mut told);
            }
            last = seen;
        }
    }

    fn take(&self, seen: &Seen, told: &mut Option<String>) {
        match seen {
            Ok(ring) if **ring != **self.in_force.borrow() => {
                let mut ring = Ring::clone(ring);
                ring.go_on_from(&self.in_force.borrow());
                let keys = ring.len();
                self.in_force.send_replace(Arc::new(ring));
                tracing::info!(file = %self.path.display(), keys, "credentials changed, and are in force");
            }
            Err(error) if told.as_ref() != Some(error) => {
                tracing::error!(error, "changed credentials cannot be used: those before stay in force");
            }
            Ok(_) | Err(_) => {}
        }
        self.failing.store(seen.is_err(), Ordering::Relaxed);
        *told = seen.as_ref().err().cloned();
    }
}

fn read(path: &Path, may_ask: bool) -> Result<Ring, Error> {
    let ring = file::read(path)?;
    if ring.asks() && !may_ask {
        let message = "a key has `ask = true`, and there is no authorization service to ask: name one, or give it grants";
        return Err(Error::Credentials { path: path.to_owned(), message: message.to_owned() });
    }
    Ok(ring)
}
