//! Trace contexts of calls and messages.

use ids::TraceContext;
use tonic::metadata::MetadataMap;

use crate::executor::v1;

impl From<&TraceContext> for v1::TraceContext {
    fn from(context: &TraceContext) -> Self {
        Self { traceparent: context.traceparent(), tracestate: context.tracestate().to_owned() }
    }
}

impl From<&v1::TraceContext> for Option<TraceContext> {
    fn from(wire: &v1::TraceContext) -> Self {
        TraceContext::parse(&wire.traceparent, &wire.tracestate)
    }
}

impl v1::TraceContext {
    /// The context of a call: what its message says, else its metadata. As much of it as can be read, which is a few hundred
    /// bytes at most.
    #[must_use]
    pub fn of_call(said: Option<&Self>, metadata: &MetadataMap) -> Option<Self> {
        let context = match said {
            Some(said) => said.into(),
            None => of_metadata(metadata),
        };
        context.as_ref().map(Self::from)
    }

    /// A column of contexts as far as they can be read; nothing where none can.
    #[must_use]
    pub fn column(said: &[Self]) -> Vec<Self> {
        let read = |wire: &Self| Option::<TraceContext>::from(wire);
        let column: Vec<Self> =
            said.iter().map(|wire| read(wire).as_ref().map(Self::from).unwrap_or_default()).collect();
        if column.iter().any(|wire| !wire.traceparent.is_empty()) { column } else { Vec::new() }
    }
}

/// A second `traceparent` makes the first worth nothing; of `tracestate` there may be several, which are one.
fn of_metadata(metadata: &MetadataMap) -> Option<TraceContext> {
    let mut parents = metadata.get_all("traceparent").iter();
    let parent = parents.next().filter(|_| parents.next().is_none())?;
    let states = metadata.get_all("tracestate").iter();
    let states: Vec<&str> = states.map(|state| state.to_str().unwrap_or_default()).collect();
    TraceContext::parse(parent.to_str().ok()?, &states.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn metadata(of: &[(&'static str, &str)]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for (name, value) in of {
            metadata.append(*name, value.parse().expect("a value"));
        }
        metadata
    }

    fn context(traceparent: &str, tracestate: &str) -> v1::TraceContext {
        v1::TraceContext { traceparent: traceparent.to_owned(), tracestate: tracestate.to_owned() }
    }

    #[test]
    fn a_call_has_the_context_of_its_message_else_that_of_its_metadata() {
        let headers = metadata(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]);
        let of_call = v1::TraceContext::of_call;
        assert_eq!(of_call(None, &headers), Some(context(PARENT, "a=1,b=2")));
        let other = context(&PARENT.replace("-01", "-00"), "");
        assert_eq!(of_call(Some(&other), &headers), Some(other.clone()));
        assert_eq!(of_call(Some(&context("what", "a=1")), &headers), None, "what is said counts");
        assert_eq!(of_call(None, &metadata(&[("tracestate", "a=1")])), None);
        assert_eq!(of_call(None, &metadata(&[("traceparent", PARENT), ("traceparent", PARENT)])), None);
    }

    #[test]
    fn a_column_without_a_context_that_can_be_read_is_none() {
        let column = v1::TraceContext::column;
        assert_eq!(column(&[context("what", "a=1"), context("", "")]), []);
        let mixed = [context("what", "a=1"), context(PARENT, "A=1")];
        assert_eq!(column(&mixed), [context("", ""), context(PARENT, "")]);
    }
}
