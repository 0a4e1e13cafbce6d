//! The lock of the shared part: the standard library's, or loom's where the model is checked.

#[cfg(feature = "model")]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(feature = "model"))]
pub(crate) use std::sync::{Mutex, MutexGuard};
