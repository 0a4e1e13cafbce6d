//! The functions that Step Functions adds to JSONata or replaces, those that would read a clock or chance, and those that
//! the engine has otherwise than the language.
//!
//! Invariants: time is the instant of the event that is being handled, the same throughout an evaluation; chance grows
//! from one draw of the execution, so that a replay repeats it; a parameter that has to be an integer is rounded down.
//! What may fail: arguments of a wrong type or range, with the engine's kind of error.

use std::cell::Cell;
use std::rc::Rc;

use jsonata_core::evaluator::{Evaluator, EvaluatorError};
use jsonata_core::value::JValue;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::SEQUENCE_MAX;
use super::convert;
use super::fuel::Fuel;
use super::url::{self, Part};
use crate::path::Scope;
use crate::value::{JsonLimits, Value};

/// A function of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    DecodeUrl,
    DecodeUrlComponent,
    EncodeUrl,
    EncodeUrlComponent,
    Hash,
    Millis,
    Now,
    Parse,
    Partition,
    Random,
    Range,
    Shuffle,
    Uuid,
}

/// Result of a function.
pub(super) type Called = Result<JValue, EvaluatorError>;

impl Function {
    const ALL: [(&str, Self); 13] = [
        ("decodeUrl", Self::DecodeUrl),
        ("decodeUrlComponent", Self::DecodeUrlComponent),
        ("encodeUrl", Self::EncodeUrl),
        ("encodeUrlComponent", Self::EncodeUrlComponent),
        ("hash", Self::Hash),
        ("millis", Self::Millis),
        ("now", Self::Now),
        ("parse", Self::Parse),
        ("partition", Self::Partition),
        ("random", Self::Random),
        ("range", Self::Range),
        ("shuffle", Self::Shuffle),
        ("uuid", Self::Uuid),
    ];

    /// The function with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }

    /// Lets the engine call it.
    pub(super) fn register(
        self,
        engine: &mut Evaluator,
        scope: &Scope<'_>,
        chance: &Chance,
        fuel: &Fuel,
    ) -> Result<(), EvaluatorError> {
        let chance = chance.clone();
        match self {
            Self::DecodeUrl => engine.register_fn_override("decodeUrl", |args: &[JValue]| {
                decode_url(args, "decodeUrl", Part::Whole)
            }),
            Self::DecodeUrlComponent => engine
                .register_fn_override("decodeUrlComponent", |args: &[JValue]| {
                    decode_url(args, "decodeUrlComponent", Part::Component)
                }),
            Self::EncodeUrl => engine.register_fn_override("encodeUrl", |args: &[JValue]| {
                encode_url(args, "encodeUrl", Part::Whole)
            }),
            Self::EncodeUrlComponent => engine
                .register_fn_override("encodeUrlComponent", |args: &[JValue]| {
                    encode_url(args, "encodeUrlComponent", Part::Component)
                }),
            Self::Hash => engine.register_fn("hash", hash),
            Self::Millis => {
                let millis = JValue::from_i64(scope.context.now().as_millis());
                engine.register_fn_override("millis", move |_: &[JValue]| Ok(millis.clone()))
            }
            Self::Now => {
                let now = JValue::string(scope.context.now().to_string());
                engine.register_fn_override("now", move |_: &[JValue]| Ok(now.clone()))
            }
            Self::Parse => engine.register_fn("parse", parse),
            Self::Partition => {
                let fuel = fuel.clone();
                engine.register_fn("partition", move |args: &[JValue]| partition(args, &fuel))
            }
            Self::Random => {
                engine.register_fn_override("random", move |args: &[JValue]| random(args, &chance))
            }
            Self::Range => {
                let fuel = fuel.clone();
                engine.register_fn("range", move |args: &[JValue]| range(args, &fuel))
            }
            Self::Shuffle => {
                engine.register_fn_override("shuffle", move |args: &[JValue]| shuffle(args, &chance))
            }
            Self::Uuid => engine.register_fn("uuid", move |args: &[JValue]| uuid(args, &chance)),
        }
    }

    /// Whether it takes the text around it, if it is given none.
    pub(super) fn takes_context(self) -> bool {
        matches!(
            self,
            Self::DecodeUrl | Self::DecodeUrlComponent | Self::EncodeUrl | Self::EncodeUrlComponent
        )
    }

    /// Whether it needs a draw.
    pub(super) fn needs_chance(self) -> bool {
        matches!(self, Self::Random | Self::Shuffle | Self::Uuid)
    }
}

/// A sequence of random numbers that one draw of the execution begins: SplitMix64.
#[derive(Clone)]
pub(super) struct Chance(Rc<Cell<u64>>);

impl Chance {
    pub(super) fn from_draw(draw: u64) -> Self {
        Self(Rc::new(Cell::new(draw)))
    }

    fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

fn failed(message: impl Into<String>) -> EvaluatorError {
    EvaluatorError::EvaluationError(message.into())
}

/// In the engine's words.
fn mismatch(place: usize, function: &str) -> EvaluatorError {
    failed(format!("T0410: Argument {place} of function \"{function}\" does not match function signature"))
}

/// An argument that has to be an integer; fractions are rounded down. `None` when it is undefined.
#[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
fn integer(args: &[JValue], at: usize, function: &str) -> Result<Option<i64>, EvaluatorError> {
    match args.get(at) {
        None | Some(JValue::Undefined) => Ok(None),
        Some(JValue::Number(number)) if number.abs() <= 9_007_199_254_740_992.0 => {
            Ok(Some(number.floor() as i64))
        }
        Some(_) => Err(mismatch(at + 1, function)),
    }
}

fn string<'a>(args: &'a [JValue], at: usize, function: &str) -> Result<Option<&'a str>, EvaluatorError> {
    match args.get(at) {
        None | Some(JValue::Undefined) => Ok(None),
        Some(JValue::String(text)) => Ok(Some(text)),
        Some(_) => Err(mismatch(at + 1, function)),
    }
}

fn no_more(args: &[JValue], most: usize, function: &str) -> Result<(), EvaluatorError> {
    if args.len() > most { Err(mismatch(most + 1, function)) } else { Ok(()) }
}

/// `$partition(array, size)`: chunks of this size; the last may be shorter.
fn partition(args: &[JValue], fuel: &Fuel) -> Called {
    no_more(args, 2, "partition")?;
    let single;
    let items = match args.first() {
        None | Some(JValue::Undefined) => return Ok(JValue::Undefined),
        Some(JValue::Array(items)) => items.as_slice(),
        Some(other) => {
            single = [other.clone()];
            &single
        }
    };
    let size = integer(args, 1, "partition")?.ok_or_else(|| mismatch(2, "partition"))?;
    let size = usize::try_from(size).ok().filter(|size| *size > 0).ok_or_else(|| {
        failed("The second argument of the partition function must be a positive number, the size of a chunk")
    })?;
    fuel.burn(4 * items.len().div_ceil(size) as u64)?;
    Ok(JValue::array(items.chunks(size).map(|chunk| JValue::array(chunk.to_vec())).collect()))
}

/// `$range(first, last, step)`: from the first to the last, which is included. One number alone comes as itself, which
/// is recorded from AWS: the result is a sequence.
#[allow(clippy::cast_precision_loss, reason = "arguments are at most 2^53")]
fn range(args: &[JValue], fuel: &Fuel) -> Called {
    no_more(args, 3, "range")?;
    let argument = |at| integer(args, at, "range");
    let (Some(first), Some(last), Some(step)) = (argument(0)?, argument(1)?, argument(2)?) else {
        return Ok(JValue::Undefined);
    };
    if step == 0 {
        return Err(failed("The third argument of the range function must not be 0, for it is the step"));
    }
    let span = if step > 0 { last - first } else { first - last };
    let steps = usize::try_from(span)
        .map_or(0, |span| span / usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX) + 1);
    if steps > SEQUENCE_MAX {
        return Err(failed(format!("D2015: The maximum sequence length of {SEQUENCE_MAX} was exceeded.")));
    }
    fuel.burn(steps as u64)?;
    let numbers = std::iter::successors(Some(first), |number| number.checked_add(step)).take(steps);
    Ok(JValue::sequence(numbers.map(|number| JValue::Number(number as f64)).collect()))
}

/// `$hash(string, algorithm)`: in hexadecimal digits.
fn hash(args: &[JValue]) -> Called {
    no_more(args, 2, "hash")?;
    let Some(text) = string(args, 0, "hash")? else { return Ok(JValue::Undefined) };
    let algorithm = string(args, 1, "hash")?.ok_or_else(|| mismatch(2, "hash"))?;
    let digest = match algorithm {
        "MD5" => hex(&md5::Md5::digest(text)),
        "SHA-1" => hex(&sha1::Sha1::digest(text)),
        "SHA-256" => hex(&Sha256::digest(text)),
        "SHA-384" => hex(&Sha384::digest(text)),
        "SHA-512" => hex(&Sha512::digest(text)),
        other => {
            return Err(failed(format!(
                "The second argument of the hash function must be one of MD5, SHA-1, SHA-256, SHA-384, SHA-512. Given \"{other}\""
            )));
        }
    };
    Ok(JValue::string(digest))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

/// `$parse(text)`: the value that a JSON text means.
fn parse(args: &[JValue]) -> Called {
    no_more(args, 1, "parse")?;
    let Some(text) = string(args, 0, "parse")? else { return Ok(JValue::Undefined) };
    match Value::parse(text.as_bytes(), JsonLimits { bytes: convert::RESULT.bytes, ..JsonLimits::PAYLOAD }) {
        Ok(value) => Ok(convert::to_engine(&value)),
        Err(error) => Err(failed(format!("The argument of the parse function is no JSON: {error}"))),
    }
}

/// `$encodeUrl(text)`, `$encodeUrlComponent(text)`
fn encode_url(args: &[JValue], function: &str, part: Part) -> Called {
    no_more(args, 1, function)?;
    let text = string(args, 0, function)?;
    Ok(text.map_or(JValue::Undefined, |text| JValue::string(url::encode(text, part))))
}

/// `$decodeUrl(text)`, `$decodeUrlComponent(text)`
fn decode_url(args: &[JValue], function: &str, part: Part) -> Called {
    no_more(args, 1, function)?;
    let Some(text) = string(args, 0, function)? else { return Ok(JValue::Undefined) };
    url::decode(text, part)
        .map(JValue::string)
        .ok_or_else(|| failed(format!("D3140: Malformed URL passed to ${function}(): {}", Value::from(text))))
}

/// `$random()`, `$random(seed)`: at least 0 and less than 1; the same for the same integer.
fn random(args: &[JValue], chance: &Chance) -> Called {
    no_more(args, 1, "random")?;
    let number = match integer(args, 0, "random")? {
        Some(seed) => of_seed(seed),
        None => unit(chance.next() >> 11),
    };
    Ok(JValue::Number(number))
}

/// The first double of Java's generator for this seed. AWS runs on Java; a fixed, public rule beats one of our own.
fn of_seed(seed: i64) -> f64 {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let advance = |state: u64| state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
    let high = advance((seed.cast_unsigned() ^ MULTIPLIER) & MASK);
    let low = advance(high);
    unit(((high >> 22) << 27) + (low >> 21))
}

/// A number of 53 bits as a fraction.
#[allow(clippy::cast_precision_loss, reason = "53 bits are exact")]
fn unit(bits: u64) -> f64 {
    bits as f64 / (1_u64 << 53) as f64
}

/// `$uuid()`: of version 4.
fn uuid(args: &[JValue], chance: &Chance) -> Called {
    no_more(args, 0, "uuid")?;
    let (high, low) = (chance.next(), chance.next());
    Ok(JValue::string(format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xFFFF,
        high & 0xFFF,
        0x8000 | (low >> 50),
        low & 0xFFFF_FFFF_FFFF,
    )))
}

/// `$shuffle(array)`
fn shuffle(args: &[JValue], chance: &Chance) -> Called {
    no_more(args, 1, "shuffle")?;
    match args.first() {
        None | Some(JValue::Undefined) => Ok(JValue::Undefined),
        Some(JValue::Array(items)) => {
            let mut items = items.to_vec();
            for last in (1..items.len()).rev() {
                let other = usize::try_from(chance.next() % (last as u64 + 1)).unwrap_or(last);
                items.swap(last, other);
            }
            Ok(JValue::array(items))
        }
        Some(other) => Ok(JValue::array(vec![other.clone()])),
    }
}
