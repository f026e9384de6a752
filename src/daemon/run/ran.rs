//! Which runs may begin, and what one did.

use super::{Daemon, Thread};

use crate::daemon::look;
use crate::daemon::queue::{Ended, Key};
use crate::daemon::record::Level;
use crate::daemon::work::Ran;
use crate::engine::reconcile::Halt;
use crate::resource::reference::ResourceRef;
use std::collections::{BTreeMap, BTreeSet};

/// Whether a run of a key may begin.
pub(super) fn is_free(may: &BTreeMap<String, BTreeSet<ResourceRef>>, key: &Key) -> bool {
    may.get(&key.source).is_some_and(|held| !held.contains(&key.object))
}

impl Daemon {
    /// The sources of which runs may begin, each with the objects that wait all the same: where a cluster has as many long runs
    /// as it may, only what is quick begins.
    pub(super) fn may_run(&self) -> BTreeMap<String, BTreeSet<ResourceRef>> {
        let ready = |t: &&Thread| !self.ending && !self.is_suspended(t) && t.reading.is_some();
        let held = |t: &Thread| {
            if self.slow[t.place].len() < self.watch.runs {
                return BTreeSet::new();
            }
            look::slow(self.queue.of_source(&t.config.name).map(|key| &key.object), &t.known)
        };
        self.threads.iter().filter(ready).map(|t| (t.config.name.clone(), held(t))).collect()
    }

    /// A run has ended.
    pub(super) fn ran(&mut self, ran: Ran, now: u64) {
        let Ran { id, line, batch, proposal, guests, began_ms, did, ended } = ran;
        let thread = &mut self.threads[line];
        let source = thread.config.name.clone();
        self.running[thread.place] -= 1;
        self.slow[thread.place].remove(&id);
        self.places[thread.place].cache.forget(&guests);
        thread.ran.extend(batch.objects.keys().map(|object| (object.clone(), self.moments)));
        thread.look_ms = Some(now);
        let took = now.saturating_sub(began_ms);
        let all = |text: String| batch.objects.keys().map(|o| (o.clone(), text.clone())).collect::<BTreeMap<_, _>>();
        let mut stale = None;
        let (mut failed, mut refused, mut open, mut steps) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new(), 0);
        match ended {
            Ok(Ok(report)) => {
                open = report.last.deltas.iter().filter(|d| d.is_open()).map(|d| d.resource.clone()).collect();
                steps = report.steps;
                (failed, refused) = (report.failed, report.refused);
                for (resource, hint) in report.hints {
                    failed.entry(resource).and_modify(|text| *text = format!("{text}\nhint: {hint}"));
                }
            }
            Ok(Err(Halt::Unreadable(error))) => failed = all(format!("the cluster could not be read: {error}")),
            Ok(Err(Halt::Blind(blind))) => {
                steps = blind.report.steps;
                failed = all(format!("the cluster went away: {}", blind.error));
            }
            Ok(Err(Halt::Refused(_, refusals))) => {
                let words = crate::daemon::look::words(&refusals);
                // Nothing was sent for any of them; those that nothing stands against are run without the others.
                refused.extend(words.keys().filter(|r| batch.objects.contains_key(*r)).cloned());
                open.extend(batch.objects.keys().filter(|r| !refused.contains(*r)).cloned());
                failed = words;
            }
            Ok(Err(Halt::Declined(_))) => stale = proposal.clone(),
            Err(bug) => failed = all(bug),
        }
        for object in batch.objects.keys() {
            let key = Key { source: source.clone(), object: object.clone() };
            let ended = match failed.get(object) {
                Some(_) if refused.contains(object) => Ended::Refused,
                Some(_) => Ended::Failed,
                None if open.contains(object) || stale.is_some() => Ended::Open,
                None => Ended::Well,
            };
            self.queue.done(&key, ended, now);
            if let Some(record) =
                self.shared.write().objects.get_mut(&(source.clone(), object.kind.clone(), object.name.clone()))
            {
                record.error = failed.get(object).cloned();
            }
        }
        let result = match (failed.is_empty(), open.is_empty()) {
            (false, _) => "error",
            (true, false) => "open",
            (true, true) => "success",
        };
        self.meter.run(&source, result, took);
        for (object, steps) in did.iter().filter(|(o, _)| !failed.contains_key(*o) && !open.contains(*o)) {
            self.tell(&source, Some(object), Level::Normal, "Applied", steps.join(", "), None);
        }
        // A run that ends because the daemon does is no failure worth a message.
        if !self.ending {
            for (object, why) in &failed {
                self.tell(&source, Some(object), Level::Warning, "ApplyFailed", why.clone(), None);
            }
        }
        let mut state = self.shared.write();
        if let Some(mut run) = state.running.get(&id).cloned() {
            run.ended_ms = Some(now);
            run.steps = steps.max(run.steps);
            run.doing.clear();
            run.converged = Some(result == "success" && stale.is_none());
            run.failed = failed.iter().map(|(o, why)| (o.to_string(), why.clone())).collect();
            self.ear.run(&run);
            state.ended(run);
        }
        let verdict = match (&proposal, &stale) {
            (None, _) => None,
            (Some(_), Some(_)) => Some(crate::daemon::record::Verdict::Stale),
            (Some(_), None) => Some(crate::daemon::record::Verdict::Done),
        };
        if let (Some(id), Some(verdict)) = (&proposal, verdict)
            && let Some(record) = state.proposals.get_mut(id)
        {
            record.verdict = verdict;
        }
        drop(state);
        if let Some(id) = proposal {
            let (level, reason, text) = match stale {
                Some(_) => (
                    Level::Warning,
                    "ProposalStale",
                    format!("proposal {id} was approved, but what it was made from has changed: nothing was sent"),
                ),
                None => (Level::Normal, "ProposalDone", format!("proposal {id}: {steps} steps done")),
            };
            self.tell(&source, None, level, reason, text, None);
        }
    }
}
