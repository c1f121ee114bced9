//! Waits that double from one attempt to the next, for what is retried until it works. They are not
//! random: what is waited for is on the same device, not shared with a fleet.

use std::time::Duration;

/// The waits between attempts at something that another program has to make possible; the first is a
/// second where nothing else is said.
#[derive(Debug)]
pub struct GrowingWait(Duration);

impl Default for GrowingWait {
    fn default() -> Self {
        Self::starting_at(Duration::from_secs(1))
    }
}

impl GrowingWait {
    /// The longest of them; what has worked for longer than this begins anew with the first.
    pub const LAST: Duration = Duration::from_secs(60);

    /// Waits of which this is the first.
    pub fn starting_at(first: Duration) -> Self {
        Self(first.min(Self::LAST))
    }

    /// The next wait: twice as long as the one before, up to a minute.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(Self::LAST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_grow_to_a_minute() {
        let mut wait = GrowingWait::default();
        let waits: Vec<u64> = (0..8).map(|_| wait.next_wait().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
