//! Whether a server has grown: a pure function of what was sampled.

/// How much the memory, in the medians of the fourth and the second quarter, may differ, in percent.
const MEMORY_PERCENT: f64 = 3.0;

/// How much the connected devices may differ, in percent, for the memory to be comparable.
const CONNECTED_PERCENT: f64 = 2.0;

/// How many more files besides connections, and threads, there may be. Threads for blocking work come and go.
const FILES: f64 = 4.0;
const THREADS: f64 = 3.0;

/// How many more files may be open when all devices have left: the store opens some as it needs them.
const FILES_AT_END: f64 = 8.0;

/// The server at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Since the run began, in seconds.
    pub(super) at: f64,
    pub(super) connected: f64,
    /// Its anonymous resident memory, in bytes.
    pub(super) anonymous: f64,
    /// Its open files besides its connections.
    pub(super) files: f64,
    pub(super) threads: f64,
}

/// The server before the devices came, and after all have left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) files_before: f64,
    pub(super) files_after: f64,
    pub(super) connected_after: f64,
}

/// What the samples say.
#[derive(Debug)]
pub(super) struct Verdict {
    /// The median of the anonymous memory in each quarter of the run, in bytes.
    pub(super) quarters: [f64; 4],
    /// From the second to the fourth quarter, in percent.
    pub(super) growth: f64,
    /// A least-squares fit over the second half of the run, in bytes per hour.
    pub(super) slope: f64,
    pub(super) files_growth: f64,
    pub(super) threads_growth: f64,
    pub(super) failures: Vec<String>,
}

/// Judges a run. Its growth counts if it was long enough for that (`is_long`): the start fills caches and logs.
pub(super) fn judge(samples: &[Sample], ends: Ends, is_long: bool) -> Verdict {
    let quarters = |value: fn(&Sample) -> f64| -> [f64; 4] {
        std::array::from_fn(|quarter| {
            let bounds = [quarter, quarter + 1].map(|bound| samples.len() * bound / 4);
            let quarter = samples.get(bounds[0]..bounds[1]).unwrap_or_default();
            median(quarter.iter().map(value).collect())
        })
    };
    let memory = quarters(|sample| sample.anonymous);
    let [_, second, _, fourth] = memory;
    let growth = percent(second, fourth);
    let half = samples.get(samples.len() / 2..).unwrap_or_default();
    let added = |[_, second, _, fourth]: [f64; 4]| fourth - second;
    let files_growth = added(quarters(|sample| sample.files));
    let threads_growth = added(quarters(|sample| sample.threads));
    let [_, second, _, fourth] = quarters(|sample| sample.connected);
    let connected = percent(second, fourth);
    let left = ends.files_after - ends.files_before;
    let at_end = ends.connected_after;
    let of_long = [
        (connected.abs() <= CONNECTED_PERCENT, format!("{connected:.1} % more connected devices")),
        (growth <= MEMORY_PERCENT, format!("{growth:.1} % more memory, limit {MEMORY_PERCENT} %")),
        (files_growth <= FILES, format!("{files_growth} more open files, limit {FILES}")),
        (threads_growth <= THREADS, format!("{threads_growth} more threads, limit {THREADS}")),
    ];
    let of_all = [
        (left <= FILES_AT_END, format!("{left} more open files at the end, limit {FILES_AT_END}")),
        (at_end <= 0.0, format!("{at_end} devices are connected after the end")),
    ];
    let of_long = of_long.into_iter().filter(|_| is_long);
    // Without samples, which gives NaN, nothing is proven.
    let failures = of_long.chain(of_all).filter(|(is_met, _)| !is_met);
    let failures = failures.map(|(_, failure)| failure).collect();
    let slope = slope(half) * 3600.0;
    Verdict { quarters: memory, growth, slope, files_growth, threads_growth, failures }
}

fn percent(before: f64, after: f64) -> f64 {
    (after - before) / before * 100.0
}

/// NaN of no values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 {
        return upper;
    }
    middle.checked_sub(1).and_then(|lower| values.get(lower)).map_or(upper, |it| (it + upper) / 2.0)
}

/// Of the anonymous memory over time, by least squares, in bytes per second.
fn slope(samples: &[Sample]) -> f64 {
    let mean =
        |value: fn(&Sample) -> f64| samples.iter().map(value).sum::<f64>() / samples.len() as f64;
    let (at, memory) = (mean(|sample| sample.at), mean(|sample| sample.anonymous));
    let products = samples.iter().map(|it| (it.at - at) * (it.anonymous - memory)).sum::<f64>();
    products / samples.iter().map(|it| (it.at - at).powi(2)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    const CLEAN: Ends = Ends { files_before: 20.0, files_after: 22.0, connected_after: 0.0 };

    /// An hour, with some noise.
    fn hour(change: impl Fn(f64, &mut Sample)) -> Vec<Sample> {
        let samples = (0..60).map(|minute| {
            let noise = f64::from(minute * 7 % 5) - 2.0;
            let mut sample = Sample {
                at: f64::from(minute) * 60.0,
                connected: 9_000.0 + noise * 10.0,
                anonymous: 30.0 * MIB + noise * 0.02 * MIB,
                files: 21.0 + noise,
                threads: 6.0,
            };
            change(f64::from(minute), &mut sample);
            sample
        });
        samples.collect()
    }

    #[test]
    fn a_server_that_stays_as_it_is_passes() {
        let verdict = judge(&hour(|_, _| {}), CLEAN, true);
        assert!(verdict.failures.is_empty(), "{verdict:?}");
        assert!(verdict.growth.abs() < 0.2, "{verdict:?}");
        assert!(verdict.slope.abs() < 0.2 * MIB, "{verdict:?}");
        // What it takes at the start does not count.
        let verdict = judge(&hour(|at, it| it.anonymous *= (at / 10.0).min(1.0)), CLEAN, true);
        assert!(verdict.failures.is_empty(), "{verdict:?}");
    }

    #[test]
    fn memory_that_grows_fails() {
        let grows = hour(|minute, sample| sample.anonymous += minute * 0.1 * MIB);
        let verdict = judge(&grows, CLEAN, true);
        assert_eq!(verdict.failures, ["9.3 % more memory, limit 3 %"]);
        assert!((verdict.slope - 6.0 * MIB).abs() < 0.2 * MIB, "{verdict:?}");
        assert!(judge(&grows, CLEAN, false).failures.is_empty());
    }

    #[test]
    fn files_and_threads_that_leak_fail() {
        let leaks = hour(|minute, sample| sample.files += (minute / 4.0).floor());
        let verdict = judge(&leaks, CLEAN, true);
        assert_eq!(verdict.failures.len(), 1, "{verdict:?}");
        assert!(verdict.failures[0].contains("more open files, limit 4"), "{verdict:?}");
        let verdict = judge(&hour(|minute, it| it.threads += minute.floor()), CLEAN, true);
        assert_eq!(verdict.failures, ["30 more threads, limit 3"]);
    }

    #[test]
    fn what_is_left_after_the_end_fails_short_runs_too() {
        let ends = Ends { files_before: 20.0, files_after: 29.0, connected_after: 1.0 };
        let expected =
            ["9 more open files at the end, limit 8", "1 devices are connected after the end"];
        assert_eq!(judge(&[], ends, false).failures, expected);
    }

    #[test]
    fn other_numbers_of_devices_cannot_be_compared() {
        let fewer = hour(|minute, sample| sample.connected -= minute * 10.0);
        let failures = judge(&fewer, CLEAN, true).failures;
        assert_eq!(failures, ["-3.4 % more connected devices"]);
        assert_eq!(judge(&[], CLEAN, true).failures.len(), 4);
    }
}
