//! How long to wait before a repository is asked again. Pure.

use std::time::Duration;

/// A repository that fails is asked at least this often, unless its interval is longer.
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// No clock is asked for a moment beyond this.
const INTERVAL_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Doublings of the interval: more would pass the bound for any interval.
const DOUBLINGS_MAX: u32 = 10;

/// The pause after `failures` in a row: the interval, doubled for each, up to a bound; a tenth more or less by `roll`, so
/// that many sources and many daemons do not ask at once.
pub fn pause(interval: Duration, failures: u32, roll: u64) -> Duration {
    let interval = interval.min(INTERVAL_MAX);
    let longest = PAUSE_MAX.max(interval);
    let even = interval.saturating_mul(1 << failures.min(DOUBLINGS_MAX)).min(longest);
    let permille = 900 + u32::try_from(roll % 201).unwrap_or(100);
    even * permille / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_failures_up_to_a_bound_and_are_never_quite_the_same() {
        let minute = Duration::from_secs(60);
        let even = |failures| pause(minute, failures, 100);
        assert_eq!([even(0), even(1), even(2)], [minute, minute * 2, minute * 4]);
        assert_eq!(even(5), PAUSE_MAX);
        assert_eq!(even(u32::MAX), PAUSE_MAX);
        assert_eq!(pause(minute, 0, 0), Duration::from_secs(54));
        assert_eq!(pause(minute, 0, 200), Duration::from_secs(66));
        let day = Duration::from_secs(86_400);
        assert_eq!(pause(day, 3, 100), day, "a longer interval is nobody's fault");
        for roll in 0..1_000 {
            assert!(pause(minute, 0, roll) >= minute * 9 / 10 && pause(minute, 0, roll) <= minute * 11 / 10);
        }
        assert!(pause(Duration::MAX, 9, u64::MAX) <= INTERVAL_MAX * 2);
    }
}
