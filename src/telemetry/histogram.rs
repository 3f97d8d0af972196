//! Latency histograms.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A histogram of durations: four buckets for each doubling, from 1 µs to 19 hours. The buckets are the same everywhere, so histograms of
/// several clients or hosts can be summed.
#[derive(Debug)]
pub struct Histogram {
    sum: AtomicU64,
    max: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

const OCTAVES: usize = 36;
/// The doublings that are exported as buckets in seconds: from 0.13 ms to 134 s.
const SHOWN_OCTAVES: std::ops::Range<usize> = 6..27;
const BUCKETS: usize = 4 * OCTAVES;

/// Returns the bucket of a number of microseconds.
fn bucket(us: u64) -> usize {
    let us = us.max(1);
    let octave = us.ilog2() as usize;
    let quarter = if octave >= 2 { us >> (octave - 2) } else { us << (2 - octave) } as usize % 4;
    (4 * octave + quarter).min(BUCKETS - 1)
}

/// Returns the first number of microseconds above a bucket.
fn bound(bucket: usize) -> u64 {
    // Below 4 µs quarters are not whole numbers, so the bounds of those buckets are rounded up.
    ((5 + bucket as u64 % 4) << (bucket / 4)).div_ceil(4)
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { sum: AtomicU64::default(), max: AtomicU64::default(), buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

impl Histogram {
    /// Adds a duration.
    pub fn add(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum.fetch_add(us, Relaxed);
        self.max.fetch_max(us, Relaxed);
        self.buckets[bucket(us)].fetch_add(1, Relaxed);
    }

    /// Returns the number of durations below each of several doubling bounds (in seconds), their total number, and their sum in seconds.
    pub fn doubling(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut below = Vec::new();
        let mut count = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Relaxed);
            if index % 4 == 3 && SHOWN_OCTAVES.contains(&(index / 4)) {
                below.push((bound(index) as f64 / 1e6, count));
            }
        }
        (below, count, self.sum.load(Relaxed) as f64 / 1e6)
    }

    /// Returns the histogram as JSON, in microseconds.
    pub fn to_json(&self) -> Value {
        let counts = self.buckets.iter().map(|count| count.load(Relaxed)).enumerate().filter(|(_, count)| *count > 0);
        let buckets: Vec<[u64; 2]> = counts.map(|(index, count)| [bound(index), count]).collect();
        let count: u64 = buckets.iter().map(|[_, count]| count).sum();
        json!({"count": count, "sum": self.sum.load(Relaxed), "max": self.max.load(Relaxed), "buckets": buckets})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_without_gap_or_overlap() {
        let mut last = 0;
        for us in (1..5_000).chain([1 << 20, (1 << 20) + 1, 3 << 30, 1 << 35]) {
            let index = bucket(us);
            assert!(us < bound(index), "{us} is not below the bound of its bucket {index}");
            assert!(index == 0 || us >= bound(index - 1), "{us} belongs to an earlier bucket than {index}");
            assert!(index >= last);
            assert!(us < 4 || bound(index) as f64 / us as f64 <= 1.25, "the bucket of {us} is too wide");
            last = index;
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
    }
}
