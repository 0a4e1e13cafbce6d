//! The executions' mailboxes: what each was told and has not handled yet, in the order in which it came.
//!
//! All mailboxes of a shard share one pool of nodes, so that an empty mailbox costs ten bytes and a full one no
//! allocation. Invariant: a mailbox holds at most [`limits::MAILBOX_EVENTS_MAX`] events; who finds it full runs the
//! execution first. Nothing here fails.

use asl::Event;

use crate::limits;

const NONE: u32 = u32::MAX;

/// One execution's events; the events themselves are in the [`MailRoom`].
#[derive(Debug)]
pub struct Mailbox {
    head: u32,
    tail: u32,
    len: u16,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, len: 0 }
    }
}

impl Mailbox {
    /// Whether the execution must run before it can be told more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len >= limits::MAILBOX_EVENTS_MAX
    }

    /// Whether there is nothing to handle.
    #[cfg(test)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[derive(Debug)]
struct Node {
    event: Option<Event>,
    next: u32,
}

/// The nodes of all mailboxes of a shard.
#[derive(Debug)]
pub struct MailRoom {
    nodes: Vec<Node>,
    free: u32,
}

impl Default for MailRoom {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: NONE }
    }
}

impl MailRoom {
    /// Puts an event at the end of a mailbox that is not full.
    pub fn push(&mut self, mailbox: &mut Mailbox, event: Event) {
        let node = self.take_node(event);
        match self.nodes.get_mut(mailbox.tail as usize) {
            Some(tail) => tail.next = node,
            None => mailbox.head = node,
        }
        mailbox.tail = node;
        mailbox.len += 1;
    }

    /// The oldest event.
    pub fn pop(&mut self, mailbox: &mut Mailbox) -> Option<Event> {
        let at = mailbox.head;
        let node = self.nodes.get_mut(at as usize)?;
        let event = node.event.take();
        mailbox.head = std::mem::replace(&mut node.next, self.free);
        self.free = at;
        mailbox.len -= 1;
        if mailbox.len == 0 {
            *mailbox = Mailbox::default();
        }
        event
    }

    fn take_node(&mut self, event: Event) -> u32 {
        if let Some(node) = self.nodes.get_mut(self.free as usize) {
            let at = self.free;
            self.free = std::mem::replace(&mut node.next, NONE);
            node.event = Some(event);
            return at;
        }
        self.nodes.push(Node { event: Some(event), next: NONE });
        (self.nodes.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use asl::EffectId;

    use super::*;

    fn effect(event: Option<Event>) -> Option<u64> {
        match event {
            Some(Event::TimerFired(EffectId(id))) => Some(id),
            _ => None,
        }
    }

    #[test]
    fn each_mailbox_keeps_its_own_order() {
        let mut room = MailRoom::default();
        let (mut odd, mut even) = (Mailbox::default(), Mailbox::default());
        for round in 0..3 {
            for id in 0..10 {
                let mailbox = if id % 2 == 0 { &mut even } else { &mut odd };
                room.push(mailbox, Event::TimerFired(EffectId(round * 10 + id)));
            }
            for id in 0..5 {
                assert_eq!(effect(room.pop(&mut odd)), Some(round * 10 + id * 2 + 1));
                assert_eq!(effect(room.pop(&mut even)), Some(round * 10 + id * 2));
            }
            assert!(odd.is_empty() && even.is_empty());
            assert_eq!(effect(room.pop(&mut odd)), None);
        }
        assert_eq!(room.nodes.len(), 10, "nodes are used again");
    }
}
