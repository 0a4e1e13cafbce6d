//! W3C trace context: which trace an execution belongs to, and the ids of what it tells there.
//!
//! Invariants: parsing takes any text and never panics; what is not a context is none, as the recommendation says, and a
//! `tracestate` that cannot be read is left out alone; ids are derived from the cluster, the execution and what has happened in it,
//! so that whoever tells it again gives it the same ids, and none is zero. What may fail: nothing.

use std::fmt;

use crate::ExecutionId;

/// What is kept of a `tracestate`, as W3C asks for.
pub const TRACE_STATE_BYTES_MAX: usize = 512;
/// Entries of a `tracestate`.
const ENTRIES_MAX: usize = 32;
/// Bytes of a context before its state.
const FIXED_BYTES: usize = 25;
/// Bits of the flags that are known: sampled, random.
const FLAGS: u8 = SAMPLED | 2;
const SAMPLED: u8 = 1;
/// The bit of a stored context that says that its spans are told.
const TOLD: u8 = 0x80;

/// The id of a trace.
pub type TraceId = [u8; 16];
/// The id of a span.
pub type SpanId = [u8; 8];

/// `traceparent` and `tracestate`.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// Not zero.
    pub trace_id: TraceId,
    /// The span that is the parent of what comes next; not zero.
    pub span_id: SpanId,
    flags: u8,
    state: Box<str>,
}

/// What an execution tells a span of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanOf {
    /// Its run after so many redrives.
    Run(u32),
    /// A state, in a run after so many redrives, that was entered with this event of its history. A redrive may go on in a state
    /// that was entered before it.
    State(u32, u32),
}

impl TraceContext {
    /// A context of our own, to be followed by whoever gets it.
    #[must_use]
    pub fn sampled(trace_id: TraceId, span_id: SpanId) -> Self {
        Self { trace_id, span_id, flags: SAMPLED, state: Box::default() }
    }

    /// Reads the two headers; `None` where the first is no context.
    #[must_use]
    pub fn parse(traceparent: &str, tracestate: &str) -> Option<Self> {
        let text = traceparent.trim_matches([' ', '\t']).as_bytes();
        let version = hex::<1>(text.get(..2)?)?[0];
        let rest_is_known = match version {
            0 => text.len() == 55,
            0xff => false,
            // What a later version adds stands behind another dash.
            _ => text.len() == 55 || text.get(55) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|at| text.get(*at) == Some(&b'-'));
        if !rest_is_known || !dashes {
            return None;
        }
        let (trace_id, span_id) = (hex::<16>(text.get(3..35)?)?, hex::<8>(text.get(36..52)?)?);
        let flags = hex::<1>(text.get(53..55)?)?[0] & FLAGS;
        if trace_id == [0; 16] || span_id == [0; 8] {
            return None;
        }
        Some(Self { trace_id, span_id, flags, state: state_of(tracestate).unwrap_or_default() })
    }

    /// The header `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> String {
        use fmt::Write;
        let mut text = String::with_capacity(55);
        text.push_str("00-");
        // Writing into a text does not fail.
        for byte in self.trace_id {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('-');
        for byte in self.span_id {
            let _ = write!(text, "{byte:02x}");
        }
        let _ = write!(text, "-{:02x}", self.flags);
        text
    }

    /// The header `tracestate`; empty: there is none.
    #[must_use]
    pub fn tracestate(&self) -> &str {
        &self.state
    }

    /// Whether whoever gave it may have told spans of its trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same, with another span as the parent.
    #[must_use]
    pub fn under(&self, span_id: SpanId) -> Self {
        Self { span_id, ..self.clone() }
    }

    /// As blocks keep it, with whether the spans of its execution are told: ids, flags and the state's text.
    #[must_use]
    pub fn encode(&self, told: bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + self.state.len());
        bytes.extend_from_slice(&self.trace_id);
        bytes.extend_from_slice(&self.span_id);
        bytes.push(self.flags | if told { TOLD } else { 0 });
        bytes.extend_from_slice(self.state.as_bytes());
        bytes
    }

    /// What [`Self::encode`] wrote; `None` where the bytes are none of its.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, bool)> {
        let (trace_id, rest) = bytes.split_first_chunk::<16>()?;
        let (span_id, rest) = rest.split_first_chunk::<8>()?;
        let (flags, state) = rest.split_first()?;
        let state: Box<str> = std::str::from_utf8(state).ok()?.into();
        let known = flags & !(FLAGS | TOLD) == 0 && *trace_id != [0; 16] && *span_id != [0; 8];
        let whole = known && state.len() <= TRACE_STATE_BYTES_MAX;
        let context = Self { trace_id: *trace_id, span_id: *span_id, flags: flags & FLAGS, state };
        whole.then_some((context, flags & TOLD != 0))
    }
}

/// The text of the header, for logs and failed tests.
impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.traceparent(), self.state)
    }
}

/// Lower-case hexadecimal digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    (digits.len() == 2 * N).then_some(bytes)
}

/// The entries of a `tracestate` without what is empty, as many of the first as may be kept; `None` where it cannot be read.
fn state_of(text: &str) -> Option<Box<str>> {
    let entries = text.split(',').map(|entry| entry.trim_matches([' ', '\t']));
    let mut kept = String::new();
    let mut keys = Vec::new();
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let (key, value) = entry.split_once('=')?;
        if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == ENTRIES_MAX {
            return None;
        }
        keys.push(key);
        let comma = usize::from(!kept.is_empty());
        if kept.len() + comma + entry.len() <= TRACE_STATE_BYTES_MAX {
            kept.push_str(&","[..comma]);
            kept.push_str(entry);
        }
    }
    Some(kept.into())
}

fn is_key(key: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    let first = key.as_bytes().first();
    first.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && key.len() <= 256
        && key.bytes().all(allowed)
}

fn is_value(value: &str) -> bool {
    let allowed = |byte: u8| (0x20..=0x7e).contains(&byte) && byte != b',' && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(allowed)
}

/// The finaliser of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// Between an execution's hashes for a trace and for spans.
const OF_TRACES: u64 = 0x7472_6163_6500_0000;
const OF_SPANS: u64 = 0x7370_616e_7300_0000;

/// Gives the ids of the traces and spans of one cluster: other clusters have executions of the same numbers, and tell other ids
/// of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TraceIds(u64);

impl TraceIds {
    /// Those of the cluster with this id.
    #[must_use]
    pub fn of_cluster(cluster: [u8; 16]) -> Self {
        let id = u128::from_be_bytes(cluster);
        Self(mix(id as u64 ^ mix((id >> 64) as u64)))
    }

    /// All bits of an id in 64.
    fn hash_of(self, id: ExecutionId, salt: u64) -> u64 {
        let low = id.batch.sequence() << 8 | u64::from(id.index);
        let high = u64::from(id.batch.incarnation) << 16 | u64::from(id.batch.partition.get());
        mix(low ^ mix(high ^ salt ^ self.0))
    }

    /// The low 56 bits of an execution's own trace id, by which it is sampled.
    #[must_use]
    pub fn randomness(self, id: ExecutionId) -> u64 {
        self.hash_of(id, OF_TRACES) & (u64::MAX >> 8)
    }

    /// The trace of an execution that came without one.
    #[must_use]
    pub fn trace_of(self, id: ExecutionId) -> TraceId {
        let low = self.hash_of(id, OF_TRACES);
        let high = mix(low ^ self.hash_of(id, OF_SPANS));
        (u128::from(high) << 64 | u128::from(low)).max(1).to_be_bytes()
    }

    /// The id of a span of an execution.
    #[must_use]
    pub fn span_of(self, id: ExecutionId, what: SpanOf) -> SpanId {
        let what = match what {
            // No event has this number.
            SpanOf::Run(redrives) => u64::from(redrives) << 32,
            SpanOf::State(redrives, entered) => u64::from(redrives) << 32 | u64::from(entered),
        };
        mix(self.hash_of(id, OF_SPANS) ^ mix(what)).max(1).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{BatchId, PartitionId};

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn id(sequence: u64, index: u8) -> ExecutionId {
        let partition = PartitionId::new(7).expect("in range");
        BatchId::new(partition, 1, sequence).expect("in range").execution(index)
    }

    #[test]
    fn a_context_is_told_on_as_it_came() {
        let context = TraceContext::parse(PARENT, "a=1, b@c=2 ,,d= x").expect("a context");
        assert_eq!((context.traceparent().as_str(), context.tracestate()), (PARENT, "a=1,b@c=2,d= x"));
        assert!(context.is_sampled());
        for told in [false, true] {
            assert_eq!(TraceContext::decode(&context.encode(told)), Some((context.clone(), told)));
        }
        let other = context.under([9; 8]);
        assert_eq!((other.trace_id, other.tracestate()), (context.trace_id, context.tracestate()));
    }

    #[test]
    fn what_is_no_context_is_ignored() {
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
        ] {
            assert_eq!(TraceContext::parse(wrong, ""), None, "{wrong}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known_and_unknown_flags_are_not_told_on() {
        let later = format!("cc{}fe-what-comes", &PARENT[2..53]);
        let context = TraceContext::parse(&later, "").expect("a context");
        assert_eq!(context.traceparent(), format!("{}02", &PARENT[..53]));
        assert!(!context.is_sampled());
    }

    #[test]
    fn a_state_that_cannot_be_read_is_left_out_and_one_that_is_too_long_is_cut_between_entries() {
        let state =
            |text: &str| TraceContext::parse(PARENT, text).expect("a context").tracestate().to_owned();
        let many: Vec<String> = (0..33).map(|at| format!("k{at}=v")).collect();
        for wrong in ["a", "A=1", "=1", "a=", "a=1,a=2", "a=b=c", "a=ü", &many.join(",")] {
            assert_eq!(state(wrong), "", "{wrong}");
        }
        assert_eq!(state(&many[..32].join(",")), many[..32].join(","));
        let long = format!("a={},b={},c=1", "x".repeat(256), "y".repeat(256));
        assert_eq!(state(&long), format!("a={},c=1", "x".repeat(256)));
    }

    #[test]
    fn spans_of_an_execution_and_of_others_have_different_ids_and_the_same_whenever_they_are_asked_for() {
        let mut seen = std::collections::HashSet::new();
        let clusters = [TraceIds::default(), TraceIds::of_cluster([1; 16]), TraceIds::of_cluster([2; 16])];
        for (ids, sequence) in
            clusters.into_iter().flat_map(|ids| (0..20).map(move |sequence| (ids, sequence)))
        {
            for index in [0, 1, 255] {
                let id = id(sequence, index);
                assert!(seen.insert(ids.trace_of(id).to_vec()));
                let randomness = u64::from_be_bytes(ids.trace_of(id)[8..].try_into().expect("eight"));
                assert_eq!(randomness & (u64::MAX >> 8), ids.randomness(id));
                let spans = (0..20)
                    .flat_map(|at| [SpanOf::Run(at), SpanOf::State(0, at + 1), SpanOf::State(at + 1, 1)]);
                for what in spans {
                    assert!(seen.insert(ids.span_of(id, what).to_vec()), "{id} {what:?}");
                }
            }
        }
        let told = || TraceIds::of_cluster([1; 16]).span_of(id(3, 1), SpanOf::State(0, 5));
        assert_eq!(told(), told());
    }

    proptest! {
        #[test]
        fn any_headers_are_a_context_that_survives_or_none(parent in ".{0,70}", state in ".{0,600}") {
            let _ = TraceContext::parse(&parent, &state);
            let context = TraceContext::parse(PARENT, &state).expect("a context");
            prop_assert!(context.tracestate().len() <= TRACE_STATE_BYTES_MAX);
            let again = TraceContext::parse(&context.traceparent(), context.tracestate());
            prop_assert_eq!(again, Some(context.clone()));
            prop_assert_eq!(TraceContext::decode(&context.encode(true)), Some((context, true)));
        }

        #[test]
        fn any_stored_bytes_are_a_context_or_none(bytes: Vec<u8>) {
            if let Some((context, told)) = TraceContext::decode(&bytes) {
                prop_assert_eq!(context.encode(told), bytes);
            }
        }

        #[test]
        fn a_context_with_one_byte_changed_is_read_or_ignored(at in 0usize..55, byte: u8) {
            let mut text = PARENT.as_bytes().to_vec();
            text[at] = byte;
            if let Some(context) = TraceContext::parse(&String::from_utf8_lossy(&text), "") {
                prop_assert_eq!(context.traceparent().len(), 55);
            }
        }
    }
}
