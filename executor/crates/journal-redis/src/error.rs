//! Redis's words to ours.
//!
//! Invariant: what Redis refused was not written ([`StoreError::Unavailable`] where a later try may work,
//! else [`StoreError::Refused`]); what was sent and not answered may be written ([`StoreError::Unknown`]).

use journal::StoreError;
use redis::{ErrorKind, RedisError};

/// What an error of a command that was sent means.
pub(crate) fn of_command(error: &RedisError, address: &str) -> StoreError {
    match error.code() {
        Some(code) => of_reply(code, error.detail().unwrap_or_default(), address),
        None if error.kind() == ErrorKind::AuthenticationFailed => {
            not_authenticated(&error.to_string(), address)
        }
        None if error.is_timeout() => {
            let message =
                format!("Redis at {address} did not answer in time; is it overloaded, or its disk slow?");
            StoreError::Unknown(message)
        }
        None => StoreError::Unknown(format!("the connection to Redis at {address} was lost ({error})")),
    }
}

/// What an error while connecting means: nothing was sent.
pub(crate) fn of_connecting(error: &RedisError, address: &str) -> StoreError {
    if error.code().is_some() || error.kind() == ErrorKind::AuthenticationFailed {
        return of_command(error, address);
    }
    if error.kind() == ErrorKind::Parse {
        // Its words quote the parser, line by line.
        let message = format!(
            "what answers at {address} does not speak Redis's protocol; check that the address is the one of a Redis"
        );
        return StoreError::Unavailable(message);
    }
    let why = if error.is_timeout() { "no answer in time".to_owned() } else { error.to_string() };
    let message = format!(
        "cannot connect to Redis at {address} ({why}); check that it runs there and that the address is right"
    );
    StoreError::Unavailable(message)
}

/// What a user needs.
pub(crate) const RIGHTS: &str = "allow the user XADD, XRANGE, XREVRANGE, XINFO, XTRIM, SET, MGET, EXISTS, RPUSH, LPOS, LRANGE, \
     PEXPIRE, GET, HGET, HSET, HDEL, HMGET, HINCRBY, ZADD, ZREM, ZRANGE, EVAL, ASKING, PING, INFO, CONFIG GET and \
     CLUSTER SLOTS on the keys of the prefix: ACL SETUSER name ~prefix:* +@all -@dangerous +info +config|get";

/// What Redis says, without the word NOPERM, of a command that a script was denied.
const IN_A_SCRIPT: &str = "The user executing the script can't run this command";

/// What an error reply means; `code` is its first word.
pub(crate) fn of_reply(code: &str, detail: &str, address: &str) -> StoreError {
    let said = format!("Redis at {address} says: {code} {detail}");
    let later = |what_to_do: &str| StoreError::Unavailable(format!("{said}; {what_to_do}"));
    let never = |what_to_do: &str| StoreError::Refused(format!("{said}; {what_to_do}"));
    match code {
        "OOM" => later("raise maxmemory, or shorten the retention; writing goes on by itself then"),
        "LOADING" => later("it reads its data after a start, wait for it"),
        "READONLY" => {
            later("it is a replica: point the node at the master, or promote it with REPLICAOF NO ONE")
        }
        "MISCONF" => later("it cannot write to its disk: free space there, and see its log"),
        "NOREPLICAS" => later("min-replicas-to-write is set and replicas are missing: bring them back"),
        "BUSY" => {
            later("a script or function runs too long there: stop it with SCRIPT KILL or FUNCTION KILL")
        }
        "CLUSTERDOWN" => later(
            "bring its masters back, or set cluster-require-full-coverage to no so that the others go on",
        ),
        "MASTERDOWN" => later("its master is away: bring it back, or promote this replica"),
        "TRYAGAIN" => later("a slot is on its way to another node, wait for it"),
        "NOAUTH" | "WRONGPASS" => not_authenticated(&said, address),
        // Nothing is lost by waiting until somebody gives the right, and much by giving up what is open.
        "NOPERM" => later(RIGHTS),
        "ERR" if detail.contains(IN_A_SCRIPT) => later(RIGHTS),
        "MOVED" | "ASK" | "CROSSSLOT" => never(
            "it belongs to a Redis Cluster that this user may not ask for: allow CLUSTER SLOTS, and start the node again",
        ),
        "WRONGTYPE" => {
            StoreError::Corrupt(format!("{said}; another program uses our keys: choose another prefix"))
        }
        "ERR" if detail.contains("SELECT is not allowed in cluster mode") => {
            never("a Redis Cluster has database 0 alone: leave /database out of the URL")
        }
        "ERR" if detail.contains("max number of clients") => later("raise maxclients"),
        _ => never("this is not expected of a Redis of version 6.2 or later"),
    }
}

fn not_authenticated(said: &str, address: &str) -> StoreError {
    StoreError::Refused(format!(
        "{said}; check user and password (--redis-url, --redis-password-file) for Redis at {address}"
    ))
}

/// Whether a reply to XADD says that the log stands at or above the id.
pub(crate) fn is_stale_id(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.contains("equal or smaller than the target stream top item"))
}

/// Whether Redis has no memory left for a write.
pub(crate) fn is_out_of_memory(error: &RedisError) -> bool {
    error.code() == Some("OOM")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn reply(line: &str) -> StoreError {
        let (code, detail) = line.split_once(' ').expect("a code and words");
        of_reply(code, detail, "h:1")
    }

    #[test]
    fn what_may_work_later_is_unavailable_with_the_words_of_redis_and_what_to_do() {
        for (line, what_to_do) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", "raise maxmemory"),
            ("LOADING Redis is loading the dataset in memory", "wait"),
            ("READONLY You can't write against a read only replica.", "REPLICAOF NO ONE"),
            ("MISCONF Errors writing to the AOF file: No space left on device", "free space"),
            ("NOREPLICAS Not enough good replicas to write.", "replicas"),
            ("BUSY Redis is busy running a script.", "SCRIPT KILL"),
            ("CLUSTERDOWN Hash slot not served", "masters"),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "promote"),
            ("TRYAGAIN Multiple keys request during rehashing of slot", "wait"),
            ("NOPERM this user has no permissions to run the 'xadd' command", "allow the user XADD"),
            ("ERR max number of clients reached", "maxclients"),
        ] {
            let error = reply(line);
            let text = error.to_string();
            assert!(matches!(error, StoreError::Unavailable(_)) && error.is_retryable(), "{error:?}");
            assert!(text.contains(line) && text.contains("h:1") && text.contains(what_to_do), "{text}");
        }
    }

    #[test]
    fn what_can_never_work_is_refused() {
        for line in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "MOVED 3999 127.0.0.1:6381",
            "ERR unknown command 'XADD'",
        ] {
            let error = reply(line);
            assert!(matches!(error, StoreError::Refused(_)) && !error.is_retryable(), "{error:?}");
        }
        assert!(matches!(reply("WRONGTYPE Operation against a key"), StoreError::Corrupt(_)));
    }

    #[test]
    fn what_was_sent_and_not_answered_is_unknown() {
        for kind in [io::ErrorKind::TimedOut, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe] {
            let error = of_command(&RedisError::from(io::Error::from(kind)), "h:1");
            assert!(matches!(error, StoreError::Unknown(_)), "{error:?}");
        }
    }

    #[test]
    fn what_could_not_be_sent_is_unavailable_and_names_the_address() {
        for kind in [io::ErrorKind::TimedOut, io::ErrorKind::ConnectionRefused] {
            let error = of_connecting(&RedisError::from(io::Error::from(kind)), "h:1");
            assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
            assert!(error.to_string().contains("cannot connect to Redis at h:1"), "{error}");
        }
    }
}
