//! (data plane: to be written)
