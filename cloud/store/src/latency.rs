//! A latency histogram, and the counter behind it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A latency histogram.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct LatencyHistogram {
    /// The number in each bucket: up to each of [`LatencyHistogram::BOUNDS`], and one more for those above
    /// all of them.
    pub counts: [u64; LatencyHistogram::BOUNDS.len() + 1],
    /// The sum, in seconds.
    pub seconds: f64,
}

impl LatencyHistogram {
    /// The upper bounds of the buckets, in seconds.
    pub const BOUNDS: [f64; 12] =
        [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 5.0];

    /// The number of observations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Counts into a histogram, from any number of threads.
///
/// ```
/// # mod fedecks_cloud { pub use fedecks_store as store; }
/// use std::time::Duration;
///
/// use fedecks_cloud::store::Latency;
///
/// let reads = Latency::default();
/// reads.add(Duration::from_millis(3));
/// assert_eq!(reads.snapshot().count(), 1);
/// ```
#[derive(Debug, Default)]
pub struct Latency {
    counts: [AtomicU64; LatencyHistogram::BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

impl Latency {
    /// Counts an observation.
    pub fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = LatencyHistogram::BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    /// The histogram so far.
    pub fn snapshot(&self) -> LatencyHistogram {
        let microseconds = self.microseconds.load(Ordering::Relaxed);
        LatencyHistogram {
            counts: std::array::from_fn(|place| self.counts[place].load(Ordering::Relaxed)),
            seconds: Duration::from_micros(microseconds).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_fits() {
        let latency = Latency::default();
        for milliseconds in [1, 2, 6000] {
            latency.add(Duration::from_millis(milliseconds));
        }
        let histogram = latency.snapshot();
        assert_eq!(histogram.counts, [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(histogram.count(), 3);
        assert!((histogram.seconds - 6.003).abs() < 1e-9);
    }
}
