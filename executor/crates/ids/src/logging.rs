//! What of the histories of a machine's executions is exported.

/// Which events, named as in Step Functions. A greater level takes what a smaller one takes, and more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum LogLevel {
    /// None.
    #[default]
    Off = 0,
    /// The ends of executions that did not succeed.
    Fatal = 1,
    /// And what failed.
    Error = 2,
    /// All.
    All = 3,
}

impl LogLevel {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Off, Self::Fatal, Self::Error, Self::All];

    /// The name that the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::Fatal => "FATAL",
            Self::Error => "ERROR",
            Self::All => "ALL",
        }
    }
}

/// Step Functions' LoggingConfiguration, but for where events go, which the node says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Logging {
    /// Which events.
    pub level: LogLevel,
    /// Whether inputs, outputs and parameters are told.
    pub include_data: bool,
}

/// The bit of a stored byte that says that data are told.
const DATA: u8 = 4;

impl Logging {
    /// As it is stored.
    #[must_use]
    pub fn to_u8(self) -> u8 {
        self.level as u8 | if self.include_data { DATA } else { 0 }
    }

    /// What a stored byte says.
    #[must_use]
    pub fn from_u8(byte: u8) -> Option<Self> {
        let level = LogLevel::ALL.into_iter().find(|level| *level as u8 == byte & !DATA)?;
        Some(Self { level, include_data: byte & DATA != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_survives_its_byte_and_other_bytes_are_none() {
        let read: Vec<Logging> = (0..=u8::MAX).filter_map(Logging::from_u8).collect();
        assert_eq!(read.len(), 8);
        assert!(read.iter().all(|logging| Logging::from_u8(logging.to_u8()) == Some(*logging)));
        assert_eq!(Logging::default().to_u8(), 0);
    }
}
