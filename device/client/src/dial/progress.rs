//! Which phase an attempt has reached.

use fedecks_device_core::Phase;

/// The phase of an attempt, which only advances.
pub(super) struct Progress<F> {
    on_phase: F,
    reached: Option<Phase>,
}

impl<F: FnMut(Phase)> Progress<F> {
    pub(super) fn new(on_phase: F) -> Self {
        Self { on_phase, reached: None }
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        if self.reached < Some(phase) {
            self.reached = Some(phase);
            (self.on_phase)(phase);
        }
    }
}
