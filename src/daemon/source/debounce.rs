//! When a burst of events is over. Pure: moments come as milliseconds of any clock. One save is seen soon; the longer a
//! burst lasts, the longer the silence that ends it; and a stream that never ends is looked at all the same.

/// The silence after a single event: longer than an editor takes between the writes of one save.
const QUIET_MS_MIN: u64 = 50;
/// The silence after a long burst, such as the unpacking of an archive.
const QUIET_MS_MAX: u64 = 250;
/// A stream of events is looked at this long after its first, silence or not.
const WAIT_MS_MAX: u64 = 2_000;

/// Events that were not looked at yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debounce {
    /// The first and the last of them.
    burst: Option<(u64, u64)>,
}

impl Debounce {
    /// An event.
    pub fn seen(&mut self, now_ms: u64) {
        let first = self.burst.map_or(now_ms, |(first, _)| first);
        self.burst = Some((first, now_ms.max(first)));
    }

    /// When they may be looked at; `None` if there are none.
    pub fn due_ms(&self) -> Option<u64> {
        self.burst.map(|(first, last)| {
            let quiet = ((last - first) / 2).clamp(QUIET_MS_MIN, QUIET_MS_MAX);
            (last + quiet).min(first + WAIT_MS_MAX)
        })
    }

    /// Whether they may be looked at now; then they are forgotten.
    pub fn take(&mut self, now_ms: u64) -> bool {
        let due = self.due_ms().is_some_and(|due| due <= now_ms);
        if due {
            self.burst = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each look happens, given events at these moments and a clock that ticks every millisecond.
    fn looks(events: &[u64], until: u64) -> Vec<u64> {
        let mut debounce = Debounce::default();
        let mut looks = Vec::new();
        for now in 0..until {
            events.iter().filter(|at| **at == now).for_each(|at| debounce.seen(*at));
            if debounce.take(now) {
                looks.push(now);
            }
        }
        assert!(until < 3_000 || debounce.due_ms().is_none(), "nothing is forgotten");
        looks
    }

    #[test]
    fn one_save_is_seen_soon() {
        assert_eq!(looks(&[], 3_000), Vec::<u64>::new());
        assert_eq!(looks(&[10], 3_000), [60]);
        assert_eq!(looks(&[10, 11, 12, 15], 3_000), [65], "what an editor does in one save");
    }

    #[test]
    fn a_burst_comes_as_one_and_may_pause_longer_the_longer_it_lasts() {
        let unpacking: Vec<u64> = (0..60).map(|n| n * 10).collect();
        assert_eq!(looks(&unpacking, 3_000), [590 + 250]);
        // After 400 ms a pause of 180 ms no longer ends it.
        let halting: Vec<u64> = (0..=40).map(|n| n * 10).chain([580, 590]).collect();
        assert_eq!(looks(&halting, 3_000).len(), 1);
        assert_eq!(looks(&[0, 100], 3_000), [50, 150], "two saves are two");
    }

    #[test]
    fn an_endless_stream_is_looked_at_every_two_seconds() {
        let stream: Vec<u64> = (0..700).map(|n| n * 10).collect();
        let seen = looks(&stream, 9_000);
        assert!(seen.len() >= 3 && seen.windows(2).all(|pair| pair[1] - pair[0] <= WAIT_MS_MAX + 10), "{seen:?}");
        assert_eq!(seen[0], WAIT_MS_MAX);
    }

    #[test]
    fn a_clock_that_goes_back_does_no_harm() {
        let mut debounce = Debounce::default();
        debounce.seen(100);
        debounce.seen(40);
        assert_eq!(debounce.due_ms(), Some(150));
    }
}
