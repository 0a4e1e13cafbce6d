//! Debug output of messages that carry keys, without the keys.

use std::fmt;

use crate::auth::v1::Credentials;

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, secret: _, token: _, lifetime_ms, expires_at_ms } = self;
        f.debug_struct("Credentials")
            .field("id", id)
            .field("lifetime_ms", lifetime_ms)
            .field("expires_at_ms", expires_at_ms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_by_no_debug_output() {
        let keys = Credentials {
            id: "known".into(),
            secret: "hidden".into(),
            token: "veiled".into(),
            ..Default::default()
        };
        let response = crate::auth::v1::AssumeRoleResponse { credentials: Some(keys) };
        let text = format!("{response:?}");
        assert!(text.contains("known") && !text.contains("hidden") && !text.contains("veiled"), "{text}");
    }
}
