//! What people ask of the loop.

use super::Daemon;

use crate::daemon::proposal;
use crate::daemon::queue::{Batch, Key};
use crate::daemon::record::Level;
use crate::daemon::shared::{Ask, Wish};
use crate::daemon::work::Poke;
use crate::resource::reference::ResourceRef;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

impl Daemon {
    pub(super) fn answer(&mut self, ask: Ask) {
        let Ask { what, answer } = ask;
        let now = self.now();
        let said = self.wish(what, now);
        // Whoever asked may have gone.
        drop(answer.send(said));
    }

    pub(super) fn wish(&mut self, what: Wish, now: u64) -> Result<String, String> {
        match what {
            Wish::Approve { id, by } => self.approve(&id, &by, now),
            Wish::Reject { id, by } => {
                let record = proposal::judge(&mut self.shared.write().proposals, &id, &by, false, now)?;
                self.tell(
                    &record.source,
                    None,
                    Level::Normal,
                    "ProposalRejected",
                    format!("proposal {id}, by {by}"),
                    None,
                );
                Ok(format!("proposal {id} is rejected"))
            }
            Wish::Suspend { source, by, why } => {
                let line = self.line(&source)?;
                let suspension = crate::daemon::suspend::Suspension { by: by.clone(), why: why.clone(), at_ms: now };
                let note = self.suspended.set(&source, Some(suspension))?;
                self.show_suspended(line);
                self.tell(&source, None, Level::Normal, "Suspended", format!("by {by}: {why}"), None);
                Ok(format!("source {source} is suspended: drift is reported, nothing is changed{note}"))
            }
            Wish::Resume { source, by } => {
                let line = self.line(&source)?;
                if self.threads[line].config.suspend {
                    return Err(format!("source {source} is suspended by its configuration: take `suspend: true` out"));
                }
                self.suspended.set(&source, None)?;
                self.show_suspended(line);
                self.threads[line].look_ms = Some(now);
                self.tell(&source, None, Level::Normal, "Resumed", format!("by {by}"), None);
                Ok(format!("source {source} goes on"))
            }
            Wish::Reconcile { source, object } => {
                let line = self.line(&source)?;
                let keys: Vec<Key> = self.queue.of_source(&source).cloned().collect();
                for key in keys.iter().filter(|k| object.as_ref().is_none_or(|o| k.object.to_string() == *o)) {
                    self.queue.moved(key);
                }
                let known = object.as_ref().is_none_or(|o| {
                    self.shared
                        .state()
                        .objects
                        .keys()
                        .any(|(s, kind, name)| *s == source && format!("{kind}/{name}") == *o)
                });
                if !known {
                    return Err(format!("source {source} declares no `{}`", object.unwrap_or_default()));
                }
                let thread = &mut self.threads[line];
                self.places[thread.place].cache.forget_all();
                (thread.moved, thread.look_ms) = (true, Some(now));
                thread.urgent.store(true, Ordering::Relaxed);
                // A poke that waits already says the same.
                drop(thread.pokes.try_send(Poke::Asked));
                Ok(format!("source {source} is read and compared anew"))
            }
            Wish::Heard { event, by } => self.heard(&event, by.as_ref(), now),
            Wish::Pushed { urls, branch } => {
                for thread in &self.threads {
                    drop(thread.pokes.try_send(Poke::Pushed(urls.clone(), branch.clone())));
                }
                Ok("the sources that follow it are read".to_owned())
            }
        }
    }

    pub(super) fn line(&self, source: &str) -> Result<usize, String> {
        self.threads.iter().position(|t| t.config.name == source).ok_or_else(|| {
            let names: Vec<&str> = self.threads.iter().map(|t| t.config.name.as_str()).collect();
            format!("there is no source `{source}`; there are: {}", names.join(", "))
        })
    }

    pub(super) fn show_suspended(&self, line: usize) {
        let config = &self.threads[line].config;
        let said = self.suspended.of(&config.name).map(|s| format!("by {}: {}", s.by, s.why));
        let said = said.or_else(|| config.suspend.then(|| "by the configuration".to_owned()));
        if let Some(record) = self.shared.write().sources.get_mut(&config.name) {
            record.suspended = said;
        }
    }

    pub(super) fn approve(&mut self, id: &str, by: &str, now: u64) -> Result<String, String> {
        let source = self.shared.state().proposals.get(id).map(|p| p.source.clone());
        if let Some(line) = source.as_deref().and_then(|s| self.threads.iter().position(|t| t.config.name == s))
            && self.is_suspended(&self.threads[line])
        {
            return Err(format!(
                "source {} is suspended; first: pvectl resume {}",
                self.threads[line].config.name, self.threads[line].config.name
            ));
        }
        let record = proposal::judge(&mut self.shared.write().proposals, id, by, true, now)?;
        let rows = record.plan["resources"].as_array().cloned().unwrap_or_default();
        let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let objects: Vec<ResourceRef> =
            rows.iter().map(|r| ResourceRef::new(word(r, "kind"), word(r, "name"))).collect();
        let mut batch = Batch { source: record.source.clone(), objects: BTreeMap::new() };
        for object in objects {
            let key = Key { source: record.source.clone(), object: object.clone() };
            if self.queue.take(&key, now) {
                batch.objects.insert(object, 0);
            }
        }
        self.tell(&record.source, None, Level::Normal, "Approved", format!("proposal {id}, by {by}"), None);
        self.start(batch, Some(id.to_owned()), true, now);
        Ok(format!("proposal {id} is approved and begins; watch it with: pvectl events"))
    }
}
