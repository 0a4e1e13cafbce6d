//! Observers see every event of an execution's history as it happens; when nobody looks, they cost nothing.
