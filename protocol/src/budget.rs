//! What a value may still take in memory while it is decoded. Each reader of terms asks it before it
//! allocates.

use std::cell::Cell;

use crate::limits::{Limits, OverBudget};

/// The memory and the nesting that a value may still take. It is asked *before* anything is allocated, so
/// that no input can allocate more than the limit.
///
/// Readers behind serde cannot return our error: [`Budget::exceeded`] has it afterwards.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    spent: Cell<usize>,
    max_depth: u16,
    depth: Cell<u16>,
    exceeded: Cell<Option<OverBudget>>,
}

impl Budget {
    /// What a term counts, without the content of a text, of bytes or of a container. Never less than its
    /// size on any platform, and the same on all of them, so that all ends agree.
    pub const TERM: usize = 32;

    /// What the allocation of a text, of bytes, of an atom or of a container counts, unless it is empty: for the
    /// allocator's own bookkeeping and rounding.
    pub const ALLOCATION: usize = 16;

    /// The whole of what these limits allow.
    pub fn new(limits: &Limits) -> Self {
        Self {
            limit: limits.max_decoded,
            spent: Cell::new(0),
            max_depth: limits.max_depth.min(Limits::MAX_DEPTH),
            depth: Cell::new(0),
            exceeded: Cell::new(None),
        }
    }

    /// Takes this many bytes.
    pub fn take(&self, bytes: usize) -> Result<(), OverBudget> {
        let weight = self.spent.get().saturating_add(bytes);
        if weight > self.limit {
            return Err(self.fail(OverBudget::TooHeavy { weight, limit: self.limit }));
        }
        self.spent.set(weight);
        Ok(())
    }

    /// Takes the content of a text, of bytes or of an atom.
    pub fn take_text(&self, length: usize) -> Result<(), OverBudget> {
        self.take(Self::allocation(length))
    }

    /// Takes the content of a container of this many terms; a pair is two.
    pub fn take_terms(&self, count: usize) -> Result<(), OverBudget> {
        self.take(Self::allocation(count.saturating_mul(Self::TERM)))
    }

    /// What an allocation of as many bytes counts.
    pub(crate) fn allocation(bytes: usize) -> usize {
        if bytes == 0 { 0 } else { bytes.saturating_add(Self::ALLOCATION) }
    }

    /// Returns bytes that are free again.
    pub fn give_back(&self, bytes: usize) {
        self.spent.set(self.spent.get().saturating_sub(bytes));
    }

    /// Makes room for one more item in a container whose length is unknown. Both its old and its new
    /// allocation are within the budget, as they coexist for a moment. An item counts as one or more whole
    /// terms, on all platforms alike.
    pub fn grow<T>(&self, items: &mut Vec<T>) -> Result<(), OverBudget> {
        let old = items.capacity();
        if items.len() < old {
            return Ok(());
        }
        let new = old.saturating_mul(2).max(4);
        self.take(Self::container::<T>(new))?;
        let old_weight = Self::grown(items);
        items.reserve_exact(new - old);
        self.give_back(old_weight);
        Ok(())
    }

    /// What the allocation of a container that [`Budget::grow`] has made counts, without the content of its items.
    pub fn grown<T>(items: &Vec<T>) -> usize {
        Self::container::<T>(items.capacity())
    }

    fn container<T>(capacity: usize) -> usize {
        let each = size_of::<T>().next_multiple_of(Self::TERM);
        Self::allocation(capacity.saturating_mul(each))
    }

    /// Enters a level of nesting: that of the value itself, then that of what it contains.
    pub fn enter(&self) -> Result<(), OverBudget> {
        let depth = self.depth.get();
        if depth >= self.max_depth {
            return Err(self.fail(OverBudget::TooDeep { limit: self.max_depth }));
        }
        self.depth.set(depth + 1);
        Ok(())
    }

    /// Leaves a level.
    pub fn leave(&self) {
        self.depth.set(self.depth.get().saturating_sub(1));
    }

    /// What has been taken and not been returned, in bytes.
    pub fn spent(&self) -> usize {
        self.spent.get()
    }

    /// What the value has exceeded, if that has ended its decoding.
    pub fn exceeded(&self) -> Option<OverBudget> {
        self.exceeded.get()
    }

    fn fail(&self, over: OverBudget) -> OverBudget {
        self.exceeded.set(Some(over));
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_container_has_both_its_allocations_in_the_budget() {
        let budget = Budget::new(&Limits { max_decoded: 800, ..Limits::default() });
        let mut items: Vec<u32> = Vec::new();
        for number in 0..16 {
            budget.grow(&mut items).unwrap();
            items.push(number);
        }
        assert_eq!((items.capacity(), budget.spent()), (16, 528));
        let over = OverBudget::TooHeavy { weight: 1568, limit: 800 };
        assert_eq!(budget.grow(&mut items), Err(over));
        assert_eq!((items.capacity(), budget.exceeded()), (16, Some(over)));
        budget.give_back(Budget::grown(&items));
        assert_eq!(budget.spent(), 0);
    }
}
