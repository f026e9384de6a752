//! What comes in: manifests that were read, signs of a cluster.

use super::{COMPARE_MS, Daemon};
use crate::base::id::VmId;

use crate::daemon::record::{ConditionRecord, Level};
use crate::daemon::signs::News;
use crate::daemon::source::{Broken, Reading};
use crate::daemon::work::{self, Place};
use crate::pve::error::PveError;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Daemon {
    pub(super) fn read(&mut self, line: usize, read: Result<Reading, Broken>, now: u64) {
        let thread = &mut self.threads[line];
        let name = thread.config.name.clone();
        thread.read = true;
        let (broken, message) = match read {
            Ok(reading) => {
                let same = thread.reading.as_ref().is_some_and(|old| old.revision.id == reading.revision.id);
                let (revision, objects) = (reading.revision.clone(), reading.desired.resources.len());
                if !same {
                    thread.has_names = reading.desired.resources.values().any(|d| !d.kind.names(&d.spec).is_empty());
                    thread.pools = super::listen::pools(&reading, thread.config.mode);
                    thread.reading = Some(Arc::new(reading));
                    (thread.moved, thread.look_ms) = (true, Some(now));
                    thread.urgent.store(true, Ordering::Relaxed);
                }
                let secrets = self.webhook_secrets();
                let mut state = self.shared.write();
                state.webhook_secrets = secrets;
                if let Some(record) = state.sources.get_mut(&name) {
                    (record.revision, record.subject) = (revision.id.clone(), revision.subject.clone());
                    (record.objects, record.read_ms) = (objects, now);
                    record.diagnostics.clear();
                }
                drop(state);
                let subject = revision.subject.map(|s| format!(" ({s})")).unwrap_or_default();
                let short: String = revision.id.chars().take(19).collect();
                (None, (!same).then(|| format!("{objects} objects at {short}{subject}")))
            }
            Err(broken) => {
                if let Some(record) = self.shared.write().sources.get_mut(&name) {
                    record.read_ms = now;
                    record.diagnostics.clone_from(&broken.diagnostics);
                }
                (Some(broken.message), None)
            }
        };
        self.source_is(line, broken, "SourceBroken", now);
        if let Some(message) = message {
            self.tell(&name, None, Level::Normal, "SourceRead", message, None);
        }
    }

    /// What is wrong with a source, or with its cluster, as its conditions; told when it changes.
    pub(super) fn source_is(&mut self, line: usize, broken: Option<String>, reason: &str, now: u64) {
        let name = self.threads[line].config.name.clone();
        let in_force = self.threads[line].reading.is_some();
        let mut state = self.shared.write();
        let Some(record) = state.sources.get_mut(&name) else { return };
        let old = record.conditions.iter().position(|c| c.condition == "Degraded" && c.reason == reason);
        let event = match (old, broken) {
            (None, None) => None,
            (Some(at), None) => {
                record.conditions.remove(at);
                let mended = match reason {
                    "SourceBroken" => "SourceMended",
                    "NotCompared" => "ComparedAgain",
                    _ => "ClusterAnswers",
                };
                Some((Level::Normal, mended, "it is well again".to_owned()))
            }
            (old, Some(why)) => {
                let since = old.map_or(now, |at| record.conditions.remove(at).last_transition_ms);
                let keeps =
                    if reason == "SourceBroken" && in_force { "; the last good revision stays in force" } else { "" };
                let message = format!("{why}{keeps}");
                record.conditions.push(ConditionRecord {
                    condition: "Degraded".into(),
                    status: "True".into(),
                    reason: reason.into(),
                    message: message.clone(),
                    last_transition_ms: since,
                });
                Some((Level::Warning, reason, message))
            }
        };
        let degraded = record.conditions.iter().any(|c| c.condition == "Degraded");
        let (status, why) = if degraded { ("False", "Degraded") } else { ("True", "Read") };
        let since = record.conditions.iter().find(|c| c.condition == "Ready" && c.status == status);
        let since = since.map_or(now, |c| c.last_transition_ms);
        record.conditions.retain(|c| c.condition != "Ready");
        record.conditions.insert(
            0,
            ConditionRecord {
                condition: "Ready".into(),
                status: status.into(),
                reason: why.into(),
                message: String::new(),
                last_transition_ms: since,
            },
        );
        drop(state);
        if let Some((level, reason, message)) = event {
            self.tell(&name, None, level, reason, message, None);
        }
    }

    pub(super) fn polled(&mut self, place: usize, answers: Vec<Result<Value, PveError>>, now: u64) {
        self.polled[place] = true;
        let [resources, tasks, log] = &answers[..] else { unreachable!("three queries, three answers") };
        let values = [resources, tasks, log].map(|answer| answer.as_ref().ok());
        let cluster = self.places[place].name.clone();
        let News { guests, running, ended } = self.signs[place].read(&cluster, values);
        for (worker, well, seconds) in ended {
            self.meter.task(&cluster, &worker, well, seconds);
        }
        if values[1].is_some() {
            let mut state = self.shared.write();
            state.tasks.retain(|t| t.cluster != cluster);
            state.tasks.extend(running);
        }
        let broken = resources.as_ref().err().map(ToString::to_string);
        let failures = &mut self.poll_failures[place];
        *failures = if broken.is_some() { failures.saturating_add(1) } else { 0 };
        let failures = *failures;
        for line in 0..self.threads.len() {
            if self.threads[line].place == place {
                self.source_is(line, broken.clone(), "ClusterUnreadable", now);
            }
        }
        self.news(place, &guests, now);
        if !self.ending && !self.once {
            let Place { cache, .. } = &self.places[place];
            let (cache, clock) = (Arc::clone(cache), Arc::clone(&self.clock));
            let due = self.compared_ms[place].is_none_or(|at| now.abs_diff(at) >= COMPARE_MS);
            let live = self.signs[place].live();
            let node = if due { self.signs[place].node() } else { None };
            self.work.push(work::poll(place, cache, clock, self.watch.every.0, failures, (live, node)));
        }
    }

    /// Some guests may have changed: what is known of them is forgotten, and whoever declares them looks.
    pub(super) fn news(&mut self, place: usize, guests: &BTreeSet<VmId>, now: u64) {
        if guests.is_empty() {
            return;
        }
        self.places[place].cache.forget(guests);
        for line in 0..self.threads.len() {
            let thread = &self.threads[line];
            let concerns =
                thread.unbound || thread.known.values().flat_map(|k| &k.guests).any(|guest| guests.contains(guest));
            if thread.place == place && concerns {
                self.look_later(line, now);
            }
        }
    }
}
