//! Gives the device's connection any inputs, in any order and at any time: what its tests check after each
//! input holds, memory is bounded, and from every state a good cloud is reached again.
#![no_main]

#[path = "../../device/core/tests/invariants/input.rs"]
mod input;
#[path = "device_core/inputs.rs"]
mod inputs;
#[path = "../../device/core/tests/invariants/kept.rs"]
mod kept;
#[path = "../../device/core/tests/invariants/known.rs"]
mod known;
#[path = "../../device/core/tests/invariants/observer.rs"]
mod observer;
#[path = "../../device/core/tests/invariants/requests.rs"]
mod requests;

use fedecks_device_core::Action;
use fedecks_fuzz::{Counting, live};
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;

use input::Input;
use observer::Observer;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the connection and its observer may keep. The largest thing is a login's header. Besides, each input may
/// be a call that waits, and all of them are answered when the link ends, in a queue that doubles.
const MAX_KEPT: usize = 64 * 1024 + 2 * MAX_INPUTS * size_of::<Action>();

/// More inputs find nothing new, as every state is a few inputs away.
const MAX_INPUTS: usize = 512;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Unstructured::new(bytes);
    let before = live();
    let Ok(seed) = bytes.arbitrary() else { return };
    let mut observer = Observer::new(seed);
    let shuts_down: bool = bytes.arbitrary().unwrap_or_default();
    for _ in 0..MAX_INPUTS {
        if bytes.is_empty() {
            break;
        }
        let Ok(input) = inputs::next(&mut bytes) else { break };
        observer.give(input);
        let kept = usize::try_from(live() - before).unwrap_or_default();
        assert!(kept <= MAX_KEPT, "{kept} bytes are kept");
    }
    if shuts_down {
        observer.give(Input::Shutdown);
        observer.check_closed();
    } else {
        observer.recover();
    }
});
