//! Files that a command reads; `-` is standard input.
//!
//! Invariants: a file is read to its bound and no further, also one that never ends; standard input is read for one file
//! only. What may fail: reading, with the system's words.

use std::io::{self, Read};
use std::path::Path;

use super::{Exit, Refusal};

pub(super) fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// # Errors
/// When standard input stands for more than one of these files.
pub(super) fn stdin_once<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<(), Refusal> {
    match files.into_iter().filter(|file| is_stdin(file)).count() {
        0 | 1 => Ok(()),
        _ => Err((Exit::Usage, "error: - stands for standard input, which can be read only once".to_owned())),
    }
}

/// The bytes of a file; of a longer one one byte more than `longest`, which is enough to know that it is too long.
///
/// # Errors
/// The problem, without the file's name.
pub(super) fn bytes(file: &Path, longest: usize) -> Result<Vec<u8>, String> {
    let told = |error: io::Error| match error.kind() {
        io::ErrorKind::IsADirectory => {
            "is a directory; name the files in it, such as DIRECTORY/*.json".to_owned()
        }
        _ => error.to_string(),
    };
    let source: Box<dyn Read> = if is_stdin(file) {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(told)?)
    };
    let mut text = Vec::new();
    source.take(longest as u64 + 1).read_to_end(&mut text).map_err(told)?;
    Ok(text)
}

/// As [`bytes`], for commands that cannot go on without the file.
pub(super) fn read(file: &Path, longest: usize) -> Result<Vec<u8>, Refusal> {
    bytes(file, longest).map_err(|problem| (Exit::Internal, format!("error: {}: {problem}", file.display())))
}

/// As [`read`], where nobody behind it says that a file is too long.
pub(super) fn read_whole(file: &Path, longest: usize) -> Result<Vec<u8>, Refusal> {
    let text = read(file, longest)?;
    if text.len() > longest {
        return Err((Exit::Usage, format!("error: {}: is longer than {longest} bytes", file.display())));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_to_its_bound_and_a_longer_one_is_refused_where_it_has_to_be_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        assert_eq!(read(file.path(), 5).unwrap(), b"12345");
        assert_eq!(read(file.path(), 3).unwrap(), b"1234");
        assert_eq!(read_whole(file.path(), 5).unwrap(), b"12345");
        let (exit, message) = read_whole(file.path(), 4).unwrap_err();
        assert!(exit == Exit::Usage && message.ends_with("is longer than 4 bytes"), "{message}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let (exit, message) = read(Path::new("/nowhere"), 1).unwrap_err();
        assert!(exit == Exit::Internal && message.starts_with("error: /nowhere: No such file"), "{message}");
        let folder = tempfile::tempdir().unwrap();
        assert!(bytes(folder.path(), 1).unwrap_err().starts_with("is a directory"));
    }

    #[test]
    fn standard_input_stands_for_one_file() {
        assert!(stdin_once(["a", "-", "b"].map(Path::new)).is_ok());
        assert_eq!(stdin_once(["-", "-"].map(Path::new)).unwrap_err().0, Exit::Usage);
    }
}
