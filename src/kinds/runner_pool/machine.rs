//! A machine of a pool, as it was seen: values alone, so that what is decided can be tried on any.

use crate::base::id::{GuestType, VmId};
use crate::github::runner::Runner;
use crate::host::runner::RunnerState;
use crate::kinds::runner_pool::marks::Marks;
use std::net::IpAddr;

/// Whether it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It runs.
    Running,
    /// It does not.
    Stopped,
    /// Its node does not tell.
    Unknown,
}

/// What was read of its inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inside {
    /// It does not run.
    Off,
    /// Nobody looked. Nothing is concluded from it.
    Unread,
    /// It runs and does not answer: why.
    Silent(String),
    /// There is no way in, whatever it does: why.
    Shut(String),
    /// How far its runner is.
    Read(RunnerState),
    /// It is reached by SSH, and has no address yet: why.
    NoAddress(String),
    /// It is reached by SSH, at this address. How far its runner is, GitHub tells.
    At(IpAddr),
}

/// A machine that is provably the pool's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// VM or CT.
    pub guest: GuestType,
    /// Its number.
    pub vmid: VmId,
    /// Where it is.
    pub node: String,
    /// Its name, which is its runner's.
    pub name: String,
    /// Whether it runs.
    pub power: Power,
    /// PVE's lock, or the task that works on it.
    pub lock: Option<String>,
    /// A task works on it just now; a lock without one may be left over.
    pub working: bool,
    /// Bytes of memory at most.
    pub memory: u64,
    /// The version of the template that it is a clone of.
    pub version: Option<String>,
    /// What stands on it.
    pub marks: Marks,
    /// What was read of its inside.
    pub inside: Inside,
    /// Its registration; `None` where there is none, or the list could not be read.
    pub runner: Option<Runner>,
}

impl Machine {
    /// How far its runner is, where it was read.
    pub fn state(&self) -> Option<&RunnerState> {
        match &self.inside {
            Inside::Read(state) => Some(state),
            Inside::Off
            | Inside::Unread
            | Inside::Silent(_)
            | Inside::Shut(_)
            | Inside::NoAddress(_)
            | Inside::At(_) => None,
        }
    }

    /// Its address, where it was asked.
    pub fn address(&self) -> Option<IpAddr> {
        if let Inside::At(address) = self.inside { Some(address) } else { None }
    }

    /// It has failed.
    pub fn has_failed(&self) -> bool {
        self.marks.failed.is_some()
    }
}
