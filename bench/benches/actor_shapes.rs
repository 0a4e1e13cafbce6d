//! An actix actor for each execution, against one shard actor with a slab of executions.
//!
//! This is why an execution is an actor inside its shard and not an actix actor of its own: the bench creates each,
//! sends it one message, and ends it. Both count what they did, so that neither can be optimised away.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use actix::{Actor, ActorContext, Context, Handler, Message, System};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use slab::Slab;

/// Executions in a batch.
const BATCH: u64 = 256;

struct Step(u64);

impl Message for Step {
    type Result = ();
}

/// One execution as an actix actor: mailbox, context and address are actix's.
struct Alone {
    ended: Rc<Cell<u64>>,
}

impl Actor for Alone {
    type Context = Context<Self>;
}

impl Handler<Step> for Alone {
    type Result = ();

    fn handle(&mut self, step: Step, context: &mut Self::Context) {
        self.ended.set(self.ended.get() + step.0);
        context.stop();
    }
}

/// One execution inside a shard: state, mailbox, generation.
struct Inside {
    generation: u32,
    mailbox: VecDeque<Step>,
}

/// The shard's actor: executions in a slab, addressed by slot and generation.
#[derive(Default)]
struct Shard {
    executions: Slab<Inside>,
    generation: u32,
}

struct Batch(u64);

impl Message for Batch {
    type Result = u64;
}

impl Actor for Shard {
    type Context = Context<Self>;
}

impl Handler<Batch> for Shard {
    type Result = u64;

    fn handle(&mut self, batch: Batch, _: &mut Self::Context) -> u64 {
        let mut addresses = Vec::with_capacity(BATCH as usize);
        for _ in 0..batch.0 {
            self.generation = self.generation.wrapping_add(1);
            let generation = self.generation;
            let slot = self.executions.insert(Inside { generation, mailbox: VecDeque::new() });
            addresses.push((slot, generation));
        }
        for (slot, generation) in &addresses {
            if let Some(execution) = self.executions.get_mut(*slot).filter(|e| e.generation == *generation) {
                execution.mailbox.push_back(Step(1));
            }
        }
        let mut ended = 0;
        for (slot, _) in addresses {
            while let Some(step) = self.executions[slot].mailbox.pop_front() {
                ended += step.0;
            }
            self.executions.remove(slot);
        }
        ended
    }
}

fn shapes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("actor_shapes");
    group.throughput(Throughput::Elements(BATCH));
    let runner = System::new();
    group.bench_function("actix actor per execution", |bencher| {
        bencher.iter(|| {
            runner.block_on(async {
                let ended = Rc::new(Cell::new(0));
                let addresses: Vec<_> =
                    (0..BATCH).map(|_| Alone { ended: Rc::clone(&ended) }.start()).collect();
                for address in &addresses {
                    address.try_send(Step(1)).expect("one message fits in an empty mailbox");
                }
                while ended.get() < BATCH {
                    tokio::task::yield_now().await;
                }
                ended.get()
            })
        });
    });
    let shard = runner.block_on(async { Shard::default().start() });
    group.bench_function("shard actor with a slab", |bencher| {
        bencher.iter(|| {
            let ended = runner.block_on(shard.send(Batch(BATCH))).expect("the shard lives");
            assert_eq!(ended, BATCH);
        });
    });
    group.finish();
}

criterion_group!(benches, shapes);
criterion_main!(benches);
