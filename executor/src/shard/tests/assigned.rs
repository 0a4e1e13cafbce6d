//! What the tests of ownership do to a shard and ask of it.

use proto::executor::v1::ExecutionStatus;
use proto::executor::v1::owned_partition::State;

use super::*;

/// Waits until the shard has this, as it reports it.
pub async fn until_owned(shard: &TestShard, wanted: &[(u32, State)]) {
    let reported = async {
        loop {
            let owned = shard.ask(|reply| Command::Report { reply }).await.expect("a report").owned;
            let owned: Vec<_> = owned.iter().map(|owned| (owned.partition, owned.state())).collect();
            if owned == wanted {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    soon("a report of what the shard has", reported).await;
    // The gauges are set after the round that has answered.
    shard.settled().await;
}

pub async fn assign(shard: &TestShard, partitions: &[u32]) {
    let partitions = partitions.iter().map(|number| PartitionId::new(*number).expect("in range")).collect();
    shard.send(Command::Assign { partitions }).await;
}

pub async fn list(shard: &TestShard) -> Result<v1::ListExecutionsResponse, Error> {
    let request = v1::ListExecutionsRequest { machine_arn: MACHINE.to_owned(), ..Default::default() };
    shard.ask(|reply| Command::List { request, reply }).await
}

/// The shard has partition 0, and the store finds everything by name again.
pub async fn serve(shard: &TestShard) {
    assign(shard, &[0]).await;
    until_owned(shard, &[(0, State::Serving)]).await;
    soon("an index", async { while list(shard).await.is_err() {} }).await;
}

pub async fn release(shard: &TestShard) {
    assign(shard, &[]).await;
    until_owned(shard, &[]).await;
}

pub async fn status(shard: &TestShard, execution: ExecutionName) -> Result<ExecutionStatus, Error> {
    let described = shard.ask(|reply| Command::Describe { execution, reply }).await?;
    Ok(described.summary.expect("a summary").status())
}
