//! The roles that the console has: which may be assumed, and for how long at most.

use std::time::Duration;

/// A role is refused beyond this length.
const ROLE_BYTES_MAX: usize = 2_048;
const SESSION_CHARACTERS: std::ops::RangeInclusive<usize> = 2..=64;

/// See the module.
#[derive(Debug, Clone)]
pub struct Roles {
    /// Patterns in which `*` is any text.
    patterns: Vec<String>,
    /// The longest that keys are good.
    duration_max: Duration,
    /// How long they are good unless asked for something else.
    duration: Duration,
}

impl Roles {
    /// Roles by patterns in which `*` is any text, with the longest and the usual time that keys are good.
    #[must_use]
    pub fn new(patterns: Vec<String>, duration: Duration, duration_max: Duration) -> Self {
        Self { patterns, duration_max, duration }
    }

    /// For how long keys of this role are good; or why there are none.
    ///
    /// # Errors
    /// Words for whoever made the role or the machine.
    pub fn check(&self, role: &str, session: &str, duration_seconds: u32) -> Result<Duration, String> {
        if role.len() > ROLE_BYTES_MAX {
            return Err(format!("a role's name has at most {ROLE_BYTES_MAX} bytes, and not {}", role.len()));
        }
        ids::check_role(role).map_err(|error| error.to_string())?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_=,.@-".contains(c);
        if !SESSION_CHARACTERS.contains(&session.len()) || !session.chars().all(allowed) {
            return Err(
                "the name of the session has to be 2 to 64 characters of [A-Za-z0-9_=,.@-]".to_owned()
            );
        }
        if !self.patterns.iter().any(|pattern| front::fits(pattern, role)) {
            return Err(format!(
                "{role} does not exist, or does not trust the executor: make it in the console"
            ));
        }
        let asked = Duration::from_secs(u64::from(duration_seconds));
        if asked > self.duration_max {
            let most = self.duration_max.as_secs();
            return Err(format!(
                "keys of {role} are good for {most} s at most, and {duration_seconds} s were asked for"
            ));
        }
        Ok(if asked.is_zero() { self.duration } else { asked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(patterns: &[&str]) -> Roles {
        let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Roles::new(patterns, Duration::from_secs(900), Duration::from_secs(3_600))
    }

    #[test]
    fn roles_are_checked_as_the_console_has_them() {
        let roles = roles(&["arn:aws:iam::123456789012:role/*", "qcs::cam::uin/1:roleName/asw"]);
        let check = |role: &str, session: &str, seconds| roles.check(role, session, seconds);
        let orders = "arn:aws:iam::123456789012:role/orders";
        assert_eq!(check(orders, "s1", 0), Ok(Duration::from_secs(900)));
        assert_eq!(check("qcs::cam::uin/1:roleName/asw", "s1", 3_600), Ok(Duration::from_secs(3_600)));
        for (role, session, seconds, words) in [
            ("qcs::cam::uin/2:roleName/asw", "s1", 0, "does not exist"),
            ("arn:aws:lambda:r:a:function:f", "s1", 0, "is not the ARN of a role"),
            ("", "s1", 0, "is not the ARN of a role"),
            (orders, "s", 0, "name of the session"),
            (orders, "with blank", 0, "name of the session"),
            (orders, "s1", 3_601, "3600 s at most"),
        ] {
            let error = check(role, session, seconds).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }
}
