//! Log-linear histograms (the HDR layout): every power of two is cut into 64 equal buckets, so a quantile is within 1 %.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::cell::Counter;

const SUB_BITS: u32 = 6;
const SUB_BUCKETS: usize = 1 << SUB_BITS;
/// Values from 2^42 up (73 minutes in nanoseconds, 4 TiB in bytes) share the last bucket; the maximum stays exact.
const MAX_BITS: u32 = 42;
const BUCKETS: usize = (MAX_BITS - SUB_BITS + 1) as usize * SUB_BUCKETS;

/// The bucket of a value.
fn bucket_of(value: u64) -> usize {
    let value = value.min((1 << MAX_BITS) - 1);
    let shift = (63 - (value | SUB_BUCKETS as u64).leading_zeros()) - SUB_BITS;
    shift as usize * SUB_BUCKETS + (value >> shift) as usize
}

/// The lowest value of a bucket, and how many it has.
fn range_of(bucket: usize) -> (u64, u64) {
    let shift = (bucket / SUB_BUCKETS).saturating_sub(1);
    (((bucket - shift * SUB_BUCKETS) as u64) << shift, 1 << shift)
}

/// The value in the middle of a bucket.
fn middle_of(bucket: usize) -> u64 {
    let (low, values) = range_of(bucket);
    low + values / 2
}

/// A distribution of durations (kept in nanoseconds) or of plain numbers. 19 KiB.
///
/// Recording is two relaxed additions, and a store when the value is the largest seen.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum: Counter,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: Counter::default(),
            max: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Records a duration: for a histogram in seconds.
    pub fn record(&self, duration: Duration) {
        self.record_value(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Records a plain number: bytes, rows, batch sizes.
    pub fn record_value(&self, value: u64) {
        self.record_many(value, 1);
    }

    /// Records the same number `n` times at once.
    pub fn record_many(&self, value: u64, n: u64) {
        self.buckets[bucket_of(value)].fetch_add(n, Relaxed);
        self.sum.add(value.saturating_mul(n));
        if value > self.max.load(Relaxed) {
            self.max.fetch_max(value, Relaxed);
        }
    }

    /// A copy of what was recorded so far.
    pub fn snapshot(&self) -> Snapshot {
        let buckets: Box<[u64]> = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        Snapshot { count: buckets.iter().sum(), buckets, sum: self.sum.get(), max: self.max.load(Relaxed) }
    }
}

/// What a histogram held at one moment, in the unit it was recorded in (nanoseconds for durations).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    buckets: Box<[u64]>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Snapshot {
    /// Bytes of memory behind it.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum; it wraps at 2^64 (584 years of nanoseconds).
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest value: exact for a whole snapshot, within 1 % for an interval.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean, 0 when nothing was recorded.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// The value that a share `q` (0 to 1) of the recorded values does not exceed, within 1 %; 0 when nothing was recorded.
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = ((q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return middle_of(bucket).min(self.max);
            }
        }
        self.max
    }

    /// How many values are up to each of these bounds, of which each is larger than the one before; of those within 2 % above a bound, some are counted as well.
    pub fn up_to(&self, bounds: impl IntoIterator<Item = u64>) -> impl Iterator<Item = u64> {
        let (mut buckets, mut seen) = (self.buckets.iter().enumerate().peekable(), 0);
        bounds.into_iter().map(move |bound| {
            while let Some((_, n)) = buckets.next_if(|(bucket, _)| range_of(*bucket).0 <= bound) {
                seen += *n;
            }
            seen
        })
    }

    /// What was recorded after `earlier`, a snapshot of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        let buckets: Box<[u64]> =
            self.buckets.iter().zip(&earlier.buckets).map(|(now, then)| now.saturating_sub(*then)).collect();
        let max = if self.max > earlier.max {
            self.max
        } else {
            buckets.iter().rposition(|n| *n > 0).map_or(0, |bucket| middle_of(bucket).min(self.max))
        };
        Snapshot { count: buckets.iter().sum(), buckets, sum: self.sum.wrapping_sub(earlier.sum), max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_whose_middle_is_within_one_percent() {
        let mut value = 1u64;
        while value < 1 << MAX_BITS {
            for v in [value - 1, value, value + value / 3] {
                let v = v.min((1 << MAX_BITS) - 1);
                let middle = middle_of(bucket_of(v));
                assert!(middle.abs_diff(v) * 100 <= v, "{v} became {middle}");
            }
            value *= 2;
        }
    }

    #[test]
    fn buckets_are_in_the_order_of_their_values_and_the_last_one_takes_the_rest() {
        assert!((1..100_000u64).all(|v| bucket_of(v) >= bucket_of(v - 1)));
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_of((1 << MAX_BITS) - 1), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_a_uniform_distribution_are_where_they_should_be() {
        let histogram = Histogram::default();
        (1..=100_000).for_each(|v| histogram.record_value(v));
        let snapshot = histogram.snapshot();
        for (q, expected) in [(0.5, 50_000u64), (0.95, 95_000), (0.99, 99_000), (1.0, 100_000)] {
            assert!(snapshot.quantile(q).abs_diff(expected) <= expected / 100, "p{q}: {}", snapshot.quantile(q));
        }
        assert_eq!((snapshot.count(), snapshot.max()), (100_000, 100_000));
        assert!((snapshot.mean() - 50_000.5).abs() < 1e-6);
    }

    #[test]
    fn an_interval_holds_only_what_was_recorded_within_it() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_secs(9));
        let before = histogram.snapshot();
        assert_eq!(histogram.snapshot().since(&before).quantile(0.99), 0);
        histogram.record_many(1_000, 10);
        let interval = histogram.snapshot().since(&before);
        assert_eq!((interval.count(), interval.sum()), (10, 10_000));
        assert!(interval.max().abs_diff(1_000) <= 10, "{}", interval.max());
    }

    #[test]
    fn values_are_counted_up_to_each_bound() {
        let histogram = Histogram::default();
        (1..=1_000).for_each(|value| histogram.record_value(value * 1_000));
        let snapshot = histogram.snapshot();
        let counts: Vec<u64> = snapshot.up_to([0, 999, 1_000, 100_000, 1_000_000, u64::MAX]).collect();
        assert_eq!((counts[0], counts[4], counts[5]), (0, 1_000, 1_000));
        assert!(counts[1] <= 1 && counts[2] == 1 && counts[3].abs_diff(100) <= 2, "{counts:?}");
        // What is kept exactly is counted so.
        let exact = Histogram::default();
        (0..=64).for_each(|value| exact.record_value(value));
        assert_eq!(exact.snapshot().up_to([1, 4, 16, 64]).collect::<Vec<_>>(), [2, 5, 17, 65]);
    }

    #[test]
    fn an_enormous_value_keeps_its_exact_maximum() {
        let histogram = Histogram::default();
        histogram.record_value(u64::MAX);
        assert_eq!(histogram.snapshot().max(), u64::MAX);
    }
}
