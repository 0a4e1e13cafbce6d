//! What an acknowledgement is worth with Redis's present settings.
//!
//! Invariant: a promise is made only where the settings were read and are right, or where the operator
//! declared them because `CONFIG GET` is denied. Only `appendfsync always` keeps the promise: `everysec`
//! answers before it writes, and with a slow disk loses up to two seconds of acknowledged writes when the
//! process is killed.

use std::collections::HashMap;

use journal::{Durability, StoreError};

use crate::link::Link;
use crate::options::AppendFsync;
use crate::reply::{array, text};

const SETTINGS: [&str; 5] =
    ["appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy", "aof-load-truncated"];

/// What was read or declared.
#[derive(Debug, Default, Clone)]
struct Facts {
    settings: HashMap<&'static str, String>,
    /// Fields of INFO.
    info: HashMap<String, String>,
    declared: Option<AppendFsync>,
}

/// Reads the settings.
pub(crate) async fn read(link: &Link, declared: Option<AppendFsync>) -> Result<Durability, StoreError> {
    let mut facts = Facts { declared, ..Facts::default() };
    for setting in SETTINGS {
        let mut get = redis::cmd("CONFIG");
        get.arg("GET").arg(setting);
        // A refusal says that it is denied here; what that means is decided below.
        if let Ok(reply) = link.try_command(&get).await?
            && let Some(value) = array("CONFIG GET", reply)?.into_iter().nth(1).and_then(text)
        {
            facts.settings.insert(setting, value);
        }
    }
    let mut info = redis::cmd("INFO");
    info.arg("everything");
    if let Ok(reply) = link.try_command(&info).await? {
        facts.info = parse_info(&text(reply).unwrap_or_default());
    }
    Ok(judge(&facts, &link.address))
}

fn parse_info(text: &str) -> HashMap<String, String> {
    let wanted =
        ["redis_version", "role", "aof_enabled", "aof_last_write_status", "maxmemory", "cluster_enabled"];
    let fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
    fields
        .filter(|(name, _)| wanted.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn judge(facts: &Facts, address: &str) -> Durability {
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
    Durability {
        store: "redis",
        survives_process_kill,
        survives_power_loss: survives_process_kill && !skips_fsync,
        detail: detail(address, fact("redis_version"), survives_process_kill, &todo),
        settings: labels(facts, fsync),
    }
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

fn detail(address: &str, version: Option<&str>, promise: bool, todo: &[String]) -> String {
    let version = version.unwrap_or("of an unknown version");
    let verdict = if promise {
        "acknowledged executions survive the kill of any process"
    } else {
        "ACKNOWLEDGED EXECUTIONS CAN BE LOST when processes are killed"
    };
    let mut detail = format!("Redis {version} at {address}: {verdict}");
    for item in todo {
        detail.push_str("; ");
        detail.push_str(item);
    }
    detail
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

    #[test]
    fn the_right_settings_promise_everything() {
        let durability = judge(&facts(&[]), "h:1");
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
            let durability = judge(&facts(&[(setting, value)]), "h:1");
            let promised = (durability.survives_process_kill, durability.survives_power_loss);
            assert_eq!(promised, (kill, power), "{setting} {value}");
            assert!(durability.detail.contains(&format!("CONFIG SET {setting}")), "{}", durability.detail);
        }
    }

    #[test]
    fn where_config_is_denied_only_a_declaration_promises() {
        let denied = Facts::default();
        let durability = judge(&denied, "h:1");
        assert!(!durability.survives_process_kill);
        assert!(durability.detail.contains("declare"), "{}", durability.detail);
        let declared = Facts { declared: Some(AppendFsync::Always), ..denied.clone() };
        assert!(judge(&declared, "h:1").survives_process_kill);
        let declared = Facts { declared: Some(AppendFsync::Everysec), ..denied.clone() };
        assert!(!judge(&declared, "h:1").survives_process_kill);
        let info = HashMap::from([("aof_enabled".to_owned(), "0".to_owned())]);
        let contradicted = Facts { declared: Some(AppendFsync::Always), info, ..denied };
        assert!(!judge(&contradicted, "h:1").survives_process_kill, "INFO says that there is no file");
    }

    #[test]
    fn a_failing_file_and_a_replica_break_the_promise() {
        for (name, value) in [("aof_last_write_status", "err"), ("role", "slave")] {
            let facts = Facts { info: parse_info(&format!("# Section\r\n{name}:{value}\r\n")), ..facts(&[]) };
            assert!(!judge(&facts, "h:1").survives_process_kill, "{name}");
        }
    }
}
