//! What a look saw of runner pools: kept, counted, and told where it is new.

use super::Daemon;
use crate::daemon::runners::Seen;
use crate::daemon::runners::news::{News, Taken, let_go, take};
use crate::kinds::runner_pool::NAME;
use crate::resource::reference::ResourceRef;
use std::collections::BTreeSet;

impl Daemon {
    /// Takes in how the runner pools of a source stand.
    pub(super) fn pools(&mut self, source: &str, seen: Vec<Seen>) {
        let names: BTreeSet<String> = seen.iter().map(|one| one.pool.name.clone()).collect();
        let mut state = self.shared.write();
        state.pools.retain(|(of, name), _| of != source || names.contains(name));
        let (runners, jobs) = let_go(&state.runners, source, &names, self.last_ms);
        state.runners.remember(runners.iter().cloned(), jobs.iter().cloned());
        drop(state);
        runners.iter().for_each(|runner| self.ear.runner(runner));
        jobs.iter().for_each(|job| self.ear.job(job));
        for one in seen {
            let key = (source.to_owned(), one.pool.name.clone());
            let mut state = self.shared.write();
            let Taken { pool, runners, jobs, news, counts } = take(state.pools.get(&key), &state.runners, one);
            state.runners.remember(runners.iter().cloned(), jobs.iter().cloned());
            let name = pool.name.clone();
            state.pools.insert(key, pool);
            drop(state);
            runners.iter().for_each(|runner| self.ear.runner(runner));
            jobs.iter().for_each(|job| self.ear.job(job));
            counts.iter().for_each(|count| self.meter.runner(source, &name, count));
            for News { level, reason, message } in news {
                self.tell(source, Some(&ResourceRef::new(NAME, &name)), level, &reason, message, None);
            }
        }
    }
}
