//! From the names in a certificate to what its holder is.
//!
//! A name is a subject alternative name, DNS or URI; the common name is not looked at, as in every modern profile. Invariant:
//! nobody has a role that no entry gives. Nothing here fails but the reading of an entry.

use crate::TrustError;

/// What a peer is to us.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// An executor node.
    Node,
    /// A scheduler.
    Scheduler,
    /// Somebody who starts executions and looks at them.
    Caller,
    /// Somebody who may also drain nodes and change state machines.
    Operator,
    /// A worker of one pool, or of all.
    Worker(Option<String>),
}

/// Everything that a peer is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles(Vec<Role>);

impl Roles {
    /// Whether it is this.
    #[must_use]
    pub fn has(&self, role: &Role) -> bool {
        self.0.contains(role)
    }

    /// Whether it may take the tasks of a pool.
    #[must_use]
    pub fn works_for(&self, pool: &str) -> bool {
        self.0.iter().any(|role| match role {
            Role::Worker(of) => of.as_deref().is_none_or(|of| of == pool),
            _ => false,
        })
    }

    /// Whether it is a worker of any pool.
    #[must_use]
    pub fn is_worker(&self) -> bool {
        self.0.iter().any(|role| matches!(role, Role::Worker(_)))
    }

    /// Whether it is nobody to us.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<T: IntoIterator<Item = Role>>(roles: T) -> Self {
        let mut roles: Vec<Role> = roles.into_iter().collect();
        roles.sort();
        roles.dedup();
        Self(roles)
    }
}

/// Which names have which roles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow(Vec<(Role, String)>);

impl Allow {
    /// From entries `ROLE=NAME`.
    ///
    /// # Errors
    /// [`TrustError::Allow`] with the first one that is none.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, TrustError> {
        entries.into_iter().map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// Adds the entries of a file: one a line, or several separated by commas; what follows `#` at the beginning of a line or
    /// after a space is a comment. Says what is wrong in which line.
    pub(crate) fn extend(&mut self, text: &str) -> Result<(), String> {
        for (number, line) in (1..).zip(text.lines()) {
            let comment = line.char_indices().find(|(at, char)| {
                *char == '#' && line[..*at].chars().next_back().is_none_or(char::is_whitespace)
            });
            let line = &line[..comment.map_or(line.len(), |(at, _)| at)];
            for text in line.split(',').map(str::trim).filter(|text| !text.is_empty()) {
                self.0.push(entry(text).map_err(|error| format!("line {number}: {error}"))?);
            }
        }
        Ok(())
    }

    /// Whether it lets nobody in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the holder of these names is.
    #[must_use]
    pub fn roles<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Roles {
        let fits = |(_, pattern): &&(Role, String)| names.clone().any(|name| matches(pattern, name));
        self.0.iter().filter(fits).map(|(role, _)| role.clone()).collect()
    }
}

fn entry(text: &str) -> Result<(Role, String), TrustError> {
    let wrong = || TrustError::Allow(text.to_owned());
    let (role, name) = text.split_once('=').ok_or_else(wrong)?;
    let name = name.trim();
    let role = match role.trim() {
        "node" => Role::Node,
        "scheduler" => Role::Scheduler,
        "caller" => Role::Caller,
        "operator" => Role::Operator,
        "worker" => Role::Worker(None),
        other => match other.strip_prefix("worker:").filter(|pool| !pool.is_empty()) {
            Some(pool) => Role::Worker(Some(pool.to_owned())),
            None => return Err(wrong()),
        },
    };
    // No name holds a space or another entry: such an entry would let nobody in, and nobody would know why.
    let misread = name.is_empty() || name.contains(char::is_whitespace);
    if misread { Err(wrong()) } else { Ok((role, name.to_owned())) }
}

/// Whether a name fits a pattern in which `*` is any text; case does not matter, as in DNS.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let Some(rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    let mut rest = rest;
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_everything_else_is_itself() {
        for (pattern, name, fits) in [
            ("node-1.myriad", "node-1.myriad", true),
            ("node-1.myriad", "NODE-1.Myriad", true),
            ("node-*.myriad", "node-12.myriad", true),
            ("node-*.myriad", "node-12.myriad.evil", false),
            ("node-*.myriad", "evil.node-12.myriad", false),
            ("spiffe://prod/ns/*/sa/executor", "spiffe://prod/ns/a/sa/executor", true),
            ("*a*b", "xaxxb", true),
            ("*a*b", "xab", true),
            ("a*a", "a", false),
            ("*", "anything", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn names_give_roles_and_a_worker_of_one_pool_works_for_no_other() {
        let allow =
            Allow::parse(["node=*.nodes", "worker:ocr=ocr.*", "worker=any.workers", "caller=*.nodes"]);
        let allow = allow.expect("entries");
        let roles = |names: &[&str]| allow.roles(names.iter().copied());
        let node = roles(&["a.nodes"]);
        assert!(node.has(&Role::Node) && node.has(&Role::Caller) && !node.is_worker());
        let ocr = roles(&["other", "ocr.eu"]);
        assert!(ocr.works_for("ocr") && !ocr.works_for("asr") && ocr.is_worker());
        assert!(roles(&["any.workers"]).works_for("asr"));
        assert!(roles(&["nobody"]).is_empty());
    }

    #[test]
    fn what_is_no_entry_is_refused_with_the_roles_that_there_are() {
        for wrong in ["node", "king=a", "worker:=a", "node=", "=a", "node=a node=b"] {
            let message = Allow::parse([wrong]).expect_err("no entry").to_string();
            assert!(message.contains("worker:POOL") && message.contains(wrong), "{message}");
        }
    }

    #[test]
    fn a_file_holds_entries_and_comments_and_what_is_wrong_in_it_is_told_with_its_line() {
        let read = |text: &str| {
            let mut allow = Allow::default();
            allow.extend(text).map(|()| allow)
        };
        let allow =
            read("# who may what\n\n node=*.nodes # all of them\r\nworker:ocr=a,caller=spiffe://x/y#z\n");
        let entries = ["node=*.nodes", "worker:ocr=a", "caller=spiffe://x/y#z"];
        assert_eq!(allow, Ok(Allow::parse(entries).expect("entries")));
        assert_eq!(read("# nobody"), Ok(Allow::default()));
        let told = read("node=a\nking=b\n").expect_err("no role");
        assert!(told.starts_with("line 2: \"king=b\"") && told.contains("worker:POOL"), "{told}");
    }
}
