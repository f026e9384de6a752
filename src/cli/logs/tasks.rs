//! The logs of a guest's tasks, through the API: on every node that it has been on, the oldest first. PVE sends fifty lines of a
//! log at once unless it is asked for more.

use crate::cli::logs::follow::{Dry, Tap, Wish, shown};
use crate::cli::output::utc;
use crate::engine::observe::get;
use crate::engine::reconcile::Cluster;
use crate::pve::request::{Query, segment};
use crate::resource::index::{number, text};
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::BTreeMap;

/// Tasks and lines that are asked for at once.
const TASKS_AT_ONCE: usize = 50;
const LINES_AT_ONCE: usize = 500;

/// A task, and how far its log was read.
struct Task {
    node: String,
    upid: String,
    head: String,
    started: u64,
    read: usize,
    ended: bool,
}

/// The logs of a guest's tasks.
pub struct TaskLogs {
    vmid: String,
    nodes: Vec<String>,
    wish: Wish,
    /// By UPID.
    tasks: BTreeMap<String, Task>,
    begun: bool,
}

fn task(node: &str, row: &Value) -> Option<Task> {
    let upid = text(&row["upid"])?;
    let word = |key: &str| text(&row[key]).unwrap_or_default();
    let started = number(&row["starttime"]).unwrap_or_default();
    let at = i64::try_from(started).ok().and_then(utc).unwrap_or_default();
    let (kind, user) = (word("type"), word("user"));
    let status = match word("status") {
        status if status.is_empty() || status == "RUNNING" => "running".to_owned(),
        status => status,
    };
    let ended = status != "running";
    let head = shown(&format!("== {at} {kind} by {user} on {node}: {status}"));
    Some(Task { node: node.to_owned(), upid, head, started, read: 0, ended })
}

impl TaskLogs {
    /// Those of a guest, on these nodes.
    pub fn new(vmid: impl std::fmt::Display, nodes: Vec<String>, wish: Wish) -> TaskLogs {
        TaskLogs { vmid: vmid.to_string(), nodes, wish, tasks: BTreeMap::new(), begun: false }
    }

    /// A page of tasks of a node, the newest first.
    async fn page(&self, cluster: &Cluster<'_>, node: &str, start: usize) -> Result<Vec<Task>, Dry> {
        let query = Query::new(format!("/nodes/{node}/tasks")).with("vmid", &self.vmid).with("source", "all");
        let query = query.with("start", start).with("limit", TASKS_AT_ONCE);
        let query = self.wish.since.iter().fold(query, |query, since| query.with("since", since));
        let rows = get(cluster.api, cluster.clock, &query).await?;
        Ok(rows.as_array().into_iter().flatten().filter_map(|row| task(node, row)).collect())
    }

    /// What came to a task's log since it was last read.
    async fn log(cluster: &Cluster<'_>, task: &mut Task) -> Result<Vec<String>, Dry> {
        let mut all = Vec::new();
        loop {
            let query = Query::new(format!("/nodes/{}/tasks/{}/log", task.node, segment(&task.upid)));
            let query = query.with("start", task.read).with("limit", LINES_AT_ONCE);
            let rows = get(cluster.api, cluster.clock, &query).await?;
            let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
            // A log that is empty yet is a line that says so; it is no line of the log.
            let none = |row: &Value| row["t"] == "no content";
            let lines: Vec<String> =
                rows.iter().filter(|row| !none(row)).filter_map(|row| text(&row["t"])).map(|t| shown(&t)).collect();
            task.read += lines.len();
            let whole = lines.len() < LINES_AT_ONCE;
            all.extend(lines);
            if whole {
                return Ok(all);
            }
        }
    }

    /// The tasks that were wished for, and their lines; the oldest first.
    async fn begin(&mut self, cluster: &Cluster<'_>) -> Result<Vec<String>, Dry> {
        let mut blocks: Vec<(u64, String, Vec<String>)> = Vec::new();
        let wanted = self.wish.lines.unwrap_or(usize::MAX);
        for node in self.nodes.clone() {
            let (mut start, mut count) = (0, 0);
            loop {
                let page = self.page(cluster, &node, start).await?;
                let (whole, tasks) = (page.len() < TASKS_AT_ONCE, page);
                for mut task in tasks {
                    // What no line is wished of is known all the same: only what comes later is new.
                    let lines = Self::log(cluster, &mut task).await?;
                    count += lines.len() + 1;
                    let block: Vec<String> = std::iter::once(task.head.clone()).chain(lines).collect();
                    blocks.push((task.started, task.upid.clone(), block));
                    self.tasks.insert(task.upid.clone(), task);
                    if count >= wanted {
                        break;
                    }
                }
                start += TASKS_AT_ONCE;
                if whole || count >= wanted {
                    break;
                }
            }
        }
        blocks.sort();
        let lines: Vec<String> = blocks.into_iter().flat_map(|(_, _, lines)| lines).collect();
        let from = lines.len().saturating_sub(wanted);
        Ok(lines.into_iter().skip(from).collect())
    }

    /// What came since.
    async fn more(&mut self, cluster: &Cluster<'_>) -> Result<Vec<String>, Dry> {
        let newest = self.tasks.values().map(|t| t.started).max().unwrap_or_default();
        let mut out: Vec<(u64, String, Vec<String>)> = Vec::new();
        for node in self.nodes.clone() {
            for fresh in self.page(cluster, &node, 0).await? {
                let known = self.tasks.remove(&fresh.upid);
                // What is older than all that was read was not wished for.
                if known.is_none() && fresh.started < newest {
                    continue;
                }
                let mut task = Task { read: known.as_ref().map_or(0, |k| k.read), ..fresh };
                let was_open = known.as_ref().is_none_or(|k| !k.ended);
                let mut lines = if known.is_none() { vec![task.head.clone()] } else { Vec::new() };
                if was_open {
                    lines.extend(Self::log(cluster, &mut task).await?);
                }
                if task.ended && known.is_some() && was_open {
                    lines.push(task.head.clone());
                }
                out.push((task.started, task.upid.clone(), lines));
                self.tasks.insert(task.upid.clone(), task);
            }
        }
        out.sort();
        Ok(out.into_iter().flat_map(|(_, _, lines)| lines).collect())
    }
}

impl Tap for TaskLogs {
    fn next<'a>(&'a mut self, cluster: &'a Cluster<'_>) -> BoxFuture<'a, Result<Vec<String>, Dry>> {
        Box::pin(async move {
            if self.begun {
                return self.more(cluster).await;
            }
            let lines = self.begin(cluster).await?;
            self.begun = true;
            Ok(lines)
        })
    }
}
