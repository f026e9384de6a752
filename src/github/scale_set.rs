//! Scale sets: found, made, changed, taken away; their sessions; runners of theirs.

use crate::base::secret::Secret;
use crate::github::address::{is_hosted, is_safe};
use crate::github::demand::Ask;
use crate::github::fault::{Fault, json};
use crate::github::line::{Line, quoted};
use crate::github::message::Statistics;
use crate::github::place::Place;
use crate::github::registry::{Newcomer, Registry, named, text};
use crate::github::tenant::{Tenants, Wanted, wanted};
use serde_json::{Value, json};

const SETS: &str = "_apis/runtime/runnerscalesets";

/// What the requests of scale sets go by.
pub(super) struct Way<'a> {
    pub(super) line: &'a Line,
    pub(super) registry: &'a Registry,
    pub(super) tenants: &'a Tenants,
    pub(super) place: &'a Place,
}

/// A scale set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) labels: Vec<String>,
    /// What it counts, where GitHub tells it with the set.
    pub(super) statistics: Option<Statistics>,
}

/// A session: who has it is told of jobs.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) queue: String,
    pub(super) token: Secret,
    pub(super) statistics: Option<Statistics>,
}

impl Row {
    fn read(row: &Value) -> Option<Row> {
        let labels = row["labels"].as_array().into_iter().flatten();
        Some(Row {
            id: row["id"].as_u64()?,
            labels: labels.filter_map(|label| label["name"].as_str().map(str::to_owned)).collect(),
            statistics: Statistics::read(&row["statistics"]),
        })
    }

    /// Whether it has all labels that are asked for, and no other.
    pub(super) fn fits(&self, ask: &Ask) -> bool {
        sorted(&self.labels) == sorted(&labels(ask))
    }
}

/// The labels of a pool's scale set: its name, by which a job can always ask for it, and those that it is to have.
pub(super) fn labels(ask: &Ask) -> Vec<String> {
    let is_other = |label: &&String| !label.eq_ignore_ascii_case(&ask.pool);
    std::iter::once(&ask.pool).chain(ask.labels.iter().filter(is_other)).cloned().collect()
}

fn sorted(labels: &[String]) -> Vec<String> {
    let mut labels: Vec<String> = labels.iter().map(|label| label.to_lowercase()).collect();
    labels.sort();
    labels.dedup();
    labels
}

impl Way<'_> {
    async fn ask(&self, wanted: &Wanted<'_>) -> Result<Value, Fault> {
        let response = self.tenants.ask(self.line, self.registry, self.place, wanted).await?;
        if response.body.is_empty() {
            return Ok(Value::Null);
        }
        let what = || format!("the answer to {} {} is no JSON", wanted.method, wanted.path);
        json(&response.body).ok_or_else(|| Fault::Garbled(what()))
    }

    /// The number of a runner group.
    pub(super) async fn group(&self, name: &str) -> Result<u64, Fault> {
        self.registry.group(self.line, self.place, name).await
    }

    /// The scale set of a name in a group; `None` if there is none.
    pub(super) async fn find(&self, name: &str, group: &str) -> Result<Option<Row>, Fault> {
        let group = self.group(group).await?;
        let path = format!("{SETS}?runnerGroupId={group}&name={}", quoted(name));
        let answer = self.ask(&wanted("GET", &path)).await?;
        let garbled = || Fault::Garbled(format!("the answer to GET {SETS} is no list of scale sets"));
        let rows = answer["value"].as_array().ok_or_else(garbled)?;
        // By the name that we asked for: a server that passes the query over answers with all of them.
        let is_it = |row: &&Value| row["name"].as_str().is_none_or(|have| have.eq_ignore_ascii_case(name));
        rows.iter().find(is_it).map(|row| Row::read(row).ok_or_else(garbled)).transpose()
    }

    /// Makes a pool's scale set, or brings it up to date. What GitHub made of it.
    pub(super) async fn make(&self, ask: &Ask) -> Result<Row, Fault> {
        let labels: Vec<Value> = labels(ask).iter().map(|name| json!({"type": "System", "name": name})).collect();
        let group = self.group(&ask.group).await?;
        let body = json!({
            "name": ask.pool,
            "runnerGroupId": group,
            "labels": labels,
            // The runner's version is the image's: one that updates itself loses minutes in each new machine.
            "RunnerSetting": {"disableUpdate": true},
        });
        let (method, path) = match self.find(&ask.pool, &ask.group).await? {
            Some(row) if row.fits(ask) => return Ok(row),
            Some(row) => ("PATCH", format!("{SETS}/{}", row.id)),
            None => ("POST", SETS.to_owned()),
        };
        let _turn = self.registry.turn(self.line, self.place).await;
        let answer = self.ask(&Wanted { body: Some(body), ..wanted(method, &path) }).await?;
        Row::read(&answer).ok_or_else(|| Fault::Garbled(format!("the answer to {method} {path} is no scale set")))
    }

    /// Takes a scale set away. One that is gone already is none.
    pub(super) async fn remove(&self, name: &str, group: &str) -> Result<(), Fault> {
        let Some(row) = self.find(name, group).await? else { return Ok(()) };
        match self.ask(&wanted("DELETE", &format!("{SETS}/{}", row.id))).await {
            Err(fault) if fault.status() == Some(404) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// A runner's configuration, which registers it in the scale set.
    pub(super) async fn just_in_time(&self, set: u64, new: &Newcomer<'_>) -> Result<Value, Fault> {
        let path = format!("{SETS}/{set}/generatejitconfig");
        let body = json!({"name": new.name, "workFolder": new.folder});
        let _turn = self.registry.turn(self.line, self.place).await;
        let answer = self.ask(&Wanted { body: Some(body), ..wanted("POST", &path) }).await.map_err(|fault| {
            if fault.is("AgentExistsException") || fault.status() == Some(409) {
                return Fault::refused(409, format!("a runner `{}` already exists: {}", new.name, fault.text()));
            }
            fault
        })?;
        named(&answer["runner"], new.name)?;
        text(&answer, "encodedJITConfig", "POST generatejitconfig")
    }

    /// Opens a session, as `owner`.
    pub(super) async fn open(&self, set: u64, owner: &str) -> Result<Session, Fault> {
        let path = format!("{SETS}/{set}/sessions");
        let body = json!({"ownerName": owner});
        let answer = self.ask(&Wanted { body: Some(body), ..wanted("POST", &path) }).await;
        let answer = answer.map_err(|fault| match fault.status() {
            Some(409) => {
                let why = "somebody else listens to this scale set (another controller of the same pool, or one that was \
                           killed a moment ago: GitHub ends its session in some minutes)";
                Fault::refused(409, format!("{why}: {}", fault.text()))
            }
            _ => fault,
        })?;
        self.session(&answer)
    }

    /// The same session with a new token.
    pub(super) async fn refresh(&self, set: u64, session: &Session) -> Result<Session, Fault> {
        let path = format!("{SETS}/{set}/sessions/{}", session.id);
        let answer = self.ask(&wanted("PATCH", &path)).await?;
        self.session(&answer)
    }

    /// Ends a session.
    pub(super) async fn close(&self, set: u64, session: &Session) -> Result<(), Fault> {
        match self.ask(&wanted("DELETE", &format!("{SETS}/{set}/sessions/{}", session.id))).await {
            // It has ended by itself: `RunnerScaleSetSessionExpiredException` is a 400.
            Err(fault) if matches!(fault.status(), Some(400 | 404)) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// Takes jobs that are to be had; those that it got.
    pub(super) async fn acquire(&self, set: u64, session: &Session, jobs: &[u64]) -> Result<usize, Fault> {
        let path = format!("{SETS}/{set}/acquirejobs");
        let wanted = Wanted { body: Some(json!(jobs)), token: Some(&session.token), ..wanted("POST", &path) };
        let answer = self.ask(&wanted).await?;
        Ok(answer["value"].as_array().map_or(0, Vec::len))
    }

    fn session(&self, answer: &Value) -> Result<Session, Fault> {
        let text = |key: &str| answer[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let (Some(id), Some(queue), Some(token)) =
            (text("sessionId"), text("messageQueueUrl"), text("messageQueueAccessToken"))
        else {
            return Err(Fault::Garbled("the answer to POST sessions is no session".to_owned()));
        };
        let is_id = id.len() <= 64 && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !is_id || !is_safe(&self.place.api, &queue) {
            return Err(Fault::Garbled("the session leads where no token of ours is sent".to_owned()));
        }
        let statistics = Statistics::read(&answer["statistics"]);
        Ok(Session { id, queue, token: Secret::new(token), statistics })
    }
}

/// What is to be said of labels that GitHub did not take.
pub(super) fn dropped(place: &Place, row: &Row, ask: &Ask) -> String {
    let have = row.labels.join(", ");
    let want = labels(ask).join(", ");
    let why = if is_hosted(&place.api) {
        "GitHub keeps the labels that a scale set was made with; `runs-on: NAME_OF_THE_POOL` always works, and a pool of \
         another name has its own"
    } else {
        "GitHub Enterprise Server 3.18 to 3.20 takes more than the name only with the feature flag \
         DistributedTask.AllowRunnerScaleSetCustomLabels, older ones never"
    };
    format!("the scale set `{}` has the labels {have} and not {want}, and jobs are matched by those: {why}", ask.pool)
}
