//! The connections that are in force, as a shard sees them: the node may read its file again at any time.
//!
//! Invariants: a call keeps the connections that it has begun with; a look at what is in force writes nothing that another
//! thread reads. Nothing here fails.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;

use super::Connections;

/// Those that a call has: counting an `Rc` is free, while all shards would contend for the count of the `Arc`.
#[derive(Clone)]
pub(super) struct Held(Rc<Shared>);

struct Shared(Arc<Connections>);

impl Held {
    fn new(connections: Arc<Connections>) -> Self {
        Self(Rc::new(Shared(connections)))
    }
}

impl Deref for Held {
    type Target = Connections;

    fn deref(&self) -> &Connections {
        &self.0.0
    }
}

/// See the module.
pub(super) struct InForce(RefCell<(watch::Receiver<Arc<Connections>>, Held)>);

impl InForce {
    /// Follows these.
    pub fn new(mut changes: watch::Receiver<Arc<Connections>>) -> Self {
        let held = Held::new(Arc::clone(&changes.borrow_and_update()));
        Self(RefCell::new((changes, held)))
    }

    /// What is in force now.
    pub fn get(&self) -> Held {
        let (changes, held) = &mut *self.0.borrow_mut();
        // An error means that nobody reads the file again: what was read last stays.
        if changes.has_changed().unwrap_or(false) {
            *held = Held::new(Arc::clone(&changes.borrow_and_update()));
        }
        held.clone()
    }
}
