//! Signs of change on a cluster, from three lists that cost one request each whatever its size: rows of guests, tasks, and
//! the cluster's log. Pure: answers in, news out. They say where to look and who it was; what changed is seen by looking.
//!
//! PVE logs every change of a VM's configuration with its user and options (`PVE::API2::Qemu`, `update_vm_api`: `update VM
//! 101: -cores 8`); a container's options leave no message, only what shows in its row (`PVE::API2::LXC::Config`). The rest
//! is found by reading in turn ([`crate::daemon::cache`]).

use crate::base::id::{GuestType, VmId};
use crate::daemon::record::{Actor, TaskRecord};
use crate::pve::request::Query;
use crate::resource::index::{node_guests_query, number, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Messages of the log asked for: more than a busy cluster writes between two looks.
const MESSAGES: u32 = 200;
/// Who did what, remembered for each guest.
const ACTORS_MAX: usize = 8;
/// A message of a change that we sent ourselves comes this close to the request.
const OURS_MS: u64 = 3_000;
/// The members of a guest's row that a person changes; the others are measurements.
const ROW: [&str; 11] =
    ["name", "node", "status", "lock", "template", "pool", "tags", "maxcpu", "maxmem", "maxdisk", "hastate"];

/// The members of a container's row in the list of its node, which is live; `/cluster/resources` shows what pvestatd found
/// up to ten seconds ago.
const LIVE: [&str; 9] = ["name", "status", "lock", "template", "tags", "cpus", "maxmem", "maxswap", "maxdisk"];
/// Nodes whose containers are listed in one poll; the others have their turn in the next ones.
const NODES_AT_ONCE: usize = 2;

/// The reads, in the order in which [`Signs::read`] takes their answers. The first two are part of every index too.
pub fn queries() -> [Query; 3] {
    [Query::new("/cluster/resources"), Query::new("/cluster/tasks"), Query::new("/cluster/log").with("max", MESSAGES)]
}

/// What is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Guests that may have changed.
    pub guests: BTreeSet<VmId>,
    /// Tasks that run.
    pub running: Vec<TaskRecord>,
    /// Tasks that ended since the last time: type, whether well, seconds.
    pub ended: Vec<(String, bool, u64)>,
}

/// What was seen last time.
#[derive(Clone, Debug, Default)]
pub struct Signs {
    rows: Option<BTreeMap<VmId, Vec<String>>>,
    messages: Option<BTreeSet<(String, u64)>>,
    tasks: Option<BTreeSet<(String, bool)>>,
    actors: BTreeMap<VmId, VecDeque<Actor>>,
    /// Containers as their nodes list them.
    live: BTreeMap<VmId, Vec<String>>,
    /// Nodes that answer and have containers, and which of them is next.
    nodes: Vec<String>,
    turn: usize,
    /// A node that answers, to be asked for the time.
    node: Option<String>,
    /// How far the cluster's clock is ahead of ours.
    ahead_ms: i64,
}

impl Signs {
    /// Reads the answers; `None` for one that could not be had.
    pub fn read(&mut self, cluster: &str, answers: [Option<&Value>; 3]) -> News {
        let [resources, tasks, log] = answers;
        let mut news = News::default();
        if let Some(list) = resources.and_then(Value::as_array) {
            self.rows(list, &mut news);
        }
        if let Some(list) = tasks.and_then(Value::as_array) {
            self.tasks(cluster, list, &mut news);
        }
        if let Some(list) = log.and_then(Value::as_array) {
            self.log(list, &mut news);
        }
        if let Some(rows) = &self.rows {
            self.actors.retain(|vmid, _| rows.contains_key(vmid));
        }
        news
    }

    fn rows(&mut self, list: &[Value], news: &mut News) {
        let online = |row: &&Value| row["type"] == "node" && row["status"] == "online";
        let nodes: BTreeSet<String> = list.iter().filter(online).filter_map(|row| text(&row["node"])).collect();
        self.node = nodes.first().cloned();
        let containers = list.iter().filter(|row| row["type"] == "lxc").filter_map(|row| text(&row["node"]));
        self.nodes = containers.collect::<BTreeSet<_>>().intersection(&nodes).cloned().collect();
        let guest = |row: &Value| matches!(row["type"].as_str(), Some("qemu" | "lxc"));
        let line = |row: &Value| ROW.iter().map(|key| text(&row[*key]).unwrap_or_default()).collect();
        let rows: BTreeMap<VmId, Vec<String>> =
            list.iter().filter(|r| guest(r)).filter_map(|row| Some((vmid(&row["vmid"])?, line(row)))).collect();
        if let Some(before) = &self.rows {
            let moved = |(id, row): &(&VmId, &Vec<String>)| before.get(*id) != Some(*row);
            news.guests.extend(rows.iter().filter(moved).map(|(id, _)| *id));
            news.guests.extend(before.keys().filter(|id| !rows.contains_key(id)));
        }
        self.rows = Some(rows);
    }

    /// The reads that list the containers of the nodes whose turn it is.
    pub fn live(&mut self) -> Vec<Query> {
        let count = NODES_AT_ONCE.min(self.nodes.len());
        let turn = self.turn;
        self.turn = turn.wrapping_add(count);
        let nodes = (0..count).map(|n| &self.nodes[turn.wrapping_add(n) % self.nodes.len()]);
        nodes.map(|node| node_guests_query(node, GuestType::Lxc)).collect()
    }

    /// Takes in lists of containers; says which are not as they were.
    pub fn listed(&mut self, lists: &[Value]) -> BTreeSet<VmId> {
        let mut moved = BTreeSet::new();
        for row in lists.iter().filter_map(Value::as_array).flatten() {
            let Some(id) = vmid(&row["vmid"]) else { continue };
            let line: Vec<String> = LIVE.iter().map(|key| text(&row[*key]).unwrap_or_default()).collect();
            if self.live.insert(id, line.clone()).is_some_and(|before| before != line) {
                moved.insert(id);
            }
        }
        if let Some(rows) = &self.rows {
            self.live.retain(|id, _| rows.contains_key(id));
        }
        moved
    }

    fn tasks(&mut self, cluster: &str, list: &[Value], news: &mut News) {
        let mut now = BTreeSet::new();
        for task in list {
            let Some(upid) = task["upid"].as_str() else { continue };
            let word = |key: &str| text(&task[key]).unwrap_or_default();
            let (began, end) = (number(&task["starttime"]).unwrap_or(0), number(&task["endtime"]));
            let id = (upid.to_owned(), end.is_some());
            if end.is_none() {
                news.running.push(TaskRecord {
                    cluster: cluster.to_owned(),
                    upid: upid.to_owned(),
                    node: word("node"),
                    user: word("user"),
                    worker: word("type"),
                    object: word("id"),
                    began_ms: began * 1000,
                });
            }
            let known = self.tasks.as_ref().is_none_or(|tasks| tasks.contains(&id));
            if !known && let Some(end) = end {
                let status = word("status");
                let well = status == "OK" || status.starts_with("WARNINGS");
                news.ended.push((word("type"), well, end.saturating_sub(began)));
            }
            if let Some(guest) = vmid(&task["id"]) {
                if !known {
                    news.guests.insert(guest);
                }
                if !known || self.tasks.is_none() {
                    self.act(guest, Actor { user: word("user"), what: word("type"), at_ms: began * 1000 });
                }
            }
            now.insert(id);
        }
        self.tasks = Some(now);
    }

    fn log(&mut self, list: &[Value], news: &mut News) {
        let mut now = BTreeSet::new();
        for message in list {
            let at = number(&message["time"]).unwrap_or(0);
            let id = (text(&message["id"]).unwrap_or_default(), at);
            let known = self.messages.as_ref().is_none_or(|messages| messages.contains(&id));
            let first = self.messages.is_none();
            now.insert(id);
            let words = text(&message["msg"]).unwrap_or_default();
            let Some((user, what, guest)) = change(&words, &text(&message["user"]).unwrap_or_default()) else {
                continue;
            };
            if !known {
                news.guests.insert(guest);
            }
            if !known || first {
                self.act(guest, Actor { user, what, at_ms: at * 1000 });
            }
        }
        self.messages = Some(now);
    }

    fn act(&mut self, guest: VmId, actor: Actor) {
        let actors = self.actors.entry(guest).or_default();
        if !actors.contains(&actor) {
            actors.push_back(actor);
            actors.make_contiguous().sort_by_key(|a| a.at_ms);
            while actors.len() > ACTORS_MAX {
                actors.pop_front();
            }
        }
    }

    /// A node to ask for the time.
    pub fn node(&self) -> Option<String> {
        self.node.clone()
    }

    /// The cluster's clock was compared with ours. A second or two is what whole seconds and the way there make.
    pub fn compared(&mut self, ahead_ms: i64) {
        self.ahead_ms = if ahead_ms.abs() > 2_000 { ahead_ms } else { 0 };
    }

    /// A moment of the cluster's clock by ours.
    fn ours(&self, at_ms: u64) -> u64 {
        at_ms.saturating_add_signed(self.ahead_ms.saturating_neg())
    }

    /// Who changed a guest last, other than we: `ours` are the times of our own requests for it.
    pub fn actor(&self, guest: VmId, ours: &[u64]) -> Option<Actor> {
        // PVE's log has whole seconds.
        let by_us = |at: u64| ours.iter().any(|sent| at / 1000 * 1000 + OURS_MS > *sent && at < sent + OURS_MS);
        // A message about the configuration tells more than a task that only went by.
        let actors = self.actors.get(&guest).into_iter().flatten().rev();
        let others: Vec<Actor> =
            actors.map(|a| Actor { at_ms: self.ours(a.at_ms), ..a.clone() }).filter(|a| !by_us(a.at_ms)).collect();
        others.iter().find(|a| a.what.starts_with("update ")).or_else(|| others.first()).cloned()
    }
}

fn vmid(value: &Value) -> Option<VmId> {
    number(value).and_then(VmId::new)
}

/// User, words and guest of a message that tells of a change; `None` for any other.
fn change(message: &str, user: &str) -> Option<(String, String, VmId)> {
    // In syslog, and so in what some versions pass on, the user stands in front.
    let (user, words) = match message.strip_prefix('<').and_then(|rest| rest.split_once("> ")) {
        Some((user, words)) => (user, words),
        None => (user, message),
    };
    let mut before = "";
    for word in words.split(' ') {
        if matches!(before, "VM" | "CT" | "container") {
            let digits = word.trim_end_matches(':');
            if let Some(guest) = digits.parse().ok().and_then(VmId::new) {
                return Some((user.to_owned(), shown(words), guest));
            }
        }
        before = word;
    }
    None
}

/// The words of a message as far as they may be shown: a password is never among them, but a description may be long.
fn shown(words: &str) -> String {
    const LONGEST: usize = 200;
    let line = words.lines().next().unwrap_or_default();
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn id(n: u64) -> VmId {
        VmId::new(n).expect("a VMID")
    }

    #[test]
    fn rows_tell_of_guests_and_not_of_measurements() {
        let mut signs = Signs::default();
        let row = |cpu: f64, cores: u32| json!([{"type": "qemu", "vmid": 100, "cpu": cpu, "maxcpu": cores, "status": "running"}, {"type": "node", "node": "a"}]);
        assert!(signs.read("c", [Some(&row(0.1, 2)), None, None]).guests.is_empty(), "the first time all is as it is");
        assert!(signs.read("c", [Some(&row(0.9, 2)), None, None]).guests.is_empty());
        assert_eq!(signs.read("c", [Some(&row(0.9, 4)), None, None]).guests, [id(100)].into());
        assert!(signs.read("c", [None, None, None]).guests.is_empty(), "what could not be read says nothing");
        assert_eq!(signs.read("c", [Some(&json!([])), None, None]).guests, [id(100)].into());
    }

    #[test]
    fn the_log_tells_who_and_our_own_requests_are_not_somebody() {
        let mut signs = Signs::default();
        let message = |n: u32, time: u64, msg: &str| json!({"id": format!("{n}:a"), "time": time, "user": "anna@pve", "msg": msg});
        let old = message(1, 90, "update VM 101: -cores 2");
        assert!(signs.read("c", [None, None, Some(&json!([old]))]).guests.is_empty());
        assert_eq!(signs.actor(id(101), &[]).map(|a| a.at_ms), Some(90_000), "what happened before we came is known");
        let new = message(2, 100, "<otto@pam> update VM 101: -cores 8");
        let auth = message(3, 100, "successful auth for user 'x'");
        let news = signs.read("c", [None, None, Some(&json!([old, new, auth]))]);
        assert_eq!(news.guests, [id(101)].into());
        let actor = signs.actor(id(101), &[]).expect("somebody");
        assert_eq!((actor.user.as_str(), actor.what.as_str()), ("otto@pam", "update VM 101: -cores 8"));
        assert_eq!(signs.actor(id(101), &[100_400]).map(|a| a.user), Some("anna@pve".into()), "that was us");
        assert_eq!(signs.actor(id(102), &[]), None);
        // A cluster whose clock is an hour ahead.
        signs.compared(3_600_000);
        assert_eq!(signs.actor(id(101), &[]).map(|a| a.at_ms), Some(0), "by our clock");
    }

    #[test]
    fn containers_are_listed_by_their_nodes_in_turn() {
        let mut signs = Signs::default();
        assert!(signs.live().is_empty());
        let mut rows: Vec<Value> =
            ["a", "b", "c"].iter().map(|n| json!({"type": "node", "node": n, "status": "online"})).collect();
        rows.extend(
            ["a", "b", "c", "gone"]
                .iter()
                .enumerate()
                .map(|(n, node)| json!({"type": "lxc", "vmid": 200 + n, "node": node})),
        );
        signs.read("c", [Some(&json!(rows)), None, None]);
        let mut asked: Vec<String> = (0..3).flat_map(|_| signs.live()).map(|query| query.path).collect();
        assert_eq!(asked.len(), 6);
        asked.sort();
        asked.dedup();
        assert_eq!(asked, ["/nodes/a/lxc", "/nodes/b/lxc", "/nodes/c/lxc"]);
        let list = |cores: u32, cpu: f64| [json!([{"vmid": 200, "cpus": cores, "cpu": cpu}])];
        assert!(signs.listed(&list(2, 0.1)).is_empty());
        assert!(signs.listed(&list(2, 0.9)).is_empty());
        assert_eq!(signs.listed(&list(4, 0.9)), [id(200)].into());
        assert!(signs.listed(&[Value::Null]).is_empty());
    }

    #[test]
    fn tasks_run_and_end() {
        let mut signs = Signs::default();
        let task = |end: Option<u64>| json!([{"upid": "UPID:a", "node": "a", "user": "u@pam", "type": "qmstop", "id": "100", "starttime": 10, "endtime": end, "status": "OK"}]);
        signs.read("c", [None, Some(&json!([])), None]);
        let news = signs.read("c", [None, Some(&task(None)), None]);
        assert_eq!((news.running.len(), news.guests.len()), (1, 1));
        let news = signs.read("c", [None, Some(&task(Some(12))), None]);
        assert_eq!((news.running.len(), news.guests.len(), news.ended), (0, 1, vec![("qmstop".into(), true, 2)]));
        assert!(signs.read("c", [None, Some(&task(Some(12))), None]).guests.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics(words in ".{0,60}", n in 0u64..u64::MAX) {
            let odd = json!([{"msg": words, "id": n, "time": n, "vmid": n, "type": "qemu", "upid": words, "starttime": n / 2000}, words, n, null]);
            Signs::default().read("c", [Some(&odd), Some(&odd), Some(&odd)]);
        }
    }
}
