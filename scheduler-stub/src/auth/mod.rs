//! A stub of the authorization service: checks roles as the console has them, issues keys that expire, and fails as it is told.
//!
//! Purpose: what nodes ask for temporary keys in tests, in the quick start and on a laptop; a real installation has its own, which
//! speaks `auth.v1` too. Invariants: a role that nobody has made, or that trusts nobody of ours, gets no keys; keys say when they
//! expire, by the stub's clock, and for how long they are good, by any; secrets reach no log; an access key has the rights that its file says. What may fail: whatever `faults`
//! says.

mod faults;
mod issuer;
mod rights;
mod roles;
mod server;

pub use faults::Faults;
pub use issuer::{Issued, Issuer};
pub use rights::KeyRights;
pub use roles::Roles;
pub use server::{AuthConfig, AuthStub};
