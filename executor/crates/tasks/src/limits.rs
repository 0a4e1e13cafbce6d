//! Bounds of integrations.

use asl::value::JsonLimits;

/// Bytes that are read of an answer. More than a state's output may have (262,144), for an answer is unpacked before it
/// becomes one.
pub const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// Answers as JSON: whatever was read. Whether a state may have so much is for the language to say.
pub const RESPONSE: JsonLimits = JsonLimits { bytes: RESPONSE_BYTES_MAX, depth: JsonLimits::DEPTH };
/// The longest error name and cause of a failure, as Step Functions takes them; they may come from a peer.
pub const ERROR_BYTES_MAX: usize = 256;
pub const CAUSE_BYTES_MAX: usize = 32_768;
