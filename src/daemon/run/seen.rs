//! What a look saw: how objects stand, drift, what is queued and what is proposed.

use super::{Daemon, LOOK_AGAIN_MAX_MS, LOOK_AGAIN_MS, NAMES_MS};
use crate::daemon::drift::drifted;
use crate::daemon::look::{self, Known, Verdict};

use crate::daemon::proposal;
use crate::daemon::queue::{Key, Why};
use crate::daemon::record::{Actor, DriftRecord, Healer, Level, Mode};
use crate::daemon::source::Reading;
use crate::daemon::work::Glance;
use crate::plan::assemble::Plan;
use crate::resource::reference::{Identity, ResourceRef};
use crate::resource::step::Delta;
use std::collections::BTreeSet;
use std::sync::Arc;

impl super::Thread {
    /// The least time until the next look that nobody waits for: the longer one takes, the rarer they are.
    pub(super) fn look_gap_ms(&self) -> u64 {
        (self.look_took_ms.saturating_sub(super::LOOK_WAIT_MS) * super::LOOK_SHARE)
            .clamp(super::LOOK_GAP_MS, super::LOOK_GAP_MAX_MS)
    }
}

impl Daemon {
    pub(super) fn looked(
        &mut self,
        line: usize,
        after: u64,
        reading: &Arc<Reading>,
        glance: Result<Glance, String>,
        now: u64,
    ) {
        let thread = &mut self.threads[line];
        let name = thread.config.name.clone();
        let Glance { plan, windows, pools } = match glance {
            Ok(glance) => glance,
            Err(why) => {
                thread.failures += 1;
                let wait = (LOOK_AGAIN_MS << thread.failures.min(10)).min(LOOK_AGAIN_MAX_MS);
                thread.look_ms = Some(now + wait);
                // That the cluster does not answer is told once: by whoever polls it.
                if self.poll_failures[self.threads[line].place] == 0 {
                    self.source_is(line, Some(why), "NotCompared", now);
                }
                return;
            }
        };
        if thread.reading.as_ref().is_some_and(|inforce| inforce.revision.id != reading.revision.id) {
            // The manifests moved while it was made: what it says is of no use any more.
            thread.look_ms = Some(now);
            return;
        }
        thread.failures = 0;
        thread.looks += 1;
        let interval = u64::try_from(thread.config.interval.0.as_millis()).unwrap_or(u64::MAX);
        let rest = if thread.has_names { interval.min(NAMES_MS) } else { interval };
        // Not all sources at once: an eighth more or less, by the name.
        let spread = rest / 8 * (name.bytes().map(u64::from).sum::<u64>() + thread.looks) % (rest / 4).max(1);
        let again = now + rest - rest / 8 + spread;
        // What is due by time alone is looked at in time.
        let turns = plan.deltas.iter().filter_map(|d| u64::try_from(d.next?).ok()).min();
        let again = turns.map_or(again, |at| at.saturating_mul(1000).max(now + thread.look_gap_ms()).min(again));
        thread.look_ms = Some(thread.look_ms.map_or(again, |due| due.min(again)));
        let why = if std::mem::take(&mut thread.moved) { Why::Anew } else { Why::Seen };
        thread.known = plan.deltas.iter().map(|d| (d.resource.clone(), Known::of(d))).collect();
        thread.unbound = plan.deltas.iter().any(|d| d.identity.is_none());
        let config = thread.config.clone();
        self.source_is(line, None, "NotCompared", now);
        if self.once {
            // Nobody polls again.
            self.source_is(line, None, "ClusterUnreadable", now);
        }
        let consent = look::consent(config.allow_data_loss, config.max_deletes, None);
        let verdict = look::weigh(&plan, &reading.desired, config.mode, &consent);
        // What is in a run, or was while this look was made, is known better by the run.
        let busy = |daemon: &Daemon, resource: &ResourceRef| {
            let key = Key { source: name.clone(), object: resource.clone() };
            let ran = daemon.threads[line].ran.get(resource).is_some_and(|at| *at > after);
            daemon.queue.is_running(&key) || ran
        };
        let mut again = false;
        for delta in &plan.deltas {
            if busy(self, &delta.resource) {
                again |= !self.queue.is_running(&Key { source: name.clone(), object: delta.resource.clone() });
                continue;
            }
            let mode = look::mode(config.mode, &reading.desired, &delta.resource);
            self.see(&name, &reading.revision.id, mode, delta, now);
        }
        self.lost(&name, &plan, now);
        // Nor is it queued for what this look saw of it: another look follows each run.
        let verdict = verdict.without(|object| why == Why::Seen && busy(self, object));
        self.decide(line, &plan, &verdict, why, now);
        self.count(&name, now);
        self.windows(&name, windows);
        self.pools(&name, pools);
        self.heeded(line, after, now);
        self.threads[line].ran.retain(|_, at| *at > after);
        if again {
            self.look_later(line, now);
        }
    }

    /// Takes in how an object stands.
    pub(super) fn see(&mut self, source: &str, revision: &str, mode: Mode, delta: &Delta, now: u64) {
        let key = Key { source: source.to_owned(), object: delta.resource.clone() };
        let at = (source.to_owned(), delta.resource.kind.clone(), delta.resource.name.clone());
        let mut state = self.shared.write();
        let before = state.objects.get(&at);
        let moved = before.is_none_or(|b| b.revision != revision);
        let well_ms = before.map(|b| b.seen_ms);
        let record = look::record(source, revision, mode, delta, before, now);
        let grown = look::grown_old(before, &record);
        state.objects.insert(at, record);
        drop(state);
        for (level, reason, text) in grown {
            self.tell(source, Some(&key.object), level, reason, text, None);
        }
        if delta.unseen().is_some() {
            return;
        }
        let fields = drifted(delta);
        if fields.is_empty() {
            let touched = self.threads.iter().any(|t| t.config.name == source && t.ran.contains_key(&delta.resource));
            let healer = match (touched, moved) {
                (true, _) => Healer::Pvectl,
                (false, true) => Healer::Manifest,
                (false, false) => Healer::Hand,
            };
            self.healed(&key, healer, now);
            return;
        }
        let by = match &delta.identity {
            Some(Identity::Guest { vmid, .. }) => {
                let place = self.threads.iter().find(|t| t.config.name == source).map(|t| t.place);
                place.and_then(|p| self.signs[p].actor(*vmid, &self.places[p].cache.ours(*vmid)))
            }
            Some(Identity::Pool(_) | Identity::Object { .. }) | None => None,
        };
        let lasted = self.ledger.lasts(&key);
        // Whatever clocks say: it was not there yet when it was last looked at, and it is there now.
        let at = |at_ms: u64| at_ms.max(well_ms.filter(|_| !lasted).unwrap_or(0)).min(now);
        let by = by.map(|by| Actor { at_ms: at(by.at_ms), ..by });
        let identity = delta.identity.as_ref().map(ToString::to_string);
        let Some(spell) = self.ledger.seen(&key, identity, fields, by, now) else { return };
        self.ear.drift(&spell);
        if !lasted {
            self.meter.drift(source, None);
        }
        let text = said(&spell);
        self.tell(source, Some(&key.object), Level::Warning, "DriftSeen", text, Some(&spell));
    }

    pub(super) fn healed(&mut self, key: &Key, by: Healer, now: u64) {
        let Some(spell) = self.ledger.gone(key, by, now) else { return };
        self.ear.drift(&spell);
        self.meter.drift(&key.source, Some(by));
        let seconds = spell.lasted_ms(now) / 1000;
        let text = format!("set right by {} after {seconds} s", by.as_str());
        self.tell(&key.source, Some(&key.object), Level::Normal, "DriftHealed", text, Some(&spell));
    }

    /// Objects that no manifest declares any more, and that are gone or let go.
    pub(super) fn lost(&mut self, source: &str, plan: &Plan, now: u64) {
        let known: BTreeSet<&ResourceRef> = plan.deltas.iter().map(|d| &d.resource).collect();
        let mut state = self.shared.write();
        state.objects.retain(|(of, kind, name), _| of != source || known.contains(&ResourceRef::new(kind, name)));
        drop(state);
        let spells: Vec<Key> = self.ledger.of_source(source).filter(|k| !known.contains(&k.object)).cloned().collect();
        spells.iter().for_each(|key| self.healed(key, Healer::Manifest, now));
        let queued: Vec<Key> = self.queue.of_source(source).filter(|k| !known.contains(&k.object)).cloned().collect();
        queued.iter().for_each(|key| self.queue.drop(key, now));
    }

    /// What a look means: what is queued, proposed, refused.
    pub(super) fn decide(&mut self, line: usize, plan: &Plan, verdict: &Verdict, why: Why, now: u64) {
        let config = self.threads[line].config.clone();
        let source = &config.name;
        let key = |object: &ResourceRef| Key { source: source.clone(), object: object.clone() };
        let Verdict { run, ask, quiet, refused, held } = verdict;
        for object in run {
            let quarrel = self.queue.is_quarrel(&key(object));
            self.queue.add(key(object), why, now);
            if self.queue.is_quarrel(&key(object)) && !quarrel {
                let text =
                    "somebody undoes what pvectl does, again and again; it is set right less often now".to_owned();
                self.tell(source, Some(object), Level::Warning, "Quarrel", text, None);
            }
        }
        quiet.iter().chain(ask).for_each(|object| self.queue.drop(&key(object), now));
        for (object, problem) in refused {
            self.queue.drop(&key(object), now);
            self.tell(source, Some(object), Level::Warning, "Refused", problem.clone(), None);
        }
        if let Some((deletes, limit)) = held {
            let text = format!(
                "{deletes} objects would be deleted, and the limit is {limit}: none is. If that is meant, raise `maxDeletes` of the source"
            );
            self.tell(source, None, Level::Warning, "TooManyDeletes", text, None);
        }
        // What is approved already is being carried out.
        let ask: BTreeSet<ResourceRef> = ask.iter().filter(|o| !self.queue.is_running(&key(o))).cloned().collect();
        let new = (!ask.is_empty()).then(|| {
            let within = u64::try_from(config.approve_within.0.as_millis()).unwrap_or(u64::MAX);
            let revision = self.threads[line].reading.as_ref().map(|r| r.revision.id.clone()).unwrap_or_default();
            proposal::propose(source, &revision, &proposal::part(plan, &ask), now, within)
        });
        let (new, stale) = proposal::replace(&mut self.shared.write().proposals, source, new);
        for old in stale {
            let text = format!("proposal {} is stale: what it was made from has changed", old.id);
            self.tell(source, None, Level::Normal, "ProposalStale", text, None);
        }
        if let Some(new) = new {
            let names = ask.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let text = format!("proposal {} waits for: pvectl approve {} ({names})", new.id, new.id);
            self.tell(source, None, Level::Normal, "Proposed", text, None);
        }
    }

    pub(super) fn count(&self, source: &str, now: u64) {
        let mut state = self.shared.write();
        state.drift = self.ledger.open();
        let drifted = self.ledger.of_source(source).count();
        let ready = look::ready(state.objects.values().filter(|o| o.source == source));
        if let Some(record) = state.sources.get_mut(source) {
            (record.ready, record.drifted, record.seen_ms) = (ready, drifted, now);
        }
    }
}

/// Drift in a sentence.
fn said(spell: &DriftRecord) -> String {
    let value = |v: &Option<String>| v.clone().unwrap_or_else(|| "PVE's default".to_owned());
    let field =
        |f: &crate::daemon::record::FieldRecord| format!("{} is {}, declared {}", f.path, value(&f.from), value(&f.to));
    let fields = spell.fields.iter().map(field).collect::<Vec<_>>().join("; ");
    match &spell.by {
        Some(by) => format!("{fields}; by {} ({})", by.user, by.what),
        None => fields,
    }
}
