//! What is true for any inputs, in any order and at any time.

#![cfg(not(fedecks_emulated))] // The same decisions on every processor, and minutes under emulation.
#![expect(clippy::unwrap_used, reason = "test helpers, which clippy does not recognize as tests")]

mod input;
mod inputs;
mod kept;
mod known;
mod observer;
mod requests;

use proptest::prelude::*;

use self::inputs::{inputs, inputs_without_end};
use self::observer::Observer;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_good_cloud_is_reached_again_from_any_state(seed: u64, inputs in inputs_without_end()) {
        let mut it = Observer::new(seed);
        for input in inputs {
            it.give(input);
        }
        it.recover();
    }

    #[test]
    fn invariants_hold_for_any_inputs(seed: u64, inputs in inputs()) {
        let mut it = Observer::new(seed);
        for input in inputs {
            it.give(input);
        }
        it.check_closed();
    }
}
