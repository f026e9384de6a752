//! What is seen of a guest that a window means: power, our snapshots, and the state of the window's jobs on its disk.

use crate::base::id::GuestType;
use crate::host::job::{System, state_file, windows_state_file};
use crate::host::operation::Operation;
use crate::host::state::State;
use crate::host::token::Token;
use crate::kinds::guest::hand::deed::base;
use crate::kinds::guest::hand::snapshot::{Row, list_query, rows};
use crate::kinds::guest::observed::decode_row;
use crate::kinds::patch_window::inside::Inside;
use crate::kinds::patch_window::outcome;
use crate::pve::error::Refusal;
use crate::pve::request::Query;
use crate::resource::index::{GuestRow, node_guests_query, number, text};
use crate::resource::observation::{Observation, guest_query};
use serde_json::Value;

/// What tells one boot of a Linux system from another.
const BOOT_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// Why a guest's inside is not known where nobody asked. Nothing is concluded from it.
const UNREAD: &str = "it was not looked into";

/// A guest as it was seen.
#[derive(Clone, Debug)]
pub struct Guest<'a> {
    /// Its row.
    pub row: &'a GuestRow,
    /// What system runs in it.
    pub system: System,
    /// For how long it runs, in seconds.
    pub uptime: i64,
    /// Our snapshots of it, whole ones only, the oldest first; why they are not known.
    pub snapshots: Result<Vec<Row>, String>,
    /// Snapshots of ours that are not whole, by the openings that they were to be for.
    pub half: Vec<i64>,
    /// Names of all snapshots that are not ours.
    pub foreign: Vec<String>,
    /// Something works on it just now, or holds it.
    pub busy: bool,
    /// PVE says that no snapshot of it can be taken.
    pub snapless: bool,
    /// Its inside.
    pub inside: Inside,
}

fn file_query(row: &GuestRow, file: &str) -> Query {
    Query::new(format!("{}/agent/file-read", base(row))).with("file", file)
}

/// The read of the state of a window's jobs, and of the present boot where that is another read.
fn inside_queries(row: &GuestRow, window: &Token) -> Vec<Query> {
    match row.guest {
        GuestType::Lxc => {
            Operation::ContainerJobs { vmid: row.vmid, window: window.clone() }.query(&row.node).into_iter().collect()
        }
        // Which system it is stands in its configuration, which is read in the same round: both are asked for.
        GuestType::Qemu => vec![file_query(row, &state_file(window)), file_query(row, BOOT_FILE)],
    }
}

/// The read that says whether a snapshot of a guest can be taken.
fn feature_query(row: &GuestRow) -> Query {
    Query::new(format!("{}/feature", base(row))).with("feature", "snapshot")
}

/// What is read of a guest. `inside`: the window is open, or was not long ago; `snapshots`: it takes snapshots.
pub fn reads(row: &GuestRow, window: &Token, inside: bool, snapshots: bool) -> Vec<Query> {
    let mut reads = vec![list_query(row), node_guests_query(&row.node, row.guest)];
    if !inside {
        return reads;
    }
    if snapshots {
        reads.push(feature_query(row));
    }
    if row.guest == GuestType::Qemu {
        reads.push(guest_query(row));
    }
    if row.status == "running" {
        reads.extend(inside_queries(row, window));
        if row.guest == GuestType::Qemu {
            reads.push(file_query(row, &windows_state_file(window)));
        }
    }
    reads
}

/// Whether PVE's word for a guest's system is a Windows.
fn is_windows(os_type: &str) -> bool {
    os_type.starts_with("win") || os_type.starts_with("w2k") || os_type == "wxp" || os_type == "wvista"
}

/// The content of a file that a guest agent read.
fn content(value: &Value) -> String {
    text(&value["content"]).unwrap_or_default()
}

impl<'a> Guest<'a> {
    /// What was seen of a guest. `of` is the set and the name of the window.
    pub fn read(row: &'a GuestRow, of: (&str, &str), window: &Token, seen: &Observation) -> Guest<'a> {
        let listed = match seen.answer(&list_query(row)) {
            Some(Ok(list)) => Ok(rows(list)),
            Some(Err(error)) => Err(format!("its snapshots could not be read: {error}")),
            None => Err("it has just been made, and was not looked at yet".to_owned()),
        };
        let ours = |row: &Row| row.window.as_ref().is_some_and(|(set, name)| (set.as_str(), name.as_str()) == of);
        let foreign = listed.iter().flatten().filter(|row| !ours(row)).map(|row| row.name.clone()).collect();
        let half = listed.iter().flatten().filter(|row| ours(row) && row.state.is_some());
        let half = half.filter_map(outcome::slot).collect();
        let snapshots = listed.map(|rows| {
            rows.into_iter().filter(|row| ours(row) && row.state.is_none() && outcome::slot(row).is_some()).collect()
        });
        let live = seen.value(&node_guests_query(&row.node, row.guest)).and_then(Value::as_array);
        let live = live.into_iter().flatten().find(|one| number(&one["vmid"]) == Some(u64::from(row.vmid.get())));
        let uptime = live.and_then(|one| number(&one["uptime"])).and_then(|n| i64::try_from(n).ok()).unwrap_or(0);
        let config = if row.guest == GuestType::Qemu {
            decode_row(seen.index.guests.get(&row.vmid).unwrap_or_else(|| unreachable!("the row is the index's")), seen)
                .ok()
                .flatten()
        } else {
            None
        };
        let windows = config.as_ref().and_then(|c| c.config.get("ostype")).is_some_and(|os| is_windows(os));
        let system = if windows { System::Windows } else { System::Linux };
        let agent = config
            .as_ref()
            .and_then(|c| c.config.get("agent"))
            .is_some_and(|a| a.split(',').any(|p| p == "1" || p == "enabled=1"));
        let inside = match row.guest {
            _ if row.status != "running" => Inside::Off,
            GuestType::Qemu if config.is_some() && !agent => Inside::Shut(
                "it has no guest agent: install qemu-guest-agent in it, and set `guestAgent: true` in its hardware"
                    .to_owned(),
            ),
            GuestType::Qemu => virtual_machine(row, system, window, seen),
            GuestType::Lxc => container(row, window, seen),
        };
        let busy = row.lock.is_some() || seen.index.working.contains_key(&row.vmid);
        let snapless = seen.value(&feature_query(row)).is_some_and(|v| number(&v["hasFeature"]) == Some(0));
        Guest { row, system, uptime, snapshots, half, foreign, busy, snapless, inside }
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.inside != Inside::Off
    }
}

fn container(row: &GuestRow, window: &Token, seen: &Observation) -> Inside {
    let query = Operation::ContainerJobs { vmid: row.vmid, window: window.clone() }.query(&row.node);
    match query.and_then(|query| seen.answer(&query)) {
        Some(Ok(value)) => Inside::of_link(value.as_str().unwrap_or_default()),
        Some(Err(error)) => match error.refusal() {
            Some(Refusal::Unsupported) => Inside::Shut(error.to_string()),
            Some(Refusal::NodeOffline) => Inside::Away(error.to_string()),
            Some(_) | None => Inside::Silent(error.to_string()),
        },
        None => Inside::Away(UNREAD.to_owned()),
    }
}

fn virtual_machine(row: &GuestRow, system: System, window: &Token, seen: &Observation) -> Inside {
    let file = match system {
        System::Windows => windows_state_file(window),
        System::Linux | System::Node => state_file(window),
    };
    let state = match seen.answer(&file_query(row, &file)) {
        Some(Ok(value)) => State::read(&content(value)),
        // The agent answers, and there is no such file: nothing was done here yet.
        Some(Err(error)) if error.refusal() == Some(Refusal::Absent) => State::default(),
        Some(Err(error)) if error.refusal() == Some(Refusal::NodeOffline) => return Inside::Away(error.to_string()),
        Some(Err(error)) if error.refusal() == Some(Refusal::Forbidden) => return Inside::Shut(error.to_string()),
        Some(Err(error)) => return Inside::Silent(error.to_string()),
        None => return Inside::Away(UNREAD.to_owned()),
    };
    let boot = match seen.answer(&file_query(row, BOOT_FILE)) {
        Some(Ok(value)) => content(value).trim().to_owned(),
        Some(Err(error)) if system != System::Windows && error.refusal() != Some(Refusal::Absent) => {
            return Inside::Silent(error.to_string());
        }
        Some(Err(_)) | None => String::new(),
    };
    Inside::Read { state, boot }
}
