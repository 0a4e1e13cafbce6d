//! Files that hold secrets, looked at before there is anything to send.
//!
//! They are read anew for each request or connection, so that they can be replaced; one that is missing or wrong from the
//! beginning would be noticed when something is sent first. Invariant: nothing of what a file holds is in an error. What may
//! fail: the file.

use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use crate::keys::{AWS, TENCENT, keys_of, lines_of};
use crate::otlp::{HEADERS_WANTED, headers_of};

/// What a file has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// Headers for OTLP.
    Headers,
    /// Keys of AWS.
    AwsKeys,
    /// Keys of Tencent Cloud.
    TencentKeys,
    /// A password, and nothing else.
    Password,
}

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It is not there, or may not be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// It holds something else.
    #[error("{0}")]
    Wrong(String),
}

impl Secret {
    /// Reads the file and what is in it.
    ///
    /// # Errors
    /// [`SecretError`]
    pub fn check(self, path: &Path) -> Result<(), SecretError> {
        let text = match std::fs::read_to_string(path).map(Zeroizing::new) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(SecretError::Wrong("it is no text in UTF-8".to_owned()));
            }
            text => text?,
        };
        let (good, wanted) = match self {
            Self::Headers => (headers_of(&text).is_some(), HEADERS_WANTED.to_owned()),
            Self::AwsKeys => (keys_of(&text, AWS).is_some(), lines_of(AWS)),
            Self::TencentKeys => (keys_of(&text, TENCENT).is_some(), lines_of(TENCENT)),
            Self::Password => (!text.trim_end_matches(['\r', '\n']).is_empty(), "it is empty".to_owned()),
        };
        if good { Ok(()) } else { Err(SecretError::Wrong(wanted)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_told_without_what_it_holds() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (secret, good, wrong, said) in [
            (Secret::Headers, "authorization: Bearer s3cret\n", "s3cret\n", "NAME: VALUE"),
            (
                Secret::AwsKeys,
                "AWS_ACCESS_KEY_ID=i\nAWS_SECRET_ACCESS_KEY=s3cret",
                "AWS_ACCESS_KEY_ID=s3cret",
                "AWS_SECRET_ACCESS_KEY=…",
            ),
            (
                Secret::TencentKeys,
                "TENCENTCLOUD_SECRET_ID=i\nTENCENTCLOUD_SECRET_KEY=s3cret",
                "SECRET_KEY=s3cret",
                "TENCENTCLOUD_SECRET_KEY=…",
            ),
            (Secret::Password, "s3cret\n", "\n", "empty"),
        ] {
            std::fs::write(file.path(), good).expect("written");
            secret.check(file.path()).expect("good");
            std::fs::write(file.path(), wrong).expect("written");
            let error = secret.check(file.path()).expect_err("wrong");
            let text = error.to_string();
            assert!(matches!(error, SecretError::Wrong(_)) && text.contains(said), "{text}");
            assert!(!text.contains("s3cret"), "{text}");
            std::fs::write(file.path(), b"\xff").expect("written");
            assert!(matches!(secret.check(file.path()), Err(SecretError::Wrong(_))));
            let missing = secret.check(Path::new("/nowhere/secret"));
            assert!(matches!(missing, Err(SecretError::Unreadable(_))), "{missing:?}");
        }
    }
}
