//! Why somebody is not let in, in words for whoever reads them at the client.
//!
//! Invariant: messages hold no secret, no token and no signature; the id of a key is none. Nothing here fails.

use sign::{SKEW_SECONDS_MAX, VerifyError};

use crate::fault::{Fault, Kind};
use crate::operations::{Api, Right};

/// The service that a signature has to be for.
pub(super) fn service(api: Api) -> &'static str {
    match api {
        Api::Sfn => "states",
        Api::Asw => "asw",
    }
}

fn scheme(api: Api) -> &'static str {
    match api {
        Api::Sfn => "SigV4 (AWS4-HMAC-SHA256)",
        Api::Asw => "TC3-HMAC-SHA256",
    }
}

/// A request that is not signed as it should be. `id` is the key that it names, where it came so far.
pub(super) fn unverified(api: Api, error: VerifyError, id: &str, now: u64) -> Fault {
    let scheme = scheme(api);
    let (kind, message) = match error {
        VerifyError::Missing("authorization") => (
            Kind::MissingAuthentication,
            format!("the request is not signed: give the client an access key, so that it signs with {scheme}"),
        ),
        VerifyError::Skewed => (
            Kind::SignatureExpired,
            format!(
                "the request was signed more than {SKEW_SECONDS_MAX} seconds from now, which is {now} in Unix time here: set \
                 the clock of whoever signs right, and sign anew"
            ),
        ),
        VerifyError::UnknownKey => {
            let message = format!("there is no key {id}: ask whoever keeps the credentials of this server");
            (Kind::UnknownKey, message)
        }
        VerifyError::Mismatch => (
            Kind::SignatureMismatch,
            "the signature is not that of this request under this key: look at the secret key of the client, and whether \
             something between it and this server changes the request, its Host for instance"
                .to_owned(),
        ),
        wrong => (Kind::IncompleteSignature, format!("{wrong}; it has to be signed with {scheme}")),
    };
    Fault::new(kind, message)
}

/// A signature for another service.
pub(super) fn other_service(api: Api) -> Fault {
    let service = service(api);
    Fault::new(Kind::SignatureMismatch, format!("Credential should be scoped to the service '{service}'"))
}

/// A key that is not for this API.
pub(super) fn other_api(api: Api, id: &str) -> Fault {
    let message =
        format!("the key {id} is not for this API: its `apis` would have to name \"{}\"", api.as_str());
    Fault::new(Kind::AccessDenied, message)
}

/// A key whose time is over.
pub(super) fn expired(id: &str) -> Fault {
    Fault::new(Kind::ExpiredSecurityToken, format!("the key {id} has expired: fetch a new one"))
}

/// A token that is not that of the key.
pub(super) fn wrong_token(api: Api, id: &str, has_one: bool) -> Fault {
    let header = match api {
        Api::Sfn => "X-Amz-Security-Token",
        Api::Asw => "X-TC-Token",
    };
    let message = if has_one {
        format!("{header} is missing or is not that of the temporary key {id}")
    } else {
        format!("the key {id} is no temporary one: send no {header} with it")
    };
    Fault::new(Kind::InvalidSecurityToken, message)
}

/// More calls than the key may make.
pub(super) fn too_often(id: &str, per_second: u32) -> Fault {
    let message = format!("the key {id} may call {per_second} times a second: try again later");
    Fault::new(Kind::Throttling, message)
}

/// A signature that has made its change already.
pub(super) fn used(id: &str) -> Fault {
    let message =
        format!("this very request was made before, and the key {id} makes each once: sign it anew");
    Fault::new(Kind::SignatureExpired, message)
}

/// There is no room to tell whether a signature was used.
pub(super) fn too_many_once() -> Fault {
    let message = "too many requests of the last minutes are remembered to tell whether this is one of them: try again later";
    Fault::new(Kind::Throttling, message)
}

/// A right that a key has not.
pub(super) fn denied(id: &str, right: Right, machine: Option<&str>) -> Fault {
    let right = right.as_str();
    let message = match machine {
        Some(machine) => format!("the key {id} has not the right `{right}` on the state machine {machine}"),
        None => {
            format!("the key {id} has not the right `{right}` on all state machines, which this call takes")
        }
    };
    Fault::new(Kind::AccessDenied, format!("{message}: ask whoever keeps the credentials of this server"))
}

/// The authorization service cannot be asked.
pub(super) fn unchecked(why: &str) -> Fault {
    Fault::new(
        Kind::ServiceUnavailable,
        format!("the authorization service cannot be asked: {why}; try again"),
    )
}
