//! What a term weighs in memory, by the same rule for all ends.

use super::value::Term;
use crate::budget::Budget;

impl Term {
    /// What it takes in memory, in bytes, by the rule of `docs/protocol.md`: 32 for itself and for each
    /// term within it; and the length of each text, of bytes and of atoms; and 16 for each of these and for
    /// each container that is not empty.
    pub fn weight(&self) -> usize {
        let inside = match self {
            Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Float(_) => 0,
            Self::Str(text) | Self::Atom(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) | Self::Tuple(items) => items.iter().map(Self::weight).sum(),
            Self::Map(entries) => {
                entries.iter().map(|(key, value)| key.weight() + value.weight()).sum()
            }
        };
        Budget::TERM + Budget::allocation(inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_counts_at_least_its_size_on_this_platform() {
        const { assert!(size_of::<Term>() <= Budget::TERM) };
        const { assert!(size_of::<(Term, Term)>() <= 2 * Budget::TERM) };
    }

    #[test]
    fn a_term_weighs_all_that_it_contains() {
        let list = Term::List(vec![Term::Nil, Term::from("abc"), Term::Bytes(vec![0; 5])]);
        assert_eq!(list.weight(), 4 * 32 + 8 + 3 * 16);
        let map = Term::Map(vec![(Term::Atom("k".to_owned()), list)]);
        assert_eq!(map.weight(), 6 * 32 + 9 + 5 * 16);
    }
}
