//! The closed list for people: what each operation does, what it runs, and why PVE's API cannot do it.

use crate::host::operation::Operation;

/// An operation in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// It changes something.
    pub writes: bool,
    /// What it does.
    pub does: &'static str,
    /// Why it cannot be the API.
    pub why: &'static str,
    /// What is run on the node; what stands in capitals differs.
    pub runs: &'static str,
}

const fn entry(name: &'static str, writes: bool, does: &'static str, why: &'static str, runs: &'static str) -> Entry {
    Entry { name, writes, does, why, runs }
}

/// All operations.
pub const ENTRIES: [Entry; 16] = [
    entry(
        "ContainerJobs",
        false,
        "reads the state of a window's jobs in a container",
        "the API cannot look into a container",
        "pct exec VMID -- /bin/sh -s -- read WINDOW",
    ),
    entry(
        "ContainerJob",
        true,
        "begins a job in a container: looks for updates, installs them, looks whether it is well",
        "the API runs nothing in a container",
        "pct exec VMID -- /bin/sh -s -- VERB WINDOW JOB …",
    ),
    entry(
        "NodeJobs",
        false,
        "reads the state of a window's jobs on the node",
        "the API reads no files",
        "/bin/sh -s -- read WINDOW",
    ),
    entry(
        "NodeJob",
        true,
        "begins a job on the node: installs its updates, looks whether it is well",
        "the API lists updates and installs none",
        "/bin/sh -s -- VERB WINDOW JOB …",
    ),
    entry(
        "Maintenance",
        true,
        "tells the HA manager that the node goes into maintenance, or comes out of it",
        "it is in no API, only in ha-manager(1)",
        "ha-manager crm-command node-maintenance enable|disable NODE",
    ),
    entry(
        "ContainerCreate",
        true,
        "creates a container with options that PVE leaves to root@pam, such as keyctl",
        "no API token is root@pam, not even root's own",
        "/bin/sh -s -- create VMID",
    ),
    entry(
        "ContainerJournal",
        false,
        "reads the journal of a container",
        "the API reads the journal of nodes only",
        "pct exec VMID -- /bin/sh -s -- journal LINES SINCE",
    ),
    entry(
        "Mounts",
        false,
        "reads what is mounted, the file systems of all block devices, and our mount units",
        "the API tells of disks, not of mounts",
        "/bin/sh -s -- look",
    ),
    entry(
        "Folder",
        false,
        "reads whether a folder is there, and empty",
        "the API shows no folders",
        "/bin/sh -s -- folder PATH",
    ),
    entry(
        "Mount",
        true,
        "writes a systemd mount unit for a file system, by its UUID, and mounts it",
        "the API mounts only what it has just formatted",
        "/bin/sh -s -- mount UUID PATH TYPE OPTIONS …",
    ),
    entry(
        "Unmount",
        true,
        "unmounts what our unit mounted, and removes the unit; the file system stays as it is",
        "the API unmounts nothing",
        "/bin/sh -s -- unmount PATH",
    ),
    entry(
        "Health",
        false,
        "reads the SMART values of all disks and the kernel's sensors",
        "the API has no sensors, and of NVMe disks only a text",
        "/bin/sh -s -- health",
    ),
    entry(
        "Tools",
        false,
        "reads what the node calls itself, as whom we are there, and which programs are there",
        "the API does not say where a way of ours ends",
        "/bin/sh -s -- TOOL …",
    ),
    entry(
        "Unlock",
        true,
        "takes away the lock that a task left on a guest when it died, if no task works on it",
        "the API takes no lock away, and lets only root@pam pass by one",
        "/bin/sh -s -- unlock qemu|lxc VMID LOCK",
    ),
    entry(
        "ContainerRunnerState",
        false,
        "reads how far a GitHub runner in a container is, and what it printed",
        "the API cannot look into a container",
        "pct exec VMID -- /bin/sh -s -- runner-state LINES",
    ),
    entry(
        "ContainerRunner",
        true,
        "begins a GitHub runner in a container, once",
        "the API runs nothing in a container",
        "pct exec VMID -- /bin/sh -s -- runner",
    ),
];

impl Operation {
    /// Where it stands in the list.
    pub fn entry(&self) -> &'static Entry {
        let at = match self {
            Operation::ContainerJobs { .. } => 0,
            Operation::ContainerJob { .. } => 1,
            Operation::NodeJobs { .. } => 2,
            Operation::NodeJob { .. } => 3,
            Operation::Maintenance { .. } => 4,
            Operation::ContainerCreate { .. } => 5,
            Operation::ContainerJournal { .. } => 6,
            Operation::Mounts => 7,
            Operation::Folder { .. } => 8,
            Operation::Mount { .. } => 9,
            Operation::Unmount { .. } => 10,
            Operation::Health => 11,
            Operation::Tools => 12,
            Operation::Unlock { .. } => 13,
            Operation::ContainerRunnerState { .. } => 14,
            Operation::ContainerRunner { .. } => 15,
        };
        &ENTRIES[at]
    }
}
