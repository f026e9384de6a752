//! What became of machines and jobs, as far as the daemon remembers it by itself.

use crate::daemon::runners::{JobRecord, RunnerRecord};
use std::collections::BTreeMap;

/// Records of each sort that are held in memory; of those that are over, the oldest go first.
const KNOWN_MAX: usize = 2_000;

/// What is remembered, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// What became of machines.
    pub runners: BTreeMap<String, RunnerRecord>,
    /// Jobs.
    pub jobs: BTreeMap<String, JobRecord>,
}

impl Known {
    /// Takes records in; the oldest of those that are over go where there are too many.
    pub fn remember(
        &mut self,
        runners: impl IntoIterator<Item = RunnerRecord>,
        jobs: impl IntoIterator<Item = JobRecord>,
    ) {
        self.runners.extend(runners.into_iter().map(|runner| (runner.id.clone(), runner)));
        self.jobs.extend(jobs.into_iter().map(|job| (job.id.clone(), job)));
        prune(&mut self.runners, |runner| runner.gone_ms);
        prune(&mut self.jobs, |job| job.ended_ms);
    }

    /// The machines of a pool that were there when it was last looked at.
    pub fn living<'a>(&'a self, source: &'a str, pool: &'a str) -> impl Iterator<Item = &'a RunnerRecord> + 'a {
        let of = move |runner: &&RunnerRecord| runner.source == source && runner.pool == pool && runner.lives();
        self.runners.values().filter(of)
    }

    /// The jobs of a pool that waited or ran when it was last looked at.
    pub fn lasting<'a>(&'a self, source: &'a str, pool: &'a str) -> impl Iterator<Item = &'a JobRecord> + 'a {
        self.jobs.values().filter(move |job| job.source == source && job.pool == pool && job.lasts())
    }
}

fn prune<T>(known: &mut BTreeMap<String, T>, over: impl Fn(&T) -> Option<u64>) {
    let many = known.len().saturating_sub(KNOWN_MAX);
    if many == 0 {
        return;
    }
    let mut old: Vec<(u64, String)> =
        known.iter().filter_map(|(id, record)| Some((over(record)?, id.clone()))).collect();
    old.sort();
    for (_, id) in old.into_iter().take(many) {
        known.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_forgets_nothing_that_lasts() {
        let mut known = Known::default();
        let runner = |n: u64| RunnerRecord {
            id: format!("lab/ci/{n}"),
            gone_ms: (n > 2).then_some(10_000 - n),
            ..RunnerRecord::default()
        };
        known.remember((0..KNOWN_MAX as u64 + 7).map(runner), []);
        assert_eq!(known.runners.len(), KNOWN_MAX);
        assert!(known.runners.contains_key("lab/ci/0"), "it is there still");
        assert!(!known.runners.contains_key(&format!("lab/ci/{}", KNOWN_MAX + 6)), "gone for the longest time");
    }
}
