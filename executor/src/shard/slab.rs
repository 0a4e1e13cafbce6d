//! Where the actors of a shard live: slots that are used again, addresses that are not.
//!
//! Invariant: an [`Address`] carries the generation of its slot, which is raised whenever a tenant leaves; what is sent
//! to an address whose tenant has left reaches nobody. Bounded by admission. Nothing here fails.

const NONE: u32 = u32::MAX;

/// Names a tenant of a slab. The default names nobody, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// Which slot.
    pub slot: u32,
    /// Which of the slot's tenants.
    pub generation: u32,
}

impl Default for Address {
    fn default() -> Self {
        Self { slot: NONE, generation: 0 }
    }
}

#[derive(Debug)]
enum Slot<T> {
    Taken { generation: u32, tenant: T },
    Free { generation: u32, next: u32 },
}

/// Slots with tenants.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: NONE, len: 0 }
    }
}

impl<T> Slab<T> {
    /// Tenants.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Gives a slot to a tenant.
    pub fn insert(&mut self, tenant: T) -> Address {
        self.len += 1;
        let Some(free) = self.slots.get_mut(self.free as usize) else {
            self.slots.push(Slot::Taken { generation: 0, tenant });
            return Address { slot: (self.slots.len() - 1) as u32, generation: 0 };
        };
        let slot = self.free;
        let (generation, next) = match free {
            Slot::Free { generation, next } => (*generation, *next),
            // Unreachable: the free list holds free slots only; a taken one is never overwritten.
            Slot::Taken { generation, .. } => (generation.wrapping_add(1), NONE),
        };
        *free = Slot::Taken { generation, tenant };
        self.free = next;
        Address { slot, generation }
    }

    /// The tenant, unless it has left.
    #[must_use]
    pub fn get(&self, address: Address) -> Option<&T> {
        match self.slots.get(address.slot as usize) {
            Some(Slot::Taken { generation, tenant }) if *generation == address.generation => Some(tenant),
            _ => None,
        }
    }

    /// The tenant, unless it has left.
    pub fn get_mut(&mut self, address: Address) -> Option<&mut T> {
        match self.slots.get_mut(address.slot as usize) {
            Some(Slot::Taken { generation, tenant }) if *generation == address.generation => Some(tenant),
            _ => None,
        }
    }

    /// Takes the tenant out, unless it has left.
    pub fn remove(&mut self, address: Address) -> Option<T> {
        self.get(address)?;
        let free = Slot::Free { generation: address.generation.wrapping_add(1), next: self.free };
        let slot = self.slots.get_mut(address.slot as usize)?;
        self.free = address.slot;
        self.len -= 1;
        match std::mem::replace(slot, free) {
            Slot::Taken { tenant, .. } => Some(tenant),
            Slot::Free { .. } => None,
        }
    }

    /// Every tenant with its address.
    pub fn iter(&self) -> impl Iterator<Item = (Address, &T)> {
        self.slots.iter().enumerate().filter_map(|(slot, held)| match held {
            Slot::Taken { generation, tenant } => {
                Some((Address { slot: slot as u32, generation: *generation }, tenant))
            }
            Slot::Free { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_message_to_a_reused_slot_reaches_nobody() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.slot, first.slot);
        assert!(slab.get(first).is_none() && slab.get_mut(first).is_none());
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn the_default_address_names_nobody() {
        let mut slab = Slab::default();
        slab.insert(1);
        assert_eq!(slab.get(Address::default()), None);
    }

    #[test]
    fn every_tenant_is_visited_once() {
        let mut slab = Slab::default();
        let addresses: Vec<_> = (0..5).map(|tenant| slab.insert(tenant)).collect();
        slab.remove(addresses[1]);
        slab.remove(addresses[3]);
        let seen: Vec<_> = slab.iter().map(|(_, tenant)| *tenant).collect();
        assert_eq!(seen, [0, 2, 4]);
    }
}
