//! The requests that an act is made of.

use crate::base::id::GuestType;
use crate::host::job::{self, Deed, Job};
use crate::host::operation::Operation;
use crate::host::program;
use crate::host::token::Token;
use crate::kinds::guest::hand::deed::base;
use crate::kinds::patch_window::decide::Act;
use crate::kinds::patch_window::guest::Guest;
use crate::kinds::patch_window::outcome::{self, Outcome};
use crate::kinds::patch_window::spec::{ConfigFiles, PatchWindowSpec};
use crate::pve::request::{Call, Method, segment};
use crate::resource::step::{Impact, Limit, Step};
use std::time::Duration;

/// How long a job that was begun takes until its state shows on the disk.
pub const SETTLES: Duration = Duration::from_secs(3);

/// A guest and its window.
pub struct Work<'a> {
    /// The window's name, plain.
    pub window: &'a Token,
    /// Of which manifest set it is.
    pub set: &'a str,
    /// The window.
    pub spec: &'a PatchWindowSpec,
    /// The guest.
    pub guest: &'a Guest<'a>,
}

impl Work<'_> {
    /// The requests of an act; the error says why it cannot be put into requests.
    pub fn steps(&self, slot: i64, act: &Act) -> Result<Vec<Step>, String> {
        let steps = match act {
            Act::Snapshot(ran) => vec![self.snapshot(slot, *ran)],
            Act::Start => vec![self.power("start", "start", Impact::Restart)],
            Act::Reboot => vec![self.power("reboot", "reboot", Impact::Restart)],
            Act::Stop(outcome) => {
                vec![
                    self.power("shutdown", "shut down: it did not run before", Impact::Restart),
                    self.mark(slot, false, outcome),
                ]
            }
            Act::Mark(outcome) => vec![self.mark(slot, self.ran(slot), outcome)],
            Act::GoBack(why) => {
                let ran = self.ran(slot);
                let name = outcome::name(slot);
                let call = Call::new(Method::Post, format!("{}/snapshot/{}/rollback", self.base(), segment(&name)));
                let step =
                    Step::new(format!("go back to `{name}`"), call.with("start", u8::from(ran)), Impact::Restart);
                vec![self.task(step), self.mark(slot, ran, &Outcome::WentBack(why.clone()))]
            }
            Act::Delete(of) => {
                let name = outcome::name(*of);
                let call = Call::new(Method::Delete, format!("{}/snapshot/{}", self.base(), segment(&name)));
                vec![self.task(Step::new(format!("delete snapshot `{name}`"), call, Impact::Live))]
            }
            Act::Assess(attempt) => {
                let deed = Deed::Assess { attempt: *attempt, refresh: self.spec.before.refresh_index };
                vec![self.begin(slot, "look for updates", deed)?]
            }
            Act::Patch(attempt, packages) => {
                let config = match self.spec.config_files {
                    ConfigFiles::Keep => job::ConfigFiles::Keep,
                    ConfigFiles::Replace => job::ConfigFiles::Replace,
                };
                let title = match packages.as_slice() {
                    [one] => format!("install {} {}", one.name, one.version),
                    all => format!("install {} updates", all.len()),
                };
                let deed = Deed::Patch { attempt: *attempt, packages: packages.clone(), config };
                vec![self.begin(slot, &title, deed)?]
            }
            Act::Health(attempt) => {
                let check = &self.spec.health_check;
                let deed = Deed::Health {
                    attempt: *attempt,
                    tcp: check.tcp.iter().filter_map(|port| port.parse().ok()).collect(),
                    units: check.systemd,
                    command: check.command.clone(),
                    timeout: u32::try_from(check.timeout.0).unwrap_or(u32::MAX),
                };
                vec![self.begin(slot, "look whether it is well", deed)?]
            }
            Act::Revive(name) => {
                let job = Token::argument(name.as_str()).ok_or_else(|| format!("`{name}` is no name of a job"))?;
                vec![self.begin(slot, &format!("look after `{job}`"), Deed::Revive { job })?]
            }
        };
        Ok(steps)
    }

    fn base(&self) -> String {
        base(self.guest.row)
    }

    fn ran(&self, slot: i64) -> bool {
        let rows = self.guest.snapshots.as_ref().map_or(&[][..], Vec::as_slice);
        rows.iter().find(|row| outcome::slot(row) == Some(slot)).is_none_or(outcome::ran)
    }

    /// One thing at a time on a guest, whoever does it.
    fn limited(&self, step: Step) -> Step {
        let guest = format!("guest/{}", self.guest.row.vmid);
        step.limit(Limit::Policy { of: String::new(), at: guest, room: 1 })
    }

    fn task(&self, step: Step) -> Step {
        self.limited(step.task(&self.guest.row.node))
    }

    fn power(&self, verb: &str, title: &str, impact: Impact) -> Step {
        let call = Call::new(Method::Post, format!("{}/status/{verb}", self.base()));
        self.task(Step::new(title, call, impact))
    }

    fn snapshot(&self, slot: i64, ran: bool) -> Step {
        let name = outcome::name(slot);
        let words = outcome::describe(self.set, self.window.as_str(), self.guest.row.vmid, ran, None);
        let call = Call::new(Method::Post, format!("{}/snapshot", self.base()));
        let call = call.with("snapname", &name).with("description", words);
        self.task(Step::new(format!("take snapshot `{name}`"), call, Impact::Live))
    }

    fn mark(&self, slot: i64, ran: bool, outcome: &Outcome) -> Step {
        let name = outcome::name(slot);
        let row = self.guest.row;
        let words = outcome::describe(self.set, self.window.as_str(), row.vmid, ran, Some(outcome));
        let call = Call::new(Method::Put, format!("{}/snapshot/{}/config", self.base(), segment(&name)));
        let title = match outcome {
            Outcome::Updated => "note: updated".to_owned(),
            Outcome::Unchanged(why) => format!("note: nothing installed: {why}"),
            Outcome::Failed(why) => format!("note: failed: {why}"),
            Outcome::GoingBack(_, why) => format!("note: going back: {why}"),
            Outcome::WentBack(why) => format!("note: went back: {why}"),
        };
        self.limited(Step::new(title, call.with("description", words), Impact::None))
    }

    fn begin(&self, slot: i64, title: &str, deed: Deed) -> Result<Step, String> {
        let row = self.guest.row;
        let slot = Token::new(outcome::stamp(slot)).expect("a time is plain");
        let job = Job { window: self.window.clone(), slot, deed };
        let impossible = || "what it is to do cannot be written down for it".to_owned();
        let call = match row.guest {
            GuestType::Lxc => Operation::ContainerJob { vmid: row.vmid, job }.call(&row.node).ok_or_else(impossible)?,
            GuestType::Qemu => {
                let system = self.guest.system;
                let input = program::begin(system, &job).ok_or_else(impossible)?;
                let call = Call::new(Method::Post, format!("{}/agent/exec", self.base()));
                let words = program::words(system, &job.args());
                words.iter().fold(call, |call, word| call.with("command", word)).with("input-data", input)
            }
        };
        Ok(self.limited(Step::new(title, call, Impact::Live)).settles(SETTLES))
    }
}
