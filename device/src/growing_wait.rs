use std::time::Duration;

/// The waits between attempts at something that another program has to make possible.
#[derive(Debug)]
pub(crate) struct GrowingWait(Duration);

impl GrowingWait {
    const FIRST: Duration = Duration::from_secs(1);
    /// The longest of them; what has worked for longer than this begins anew with the first.
    pub(crate) const LAST: Duration = Duration::from_secs(60);

    pub(crate) fn new() -> Self {
        Self(Self::FIRST)
    }

    /// The next wait: twice as long as the one before, up to a minute.
    pub(crate) fn next(&mut self) -> Duration {
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
        let mut wait = GrowingWait::new();
        let waits: Vec<u64> = (0..8).map(|_| wait.next().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
