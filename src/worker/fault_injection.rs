//! Panics on demand, for the tests of what a panic in the library costs. Compiled into tests only.

use super::metrics::RequestKind;
use crate::runtime::fork::ForkSafeMutex;
use std::collections::HashMap;

/// A place where a test can have the worker panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum FaultPoint {
    /// A round of the supervisor.
    Supervisor,
    /// The task of a poll.
    PollTask,
    /// The task of a lease.
    LeaseTask,
    /// A request of this kind.
    Request(RequestKind),
}

/// The panics that a test has ordered from one worker.
#[derive(Default)]
pub(super) struct FaultInjector(ForkSafeMutex<State>);

#[derive(Default)]
struct State {
    ordered: Vec<FaultPoint>,
    passes: HashMap<FaultPoint, u64>,
}

impl FaultInjector {
    /// Orders one panic for each of these points, at its next pass.
    pub(super) fn order(&self, points: &[FaultPoint]) {
        self.0.lock().ordered.extend(points);
    }

    /// Counts a pass of a point, and panics if a test has ordered that.
    pub(super) fn pass(&self, point: FaultPoint) {
        let mut state = self.0.lock();
        *state.passes.entry(point).or_default() += 1;
        let ordered = state.ordered.iter().position(|other| *other == point);
        ordered.map(|index| state.ordered.remove(index));
        drop(state);
        assert!(ordered.is_none(), "a panic that a test ordered: {point:?}");
    }

    /// Returns how often the worker has passed a point.
    pub(super) fn passes(&self, point: FaultPoint) -> u64 {
        self.0.lock().passes.get(&point).copied().unwrap_or_default()
    }
}
