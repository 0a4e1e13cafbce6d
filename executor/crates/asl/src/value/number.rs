//! Numbers: exact up to 64 bits, doubles beyond, written as Java writes them.
//!
//! AWS runs on Jackson, which keeps integers as integers and prints a double by `Double.toString`: decimal
//! notation from 10^-3 up to 10^7, computerised scientific notation (`1.0E10`, `1.0E-5`) outside. The
//! recorded corpus has doubles in the decimal range only, so outside of it the form follows the Java
//! specification.

use std::cmp::Ordering;

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

/// 2^63 and 2^64: both exact as doubles; the integer types end just below.
const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

impl Number {
    /// A finite double; `None` for NaN and infinities, which JSON does not have.
    pub fn from_f64(number: f64) -> Option<Self> {
        number.is_finite().then_some(Self::Float(number))
    }

    /// The nearest double.
    #[allow(clippy::cast_precision_loss, reason = "the nearest double is what is asked for")]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Int(number) => number as f64,
            Self::UInt(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    /// The value as an i64, if it is integral and in range (`1.0` is 1).
    #[allow(clippy::cast_possible_truncation, reason = "range and integrality are checked")]
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(number),
            Self::UInt(number) => i64::try_from(number).ok(),
            Self::Float(number) => {
                (number.fract() == 0.0 && (-TWO_63..TWO_63).contains(&number)).then_some(number as i64)
            }
        }
    }

    /// The value as a u64, if it is integral and in range (`1.0` is 1).
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "range and integrality are checked"
    )]
    pub fn as_u64(self) -> Option<u64> {
        match self {
            Self::Int(number) => u64::try_from(number).ok(),
            Self::UInt(number) => Some(number),
            Self::Float(number) => {
                (number.fract() == 0.0 && (0.0..TWO_64).contains(&number)).then_some(number as u64)
            }
        }
    }

    /// Whether it was written without fraction and exponent and fits in 64 bits.
    pub fn is_integer(self) -> bool {
        !matches!(self, Self::Float(_))
    }

    /// Exact comparison by value: an integer and a double compare as the numbers they are.
    pub fn compare(self, other: Self) -> Ordering {
        match (self.as_i128(), other.as_i128()) {
            (Some(left), Some(right)) => left.cmp(&right),
            // Where one side is not a 64-bit integer, the nearest double of the other side decides as well as
            // exact arithmetic would: they differ by a fraction, or by magnitude.
            _ => match self.as_f64().partial_cmp(&other.as_f64()) {
                Some(order) => order,
                None => Ordering::Equal,
            },
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "range and integrality are checked")]
    fn as_i128(self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(i128::from(number)),
            Self::UInt(number) => Some(i128::from(number)),
            Self::Float(number) => {
                (number.fract() == 0.0 && (-TWO_64..=TWO_64).contains(&number)).then_some(number as i128)
            }
        }
    }

    /// Appends the number's text.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Int(number) => {
                if number < 0 {
                    out.push(b'-');
                }
                write_digits(number.unsigned_abs(), out);
            }
            Self::UInt(number) => write_digits(number, out),
            Self::Float(number) => write_double(number, out),
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => left == right,
            _ => self.compare(*other) == Ordering::Equal,
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::with_capacity(24);
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

macro_rules! from_integers {
    ($($signed:ty),*; $($unsigned:ty),*) => {
        $(impl From<$signed> for Number {
            fn from(number: $signed) -> Self {
                Self::Int(number.into())
            }
        })*
        $(impl From<$unsigned> for Number {
            fn from(number: $unsigned) -> Self {
                let number = u64::from(number);
                i64::try_from(number).map_or(Self::UInt(number), Self::Int)
            }
        })*
    };
}
from_integers!(i8, i16, i32, i64; u8, u16, u32, u64);

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

fn write_digits(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Java's `Double.toString` on the shortest digits that read back as the same double.
fn write_double(number: f64, out: &mut Vec<u8>) {
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(number);
    let magnitude = number.abs();
    if number == 0.0 || (1e-3..1e7).contains(&magnitude) {
        out.extend_from_slice(shortest.as_bytes());
        return;
    }
    if number < 0.0 {
        out.push(b'-');
    }
    // Normalise whatever notation the digits came in to d.ddd and an exponent of ten.
    let text = shortest.trim_start_matches('-');
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let lead = all.iter().position(|digit| *digit != b'0').unwrap_or(0);
    let last = all.iter().rposition(|digit| *digit != b'0').unwrap_or(0);
    let point = i64::try_from(whole.len()).unwrap_or(0) + exponent.parse::<i64>().unwrap_or(0);
    let scale = point - 1 - i64::try_from(lead).unwrap_or(0);
    out.push(all[lead]);
    out.push(b'.');
    if last > lead {
        out.extend_from_slice(&all[lead + 1..=last]);
    } else {
        out.push(b'0');
    }
    out.push(b'E');
    Number::Int(scale).write(out);
}
