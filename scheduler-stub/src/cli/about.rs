//! What may be said of a machine besides its definition.

use clap::Args;
use executor::config::units::Span;

use super::logging::Logging;

/// See the module.
#[derive(Debug, Args)]
pub(super) struct About {
    /// For people; "" takes it away
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// How long closed executions are kept, counted from their close, for example 30d; longer than the nodes' own
    /// retention needs an archive [default: as long as the nodes say]
    #[arg(long, value_name = "DURATION")]
    retention: Option<Span>,
    /// The role whose permissions its tasks have, for example arn:aws:iam::ACCOUNT:role/NAME or
    /// qcs::cam::uin/UIN:roleName/NAME; "" takes it away
    #[arg(long, value_name = "ARN")]
    pub role_arn: Option<String>,
    #[command(flatten)]
    pub logging: Logging,
}

impl About {
    /// The retention in seconds, as far as a machine can say it.
    pub fn seconds(&self) -> Option<u32> {
        self.retention.map(|span| u32::try_from(span.0.as_secs()).unwrap_or(u32::MAX))
    }
}
