//! Look-up by id and listing by machine on top of the [`crate::Store`] contract.
