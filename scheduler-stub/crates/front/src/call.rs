//! A call that was let in, what is answered, and who answers: the seam between the door and whatever stands behind it.
//!
//! Invariants: a [`Call`] is whole: its caller is known and may make it, its input has the shape that the operation's model
//! asks for. What may fail: whatever the [`Gate`] says, with a [`Fault`].

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::fault::{Fault, Kind};
use crate::operations::{Api, Operation};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(Option<Key>);

/// A key that is known. Clones share the texts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: Arc<str>,
    account: Arc<str>,
}

impl Caller {
    /// Anybody: where calls are not signed.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(None)
    }

    /// Who signed with this key (`AccessKeyId`, `SecretId`); `account` is AWS's account id or Tencent's uin.
    #[must_use]
    pub fn known(access_key_id: impl Into<Arc<str>>, account: impl Into<Arc<str>>) -> Self {
        Self(Some(Key { id: access_key_id.into(), account: account.into() }))
    }

    /// Whether nobody was asked to sign.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.0.is_none()
    }

    /// `AccessKeyId` or `SecretId`; `None` of the anonymous one. No secret.
    #[must_use]
    pub fn access_key_id(&self) -> Option<&str> {
        self.0.as_ref().map(|key| &*key.id)
    }

    /// AWS's account id or Tencent's uin; `None` of the anonymous one.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.0.as_ref().map(|key| &*key.account)
    }
}

/// A call that was let in.
#[derive(Debug, Clone)]
pub struct Call {
    /// By which API it came, and in whose words it is answered.
    pub api: Api,
    /// What it asks for.
    pub operation: &'static Operation,
    /// An object of the operation's members; members that were `null` are not there.
    pub input: Value,
    /// Who calls.
    pub caller: Caller,
    /// What the answer will name, and logs should.
    pub request_id: String,
    /// `X-TC-Region`; `None` where the API has no such header, or it was not sent.
    pub region: Option<String>,
}

impl Call {
    /// The text of a member; `None` where it was not sent, or is no text.
    #[must_use]
    pub fn text(&self, member: &str) -> Option<&str> {
        self.input.get(member).and_then(Value::as_str)
    }

    /// The input as a struct.
    ///
    /// # Errors
    /// [`Kind::Serialization`]: the struct asks for more than the operation's model does.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        T::deserialize(&self.input).map_err(|error| {
            Fault::new(Kind::Serialization, format!("the input of {}: {error}", self.operation.name))
        })
    }
}

/// What a call gives: a JSON object, the operation's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer(Bytes);

impl Answer {
    /// An output without members.
    #[must_use]
    pub fn empty() -> Self {
        Self(Bytes::from_static(b"{}"))
    }

    /// An output whose members are those of a struct or a map.
    ///
    /// # Errors
    /// [`Kind::Internal`]: it is no JSON object.
    pub fn of(output: &impl Serialize) -> Result<Self, Fault> {
        let text = serde_json::to_vec(output)
            .map_err(|error| Fault::new(Kind::Internal, format!("the answer cannot be written: {error}")))?;
        Self::json(text.into())
    }

    /// An output as JSON text. No space may stand around it.
    ///
    /// # Errors
    /// [`Kind::Internal`]: it does not begin and end as an object does. What is between is not looked at.
    pub fn json(text: Bytes) -> Result<Self, Fault> {
        if text.starts_with(b"{") && text.ends_with(b"}") {
            return Ok(Self(text));
        }
        Err(Fault::new(Kind::Internal, "the answer is no JSON object"))
    }

    /// The JSON text.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

/// What stands behind the door.
///
/// Each thread of the door has a runtime of its own (current thread), so futures need not be `Send`; they must not block. A
/// future is dropped when its caller goes away, when [`crate::Limits::call_within`] has passed, or when the door is shut for
/// longer than [`crate::Limits::drain_within`]: what must not be left half done is handed to a task of its own.
pub trait Gate: Send + Sync + 'static {
    /// Makes a call.
    fn call(&self, call: Call) -> impl Future<Output = Result<Answer, Fault>>;

    /// The name of the machine that a call is about whose text does not say it ([`crate::Machine::Hidden`]): an execution's QRN
    /// holds the machine's id alone. `None`: there is none; what the call says of it then is the call's matter.
    fn machine(&self, call: &Call) -> impl Future<Output = Result<Option<String>, Fault>>;
}
