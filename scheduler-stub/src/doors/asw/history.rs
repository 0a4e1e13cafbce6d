//! Histories in ASW's API, which has no pages: all events, in one answer.
//!
//! Invariants: the nodes write the events as the API has them, and they are told as they come; an answer is bounded. What may fail: an
//! execution whose history is not kept, or is longer than an answer may be.

use front::{Answer, Call, Fault, Kind};
use proto::executor::v1;

use super::super::Doors;
use super::super::executions::check_own;
use super::super::fault::fault;

/// The longest answer, in bytes.
const HISTORY_BYTES_MAX: usize = 8 << 20;

/// Adds a page's events to a list in JSON.
///
/// # Errors
/// The list would be too long.
fn add(list: &mut Vec<u8>, events: &[v1::HistoryEvent]) -> Result<(), Fault> {
    for event in events {
        if list.len() + event.details.len() > HISTORY_BYTES_MAX {
            let message = format!(
                "the history is longer than {HISTORY_BYTES_MAX} bytes, and this API tells it whole or not at all: read it page by \
                 page (GetExecutionHistory), or from where the flow service's log goes"
            );
            return Err(Fault::new(Kind::FailedOperation, message));
        }
        if list.last() == Some(&b'}') {
            list.push(b',');
        }
        list.extend_from_slice(&event.details);
    }
    Ok(())
}

/// `DescribeExecutionHistory`.
pub(super) async fn describe_execution_history(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let execution = call.text("ExecutionResourceName").unwrap_or_default();
    check_own(doors, &call, execution).await?;
    let mut list = br#"{"Events":["#.to_vec();
    let mut request = v1::GetExecutionHistoryRequest {
        execution: execution.to_owned(),
        form: v1::HistoryForm::Asw.into(),
        ..Default::default()
    };
    // Each page has an event at least, which has an id and a name: the bound on bytes ends this.
    loop {
        let page = doors.executions.history(request.clone()).await.map_err(|status| fault(&call, status))?;
        add(&mut list, &page.events)?;
        if page.next_token.is_empty() || page.events.is_empty() {
            break;
        }
        request.next_token = page.next_token;
    }
    list.extend_from_slice(b"]}");
    Answer::json(list.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(details: &str) -> v1::HistoryEvent {
        v1::HistoryEvent { details: details.to_owned().into(), ..Default::default() }
    }

    #[test]
    fn events_are_told_as_they_come_page_by_page() {
        let mut list = b"[".to_vec();
        for page in [
            vec![event(r#"{"EventId":1}"#), event(r#"{"EventId":2}"#)],
            vec![],
            vec![event(r#"{"EventId":3}"#)],
        ] {
            add(&mut list, &page).expect("short enough");
        }
        assert_eq!(list, br#"[{"EventId":1},{"EventId":2},{"EventId":3}"#);
    }

    #[test]
    fn a_history_that_is_too_long_is_refused_with_what_to_do() {
        let mut list = vec![b' '; HISTORY_BYTES_MAX - 10];
        let refused = add(&mut list, &[event(r#"{"EventId":1}"#)]).expect_err("too long");
        assert!(
            refused.kind().asw() == "FailedOperation" && refused.message().contains("GetExecutionHistory")
        );
    }
}
