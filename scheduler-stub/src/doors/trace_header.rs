//! `traceHeader`, as X-Ray spells a trace: `Root=1-8 digits-24 digits;Parent=16 digits;Sampled=1`.
//!
//! A header that cannot be read, or has no parent, is ignored, as the tracing standards ask. Nothing here fails.
//! Source: docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader.

use proto::executor::v1::TraceContext;

/// The same trace in W3C's spelling.
pub(super) fn read(header: &str) -> Option<TraceContext> {
    let (mut root, mut parent, mut sampled) = (None, None, false);
    for part in header.split(';') {
        let Some((name, value)) = part.trim().split_once('=') else { continue };
        match name {
            "Root" => root = Some(value),
            "Parent" => parent = Some(value),
            "Sampled" => sampled = value == "1",
            _ => {}
        }
    }
    let (time, rest) = root?.strip_prefix("1-")?.split_once('-')?;
    let parent = parent?;
    if (time.len(), rest.len(), parent.len()) != (8, 24, 16) {
        return None;
    }
    let traceparent = format!("00-{time}{rest}-{parent}-{:02x}", u8::from(sampled)).to_ascii_lowercase();
    ids::TraceContext::parse(&traceparent, "").as_ref().map(TraceContext::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str) -> Option<String> {
        read(header).map(|context| context.traceparent)
    }

    #[test]
    fn a_header_with_a_parent_is_the_same_trace_in_the_spelling_of_w3c() {
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let same = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
        assert_eq!(of(header).as_deref(), Some(same));
        let other =
            "Sampled=0; Parent=53995C3F42CD8AD8; Root=1-5759E988-BD862E3FE1BE46A994272793;Lineage=a:1";
        assert_eq!(of(other), Some(same.replace("-01", "-00")));
    }

    #[test]
    fn other_headers_are_ignored() {
        for header in [
            "",
            "Root=1-5759e988-bd862e3fe1be46a994272793",
            "Root=2-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
            "Root=1-5759e988-bd862e3fe1be46a99427279;Parent=53995c3f42cd8ad8",
            "Root=1-5759e988-xd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
            "Root=1-00000000-000000000000000000000000;Parent=53995c3f42cd8ad8",
        ] {
            assert_eq!(of(header), None, "{header}");
        }
    }
}
