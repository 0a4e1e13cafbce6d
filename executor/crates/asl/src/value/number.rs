//! Numbers.

/// A JSON number: integers stay exact up to 64 bits, anything else is an IEEE double.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// Fits in an i64.
    Int(i64),
    /// Above `i64::MAX`.
    UInt(u64),
    /// Finite.
    Float(f64),
}
