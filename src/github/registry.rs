//! Runners as GitHub's REST API has them: listed, registered, taken away; and the groups that they are in.

use crate::github::budget::{Class, Pace};
use crate::github::fault::{Fault, json};
use crate::github::line::{Asked, Line, own};
use crate::github::place::{Place, Scope};
use crate::github::runner::Runner;
use crate::github::wire::Response;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The group that always is; a repository has no other.
pub(super) const DEFAULT_GROUP: u64 = 1;
/// A group's number is asked for again after so many seconds.
const GROUP_SECONDS: i64 = 3600;

/// What is to be registered.
#[derive(Clone, Debug)]
pub(super) struct Newcomer<'a> {
    pub(super) name: &'a str,
    pub(super) labels: &'a [String],
    pub(super) group: &'a str,
    pub(super) folder: &'a str,
}

/// Registrations, one after the other for each account, and not too many a minute: GitHub has given runners that were registered in
/// the same moment the same number (actions/runner issue 3621).
#[derive(Default)]
pub(super) struct Registry {
    /// By API and account.
    turns: Mutex<BTreeMap<(String, String), Cell>>,
    groups: Mutex<Groups>,
}

type Cell = Arc<tokio::sync::Mutex<Option<Pace>>>;

/// The numbers of groups by API, scope and name, each with the time until which it is believed.
type Groups = BTreeMap<(String, Scope, String), (u64, i64)>;

impl Registry {
    /// All runners of a scope.
    pub(super) async fn list(&self, line: &Line, place: &Place) -> Result<Vec<Runner>, Fault> {
        let rows = line.rows(place, &own(place, "actions/runners"), "runners").await?;
        Ok(rows.iter().filter_map(Runner::of_row).collect())
    }

    /// Waits for a turn to write, and keeps it until the guard goes.
    pub(super) async fn turn(&self, line: &Line, place: &Place) -> tokio::sync::OwnedMutexGuard<Option<Pace>> {
        let key = (place.api.clone(), line.accounts.of(place).name);
        let cell = {
            let mut turns = self.turns.lock().expect("no holder of this lock panics");
            Arc::clone(turns.entry(key).or_default())
        };
        let mut pace = cell.lock_owned().await;
        let now = line.clock.now_ms();
        let wait = pace.get_or_insert_with(|| Pace::new(now)).turn(now);
        if wait > 0 {
            line.clock.sleep(Duration::from_millis(wait)).await;
        }
        pace
    }

    /// A runner's configuration, which registers it.
    pub(super) async fn just_in_time(&self, line: &Line, place: &Place, new: &Newcomer<'_>) -> Result<Value, Fault> {
        let group = self.group(line, place, new.group).await?;
        let body = json!({
            "name": new.name, "runner_group_id": group, "labels": new.labels, "work_folder": new.folder,
        });
        let path = own(place, "actions/runners/generate-jitconfig");
        let asked = Asked { method: "POST", path: &path, body: Some(body), class: Class::Registration };
        let _turn = self.turn(line, place).await;
        let answer = line.write(place, &asked).await.map_err(|fault| match fault.status() {
            Some(409) => Fault::refused(409, format!("a runner `{}` already exists: {}", new.name, fault.text())),
            Some(404 | 422) => {
                self.groups().clear();
                fault
            }
            _ => fault,
        })?;
        let told = json(&answer.body).unwrap_or_default();
        named(&told["runner"], new.name)?;
        text(&told, "encoded_jit_config", "POST generate-jitconfig")
    }

    /// A token to register runners with, for an hour. It takes no turn: who asks has one.
    pub(super) async fn token(&self, line: &Line, place: &Place) -> Result<Value, Fault> {
        let path = own(place, "actions/runners/registration-token");
        let asked = Asked { method: "POST", path: &path, body: None, class: Class::Registration };
        let answer = line.write(place, &asked).await?;
        text(&json(&answer.body).unwrap_or_default(), "token", "POST registration-token")
    }

    /// Takes a registration away. One that is gone already is none.
    pub(super) async fn remove(&self, line: &Line, place: &Place, runner: u64) -> Result<(), Fault> {
        let path = own(place, &format!("actions/runners/{runner}"));
        let asked = Asked { method: "DELETE", path: &path, body: None, class: Class::Core };
        // It keeps the pace, and nobody waiting.
        drop(self.turn(line, place).await);
        match line.write(place, &asked).await {
            Ok(Response { .. }) => Ok(()),
            Err(fault) if fault.status() == Some(404) => Ok(()),
            Err(fault) if fault.status() == Some(422) || fault.is("JobStillRunningException") => {
                Err(Fault::refused(423, format!("the runner works on a job: {}", fault.text())))
            }
            Err(fault) => Err(fault),
        }
    }

    /// The number of a runner group.
    pub(super) async fn group(&self, line: &Line, place: &Place, name: &str) -> Result<u64, Fault> {
        if name.is_empty() || name.eq_ignore_ascii_case("default") {
            return Ok(DEFAULT_GROUP);
        }
        if let Scope::Repository(of) = &place.scope {
            return Err(Fault::refused(400, format!("{of} is a repository: it has no runner group but Default")));
        }
        let key = (place.api.clone(), place.scope.clone(), name.to_lowercase());
        let now = line.now();
        if let Some((id, _)) = self.groups().get(&key).filter(|(_, until)| *until > now) {
            return Ok(*id);
        }
        let rows = line.rows(place, &own(place, "actions/runner-groups"), "runner_groups").await?;
        let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
        let found = rows.iter().find(|row| row["name"].as_str().is_some_and(|have| have.to_lowercase() == key.2));
        let Some(id) = found.and_then(|row| row["id"].as_u64()) else {
            let have = if names.is_empty() { "none that we see".to_owned() } else { names.join(", ") };
            let why = format!("{} has no runner group `{name}`; it has {have}", place.scope);
            return Err(Fault::refused(400, why));
        };
        self.groups().insert(key, (id, now + GROUP_SECONDS));
        Ok(id)
    }

    fn groups(&self) -> std::sync::MutexGuard<'_, Groups> {
        self.groups.lock().expect("no holder of this lock panics")
    }
}

/// A configuration of another runner than was asked for must not get into a guest.
pub(super) fn named(runner: &Value, name: &str) -> Result<(), Fault> {
    match runner["name"].as_str() {
        Some(other) if other != name => {
            Err(Fault::Garbled(format!("GitHub registered a runner `{other}` where `{name}` was asked for")))
        }
        Some(_) | None => Ok(()),
    }
}

/// A secret in an answer, which is not repeated in what is said of its absence.
pub(super) fn text(told: &Value, key: &str, what: &str) -> Result<Value, Fault> {
    match told[key].as_str() {
        Some(text) if !text.is_empty() => Ok(Value::String(text.to_owned())),
        Some(_) | None => Err(Fault::Garbled(format!("the answer to {what} has no `{key}`"))),
    }
}
