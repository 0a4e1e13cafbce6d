//! Who is let in: the seam between the door and the verification of signatures and rights.
//!
//! Invariants: [`Admission::admit`] sees a request before its body is looked at as JSON, and [`Admission::allow`] each call
//! before the [`crate::Gate`] does. What may fail: both, with a [`Fault`] of the words of the API that was called.

use std::future::Future;
use std::time::SystemTime;

use http::request::Parts;

use crate::call::Caller;
use crate::fault::Fault;
use crate::operations::{Api, Right};

/// Lets callers in. Asked by all threads of the door.
pub trait Admission: Send + Sync + 'static {
    /// Who calls: verifies the signature of a request, as it was received.
    ///
    /// # Errors
    /// It is not signed, or not as it should be; the kind is one of those that say so ([`crate::Kind`]).
    fn admit(&self, api: Api, parts: &Parts, body: &[u8], now: SystemTime) -> Result<Caller, Fault>;

    /// Whether a caller has a right on a machine, which is named by its own name (not its ARN or QRN); `None`: the call is
    /// about no machine, as listings are, and what belongs to no machine.
    ///
    /// # Errors
    /// [`crate::Kind::AccessDenied`], or that it cannot be told now.
    fn allow(
        &self,
        caller: &Caller,
        right: Right,
        machine: Option<&str>,
    ) -> impl Future<Output = Result<(), Fault>>;

    /// Whether everybody is let in without a signature. Then the door opens on loopback alone.
    fn is_open(&self) -> bool {
        false
    }
}
