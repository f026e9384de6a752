//! What an endpoint works with: the world, and on whose behalf.

use crate::sim::request::Refusal;
use crate::sim::rights;
use crate::sim::task::Task;
use crate::sim::world::{Guest, GuestType, Message, World};
use serde_json::Value;

/// How long PVE waits for a guest's file lock.
const LOCK_WAIT_MS: u64 = 10_000;

/// A request in hand.
#[derive(Debug)]
pub struct Ctx<'a> {
    /// The cluster.
    pub world: &'a mut World,
    /// `user@realm` or `user@realm!token`.
    pub user: String,
    /// The faults that mark the next task (see [`crate::sim::faults`]).
    pub task_fault: Option<(String, String)>,
    /// Members of the answer beside `data` (`total` of lists, …).
    pub extra: Value,
}

/// Messages that the cluster's log keeps.
const MESSAGES_MAX: usize = 1000;

/// A task about to start; see [`Ctx::task`].
#[derive(Clone, Debug)]
pub struct NewTask {
    node: String,
    task_type: String,
    id: String,
    duration_ms: u64,
    effect: &'static str,
    told: Value,
    log: Vec<String>,
    progress_of: Option<u64>,
    holds: Option<u32>,
    unseen: bool,
}

impl NewTask {
    /// A task of a type on a node about an id (a VMID mostly, or nothing).
    pub fn new(node: &str, task_type: &str, id: impl ToString) -> NewTask {
        NewTask {
            node: node.to_owned(),
            task_type: task_type.to_owned(),
            id: id.to_string(),
            duration_ms: 500,
            effect: "",
            told: Value::Null,
            log: Vec::new(),
            progress_of: None,
            holds: None,
            unseen: false,
        }
    }

    /// How long it takes in virtual time.
    pub fn takes_ms(mut self, ms: u64) -> NewTask {
        self.duration_ms = ms;
        self
    }

    /// The named effect at its end, and what the effect is told.
    pub fn then(mut self, effect: &'static str, told: Value) -> NewTask {
        self.effect = effect;
        self.told = told;
        self
    }

    /// A first log line.
    pub fn says(mut self, line: impl Into<String>) -> NewTask {
        self.log.push(line.into());
        self
    }

    /// Percentages in the log, of so many bytes.
    pub fn copies(mut self, bytes: u64) -> NewTask {
        self.progress_of = Some(bytes);
        self
    }

    /// It is what a daemon does in its time, and no task that anybody sees.
    pub fn unseen(mut self) -> NewTask {
        self.unseen = true;
        self
    }

    /// Holds the guest's file lock while it runs.
    pub fn holds(mut self, vmid: u32) -> NewTask {
        self.holds = Some(vmid);
        self
    }
}

impl Ctx<'_> {
    /// Writes to the cluster's log, as `PVE::Cluster::log_msg` does; the oldest messages go.
    pub fn tell(&mut self, node: &str, text: String) {
        let at_ms = self.world.clock_ms;
        self.world.messages.push_back(Message { node: node.to_owned(), user: self.user.clone(), at_ms, text });
        while self.world.messages.len() > MESSAGES_MAX {
            self.world.messages.pop_front();
        }
    }

    /// Starts a task and answers its UPID.
    pub fn start(&mut self, new: NewTask) -> Value {
        let NewTask { node, task_type, id, duration_ms, effect, mut told, log, progress_of, holds, unseen } = new;
        let world = &mut *self.world;
        let pid = world.new_pid();
        let now = world.now();
        // pstart makes two tasks of one second differ.
        let pstart = world.clock_ms / 10 % 0xFFFF_FFFF + world.serial;
        let upid = format!("UPID:{node}:{pid:08X}:{pstart:08X}:{now:08X}:{task_type}:{id}:{}:", self.user);
        if let Some((mark, text)) = self.task_fault.take_if(|_| !unseen) {
            if !told.is_object() {
                told = serde_json::json!({});
            }
            told[mark] = text.into();
        }
        world.tasks.push(Task {
            upid: upid.clone(),
            task_type,
            id,
            node,
            user: self.user.clone(),
            pid,
            start_ms: world.clock_ms,
            due_ms: world.clock_ms + duration_ms,
            end_ms: None,
            exit_status: String::new(),
            log,
            progress_of,
            effect: effect.to_owned(),
            told,
            holds,
            unseen,
        });
        upid.into()
    }

    /// Waits for the guest's file lock as PVE does: another task's end, or 10 seconds and a refusal. The wait moves the
    /// virtual clock, as it holds up the request.
    pub fn lock_file(&mut self, vmid: u32) -> Result<(), Refusal> {
        let holder = self.world.tasks.iter().filter(|t| t.running() && t.holds == Some(vmid)).map(|t| t.due_ms).max();
        let Some(due) = holder else { return Ok(()) };
        let limit = self.world.clock_ms + LOCK_WAIT_MS;
        self.world.advance_to(due.min(limit));
        if due <= limit {
            return Ok(());
        }
        let lxc = self.world.guests.get(&vmid).is_some_and(|g| g.guest_type == GuestType::Lxc);
        let file = if lxc {
            format!("/run/lock/lxc/pve-config-{vmid}.lock")
        } else {
            format!("/var/lock/qemu-server/lock-{vmid}.conf")
        };
        Err(Refusal::died(format!("can't lock file '{file}' - got timeout")))
    }

    /// A guest of a type on a node, or PVE's words for its absence.
    pub fn guest(&self, node: &str, guest_type: GuestType, vmid: u32) -> Result<&Guest, Refusal> {
        self.world
            .guests
            .get(&vmid)
            .filter(|g| g.node == node && g.guest_type == guest_type)
            .ok_or_else(|| absent(node, guest_type, vmid))
    }

    /// The same, to be changed.
    pub fn guest_mut(&mut self, node: &str, guest_type: GuestType, vmid: u32) -> Result<&mut Guest, Refusal> {
        self.world
            .guests
            .get_mut(&vmid)
            .filter(|g| g.node == node && g.guest_type == guest_type)
            .ok_or_else(|| absent(node, guest_type, vmid))
    }

    /// Whether the user has all of the privileges on a path.
    pub fn may(&self, path: &str, privileges: &[&str]) -> bool {
        rights::allowed(self.world, &self.user, path, privileges, false)
    }

    /// Demands all of the privileges on a path.
    pub fn require(&self, path: &str, privileges: &[&str]) -> Result<(), Refusal> {
        match self.may(path, privileges) {
            true => Ok(()),
            false => Err(Refusal::forbidden(&format!("{path}, {}", privileges.join(", ")))),
        }
    }

    /// Demands any of the privileges on a path.
    pub fn require_any(&self, path: &str, privileges: &[&str]) -> Result<(), Refusal> {
        match rights::allowed(self.world, &self.user, path, privileges, true) {
            true => Ok(()),
            false => Err(Refusal::forbidden(&format!("{path}, {}", privileges.join("|")))),
        }
    }

    /// Whether this is root@pam itself; a token never is, not even root's own.
    pub fn is_root(&self) -> bool {
        self.user == "root@pam"
    }
}

fn absent(node: &str, guest_type: GuestType, vmid: u32) -> Refusal {
    let folder = match guest_type {
        GuestType::Qemu => "qemu-server",
        GuestType::Lxc => "lxc",
    };
    Refusal::died(format!("Configuration file 'nodes/{node}/{folder}/{vmid}.conf' does not exist"))
}

/// A digest as long as PVE's (which is SHA-1) over keys and values.
pub fn digest_of<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    use sha2::Digest;
    let mut sha = sha2::Sha256::new();
    for (key, value) in pairs {
        sha.update(key.as_bytes());
        sha.update([0]);
        sha.update(value.as_bytes());
        sha.update([1]);
    }
    hex::encode(sha.finalize())[..40].to_owned()
}

/// The digest of a guest's whole configuration file.
pub fn guest_digest(guest: &Guest) -> String {
    let pending: std::collections::BTreeMap<String, String> = guest
        .pending
        .iter()
        .map(|(k, v)| (format!("!{k}"), v.clone().unwrap_or_else(|| "\u{1}".to_owned())))
        .chain(guest.snapshots.iter().map(|(k, s)| (format!("@{k}"), format!("{:?}", s.config))))
        .collect();
    digest_of(guest.config.iter().chain(pending.iter()))
}
