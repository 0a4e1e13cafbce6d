//! Who is let in: the seam between the door and the verification of signatures and rights.
//!
//! Invariants: [`Admission::claim`] sees a request's headers before it takes a place and its body any bytes, [`Admission::admit`]
//! its body before that is looked at as JSON, and [`Admission::allow`] each call before the [`crate::Gate`] does. What may fail:
//! all of them, with a [`Fault`] of the words of the API that was called.

use std::future::Future;
use std::time::SystemTime;

use http::request::Parts;

use crate::call::Caller;
use crate::fault::Fault;
use crate::operations::{Api, Operation, Right};

/// Lets callers in. Asked by all threads of the door.
pub trait Admission: Send + Sync + 'static {
    /// What the headers of a request say of who calls.
    type Claim<'r>;

    /// Who says to call: all that can be told before the body is there. `parts` has a `Host`.
    ///
    /// # Errors
    /// It is not signed, or cannot be signed well whatever its body is; the kind is one of those that say so ([`crate::Kind`]).
    fn claim<'r>(
        &self,
        api: Api,
        operation: &'static Operation,
        parts: &'r Parts,
        now: SystemTime,
    ) -> Result<Self::Claim<'r>, Fault>;

    /// Who calls: verifies the signature of a request that is whole now.
    ///
    /// # Errors
    /// It is not signed by whom it says; the kind is one of those that say so ([`crate::Kind`]).
    fn admit(&self, claim: Self::Claim<'_>, body: &[u8], now: SystemTime) -> Result<Caller, Fault>;

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
