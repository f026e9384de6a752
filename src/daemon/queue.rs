//! The work queue: which objects wait for a run, since when, and until when. Pure; `now` is an argument. One key an object;
//! the same key twice folds into one; a key is never in two runs; what failed waits longer each time; what is set right again
//! and again is a quarrel with somebody else, and waits longer too. Fair: sources with something due take turns.

use crate::resource::reference::ResourceRef;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

/// The first wait after a failure.
pub const BACKOFF_MIN_MS: u64 = 1_000;
/// The longest wait after a failure.
pub const BACKOFF_MAX_MS: u64 = 600_000;
/// How long an object waits that is not done and has not failed: PVE holds its lock, another one comes first.
pub const OPEN_MS: u64 = 15_000;
/// What is set right, and differs again within this time, is a quarrel.
pub const QUARREL_MS: u64 = 300_000;
/// How often in a quarrel things are set right at once.
const QUARRELS_FREE: u32 = 3;
/// How long success is remembered, to know a quarrel.
const REMEMBERED_MS: u64 = 2 * QUARREL_MS;

/// An object of a source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The source's name.
    pub source: String,
    /// Which of its objects.
    pub object: ResourceRef,
}

/// Why a key is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was seen to differ. Does not shorten a wait.
    Seen,
    /// Its manifest moved, or a person asks: at once, and old failures do not count.
    Anew,
}

/// How an object's part in a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All is as it should be.
    Well,
    /// Not done, not failed: it waits for something that passes.
    Open,
    /// It failed in a way that may pass.
    Failed,
    /// It cannot be done as it is written: nothing is tried before it, or its manifest, moves.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// Due then; waits since then.
    Waiting { due_ms: u64, since_ms: u64 },
    /// In a run; whether it is wanted again afterwards.
    Running { again: Option<bool> },
    /// Nothing is wanted; remembered for its failures or its last success.
    Idle { since_ms: u64 },
}

#[derive(Clone, Debug)]
struct Entry {
    stand: Stand,
    /// Failures in a row.
    failures: u32,
    /// Times that it was set right, each soon after the one before.
    quarrels: u32,
    /// When it last ended well.
    well_ms: Option<u64>,
    /// Refused: only `Anew` or a fingerprint that moves brings it back.
    refused: bool,
}

/// What one run is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Of which source.
    pub source: String,
    /// Its objects, with how long each waited.
    pub objects: BTreeMap<ResourceRef, u64>,
}

/// The queue.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    entries: BTreeMap<Key, Entry>,
    /// Keys whose prospects may be others than when they were last asked for.
    touched: BTreeSet<Key>,
    /// The source that was served last: the next one in the order of names comes first.
    last: Option<String>,
    /// Keys that came in, ever.
    added: u64,
    /// Retries, ever.
    retried: u64,
}

impl Queue {
    /// Wants a run for a key.
    pub fn add(&mut self, key: Key, why: Why, now_ms: u64) {
        self.touched.insert(key.clone());
        let entry = self.entries.entry(key.clone()).or_insert_with(|| {
            let stand = Stand::Idle { since_ms: now_ms };
            Entry { stand, failures: 0, quarrels: 0, well_ms: None, refused: false }
        });
        let anew = why == Why::Anew;
        if anew {
            (entry.failures, entry.quarrels, entry.refused) = (0, 0, false);
        } else if entry.refused {
            return;
        }
        match &mut entry.stand {
            Stand::Running { again } => *again = Some(anew || again.unwrap_or(false)),
            Stand::Waiting { due_ms, .. } if anew => *due_ms = now_ms,
            Stand::Waiting { .. } => {}
            Stand::Idle { .. } => {
                // A policy comes again by the clock, and nobody undoes what it did.
                let soon = entry.well_ms.is_some_and(|well| now_ms.saturating_sub(well) < QUARREL_MS)
                    && !key.object.is_member();
                entry.quarrels = if soon && !anew { entry.quarrels + 1 } else { 0 };
                let wait = match entry.quarrels.checked_sub(QUARRELS_FREE) {
                    Some(over) if over > 0 => wait(&key, over, now_ms, QUARREL_MS / 2),
                    Some(_) | None => 0,
                };
                entry.stand = Stand::Waiting { due_ms: now_ms + wait, since_ms: now_ms };
                self.added += 1;
            }
        }
    }

    /// Nothing is wanted of a key any more: it is as it should be, or nobody declares it. A run goes on.
    pub fn drop(&mut self, key: &Key, now_ms: u64) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        self.touched.insert(key.clone());
        match &mut entry.stand {
            Stand::Running { again } => *again = None,
            Stand::Waiting { .. } | Stand::Idle { .. } => {
                (entry.failures, entry.refused) = (0, false);
                entry.stand = Stand::Idle { since_ms: now_ms };
            }
        }
    }

    /// Everything of a source that is gone or suspended; runs go on.
    pub fn drop_source(&mut self, source: &str, now_ms: u64) {
        let keys: Vec<Key> = self.entries.keys().filter(|k| k.source == source).cloned().collect();
        keys.iter().for_each(|key| self.drop(key, now_ms));
    }

    /// All that is due and `may` run of the source whose turn it is. It counts as running until [`Queue::done`].
    pub fn next(&mut self, now_ms: u64, may: impl Fn(&Key) -> bool) -> Option<Batch> {
        let due = |entry: &Entry| matches!(entry.stand, Stand::Waiting { due_ms, .. } if due_ms <= now_ms);
        let mine = self.entries.iter().filter(|(key, entry)| due(entry) && may(key));
        let sources: BTreeSet<&str> = mine.map(|(key, _)| key.source.as_str()).collect();
        let after = self.last.as_deref().and_then(|last| sources.iter().find(|s| **s > last));
        let source = (*after.or_else(|| sources.first())?).to_owned();
        let mut objects = BTreeMap::new();
        for (key, entry) in self.entries.iter_mut().filter(|(k, e)| k.source == source && due(e) && may(k)) {
            if let Stand::Waiting { since_ms, .. } = entry.stand {
                self.touched.insert(key.clone());
                objects.insert(key.object.clone(), now_ms.saturating_sub(since_ms));
                entry.stand = Stand::Running { again: None };
            }
        }
        self.last = Some(source.clone());
        Some(Batch { source, objects })
    }

    /// The run of a key has ended.
    pub fn done(&mut self, key: &Key, ended: Ended, now_ms: u64) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Stand::Running { again } = entry.stand else { return };
        self.touched.insert(key.clone());
        let waiting = |wait: u64| Stand::Waiting { due_ms: now_ms + wait, since_ms: now_ms };
        entry.stand = match ended {
            Ended::Well => {
                (entry.failures, entry.refused, entry.well_ms) = (0, false, Some(now_ms));
                if again.is_some() { waiting(0) } else { Stand::Idle { since_ms: now_ms } }
            }
            Ended::Open => waiting(if again == Some(true) { 0 } else { OPEN_MS }),
            Ended::Failed => {
                entry.failures += 1;
                self.retried += 1;
                waiting(if again == Some(true) { 0 } else { wait(key, entry.failures, now_ms, BACKOFF_MAX_MS) })
            }
            Ended::Refused if again == Some(true) => waiting(0),
            Ended::Refused => {
                entry.failures += 1;
                entry.refused = true;
                Stand::Idle { since_ms: now_ms }
            }
        };
    }

    /// The keys of a source that are remembered.
    pub fn of_source<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a Key> + Clone + 'a {
        self.entries.keys().filter(move |key| key.source == source)
    }

    /// Takes a key out for a run that a person asked for; `false` if it is in one.
    pub fn take(&mut self, key: &Key, now_ms: u64) -> bool {
        if self.is_running(key) {
            return false;
        }
        self.add(key.clone(), Why::Anew, now_ms);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.stand = Stand::Running { again: None };
        }
        true
    }

    /// What was refused is tried again when what it was refused for has moved.
    pub fn moved(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.refused = false;
        }
    }

    /// When the next key is due; `None`: nothing waits.
    pub fn wake_ms(&self, may: impl Fn(&Key) -> bool) -> Option<u64> {
        let due = |entry: &Entry| match entry.stand {
            Stand::Waiting { due_ms, .. } => Some(due_ms),
            Stand::Running { .. } | Stand::Idle { .. } => None,
        };
        self.entries.iter().filter_map(|(k, e)| due(e).filter(|_| may(k))).min()
    }

    /// Forgets what was idle for long, so that memory does not grow with everything that ever was.
    pub fn sweep(&mut self, now_ms: u64) {
        let old = |entry: &Entry| {
            matches!(entry.stand, Stand::Idle { since_ms } if now_ms.saturating_sub(since_ms) > REMEMBERED_MS)
                && !entry.refused
        };
        let touched = &mut self.touched;
        self.entries.retain(|key, entry| {
            let old = old(entry);
            if old {
                touched.insert(key.clone());
            }
            !old
        });
    }

    /// The keys whose prospects may have changed since this was last asked.
    pub fn touched(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.touched)
    }

    /// The clock was set back: what waits does not wait for longer, and what is remembered is as old as it was.
    pub fn set_back(&mut self, by_ms: u64) {
        for entry in self.entries.values_mut() {
            match &mut entry.stand {
                Stand::Waiting { due_ms, since_ms } => {
                    (*due_ms, *since_ms) = (due_ms.saturating_sub(by_ms), since_ms.saturating_sub(by_ms));
                }
                Stand::Idle { since_ms } => *since_ms = since_ms.saturating_sub(by_ms),
                Stand::Running { .. } => {}
            }
            entry.well_ms = entry.well_ms.map(|well| well.saturating_sub(by_ms));
        }
    }

    /// Failures in a row of a key, and when it is tried again.
    pub fn prospects(&self, key: &Key) -> (u32, Option<u64>) {
        let Some(entry) = self.entries.get(key) else { return (0, None) };
        let due = match entry.stand {
            Stand::Waiting { due_ms, .. } => Some(due_ms),
            Stand::Running { .. } | Stand::Idle { .. } => None,
        };
        (entry.failures, due)
    }

    /// Whether somebody else undoes what we do, again and again.
    pub fn is_quarrel(&self, key: &Key) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.quarrels > QUARRELS_FREE)
    }

    /// Whether a key is in a run.
    pub fn is_running(&self, key: &Key) -> bool {
        self.entries.get(key).is_some_and(|entry| matches!(entry.stand, Stand::Running { .. }))
    }

    /// Keys that wait.
    pub fn depth(&self) -> usize {
        self.entries.values().filter(|e| matches!(e.stand, Stand::Waiting { .. })).count()
    }

    /// Keys that are remembered in any way.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys that came in, and retries, ever.
    pub fn totals(&self) -> (u64, u64) {
        (self.added, self.retried)
    }
}

/// Doubles from [`BACKOFF_MIN_MS`] up to a cap, less up to a quarter: a hash spreads those that failed together.
fn wait(key: &Key, times: u32, now_ms: u64, cap_ms: u64) -> u64 {
    let full = BACKOFF_MIN_MS.saturating_mul(1 << times.saturating_sub(1).min(20)).min(cap_ms);
    let mut hasher = DefaultHasher::new();
    (key, times, now_ms).hash(&mut hasher);
    full - full / 4 * (hasher.finish() % 1000) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(source: &str, name: &str) -> Key {
        Key { source: source.into(), object: ResourceRef::new("VirtualMachine", name) }
    }

    fn all(_: &Key) -> bool {
        true
    }

    #[test]
    fn the_same_twice_is_one_and_one_is_in_one_run() {
        let mut queue = Queue::default();
        queue.add(key("a", "x"), Why::Seen, 0);
        queue.add(key("a", "x"), Why::Seen, 5);
        assert_eq!(queue.depth(), 1);
        let batch = queue.next(10, all).expect("it is due");
        assert_eq!(batch.objects.values().collect::<Vec<_>>(), [&10]);
        queue.add(key("a", "x"), Why::Seen, 11);
        assert_eq!(queue.next(12, all), None, "it runs");
        queue.done(&key("a", "x"), Ended::Well, 20);
        assert!(queue.next(20, all).is_some(), "what came while it ran comes after it");
    }

    #[test]
    fn failures_wait_longer_up_to_a_cap_and_a_new_manifest_forgets_them() {
        let mut queue = Queue::default();
        let k = key("a", "x");
        let (mut now, mut last) = (0, 0);
        queue.add(k.clone(), Why::Seen, now);
        for times in 1..40 {
            queue.next(now, all).expect("due");
            queue.done(&k, Ended::Failed, now);
            let due = queue.wake_ms(all).expect("it is tried again");
            let waited = due - now;
            let full = (BACKOFF_MIN_MS << (times - 1).min(20)).min(BACKOFF_MAX_MS);
            assert!(waited <= full && waited >= full * 3 / 4, "{times}: {waited}");
            assert!(waited >= last || full == BACKOFF_MAX_MS);
            // That it differs is seen all the time, and shortens nothing.
            queue.add(k.clone(), Why::Seen, now + 1);
            assert_eq!(queue.wake_ms(all), Some(due));
            (last, now) = (waited, due);
        }
        assert_eq!(queue.prospects(&k).0, 39);
        queue.next(now, all).expect("due");
        queue.done(&k, Ended::Failed, now);
        queue.add(k.clone(), Why::Anew, now + 7);
        assert_eq!(queue.prospects(&k), (0, Some(now + 7)));
    }

    #[test]
    fn what_is_refused_waits_for_a_person() {
        let mut queue = Queue::default();
        let k = key("a", "x");
        queue.add(k.clone(), Why::Seen, 0);
        queue.next(0, all).expect("due");
        queue.done(&k, Ended::Refused, 1);
        queue.add(k.clone(), Why::Seen, 2);
        assert_eq!(queue.wake_ms(all), None);
        queue.moved(&k);
        queue.add(k.clone(), Why::Seen, 3);
        assert_eq!(queue.wake_ms(all), Some(3));
    }

    #[test]
    fn sources_take_turns() {
        let mut queue = Queue::default();
        let mut served = Vec::new();
        for round in 0..6 {
            for source in ["a", "b", "c"] {
                queue.add(key(source, &format!("n{round}")), Why::Anew, round);
            }
            served.push(queue.next(round, all).expect("due").source);
        }
        assert_eq!(served, ["a", "b", "c", "a", "b", "c"]);
        assert_eq!(queue.next(9, |key| key.source == "z"), None);
    }

    #[test]
    fn a_quarrel_slows_down() {
        let mut queue = Queue::default();
        let k = key("a", "x");
        let (mut now, mut runs) = (0, 0);
        // Somebody undoes it two seconds after every run, for an hour.
        while now < 3_600_000 {
            queue.add(k.clone(), Why::Seen, now);
            let due = queue.wake_ms(all).expect("it waits");
            now = now.max(due);
            queue.next(now, all).expect("due");
            queue.done(&k, Ended::Well, now);
            runs += 1;
            now += 2_000;
        }
        assert!(queue.is_quarrel(&k));
        assert!((20..60).contains(&runs), "{runs} runs in an hour, not 1,800");
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_wait_for_longer() {
        let (mut queue, hour) = (Queue::default(), 3_600_000);
        let (waits, well) = (key("a", "waits"), key("a", "well"));
        let mut now = 2 * hour;
        for k in [&waits, &well] {
            queue.add(k.clone(), Why::Seen, now);
        }
        queue.next(now, all).expect("due");
        queue.done(&waits, Ended::Failed, now);
        queue.done(&well, Ended::Well, now);
        let due = queue.wake_ms(all).expect("it is tried again") - now;
        now -= hour;
        queue.set_back(hour);
        assert_eq!(queue.wake_ms(all), Some(now + due));
        queue.add(well.clone(), Why::Seen, now + QUARREL_MS);
        assert_eq!(queue.entries[&well].quarrels, 0, "its success is as old as it was");
    }

    proptest! {
        #[test]
        fn whatever_comes_no_key_runs_twice_and_nothing_is_lost(moves in prop::collection::vec((0u8..6, 0u8..3, 0u8..4, 0u64..5_000), 1..300)) {
            let mut queue = Queue::default();
            let mut now = 0;
            let mut running: BTreeSet<Key> = BTreeSet::new();
            let mut wanted: BTreeSet<Key> = BTreeSet::new();
            let mut shown: BTreeMap<Key, (u32, Option<u64>)> = BTreeMap::new();
            for (what, source, name, later) in moves {
                now += later;
                let k = key(&format!("s{source}"), &format!("n{name}"));
                match what {
                    0 | 1 => {
                        queue.add(k.clone(), Why::Anew, now);
                        wanted.insert(k);
                    }
                    2 | 3 => {
                        if let Some(batch) = queue.next(now, all) {
                            for object in batch.objects.keys() {
                                let k = Key { source: batch.source.clone(), object: object.clone() };
                                prop_assert!(wanted.remove(&k), "{k:?} was not wanted");
                                prop_assert!(running.insert(k), "it runs already");
                            }
                        }
                    }
                    4 => {
                        if let Some(k) = running.pop_first() {
                            queue.done(&k, Ended::Well, now);
                        }
                    }
                    _ => {
                        if let Some(k) = running.pop_last() {
                            queue.done(&k, Ended::Failed, now);
                            wanted.insert(k);
                        }
                    }
                }
                prop_assert!(queue.len() <= 12);
                for k in queue.touched() {
                    shown.insert(k.clone(), queue.prospects(&k));
                }
                for k in queue.entries.keys() {
                    prop_assert_eq!(shown.get(k), Some(&queue.prospects(k)), "whoever is told of what is touched knows all");
                }
            }
            for k in std::mem::take(&mut running) {
                queue.done(&k, Ended::Well, now);
            }
            now += BACKOFF_MAX_MS;
            while let Some(batch) = queue.next(now, all) {
                for object in batch.objects.keys() {
                    let k = Key { source: batch.source.clone(), object: object.clone() };
                    prop_assert!(wanted.remove(&k));
                    queue.done(&k, Ended::Well, now);
                }
            }
            prop_assert!(wanted.is_empty(), "lost: {wanted:?}");
            queue.sweep(now + REMEMBERED_MS + 1);
            prop_assert!(queue.is_empty());
        }
    }
}
