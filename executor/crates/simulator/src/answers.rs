//! Answers that a process waits for, and what it says when they are there.
//!
//! Nothing here fails.

use executor::error::Error;
use ids::ExecutionId;
use tokio::sync::oneshot;

use crate::process::Said;

/// What a shard will answer.
pub type Answer<T> = oneshot::Receiver<Result<T, Error>>;

/// What an answer says of an execution. Of other errors nobody takes note: whoever asked asks again.
pub fn of<T>(id: ExecutionId, answer: Result<T, Error>, said: impl FnOnce(T) -> Said) -> Option<Said> {
    match answer {
        Ok(answer) => Some(said(answer)),
        Err(Error::NotFound { code: "ExecutionDoesNotExist", .. }) => Some(Said::Denied(id)),
        Err(_) => None,
    }
}

/// Takes the answers that are there; of questions that were dropped there is none.
pub fn take<T>(asked: &mut Vec<Answer<T>>, mut take: impl FnMut(Result<T, Error>)) {
    asked.retain_mut(|answer| match answer.try_recv() {
        Ok(answer) => {
            take(answer);
            false
        }
        Err(oneshot::error::TryRecvError::Empty) => true,
        Err(oneshot::error::TryRecvError::Closed) => false,
    });
}

/// As [`take`], with what was asked for.
pub fn answers<T, K: Clone>(asked: &mut Vec<(K, Answer<T>)>, mut take: impl FnMut(K, Result<T, Error>)) {
    asked.retain_mut(|(of, answer)| match answer.try_recv() {
        Ok(answer) => {
            take(of.clone(), answer);
            false
        }
        Err(oneshot::error::TryRecvError::Empty) => true,
        Err(oneshot::error::TryRecvError::Closed) => false,
    });
}
