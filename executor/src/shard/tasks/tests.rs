//! Which worker gets which task when.

use super::*;

const POOL: PoolIndex = 0;

fn secret() -> Secret {
    Secret::from_key(&[7; 32])
}

fn id() -> ExecutionId {
    let partition = ids::PartitionId::new(1).expect("in range");
    ids::BatchId::new(partition, 1, 1).expect("in range").execution(0)
}

/// The task that an outcome with this token would be taken for.
fn find<'a>(tasks: &'a Tasks, token: &[u8]) -> Option<&'a Task> {
    let token = TaskToken::open(&secret(), token)?;
    tasks.at(token.hint, &token)
}

fn schedule(tasks: &mut Tasks, effect: u64) -> Address {
    let address = tasks.schedule(Task {
        trace: None,
        execution: Address::default(),
        id: id(),
        run: 1,
        effect: EffectId(effect),
        function: "f".into(),
        input: Payload::from_checked(Bytes::from_static(b"{}")),
        wrapped: false,
        calls_back: false,
        pool: POOL,
        log: 0,
        stand: Stand::Held,
        errand: Errand::default(),
    });
    tasks.release(address);
    address
}

fn tasks(number: u64) -> (Tasks, Vec<Address>) {
    let mut tasks = Tasks::new(1);
    let addresses = (0..number).map(|effect| schedule(&mut tasks, effect)).collect();
    (tasks, addresses)
}

fn attach(tasks: &mut Tasks, id: WorkerId, credit: u32) -> mpsc::Receiver<v1::TaskBatch> {
    let (sender, receiver) = mpsc::channel(8);
    assert!(tasks.attach(id, POOL, sender));
    tasks.grant(id, credit);
    receiver
}

fn received(tasks: &Tasks, receiver: &mut mpsc::Receiver<v1::TaskBatch>) -> Vec<u64> {
    let mut effects = Vec::new();
    while let Ok(batch) = receiver.try_recv() {
        effects.extend(batch.tasks.iter().filter_map(|task| Some(find(tasks, &task.token)?.effect.0)));
    }
    effects
}

#[test]
fn a_worker_gets_no_more_than_its_credit() {
    let metrics = ShardMetrics::default();
    let (mut tasks, _) = tasks(5);
    let mut worker = attach(&mut tasks, 1, 2);
    tasks.dispatch(&metrics, &secret(), |_| false);
    assert_eq!(received(&tasks, &mut worker), [0, 1]);
    tasks.grant(1, 10);
    tasks.dispatch(&metrics, &secret(), |_| false);
    assert_eq!(received(&tasks, &mut worker), [2, 3, 4]);
}

#[test]
fn the_tasks_of_a_worker_that_leaves_go_to_another_in_their_order() {
    let metrics = ShardMetrics::default();
    let (mut tasks, _) = tasks(4);
    let mut first = attach(&mut tasks, 1, 3);
    tasks.dispatch(&metrics, &secret(), |_| false);
    assert_eq!(received(&tasks, &mut first), [0, 1, 2]);
    drop(first);
    tasks.dispatch(&metrics, &secret(), |_| false);
    let mut second = attach(&mut tasks, 2, 10);
    tasks.dispatch(&metrics, &secret(), |_| false);
    assert_eq!(received(&tasks, &mut second), [0, 1, 2, 3]);
}

#[test]
fn tasks_of_a_log_that_has_lapsed_wait_and_then_leave_before_later_ones_in_their_order() {
    let metrics = ShardMetrics::default();
    let (mut tasks, addresses) = tasks(6);
    for at in [1, 3, 4] {
        tasks.entries.get_mut(addresses[at]).expect("scheduled").log = 1;
    }
    let mut worker = attach(&mut tasks, 1, 3);
    tasks.dispatch(&metrics, &secret(), |log| log == 1);
    assert_eq!(received(&tasks, &mut worker), [0, 2, 5]);
    tasks.cancel(addresses[3]);
    tasks.grant(1, 10);
    tasks.dispatch(&metrics, &secret(), |log| log == 1);
    assert!(received(&tasks, &mut worker).is_empty(), "the other log goes on");
    tasks.dispatch(&metrics, &secret(), |_| false);
    assert_eq!(received(&tasks, &mut worker), [1, 4]);
}

/// Addresses in all lines.
fn standing(tasks: &Tasks) -> usize {
    let pools = tasks.pools.iter().map(|pool| pool.queue.len());
    let workers = tasks.workers.values().map(|worker| worker.tasks.len());
    pools.chain(workers).chain(tasks.parked.iter().map(Line::len)).sum()
}

#[test]
fn tasks_that_end_before_a_worker_comes_take_no_room_wherever_they_stand() {
    let metrics = ShardMetrics::default();
    for (credit, parks) in [(None, false), (Some(10_000), true), (Some(10_000), false)] {
        let (mut tasks, mut addresses) = tasks(0);
        let mut worker = credit.map(|credit| attach(&mut tasks, 1, credit));
        for effect in 0..1_000 {
            let address = schedule(&mut tasks, effect);
            addresses.push(address);
            tasks.dispatch(&metrics, &secret(), |_| parks);
            worker.as_mut().into_iter().for_each(|worker| while worker.try_recv().is_ok() {});
            if effect >= 10 {
                tasks.cancel(addresses[effect as usize - 10]);
            }
            assert!(standing(&tasks) <= 2 * tasks.len() + 1, "{effect}");
        }
        let mut other = attach(&mut tasks, 2, 100);
        drop(worker);
        tasks.detach(1);
        tasks.dispatch(&metrics, &secret(), |_| false);
        assert_eq!(received(&tasks, &mut other), (990..1_000).collect::<Vec<_>>());
    }
}

#[test]
fn a_cancelled_task_is_not_sent_or_its_worker_is_told() {
    let metrics = ShardMetrics::default();
    let (mut tasks, addresses) = tasks(3);
    tasks.cancel(addresses[0]);
    let mut worker = attach(&mut tasks, 1, 10);
    tasks.dispatch(&metrics, &secret(), |_| false);
    let sent = worker.try_recv().expect("a batch").tasks;
    assert_eq!(sent.len(), 2);
    tasks.cancel(addresses[1]);
    tasks.dispatch(&metrics, &secret(), |_| false);
    assert_eq!(worker.try_recv().expect("a batch").cancelled, [sent[0].token.clone()]);
    assert!(find(&tasks, &sent[0].token).is_none());
}

#[test]
fn a_token_of_another_run_or_another_effect_finds_nobody() {
    let (tasks, addresses) = tasks(1);
    let token = TaskToken { execution: id(), effect: EffectId(0), run: 1, hint: addresses[0] };
    assert!(tasks.at(addresses[0], &token).is_some());
    let elsewhere = TaskToken { hint: Address::default(), ..token };
    assert!(tasks.at(addresses[0], &elsewhere).is_some(), "the hint is no part of what it names");
    for other in [TaskToken { run: 2, ..token }, TaskToken { effect: EffectId(1), ..token }] {
        assert!(tasks.at(addresses[0], &other).is_none(), "{other:?}");
    }
}
