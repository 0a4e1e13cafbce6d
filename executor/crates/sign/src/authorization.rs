//! `Authorization` as both schemes write it: `ALGORITHM Credential=…, SignedHeaders=…, Signature=…`.
//!
//! Invariants: each field stands there once, and no other; what is signed is named in lower case, sorted, without doubles and
//! within a bound; whoever asks for a header that may stand there once only gets it only if it does. What may fail: all of
//! that, with [`VerifyError`].

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use crate::canonical::unhex;
use crate::verify::VerifyError;

/// `Credential` with an id as long as Tencent's temporary ones.
const CREDENTIAL_BYTES_MAX: usize = 1_280;
/// Headers of one signature.
const SIGNED_MAX: usize = 64;

/// See the module.
pub(crate) struct Authorization<'a> {
    /// The whole `Credential`.
    pub(crate) credential: &'a str,
    /// `SignedHeaders` as it stands there.
    pub(crate) signed: &'a str,
    pub(crate) signature: [u8; 32],
}

impl<'a> Authorization<'a> {
    pub(crate) fn of(headers: &'a HeaderMap, algorithm: &str) -> Result<Self, VerifyError> {
        let text = once(headers, "authorization")?.ok_or(VerifyError::Missing("authorization"))?;
        let fields = text
            .strip_prefix(algorithm)
            .filter(|rest| rest.starts_with(' '))
            .ok_or(VerifyError::Malformed("Authorization names another algorithm"))?;
        let [mut credential, mut signed, mut signature] = [None; 3];
        for field in fields.split(',') {
            let (name, value) = field.trim().split_once('=').unwrap_or_default();
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed,
                "Signature" => &mut signature,
                _ => return Err(VerifyError::Malformed("Authorization has a field that is none")),
            };
            if place.replace(value).is_some() {
                return Err(VerifyError::Malformed("Authorization has a field twice"));
            }
        }
        let credential = credential.ok_or(VerifyError::Malformed("Authorization has no Credential"))?;
        let signed = signed.ok_or(VerifyError::Malformed("Authorization has no SignedHeaders"))?;
        let signature = signature.ok_or(VerifyError::Malformed("Authorization has no Signature"))?;
        if credential.len() > CREDENTIAL_BYTES_MAX || !credential.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(VerifyError::Malformed("Credential is too long, or holds what it cannot"));
        }
        if credential.split('/').any(str::is_empty) {
            return Err(VerifyError::Malformed("Credential has an empty part"));
        }
        let in_order = signed.split(';').zip(signed.split(';').skip(1)).all(|(one, next)| one < next);
        let is_name = |name: &str| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase());
        if !in_order || !signed.split(';').all(is_name) {
            return Err(VerifyError::Malformed("SignedHeaders are not sorted names in lower case"));
        }
        if signed.split(';').count() > SIGNED_MAX {
            return Err(VerifyError::Malformed("SignedHeaders are too many"));
        }
        let signature = unhex(signature).ok_or(VerifyError::Mismatch)?;
        Ok(Self { credential, signed, signature })
    }

    /// Whether a header is signed.
    pub(crate) fn signs(&self, name: &str) -> bool {
        self.signed.split(';').any(|signed| signed == name)
    }

    /// Whether these headers are signed.
    pub(crate) fn requires(&self, names: &[&'static str]) -> Result<(), VerifyError> {
        let unsigned = names.iter().find(|name| !self.signs(name));
        unsigned.map_or(Ok(()), |name| Err(VerifyError::Unsigned(name)))
    }
}

/// A header's text, where it may stand once at most.
pub(crate) fn once<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, VerifyError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(VerifyError::Twice(name));
    }
    let text =
        |value: &'a HeaderValue| value.to_str().map_err(|_| VerifyError::Malformed("a header is no text"));
    first.map(text).transpose()
}

/// Headers that come with a vendor's prefix stand there once.
pub(crate) fn none_twice(headers: &HeaderMap, prefix: &str, which: &'static str) -> Result<(), VerifyError> {
    let doubled = |name: &&HeaderName| headers.get_all(*name).iter().nth(1).is_some();
    let ours = headers.keys().filter(|name| name.as_str().starts_with(prefix));
    ours.into_iter().find(doubled).map_or(Ok(()), |_| Err(VerifyError::Twice(which)))
}

/// Signatures in the query are for links that are handed on; they are not taken.
pub(crate) fn not_in_query(target: &str, names: &[&str]) -> Result<(), VerifyError> {
    let Some((_, query)) = target.split_once('?') else { return Ok(()) };
    let mut given = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    let found = given.any(|name| {
        let name = percent_decode_str(name).decode_utf8_lossy();
        names.iter().any(|known| known.eq_ignore_ascii_case(&name))
    });
    if found { Err(VerifyError::Query) } else { Ok(()) }
}
