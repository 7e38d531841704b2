//! The distribution of measured times.

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest time of the histogram: a minute, in nanoseconds.
const MAX_LATENCY: u64 = 60_000_000_000;

/// The distribution of the measured times, in microseconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    pub(crate) mean: f64,
    /// Pairs of a percentile and its value, for plots.
    pub(crate) curve: Vec<(f64, f64)>,
}

impl Latency {
    pub(crate) fn of(times: &Histogram<u64>) -> Self {
        let micros = |nanos: u64| (nanos as f64 / 10.0).round() / 100.0;
        let at = |percentile| micros(times.value_at_percentile(percentile));
        let percentiles = [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 100.0];
        Self {
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            max: micros(times.max()),
            mean: micros(times.mean() as u64),
            curve: percentiles.map(|percentile| (percentile, at(percentile))).to_vec(),
        }
    }
}

/// A histogram of nanoseconds with three digits.
pub(crate) fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, MAX_LATENCY, 3).context("cannot create the histogram")
}
