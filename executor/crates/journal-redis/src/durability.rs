//! What an acknowledgement is worth with Redis's present settings.
//!
//! Invariant: a promise is made only where the settings were read and are right, or where the operator
//! declared them because `CONFIG GET` is denied. Only `appendfsync always` keeps the promise: `everysec`
//! answers before it writes, and with a slow disk loses up to two seconds of acknowledged writes when the
//! process is killed.

use std::collections::HashMap;

use journal::{Durability, StoreError};
use redis::Pipeline;

use crate::link::Link;
use crate::options::AppendFsync;
use crate::reply::{array, text};
use crate::servers::Servers;

const SETTINGS: [&str; 6] = [
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "maxmemory-policy",
    "aof-load-truncated",
    "min-replicas-to-write",
];

/// What was read or declared.
#[derive(Debug, Default, Clone)]
struct Facts {
    settings: HashMap<&'static str, String>,
    /// Fields of INFO.
    info: HashMap<String, String>,
    declared: Option<AppendFsync>,
}

/// What the settings of one server mean.
#[derive(Debug, Clone)]
struct Judged {
    survives_process_kill: bool,
    survives_power_loss: bool,
    version: String,
    /// What to change, or to know.
    todo: Vec<String>,
    labels: Vec<(&'static str, String)>,
}

/// Reads the settings of every master. A master that does not answer promises nothing.
pub(crate) async fn read(servers: &Servers, declared: Option<AppendFsync>) -> Result<Durability, StoreError> {
    let masters = servers.masters();
    let asked = masters.iter().map(|master| async {
        let facts = read_one(&master.link, declared).await;
        (master.link.address.as_str(), facts.map(|facts| judge(&facts)))
    });
    let read = futures_util::future::join_all(asked).await;
    match read.first() {
        Some((_, Err(error))) if read.iter().all(|(_, judged)| judged.is_err()) => Err(error.clone()),
        _ => Ok(sum_up(&read, servers.is_cluster())),
    }
}

async fn read_one(link: &Link, declared: Option<AppendFsync>) -> Result<Facts, StoreError> {
    let mut pipeline = Pipeline::new();
    for setting in SETTINGS {
        pipeline.cmd("CONFIG").arg("GET").arg(setting);
    }
    pipeline.cmd("INFO");
    let mut replies = link.pipeline(&pipeline).await?;
    let info = replies.pop();
    let mut facts = Facts { declared, ..Facts::default() };
    for (setting, reply) in SETTINGS.into_iter().zip(replies) {
        // A refusal says that it is denied here; what that means is decided below.
        if let Ok(reply) = reply
            && let Some(value) = array("CONFIG GET", reply)?.into_iter().nth(1).and_then(text)
        {
            facts.settings.insert(setting, value);
        }
    }
    if let Some(Ok(reply)) = info {
        facts.info = parse_info(&text(reply).unwrap_or_default());
    }
    Ok(facts)
}

fn parse_info(text: &str) -> HashMap<String, String> {
    let wanted = ["redis_version", "role", "aof_enabled", "aof_last_write_status", "connected_slaves"];
    let fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
    fields
        .filter(|(name, _)| wanted.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn judge(facts: &Facts) -> Judged {
    let setting = |name: &str| facts.settings.get(name).map(String::as_str);
    let fact = |name: &str| facts.info.get(name).map(String::as_str);
    let (fsync, denied) = fsync(facts);
    let evicts = setting("maxmemory-policy").is_some_and(|policy| policy.starts_with("allkeys"));
    let failing = fact("aof_last_write_status").is_some_and(|status| status != "ok");
    let replica = fact("role") == Some("slave");
    let survives_process_kill = fsync == Some(AppendFsync::Always) && !evicts && !failing && !replica;
    let skips_fsync = setting("no-appendfsync-on-rewrite") == Some("yes");

    let mut todo = Vec::new();
    if setting("appendonly") == Some("no") {
        todo.push("there is no append-only file: CONFIG SET appendonly yes".to_owned());
    }
    if let Some(set) = setting("appendfsync").filter(|set| *set != "always") {
        todo.push(format!(
            "appendfsync is {set}, acknowledged executions can be lost: CONFIG SET appendfsync always"
        ));
    }
    if denied {
        todo.push(match facts.declared {
            Some(declared) => {
                format!("CONFIG GET is denied; declared by the operator: appendfsync {declared}")
            }
            None => "CONFIG GET is denied, so nothing can be promised: allow `CONFIG GET`, or declare \
                     appendfsync in the node's configuration"
                .to_owned(),
        });
    }
    if skips_fsync {
        let advice = "CONFIG SET no-appendfsync-on-rewrite no";
        todo.push(format!("while the append-only file is rewritten nothing reaches the disk: {advice}"));
    }
    if let Some(policy) = setting("maxmemory-policy").filter(|policy| *policy != "noeviction") {
        let advice = "CONFIG SET maxmemory-policy noeviction";
        todo.push(format!("maxmemory-policy is {policy}, full memory deletes keys: {advice}"));
    }
    if setting("aof-load-truncated") == Some("no") {
        let advice = "CONFIG SET aof-load-truncated yes";
        todo.push(format!("after a power loss Redis will not start with a torn last command: {advice}"));
    }
    if failing {
        todo.push("the last write to the append-only file failed: see Redis's log and its disk".to_owned());
    }
    if replica {
        todo.push("this Redis is a replica: point the node at the master".to_owned());
    }
    if let Some(replicas) = fact("connected_slaves").filter(|replicas| *replicas != "0") {
        todo.push(format!(
            "{replicas} replicas follow it without being waited for: the promotion of one loses what it did not have yet; \
             the node notices that"
        ));
    }
    Judged {
        survives_process_kill,
        survives_power_loss: survives_process_kill && !skips_fsync,
        version: fact("redis_version").unwrap_or("of an unknown version").to_owned(),
        todo,
        labels: labels(facts, fsync),
    }
}

/// One word for all servers: a promise is kept where every one of them keeps it.
fn sum_up(read: &[(&str, Result<Judged, StoreError>)], cluster: bool) -> Durability {
    let all = |promise: fn(&Judged) -> bool| {
        !read.is_empty() && read.iter().all(|(_, judged)| judged.as_ref().is_ok_and(promise))
    };
    let survives_process_kill = all(|judged| judged.survives_process_kill);
    let mut versions: Vec<&str> =
        read.iter().filter_map(|(_, judged)| Some(judged.as_ref().ok()?.version.as_str())).collect();
    versions.sort_unstable();
    versions.dedup();
    let addresses: Vec<&str> = read.iter().map(|(address, _)| *address).collect();
    let what = if cluster { "Redis Cluster" } else { "Redis" };
    let verdict = if survives_process_kill {
        "acknowledged executions survive the kill of any process"
    } else {
        "ACKNOWLEDGED EXECUTIONS CAN BE LOST when processes are killed"
    };
    let mut detail = format!("{what} {} at {}: {verdict}", versions.join(", "), addresses.join(", "));
    for (item, addresses) in items(read) {
        let wherever = if cluster { format!(" ({})", addresses.join(", ")) } else { String::new() };
        detail.push_str(&format!("; {item}{wherever}"));
    }
    let mut settings = sum_up_labels(read);
    if cluster {
        settings.push(("masters", read.len().to_string()));
    }
    Durability {
        store: "redis",
        survives_process_kill,
        survives_power_loss: all(|judged| judged.survives_power_loss),
        detail,
        settings,
    }
}

/// What to change, and where.
fn items<'a>(read: &[(&'a str, Result<Judged, StoreError>)]) -> Vec<(String, Vec<&'a str>)> {
    let mut items: Vec<(String, Vec<&str>)> = Vec::new();
    for (address, judged) in read {
        let todo = match judged {
            Ok(judged) => judged.todo.clone(),
            Err(error) => vec![format!("its settings cannot be read, so it promises nothing: {error}")],
        };
        for item in todo {
            match items.iter_mut().find(|(known, _)| *known == item) {
                Some((_, addresses)) => addresses.push(address),
                None => items.push((item, vec![address])),
            }
        }
    }
    items
}

/// Where servers differ, all values.
fn sum_up_labels(read: &[(&str, Result<Judged, StoreError>)]) -> Vec<(&'static str, String)> {
    let mut labels: Vec<(&'static str, String)> = Vec::new();
    for (name, value) in read.iter().filter_map(|(_, judged)| judged.as_ref().ok()).flat_map(|it| &it.labels)
    {
        match labels.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) if values.split(',').any(|known| known == value) => {}
            Some((_, values)) => values.push_str(&format!(",{value}")),
            None => labels.push((name, value.clone())),
        }
    }
    labels
}

/// When Redis writes through, as far as it is known; and whether asking was denied.
fn fsync(facts: &Facts) -> (Option<AppendFsync>, bool) {
    let setting = |name: &str| facts.settings.get(name).map(String::as_str);
    match (setting("appendonly"), setting("appendfsync")) {
        (Some("no"), _) => (Some(AppendFsync::No), false),
        (_, Some("always")) => (Some(AppendFsync::Always), false),
        (_, Some("everysec")) => (Some(AppendFsync::Everysec), false),
        (_, Some(_)) => (Some(AppendFsync::No), false),
        (_, None) if facts.info.get("aof_enabled").map(String::as_str) == Some("0") => {
            (Some(AppendFsync::No), true)
        }
        (_, None) => (facts.declared, true),
    }
}

fn labels(facts: &Facts, fsync: Option<AppendFsync>) -> Vec<(&'static str, String)> {
    let setting = |name: &str| facts.settings.get(name).cloned();
    let unknown = || "unknown".to_owned();
    let fsync = setting("appendfsync").or_else(|| fsync.map(|fsync| format!("declared {fsync}")));
    vec![
        ("appendonly", setting("appendonly").unwrap_or_else(unknown)),
        ("appendfsync", fsync.unwrap_or_else(unknown)),
        ("no_appendfsync_on_rewrite", setting("no-appendfsync-on-rewrite").unwrap_or_else(unknown)),
        ("maxmemory_policy", setting("maxmemory-policy").unwrap_or_else(unknown)),
        ("aof_load_truncated", setting("aof-load-truncated").unwrap_or_else(unknown)),
        ("min_replicas_to_write", setting("min-replicas-to-write").unwrap_or_else(unknown)),
        ("replicas", facts.info.get("connected_slaves").cloned().unwrap_or_else(unknown)),
    ]
}

impl std::fmt::Display for AppendFsync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::Everysec => "everysec",
            Self::No => "no",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(changes: &[(&'static str, &str)]) -> Facts {
        let right = [
            ("appendonly", "yes"),
            ("appendfsync", "always"),
            ("no-appendfsync-on-rewrite", "no"),
            ("maxmemory-policy", "noeviction"),
            ("aof-load-truncated", "yes"),
        ];
        let mut settings: HashMap<_, _> = right.into_iter().collect();
        settings.extend(changes.iter().copied());
        let settings = settings.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        Facts { settings, ..Facts::default() }
    }

    fn promise(facts: &Facts) -> Durability {
        sum_up(&[("h:1", Ok(judge(facts)))], false)
    }

    #[test]
    fn of_a_cluster_the_weakest_master_decides_and_is_named() {
        let weak = judge(&facts(&[("appendfsync", "everysec")]));
        let read = [("a:1", Ok(judge(&facts(&[])))), ("b:2", Ok(weak)), ("c:3", Ok(judge(&facts(&[]))))];
        let durability = sum_up(&read, true);
        assert!(!durability.survives_process_kill && !durability.survives_power_loss);
        let detail = &durability.detail;
        assert!(detail.contains("CONFIG SET appendfsync always (b:2)"), "{detail}");
        assert!(
            durability.settings.contains(&("appendfsync", "always,everysec".to_owned())),
            "{durability:?}"
        );
        assert!(durability.settings.contains(&("masters", "3".to_owned())), "{durability:?}");
        let away = Err(StoreError::Unavailable("away".to_owned()));
        let read = [("a:1", Ok(judge(&facts(&[])))), ("b:2", away)];
        let durability = sum_up(&read, true);
        assert!(
            !durability.survives_process_kill && durability.detail.contains("away (b:2)"),
            "{durability:?}"
        );
    }

    #[test]
    fn the_right_settings_promise_everything() {
        let durability = promise(&facts(&[]));
        assert!(durability.survives_process_kill && durability.survives_power_loss, "{durability:?}");
        assert!(!durability.detail.contains("CONFIG SET"), "{}", durability.detail);
    }

    #[test]
    fn a_wrong_setting_breaks_its_promise_and_says_what_to_change() {
        for (setting, value, kill, power) in [
            ("appendonly", "no", false, false),
            ("appendfsync", "everysec", false, false),
            ("appendfsync", "no", false, false),
            ("no-appendfsync-on-rewrite", "yes", true, false),
            ("maxmemory-policy", "allkeys-lru", false, false),
            ("maxmemory-policy", "volatile-ttl", true, true),
            ("aof-load-truncated", "no", true, true),
        ] {
            let durability = promise(&facts(&[(setting, value)]));
            let promised = (durability.survives_process_kill, durability.survives_power_loss);
            assert_eq!(promised, (kill, power), "{setting} {value}");
            assert!(durability.detail.contains(&format!("CONFIG SET {setting}")), "{}", durability.detail);
        }
    }

    #[test]
    fn where_config_is_denied_only_a_declaration_promises() {
        let denied = Facts::default();
        let durability = promise(&denied);
        assert!(!durability.survives_process_kill);
        assert!(durability.detail.contains("declare"), "{}", durability.detail);
        let declared = Facts { declared: Some(AppendFsync::Always), ..denied.clone() };
        assert!(promise(&declared).survives_process_kill);
        let declared = Facts { declared: Some(AppendFsync::Everysec), ..denied.clone() };
        assert!(!promise(&declared).survives_process_kill);
        let info = HashMap::from([("aof_enabled".to_owned(), "0".to_owned())]);
        let contradicted = Facts { declared: Some(AppendFsync::Always), info, ..denied };
        assert!(!promise(&contradicted).survives_process_kill, "INFO says that there is no file");
    }

    #[test]
    fn a_failing_file_and_a_replica_break_the_promise() {
        for (name, value) in [("aof_last_write_status", "err"), ("role", "slave")] {
            let facts = Facts { info: parse_info(&format!("# Section\r\n{name}:{value}\r\n")), ..facts(&[]) };
            assert!(!promise(&facts).survives_process_kill, "{name}");
        }
    }
}
