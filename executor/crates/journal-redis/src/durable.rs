//! Keys that live for ever: definitions, templates, counters.
//!
//! Invariants: values are in one hash and their names in one sorted set of equal scores, which Redis orders
//! by bytes; both change together in one script, so a scan neither misses a value nor finds a name without
//! one. No key of these has a time to live.

use bytes::Bytes;
use journal::StoreError;
use redis::Value;

use crate::keys::Keys;
use crate::reply::{array, bytes, unexpected};
use crate::servers::Servers;

/// Values that one reply of a scan has at most.
const SCAN_PAGE: usize = 128;

/// KEYS: values, names. ARGV: key, whether to compare (`any`, `absent`, `equal`), expected, what to do
/// (`set`, `delete`), value.
const WRITE: &str = "\
local present = redis.call('HGET', KEYS[1], ARGV[1])
if ARGV[2] == 'absent' and present then return 0 end
if ARGV[2] == 'equal' and present ~= ARGV[3] then return 0 end
if ARGV[4] == 'set' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[5])
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return 1";

/// KEYS: values, names. ARGV: key.
const INCREMENT: &str = "\
local present = redis.call('HGET', KEYS[1], ARGV[1])
if present and not string.match(present, '^%d+$') then
  return redis.error_reply('ERR hash value is not an integer')
end
local value = redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return value";

/// Sets a key.
pub(crate) async fn put(servers: &Servers, keys: &Keys, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    write(servers, keys, key, ("any", b""), Some(value)).await.map(|_| ())
}

/// Sets or deletes a key if its value is as expected.
pub(crate) async fn compare_and_put(
    servers: &Servers,
    keys: &Keys,
    key: &[u8],
    expected: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<bool, StoreError> {
    let condition = expected.map_or(("absent", b"".as_slice()), |expected| ("equal", expected));
    write(servers, keys, key, condition, value).await
}

async fn write(
    servers: &Servers,
    keys: &Keys,
    key: &[u8],
    (condition, expected): (&str, &[u8]),
    value: Option<&[u8]>,
) -> Result<bool, StoreError> {
    let action = if value.is_some() { "set" } else { "delete" };
    let mut script = redis::cmd("EVAL");
    script.arg(WRITE).arg(2).arg(keys.values()).arg(keys.names());
    script.arg(key).arg(condition).arg(expected).arg(action).arg(value.unwrap_or_default());
    match servers.command(keys.durable_slot(), &script).await? {
        Value::Int(done) => Ok(done == 1),
        other => Err(unexpected("EVAL", &other)),
    }
}

/// Reads a key.
pub(crate) async fn get(servers: &Servers, keys: &Keys, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
    let mut get = redis::cmd("HGET");
    get.arg(keys.values()).arg(key);
    Ok(bytes(servers.command(keys.durable_slot(), &get).await?))
}

/// Keys that begin so, in order, after `after`.
pub(crate) async fn scan(
    servers: &Servers,
    keys: &Keys,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
    let mut found = Vec::new();
    let mut after = after.map(<[u8]>::to_vec);
    while found.len() < limit {
        let page = (limit - found.len()).min(SCAN_PAGE);
        let names = names(servers, keys, prefix, after.as_deref(), page).await?;
        let complete = names.len() < page;
        let Some(last) = names.last() else { break };
        after = Some(last.to_vec());
        let mut get = redis::cmd("HMGET");
        get.arg(keys.values());
        for name in &names {
            get.arg(name.as_ref());
        }
        let values =
            array("HMGET", servers.command(keys.durable_slot(), &get).await?)?.into_iter().map(bytes);
        // A key that was deleted between the two replies has no value any more.
        found.extend(names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))));
        if complete {
            break;
        }
    }
    Ok(found)
}

async fn names(
    servers: &Servers,
    keys: &Keys,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Bytes>, StoreError> {
    let from = match after {
        Some(after) if after >= prefix => [b"(", after].concat(),
        _ => [b"[", prefix].concat(),
    };
    let to = successor(prefix).map_or(b"+".to_vec(), |end| [b"(", end.as_slice()].concat());
    let mut range = redis::cmd("ZRANGE");
    range.arg(keys.names()).arg(from).arg(to).arg("BYLEX").arg("LIMIT").arg(0).arg(limit);
    Ok(array("ZRANGE", servers.command(keys.durable_slot(), &range).await?)?
        .into_iter()
        .filter_map(bytes)
        .collect())
}

/// The least key above all that begin so; none if there is no such key.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix.get(..=kept)?.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Some(end)
}

/// Raises a counter by one. It is a key as others are, and its value a decimal number.
pub(crate) async fn increment(servers: &Servers, keys: &Keys, key: &[u8]) -> Result<u64, StoreError> {
    let mut script = redis::cmd("EVAL");
    script.arg(INCREMENT).arg(2).arg(keys.values()).arg(keys.names()).arg(key);
    let value = match servers.try_command(keys.durable_slot(), &script).await? {
        Ok(Value::Int(value)) => value,
        Ok(other) => return Err(unexpected("EVAL", &other)),
        Err(refusal) if refusal.error.detail().is_some_and(|detail| detail.contains("not an integer")) => {
            let key = String::from_utf8_lossy(key);
            return Err(StoreError::Refused(format!(
                "the durable key {key:?} holds no number, it cannot be raised"
            )));
        }
        Err(refusal) => return Err(refusal.into()),
    };
    u64::try_from(value).map_err(|_| StoreError::Corrupt(format!("a counter in Redis is negative: {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_successor_of_a_prefix_is_above_all_that_begin_with_it() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(successor(b"\xff"), None);
        assert_eq!(successor(b""), None);
    }
}
