//! Bounded waits for a condition.
//!
//! Invariant: a wait ends when the condition holds or when its time is over, and then says what did not
//! happen. The pause between two looks only spares the processor; no test depends on its length.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

/// The pause between two looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until `look` gives a value, and returns it.
///
/// # Panics
/// With `what` and the last reason that `look` gave, when `timeout` has passed.
pub fn eventually<T, E: Display>(what: &str, timeout: Duration, mut look: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        match look() {
            Ok(value) => return value,
            Err(why) if Instant::now() >= deadline => {
                panic!("{what}: not within {:.1} s; last seen: {why}", timeout.as_secs_f64())
            }
            Err(_) => std::thread::park_timeout(LOOK_EVERY),
        }
    }
}

/// As [`eventually`], for conditions that are asked for over the network.
///
/// # Panics
/// With `what` and the last reason that `look` gave, when `timeout` has passed.
pub async fn eventually_async<T, E, F>(what: &str, timeout: Duration, mut look: impl FnMut() -> F) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + timeout;
    loop {
        match look().await {
            Ok(value) => return value,
            Err(why) if Instant::now() >= deadline => {
                panic!("{what}: not within {:.1} s; last seen: {why}", timeout.as_secs_f64())
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
