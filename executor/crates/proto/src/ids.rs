//! Conversions between the ids of the wire and those of the program.

pub use ids::IdError;
use ids::{BatchId, ExecutionId, LogLevel, Logging, Mode, PartitionId, Status};

use crate::executor::v1;

impl From<BatchId> for v1::BatchId {
    fn from(id: BatchId) -> Self {
        Self {
            partition: u32::from(id.partition.get()),
            incarnation: id.incarnation,
            sequence: id.sequence(),
        }
    }
}

impl TryFrom<&v1::BatchId> for BatchId {
    type Error = IdError;

    fn try_from(wire: &v1::BatchId) -> Result<Self, IdError> {
        BatchId::new(PartitionId::new(wire.partition)?, wire.incarnation, wire.sequence)
    }
}

impl TryFrom<&v1::RunningExecution> for ExecutionId {
    type Error = IdError;

    fn try_from(wire: &v1::RunningExecution) -> Result<Self, IdError> {
        let batch = wire.batch.as_ref().ok_or(IdError::Missing("batch"))?;
        ExecutionId::new(BatchId::try_from(batch)?, wire.index)
    }
}

impl From<Mode> for v1::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Standard => Self::Standard,
            Mode::Express => Self::Express,
            Mode::SyncExpress => Self::SyncExpress,
        }
    }
}

impl From<Status> for v1::ExecutionStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Running => Self::Running,
            Status::Succeeded => Self::Succeeded,
            Status::Failed => Self::Failed,
            Status::TimedOut => Self::TimedOut,
            Status::Aborted => Self::Aborted,
        }
    }
}

impl From<Logging> for v1::LoggingConfiguration {
    fn from(logging: Logging) -> Self {
        let level = match logging.level {
            LogLevel::Off => v1::LogLevel::Off,
            LogLevel::Fatal => v1::LogLevel::Fatal,
            LogLevel::Error => v1::LogLevel::Error,
            LogLevel::All => v1::LogLevel::All,
        };
        Self { level: level.into(), include_execution_data: logging.include_data }
    }
}

impl TryFrom<v1::LoggingConfiguration> for Logging {
    type Error = IdError;

    fn try_from(wire: v1::LoggingConfiguration) -> Result<Self, IdError> {
        let level = match v1::LogLevel::try_from(wire.level) {
            Ok(v1::LogLevel::Unspecified | v1::LogLevel::Off) => LogLevel::Off,
            Ok(v1::LogLevel::Fatal) => LogLevel::Fatal,
            Ok(v1::LogLevel::Error) => LogLevel::Error,
            Ok(v1::LogLevel::All) => LogLevel::All,
            Err(_) => return Err(IdError::LogLevel(wire.level)),
        };
        Ok(Self { level, include_data: wire.include_execution_data })
    }
}
