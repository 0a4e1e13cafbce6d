//! Names of machines and executions: their rules, and the ARNs and QRNs made of them.

use asl::Dialect;
use ids::MachineName;
use sha2::{Digest, Sha256};

use crate::error::Error;

/// Characters of a name (Step Functions).
pub const NAME_CHARS_MAX: usize = 80;

/// What a name must not contain, besides white space and control characters (Step Functions).
const FORBIDDEN: &str = "<>{}[]?*\"#%\\^|~`$&,;:/";

/// Where machines live: the parts of their ARNs and QRNs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    /// Region of ARNs and QRNs.
    pub region: String,
    /// Account of ARNs, APPID of QRNs.
    pub account: String,
}

impl Default for Naming {
    fn default() -> Self {
        Self { region: "local".into(), account: "000000000000".into() }
    }
}

impl Naming {
    /// The ARN (ASL) or QRN (TCSL) of the machine with this name. One name always gives the same one, so that
    /// the store's key decides who was first.
    #[must_use]
    pub fn machine(&self, name: &str, dialect: Dialect) -> String {
        let Self { region, account } = self;
        match dialect {
            Dialect::Asl => MachineName::arn(region, account, name).as_str().to_owned(),
            Dialect::Tcsl => {
                let id = short_id(name);
                format!("qrn:qcs:asw:{region}:{account}:http:json:flowmachine:{name}:{id}")
            }
        }
    }

    /// The ARN of the activity with this name.
    #[must_use]
    pub fn activity(&self, name: &str) -> String {
        let Self { region, account } = self;
        format!("arn:aws:states:{region}:{account}:activity:{name}")
    }
}

/// Eight characters of a-z and 0-9, as ASW's machine ids look like.
pub(crate) fn short_id(name: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(8).map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// Checks a machine's or an execution's name: 1 to 80 characters, none of them white space, a control
/// character, or one of the characters that Step Functions refuses.
///
/// # Errors
/// [`Error::Invalid`] with the code `InvalidName`, naming the first character that is not allowed.
pub fn check_name(what: &str, name: &str) -> Result<(), Error> {
    let length = name.chars().count();
    if length == 0 || length > NAME_CHARS_MAX {
        let message = format!("the {what} name has {length} characters: give 1 to {NAME_CHARS_MAX}");
        return Err(Error::invalid("InvalidName", message));
    }
    let refused = |c: &char| {
        c.is_whitespace() || c.is_control() || FORBIDDEN.contains(*c) || matches!(*c, '\u{fffe}' | '\u{ffff}')
    };
    match name.chars().find(refused) {
        None => Ok(()),
        Some(c) => {
            let message = format!(
                "the {what} name {name:?} contains {c:?}: white space, control characters and {FORBIDDEN} are not allowed"
            );
            Err(Error::invalid("InvalidName", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_1_to_80_characters_pass_in_any_script() {
        for name in ["a", "order-pipeline", "Ü_1.2!(x)", "审批", &"x".repeat(80), &"界".repeat(80)] {
            check_name("machine", name).expect(name);
        }
    }

    #[test]
    fn other_names_are_refused_with_the_character() {
        assert!(check_name("machine", "").is_err());
        assert!(check_name("machine", &"x".repeat(81)).is_err());
        for c in FORBIDDEN.chars().chain([' ', '\t', '\n', '\u{7f}', '\u{85}', '\u{ffff}']) {
            let error = check_name("machine", &format!("a{c}b")).expect_err("refused").to_string();
            assert!(error.contains(&format!("{c:?}")), "{error}");
        }
    }

    #[test]
    fn both_dialects_give_names_that_parse_back() {
        let naming = Naming::default();
        for dialect in [Dialect::Asl, Dialect::Tcsl] {
            let text = naming.machine("orders", dialect);
            assert_eq!(MachineName::parse(&text).expect("a machine").name(), "orders");
        }
        assert_ne!(naming.machine("a", Dialect::Tcsl), naming.machine("b", Dialect::Tcsl));
    }
}
