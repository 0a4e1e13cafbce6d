//! One derived write: the commands that it is, and what their replies say of it.
//!
//! Invariants: values are set again harmlessly; a push whose reply was lost is looked for before it is pushed again, and not
//! pushed where that cannot be told. What may fail: the connection.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use journal::{BlockId, Derived, StoreError};
use redis::{Pipeline, RedisError, Value};

use crate::keys::PartitionKeys;
use crate::link::{Current, Link};
use crate::servers::Server;

/// Entries at a list's end among which one that may be there already is looked for.
const LOOK_BACK: usize = 1_024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Write {
    kind: WriteKind,
    key: Vec<u8>,
    value: Bytes,
    ttl_ms: u64,
    /// Whose.
    pub slot: u16,
    /// Beside which block it stood.
    pub block: BlockId,
    /// Its place among all of its connection.
    pub number: u64,
    /// Its reply was lost: it may be there.
    pub unsure: bool,
    /// Redis refused it for now, with these words.
    pub refused: Option<Arc<str>>,
    /// Where a redirect has sent it.
    pub led: Option<Led>,
}

/// Where a redirect sends a write.
#[derive(Debug, Clone)]
pub(crate) struct Led {
    pub to: Arc<Server>,
    /// The slot is on its way there: each command says that it knows.
    pub asking: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteKind {
    Put,
    Push,
    /// The rest of a push whose list moved to another server in between.
    Expire,
}

impl Write {
    /// What stood beside a block.
    pub fn new(keys: &PartitionKeys, block: BlockId, derived: Derived) -> Self {
        let (kind, key, value, ttl) = match derived {
            Derived::Put { key, value, ttl } => (WriteKind::Put, keys.derived(&key), value, ttl),
            Derived::Push { list, value, ttl } => (WriteKind::Push, keys.list(&list), value, ttl),
        };
        // Redis refuses a time to live of 0, and of more than a signed 64-bit number can date.
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 52);
        let slot = keys.slot;
        Self { kind, key, value, ttl_ms, slot, block, number: 0, unsure: false, refused: None, led: None }
    }

    fn asking(&self) -> bool {
        self.led.as_ref().is_some_and(|led| led.asking)
    }

    /// Adds its commands.
    pub fn add_to(&self, pipeline: &mut Pipeline) {
        if self.asking() {
            pipeline.cmd("ASKING");
        }
        match self.kind {
            WriteKind::Put => {
                pipeline.cmd("SET").arg(&self.key).arg(self.value.as_ref()).arg("PX").arg(self.ttl_ms);
                return;
            }
            WriteKind::Push => {
                pipeline.cmd("RPUSH").arg(&self.key).arg(self.value.as_ref());
                if self.asking() {
                    pipeline.cmd("ASKING");
                }
            }
            WriteKind::Expire => {}
        }
        pipeline.cmd("PEXPIRE").arg(&self.key).arg(self.ttl_ms);
    }

    /// What it takes while it waits.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.len() + size_of::<Self>()
    }

    /// How many commands it is.
    fn commands(&self) -> usize {
        let count = if self.kind == WriteKind::Push { 2 } else { 1 };
        if self.asking() { 2 * count } else { count }
    }
}

/// Of writes that were sent, those that were refused, and how. A refused value that a later one has replaced is over.
pub(crate) fn refused(
    writes: VecDeque<Write>,
    replies: Vec<Result<Value, RedisError>>,
) -> Vec<(Write, RedisError)> {
    if replies.iter().all(Result::is_ok) {
        return Vec::new();
    }
    let mut replies = replies.into_iter();
    let answered: Vec<(Write, Vec<_>)> = writes
        .into_iter()
        .map(|write| {
            let of_write = replies.by_ref().take(write.commands()).collect();
            (write, of_write)
        })
        .collect();
    let (mut refused, mut set) = (Vec::new(), HashSet::new());
    for (mut write, of_write) in answered.into_iter().rev() {
        let pushed = write.kind == WriteKind::Push
            && of_write.get(usize::from(write.asking())).is_some_and(Result::is_ok);
        match of_write.into_iter().find_map(Result::err) {
            None if write.kind == WriteKind::Put => {
                set.insert(write.key);
            }
            None => {}
            Some(_) if write.kind == WriteKind::Put && set.contains(&write.key) => {}
            Some(refusal) => {
                if pushed {
                    write.kind = WriteKind::Expire;
                }
                refused.push((write, refusal));
            }
        }
    }
    refused.reverse();
    refused
}

/// Takes out the pushes whose reply was lost and that are there. Given are those of which Redis does not tell.
pub(crate) async fn look_for(
    link: &Link,
    current: &Current,
    writes: &mut VecDeque<Write>,
) -> Result<Vec<(Write, RedisError)>, StoreError> {
    let doubtful = |write: &Write| write.unsure && write.kind == WriteKind::Push;
    if !writes.iter().any(doubtful) {
        return Ok(Vec::new());
    }
    let mut pipeline = Pipeline::new();
    for write in writes.iter().filter(|write| doubtful(write)) {
        if write.asking() {
            pipeline.cmd("ASKING");
        }
        let look = pipeline.cmd("LPOS").arg(&write.key).arg(write.value.as_ref());
        look.arg("RANK").arg(-1).arg("MAXLEN").arg(LOOK_BACK);
    }
    let mut replies = link.pipeline_on(current, &pipeline).await?.into_iter();
    let mut untold = Vec::new();
    for mut write in std::mem::take(writes) {
        if !doubtful(&write) {
            writes.push_back(write);
            continue;
        }
        match if write.asking() { replies.nth(1) } else { replies.next() } {
            // It is there.
            Some(Ok(Value::Int(_))) => {}
            Some(Err(refusal)) => untold.push((write, refusal)),
            Some(Ok(_)) | None => {
                write.unsure = false;
                writes.push_back(write);
            }
        }
    }
    Ok(untold)
}
