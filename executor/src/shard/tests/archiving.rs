//! Closed executions in an archive, after the log was trimmed of them.

use super::*;
