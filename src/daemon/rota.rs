//! Which configurations are read again next. Containers, and what is no guest's, go first and come round more often: a change
//! of a container's options leaves no message in PVE's log (`PVE::API2::LXC::Config`). A change of a VM does, so that reading VMs in turn is
//! for what came past PVE's API only. Pure.

use crate::daemon::cache::guest_of;
use crate::pve::request::Query;
use std::collections::VecDeque;

/// Containers are read so many times as often as everything else, as far as the requests allow.
pub const BLIND_SHARE: u64 = 6;
/// Where there are more containers than can be read in time, one reading in so many is of something else all the same.
const OTHERS_SHARE: u32 = 8;

/// Of one sort: those that are due, the oldest first, with when each was last read; and until when no other is.
#[derive(Debug, Default)]
struct Sort {
    due: VecDeque<(Query, u64)>,
    since_ms: u64,
    rests_until_ms: u64,
}

/// Those that are due.
#[derive(Debug, Default)]
pub struct Rota {
    blind: Sort,
    others: Sort,
    picks: u32,
}

/// Whether nobody but the configuration itself tells of a change.
fn is_blind(query: &Query) -> bool {
    query.path.contains("/lxc/") || guest_of(&query.path).is_none()
}

impl Sort {
    fn is_stale(&self, now_ms: u64) -> bool {
        // A clock that was set back, too, ends the rest.
        let rests = self.since_ms <= now_ms && now_ms < self.rests_until_ms;
        self.due.is_empty() && !rests
    }

    fn of(now_ms: u64, every_ms: u64, all: Vec<(&Query, u64)>) -> Sort {
        let (mut due, fresh): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, read_ms)| now_ms.abs_diff(*read_ms) >= every_ms);
        due.sort_by_key(|(_, read_ms)| *read_ms);
        // What is read from now on is due again after that at the earliest.
        let next = fresh.into_iter().map(|(_, read_ms)| read_ms + every_ms).min();
        let rests_until_ms = next.map_or(now_ms + every_ms, |next| next.min(now_ms + every_ms));
        let due = due.into_iter().map(|(query, read_ms)| (query.clone(), read_ms)).collect();
        Sort { due, since_ms: now_ms, rests_until_ms }
    }
}

impl Rota {
    /// Whether something may be due that is not known here: then it is to be filled.
    pub fn is_stale(&self, now_ms: u64) -> bool {
        self.blind.is_stale(now_ms) || self.others.is_stale(now_ms)
    }

    /// Takes in when everything was last read. `scan_ms`: how old it may be.
    pub fn fill<'a>(&mut self, now_ms: u64, scan_ms: u64, all: impl Iterator<Item = (&'a Query, u64)>) {
        let (blind, others) = all.partition(|(query, _)| is_blind(query));
        self.blind = Sort::of(now_ms, scan_ms / BLIND_SHARE, blind);
        self.others = Sort::of(now_ms, scan_ms, others);
    }

    /// The next one, and when it was last read as far as is known here.
    pub fn pick(&mut self) -> Option<(Query, u64)> {
        self.picks = self.picks.wrapping_add(1);
        let (first, second) = match self.picks.is_multiple_of(OTHERS_SHARE) {
            true => (&mut self.others, &mut self.blind),
            false => (&mut self.blind, &mut self.others),
        };
        first.due.pop_front().or_else(|| second.due.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn containers_come_round_more_often_and_starve_nobody() {
        let query = |guest: &str, n: u32| Query::new(format!("/nodes/a/{guest}/{}/pending", n + 100));
        let mut read: BTreeMap<Query, u64> = (0..200).map(|n| (query("lxc", n), 60_000)).collect();
        read.extend((200..400).map(|n| (query("qemu", n), 60_000)));
        let mut rota = Rota::default();
        let mut worst = [0, 0];
        // Ten a second, for an hour.
        for now in (60_000..3_660_000).step_by(100) {
            if rota.is_stale(now) {
                rota.fill(now, 60_000, read.iter().map(|(q, at)| (q, *at)));
            }
            let Some((picked, at)) = rota.pick() else { continue };
            assert_eq!(read.insert(picked.clone(), now), Some(at));
            let slot = &mut worst[usize::from(!is_blind(&picked))];
            *slot = now.saturating_sub(at).max(*slot);
        }
        // 200 at seven in eight of ten a second; the others have what is left.
        assert!(worst[0] < 30_000 && worst[1] < 250_000, "{worst:?}");
        assert!(read.values().all(|at| *at > 3_400_000), "each had its turn");
    }

    #[test]
    fn where_all_is_fresh_it_rests_until_the_first_is_due() {
        let (vm, ct) = (Query::new("/nodes/a/qemu/101/pending"), Query::new("/nodes/a/lxc/102/pending"));
        let mut rota = Rota::default();
        rota.fill(1_000, 60_000, [(&vm, 0), (&ct, 500)].into_iter());
        assert_eq!(rota.pick(), None);
        assert!(!rota.is_stale(10_499) && rota.is_stale(10_500));
        rota.fill(60_000, 60_000, [(&vm, 0), (&ct, 59_000)].into_iter());
        assert_eq!(rota.pick(), Some((vm, 0)));
    }
}
