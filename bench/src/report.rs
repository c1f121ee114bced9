//! The result of a benchmark, as a row or as JSON.

use serde_json::json;

/// The result of one benchmark.
pub(crate) struct Measurement {
    pub(crate) bench: &'static str,
    pub(crate) server: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) unit: &'static str,
    /// One value for each repetition.
    pub(crate) values: Vec<f64>,
}

/// What was measured, and the limits that were exceeded.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) failures: Vec<String>,
}

impl Measurement {
    /// The median; of an even number of values, the lower of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
    }

    /// One line of JSON.
    pub(crate) fn to_json(&self) -> String {
        json!({
            "bench": self.bench,
            "server": self.server,
            "metric": self.metric,
            "value": self.median(),
            "unit": self.unit,
            "values": self.values,
        })
        .to_string()
    }

    /// One line of a table; the last column has the values behind the median.
    pub(crate) fn to_row(&self) -> String {
        let values: Vec<_> = self.values.iter().map(|value| number(*value)).collect();
        row(
            self.bench,
            self.server,
            self.metric,
            &format!("{} {}", number(self.median()), self.unit),
            &values.join(" "),
        )
    }
}

pub(crate) fn heading() -> String {
    row("bench", "server", "metric", "median", "of")
}

fn row(bench: &str, server: &str, metric: &str, median: &str, of: &str) -> String {
    format!("{bench:<20} {server:<19} {metric:<28} {median:>14}   {of}")
}

fn number(value: f64) -> String {
    if value >= 1_000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(values: &[f64]) -> Measurement {
        let values = values.to_vec();
        Measurement { bench: "echo", server: "x", metric: "m", unit: "us", values }
    }

    #[test]
    fn the_median_is_a_measured_value() {
        assert_eq!(measured(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(measured(&[4.0, 1.0, 3.0, 2.0]).median(), 2.0);
        assert_eq!(measured(&[7.5]).median(), 7.5);
    }

    #[test]
    fn json_has_the_median_and_all_values() {
        let line = measured(&[3.0, 1.0, 2.0]).to_json();
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = json!({
            "bench": "echo", "server": "x", "metric": "m", "value": 2.0, "unit": "us",
            "values": [3.0, 1.0, 2.0],
        });
        assert_eq!(read, expected);
    }
}
