//! The map of a Redis Cluster: which master serves which slot.
//!
//! Invariants: ranges are in order and do not meet. What may fail: a reply of another shape.

use journal::StoreError;
use redis::{RedisError, Value};

use crate::reply::{array, text, unexpected};

/// A host and a port.
pub(crate) type Address = (String, u16);

/// Slots `from..=to` and who serves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub from: u16,
    pub to: u16,
    pub master: Address,
    pub replicas: Vec<Address>,
}

/// Reads the reply to CLUSTER SLOTS: `[from, to, [host, port, ...], replicas...]` for each range. A node that does not
/// know its own host leaves it out: then it is the one that was asked.
pub(crate) fn ranges(reply: Value, asked: &str) -> Result<Vec<Range>, StoreError> {
    let wrong = || unexpected("CLUSTER SLOTS", &Value::Array(Vec::new()));
    let mut ranges = Vec::new();
    for range in array("CLUSTER SLOTS", reply)? {
        let mut parts = array("CLUSTER SLOTS", range)?.into_iter();
        let (Some(from), Some(to)) = (parts.next().and_then(number), parts.next().and_then(number)) else {
            return Err(wrong());
        };
        let mut nodes = Vec::new();
        for node in parts {
            let mut fields = array("CLUSTER SLOTS", node)?.into_iter();
            let host = fields.next().and_then(text).filter(|host| !host.is_empty() && host != "?");
            let port = fields.next().and_then(number).ok_or_else(wrong)?;
            nodes.push((host.unwrap_or_else(|| asked.to_owned()), port));
        }
        let mut nodes = nodes.into_iter();
        let master = nodes.next().ok_or_else(wrong)?;
        ranges.push(Range { from, to, master, replicas: nodes.collect() });
    }
    ranges.sort_by_key(|range| range.from);
    Ok(ranges)
}

fn number(value: Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(number).ok(),
        _ => None,
    }
}

/// Where a refusal sends its command: `MOVED 3999 host:port` for good, `ASK 3999 host:port` this once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirect {
    pub to: Address,
    pub once: bool,
}

/// Reads a redirect; `asked` is the host that gave it.
pub(crate) fn redirect(refusal: &RedisError, asked: &str) -> Option<Redirect> {
    let once = match refusal.code()? {
        "MOVED" => false,
        "ASK" => true,
        _ => return None,
    };
    let (host, port) = refusal.detail()?.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
    let host = if host.is_empty() { asked } else { host.trim_matches(['[', ']']) };
    Some(Redirect { to: (host.to_owned(), port.parse().ok()?), once })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn node(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), string("id"), Value::Array(Vec::new())])
    }

    #[test]
    fn ranges_come_in_order_with_master_and_replicas_and_hosts_that_are_left_out() {
        let high = vec![Value::Int(100), Value::Int(16_383), node(string("b"), 2)];
        let low = vec![Value::Int(0), Value::Int(99), node(Value::Nil, 1), node(string("c"), 3)];
        let reply = Value::Array(vec![Value::Array(high), Value::Array(low)]);
        let read = ranges(reply, "asked").expect("two ranges");
        let at = |host: &str, port| (host.to_owned(), port);
        let low = Range { from: 0, to: 99, master: at("asked", 1), replicas: vec![at("c", 3)] };
        let high = Range { from: 100, to: 16_383, master: at("b", 2), replicas: Vec::new() };
        assert_eq!(read, [low, high]);
    }

    #[test]
    fn another_shape_is_an_error() {
        for reply in [Value::Int(1), Value::Array(vec![Value::Array(vec![Value::Int(0)])])] {
            assert!(matches!(ranges(reply, "h"), Err(StoreError::Corrupt(_))));
        }
    }
}
