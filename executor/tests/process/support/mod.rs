//! Nodes, stores, load, and the reading back.

pub mod disk;
pub mod load;
pub mod node;
pub mod readback;
pub mod scheduler;
pub mod store;

use std::time::Duration;

/// Bound of every wait: generous, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(120);
