//! Admission: what a shard has agreed to carry, counted in executions and in bytes of input.
//!
//! Invariants: a [`Permit`] is held by whatever was admitted, from before its input is looked at until its end is
//! durable, and gives back what it holds when it is dropped; a pool belongs to one shard, so that no atomic is touched.
//! The node's limits are split evenly between its shards. What may fail: taking a permit, which is a refusal with a
//! delay, never a wait.

use std::cell::Cell;
use std::rc::Rc;

/// Retry delays are drawn between this and twice this, in milliseconds, so that dispatchers do not come back together.
const RETRY_AFTER_MS: u32 = 50;

#[derive(Debug)]
struct Pool {
    executions: Cell<u64>,
    bytes: Cell<u64>,
    executions_max: u64,
    bytes_max: u64,
    /// Of the jitter.
    draw: Cell<u64>,
}

/// One shard's share of the node's permits.
#[derive(Debug, Clone)]
pub struct Admission(Rc<Pool>);

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overload {
    /// What there is too much of.
    pub what: &'static str,
    /// How much of it there may be.
    pub limit: u64,
    /// When to come back, with jitter.
    pub retry_after_ms: u32,
}

/// What was admitted; dropping it makes room.
#[derive(Debug)]
pub struct Permit {
    pool: Rc<Pool>,
    executions: u32,
    bytes: u64,
}

impl Admission {
    /// Room for this much.
    #[must_use]
    pub fn new(executions_max: u64, bytes_max: u64) -> Self {
        let (executions, bytes, draw) = (Cell::new(0), Cell::new(0), Cell::new(executions_max ^ 0x9e37_79b9));
        Self(Rc::new(Pool { executions, bytes, executions_max, bytes_max, draw }))
    }

    /// # Errors
    /// [`Overload`] when it does not fit. An empty pool admits anything, so that no input is refused for ever.
    pub fn take(&self, executions: u32, bytes: u64) -> Result<Permit, Overload> {
        let pool = &self.0;
        let (open, held) = (pool.executions.get(), pool.bytes.get());
        let full = |what, limit| Overload { what, limit, retry_after_ms: self.retry_after_ms() };
        if open > 0 && open + u64::from(executions) > pool.executions_max {
            return Err(full("open executions", pool.executions_max));
        }
        if held > 0 && held + bytes > pool.bytes_max {
            return Err(full("bytes of open executions' input", pool.bytes_max));
        }
        Ok(self.take_anyway(executions, bytes))
    }

    /// For what was acknowledged before a crash: it is carried even beyond the limit.
    #[must_use]
    pub fn take_anyway(&self, executions: u32, bytes: u64) -> Permit {
        let pool = Rc::clone(&self.0);
        pool.executions.set(pool.executions.get() + u64::from(executions));
        pool.bytes.set(pool.bytes.get() + bytes);
        Permit { pool, executions, bytes }
    }

    /// A delay with jitter.
    #[must_use]
    pub fn retry_after_ms(&self) -> u32 {
        let draw = self.0.draw.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0.draw.set(draw);
        RETRY_AFTER_MS + u32::try_from((draw >> 33) % u64::from(RETRY_AFTER_MS)).unwrap_or(0)
    }

    /// Executions and bytes held.
    #[must_use]
    pub fn used(&self) -> (u64, u64) {
        (self.0.executions.get(), self.0.bytes.get())
    }

    /// Executions and bytes that may be held.
    #[must_use]
    pub fn limits(&self) -> (u64, u64) {
        (self.0.executions_max, self.0.bytes_max)
    }

    /// The fuller of the two, from 0 to 1 (beyond 1 after a recovery that brought more than fits).
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a ratio for a gauge")]
    pub fn saturation(&self) -> f64 {
        let ((executions, bytes), (executions_max, bytes_max)) = (self.used(), self.limits());
        let ratio = |used: u64, max: u64| used as f64 / max.max(1) as f64;
        ratio(executions, executions_max).max(ratio(bytes, bytes_max))
    }
}

impl Permit {
    /// Takes a part of it out, at most all of it.
    #[must_use]
    pub fn split(&mut self, executions: u32, bytes: u64) -> Self {
        let (executions, bytes) = (executions.min(self.executions), bytes.min(self.bytes));
        self.executions -= executions;
        self.bytes -= bytes;
        Self { pool: Rc::clone(&self.pool), executions, bytes }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.executions.set(self.pool.executions.get() - u64::from(self.executions));
        self.pool.bytes.set(self.pool.bytes.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_permit_makes_room_again() {
        let admission = Admission::new(2, 100);
        let mut first = admission.take(2, 60).expect("room");
        assert_eq!(admission.take(1, 0).expect_err("full").what, "open executions");
        drop(first.split(1, 10));
        assert_eq!(admission.used(), (1, 50));
        let overload = admission.take(1, 51).expect_err("too many bytes");
        assert_eq!((overload.what, overload.limit), ("bytes of open executions' input", 100));
        assert!((50..100).contains(&overload.retry_after_ms));
        drop(first);
        assert_eq!(admission.used(), (0, 0));
    }

    #[test]
    fn an_empty_shard_admits_whatever_comes_so_that_nothing_is_refused_for_ever() {
        let admission = Admission::new(1, 10);
        let permit = admission.take(1, 1_000).expect("an empty shard");
        assert!(admission.saturation() > 1.0);
        drop(permit);
    }
}
