//! Which language a definition on the command line is written in.

use std::path::Path;

use asl::Dialect;
use clap::ValueEnum;

/// `--dialect`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DialectName {
    /// The Amazon States Language
    Asl,
    /// Tencent's dialect
    Tcsl,
}

impl From<DialectName> for Dialect {
    fn from(name: DialectName) -> Self {
        match name {
            DialectName::Asl => Self::Asl,
            DialectName::Tcsl => Self::Tcsl,
        }
    }
}

/// The dialect of a file: what is said, else what its name says.
pub(super) fn of(said: Option<DialectName>, file: &Path) -> Dialect {
    said.map_or_else(|| of_file(file), Dialect::from)
}

/// The dialect of a file where nothing is said: TCSL for names that end in `.tcsl.json`, else ASL.
fn of_file(file: &Path) -> Dialect {
    if file.to_string_lossy().ends_with(".tcsl.json") { Dialect::Tcsl } else { Dialect::Asl }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_says_its_dialect() {
        assert_eq!(of_file(Path::new("a/caption.tcsl.json")), Dialect::Tcsl);
        for name in ["order.asl.json", "tcsl.json", "x.tcsl.json.txt", "-"] {
            assert_eq!(of_file(Path::new(name)), Dialect::Asl, "{name}");
        }
    }
}
