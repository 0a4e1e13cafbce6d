//! What waits keeps its order and its bounds.
