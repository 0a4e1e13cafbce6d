//! What may be said of the export of histories, of a machine or of one start.

use clap::{Args, ValueEnum};
use proto::executor::v1::{LogLevel, LoggingConfiguration};
use serde_json::{Value, json};

/// See the module.
#[derive(Debug, Args)]
pub(super) struct Logging {
    /// Which events of histories the nodes export, as in Step Functions [default: OFF; of a start: as the machine says]
    #[arg(long, value_enum, ignore_case = true, value_name = "LEVEL")]
    log_level: Option<Level>,
    /// Export inputs, outputs and parameters too
    #[arg(long, requires = "log_level")]
    include_execution_data: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Level {
    /// Every event.
    All,
    /// What failed, was given up or took too long.
    Error,
    /// The ends of executions that did not succeed.
    Fatal,
    /// None.
    Off,
}

impl Logging {
    /// As requests say it; nothing where nothing is said.
    pub fn said(&self) -> Option<LoggingConfiguration> {
        let level = match self.log_level? {
            Level::All => LogLevel::All,
            Level::Error => LogLevel::Error,
            Level::Fatal => LogLevel::Fatal,
            Level::Off => LogLevel::Off,
        };
        let include_execution_data = self.include_execution_data;
        Some(LoggingConfiguration { level: level.into(), include_execution_data })
    }
}

/// As the API of Step Functions shows it.
pub(super) fn described(logging: LoggingConfiguration) -> Value {
    let level = logging.level().as_str_name().trim_start_matches("LOG_LEVEL_");
    // A machine of which nothing was ever said.
    let level = if level == "UNSPECIFIED" { "OFF" } else { level };
    json!({"level": level, "includeExecutionData": logging.include_execution_data})
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        logging: Logging,
    }

    fn said(flags: &[&str]) -> Result<Option<LoggingConfiguration>, clap::Error> {
        let line = Line::try_parse_from(["x"].iter().chain(flags))?;
        Ok(line.logging.said())
    }

    #[test]
    fn a_level_is_said_in_any_case_and_data_only_with_one() {
        let all = LoggingConfiguration { level: LogLevel::All.into(), include_execution_data: true };
        assert_eq!(said(&["--log-level", "all", "--include-execution-data"]).expect("flags"), Some(all));
        let off = LoggingConfiguration { level: LogLevel::Off.into(), include_execution_data: false };
        assert_eq!(said(&["--log-level=OFF"]).expect("flags"), Some(off));
        assert_eq!(said(&[]).expect("flags"), None);
        assert!(said(&["--include-execution-data"]).is_err());
        assert!(said(&["--log-level", "loud"]).is_err());
    }
}
