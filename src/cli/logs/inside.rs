//! The journal of a guest, read by a program inside it: through the host link in a container, by the agent in a VM.

use crate::base::id::GuestType;
use crate::cli::logs::follow::{Dry, Tap, Wish, shown};
use crate::cli::output::utc;
use crate::engine::observe::get;
use crate::engine::reconcile::Cluster;
use crate::host::journal::{self, Ask, Line};
use crate::host::operation::Operation;
use crate::kinds::guest::rules::inside::{exit_code, status_query};
use crate::pve::request::{Call, Method};
use crate::resource::index::GuestRow;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// How often the agent's command is looked at, and how often at most.
const LOOK_EVERY: Duration = Duration::from_millis(300);
const LOOKS_MAX: u32 = 100;
/// More lines than any journal holds; as much as journalctl takes.
const LINES_ALL: u32 = 1_000_000_000;

/// The journal of a guest.
pub struct GuestJournal {
    guest: Arc<GuestRow>,
    wish: Wish,
    place: Option<String>,
    /// It was asked, and had no line: everything that comes is new.
    empty: bool,
    /// The lines are those of a file of syslog.
    of_file: bool,
}

impl GuestJournal {
    /// The journal of a guest that runs.
    pub fn new(guest: Arc<GuestRow>, wish: Wish) -> GuestJournal {
        GuestJournal { guest, wish, place: None, empty: false, of_file: false }
    }

    fn ask(&self) -> Ask {
        let lines = self.wish.lines.and_then(|n| u32::try_from(n).ok()).unwrap_or(LINES_ALL).min(LINES_ALL);
        let lines = if self.empty { LINES_ALL } else { lines };
        Ask { lines, since: self.wish.since, after: self.place.clone() }
    }

    async fn read(&self, cluster: &Cluster<'_>, ask: &Ask) -> Result<String, Dry> {
        match self.guest.guest {
            GuestType::Lxc => {
                let operation = Operation::ContainerJournal { vmid: self.guest.vmid, ask: ask.clone() };
                let query = operation.query(&self.guest.node).expect("to look is a read");
                let answer = get(cluster.api, cluster.clock, &query).await?;
                Ok(answer.as_str().unwrap_or_default().to_owned())
            }
            GuestType::Qemu => self.by_agent(cluster, ask).await,
        }
    }

    async fn by_agent(&self, cluster: &Cluster<'_>, ask: &Ask) -> Result<String, Dry> {
        let unsaid = || Dry::Never("the place in its journal cannot be said to it".to_owned());
        let input = journal::input(ask).ok_or_else(unsaid)?;
        let call = Call::new(Method::Post, format!("/nodes/{}/qemu/{}/agent/exec", self.guest.node, self.guest.vmid));
        let call = journal::words(ask).iter().fold(call, |call, word| call.with("command", word));
        let started = cluster.api.send(&call.with("input-data", input)).await?;
        let pid = started["pid"].as_u64().ok_or_else(|| Dry::Never("its agent tells no process id".to_owned()))?;
        for _ in 0..LOOKS_MAX {
            let answer = cluster.api.get(&status_query(&self.guest, pid)).await?;
            match exit_code(&answer) {
                Some(Ok(0)) => return Ok(answer["out-data"].as_str().unwrap_or_default().to_owned()),
                Some(Ok(code)) => {
                    let said = answer["err-data"].as_str().unwrap_or_default().lines().last().unwrap_or_default();
                    return Err(Dry::Never(format!("its journal could not be read: exit status {code}: {said}")));
                }
                Some(Err(why)) => return Err(Dry::Never(why)),
                None => cluster.clock.sleep(LOOK_EVERY).await,
            }
        }
        Err(Dry::Never("the agent's command does not end".to_owned()))
    }
}

/// A line for people; a message of several lines has its own below it.
fn line(line: &Line) -> String {
    let Line { at, who, text, place: _ } = line;
    let text = text.split('\n').map(shown).collect::<Vec<_>>().join("\n    ");
    let at = at.and_then(utc).map(|at| format!("{at} ")).unwrap_or_default();
    let who = if who.is_empty() { String::new() } else { format!("{}: ", shown(who)) };
    format!("{at}{who}{text}")
}

impl Tap for GuestJournal {
    fn is_untimed(&self) -> bool {
        self.of_file
    }

    fn next<'a>(&'a mut self, cluster: &'a Cluster<'_>) -> BoxFuture<'a, Result<Vec<String>, Dry>> {
        Box::pin(async move {
            if self.wish.lines == Some(0) && self.place.is_none() && !self.empty {
                // The place after the newest line, to go on from.
                let ask = Ask { lines: 1, since: None, after: None };
                let lines = journal::read(&self.read(cluster, &ask).await?).map_err(Dry::Never)?;
                (self.place, self.empty) = (lines.last().map(|l| l.place.clone()), lines.is_empty());
                return Ok(Vec::new());
            }
            let ask = self.ask();
            let text = self.read(cluster, &ask).await?;
            self.of_file = text.starts_with("file ");
            let lines = journal::read(&text).map_err(Dry::Never)?;
            match lines.last() {
                Some(last) => self.place = Some(last.place.clone()),
                None => self.empty |= self.place.is_none(),
            }
            Ok(lines.iter().map(line).collect())
        })
    }
}
