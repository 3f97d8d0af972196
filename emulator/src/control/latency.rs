//! The latency of a fault.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest latency; a larger one is more likely a mistake of units.
const MAX_LATENCY_MS: u64 = 3_600_000;

/// How long to wait, in milliseconds: at least and at most. A range of one is shown as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Latency {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

impl Latency {
    /// Returns whether there is nothing to wait for.
    pub fn is_zero(self) -> bool {
        self.max == 0
    }

    /// Draws one of the times in the range, each as likely as the others.
    pub fn draw(self) -> Duration {
        Duration::from_millis(fastrand::u64(self.min..=self.max))
    }
}

impl TryFrom<Value> for Latency {
    type Error = String;

    fn try_from(given: Value) -> Result<Latency, String> {
        let range = match given.as_array().map(Vec::as_slice) {
            None => given.as_u64().map(|millis| (millis, millis)),
            Some([min, max]) => min.as_u64().zip(max.as_u64()),
            Some(_) => None,
        };
        match range {
            Some((min, max)) if min <= max && max <= MAX_LATENCY_MS => Ok(Latency { min, max }),
            _ => Err(format!(
                "latency_ms: must be an integer from 0 to {MAX_LATENCY_MS}, or [min, max] with two such, the smaller one first"
            )),
        }
    }
}

impl From<Latency> for Value {
    fn from(latency: Latency) -> Value {
        match latency.min == latency.max {
            true => latency.min.into(),
            false => vec![latency.min, latency.max].into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_drawn_from_the_whole_range() {
        let latency = Latency { min: 3, max: 5 };
        let drawn: Vec<u128> = (0..1000).map(|_| latency.draw().as_millis()).collect();
        assert!(drawn.iter().all(|millis| (3..=5).contains(millis)));
        assert!((3..=5).all(|millis| drawn.contains(&millis)));
    }
}
