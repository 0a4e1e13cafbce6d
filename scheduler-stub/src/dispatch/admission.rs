//! Permits: how many starts and bytes may wait for one shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::Error;

/// Starts that may be under way to one shard: queued, sent, or waiting to be sent again.
pub const STARTS_MAX: usize = 65_536;

/// Bytes of input that may be under way to one shard.
pub const BYTES_MAX: usize = 64 << 20;

/// When a caller that was refused may come back.
pub const RETRY_AFTER: Duration = Duration::from_millis(50);

/// What is under way to one shard.
#[derive(Debug, Default)]
pub(super) struct Load {
    starts: AtomicUsize,
    bytes: AtomicUsize,
}

impl Load {
    /// From 0 (idle) to 1 (full).
    #[allow(clippy::cast_precision_loss, reason = "a ratio for comparing loads")]
    pub(super) fn ratio(&self) -> f64 {
        let starts = self.starts.load(Ordering::Relaxed) as f64 / STARTS_MAX as f64;
        let bytes = self.bytes.load(Ordering::Relaxed) as f64 / BYTES_MAX as f64;
        starts.max(bytes)
    }

    /// Admits so much, or refuses it.
    pub(super) fn admit(self: &Arc<Self>, starts: usize, bytes: usize) -> Result<Permit, Error> {
        let permit = Permit { load: Arc::clone(self), starts, bytes };
        let starts_before = self.starts.fetch_add(starts, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // A refused permit gives back what it took when it is dropped here.
        if starts_before + starts > STARTS_MAX {
            return Err(full("starts", STARTS_MAX));
        }
        if bytes_before + bytes > BYTES_MAX {
            return Err(full("bytes of input", BYTES_MAX));
        }
        Ok(permit)
    }
}

/// What callers are told when a queue is full.
pub(super) fn full(what: &str, limit: usize) -> Error {
    let message = format!(
        "the scheduler already has {limit} {what} under way to the shard: retry after {RETRY_AFTER:?}"
    );
    Error::Overloaded { message, retry_after: RETRY_AFTER }
}

/// The right to be under way; gives itself back.
#[derive(Debug)]
pub(super) struct Permit {
    load: Arc<Load>,
    starts: usize,
    bytes: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.load.starts.fetch_sub(self.starts, Ordering::Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_takes_again_when_there_is_room() {
        let load = Arc::new(Load::default());
        let all = load.admit(STARTS_MAX, 1).expect("room");
        assert!(matches!(load.admit(1, 1), Err(Error::Overloaded { .. })));
        drop(all);
        let all = load.admit(1, BYTES_MAX).expect("room");
        assert!(matches!(load.admit(1, 1), Err(Error::Overloaded { .. })));
        drop(all);
        assert!(load.admit(1, 1).is_ok());
        assert!(load.ratio() < f64::EPSILON);
    }
}
