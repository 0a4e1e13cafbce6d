//! Questions about executions.

use ids::ExecutionName;
use proto::executor::v1;

use super::command::Reply;
use super::core::Shard;

impl Shard {
    pub(super) fn describe(
        &mut self,
        _execution: ExecutionName,
        _reply: Reply<v1::DescribeExecutionResponse>,
    ) {
    }

    pub(super) fn history(&mut self, _execution: ExecutionName, _reply: Reply<Vec<v1::HistoryEvent>>) {}

    pub(super) fn stop(&mut self, _execution: ExecutionName, _error: &str, _cause: &str, _reply: Reply<u64>) {
    }

    pub(super) fn list(
        &mut self,
        _request: v1::ListExecutionsRequest,
        _reply: Reply<v1::ListExecutionsResponse>,
    ) {
    }
}
