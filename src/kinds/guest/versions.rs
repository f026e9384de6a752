//! Fields that only newer versions of Proxmox VE know. An older one would refuse them in the middle of a run, so they are
//! refused in the plan. Read off the schemas of both lines: qemu-server and pve-container, branches `stable-bookworm` (PVE 8.4)
//! and `master`; what came within a release cannot be told by `/version`, and is left to PVE.

use crate::base::id::GuestType;
use crate::kinds::guest::plan::GuestDesired;
use crate::kinds::guest::table;
use crate::resource::step::{Delta, Problem};

/// The first version that knows the fields of [`SINCE_9`].
const NINE: u32 = 9;

/// Fields that PVE 8 does not know, by their rows in the table.
pub const SINCE_9: &[(GuestType, &str)] = &[
    (GuestType::Qemu, "hardware.allowKsm"),
    (GuestType::Qemu, "hardware.cpu.guestPhysBits"),
    (GuestType::Qemu, "hardware.guestAgent.freezeFs"),
    (GuestType::Qemu, "hardware.machine.awBits"),
    (GuestType::Lxc, "entryPoint"),
    (GuestType::Lxc, "env"),
    (GuestType::Lxc, "mounts.*.keepAttrs"),
    (GuestType::Lxc, "networks.*.hostManaged"),
];

/// Options that PVE 8 does not know and that no field says.
pub const OPTIONS_SINCE_9: &[(GuestType, &str)] = &[(GuestType::Qemu, "intel-tdx")];

/// Refuses what the cluster's version does not know. A version that cannot be read refuses nothing.
pub fn check(want: &GuestDesired, version: &str, delta: &mut Delta) {
    let Some(major) = version.split('.').next().and_then(|major| major.parse::<u32>().ok()) else { return };
    if major >= NINE {
        return;
    }
    let newer = |path: &String| match path.strip_prefix("options.") {
        Some(option) => OPTIONS_SINCE_9.contains(&(want.guest, option)),
        None => table::find(want.guest, path).is_some_and(|(row, _)| SINCE_9.contains(&(want.guest, row.path))),
    };
    delta.problems.extend(want.fields.keys().filter(|path| newer(path)).map(|path| {
        Problem::new(path, format!("Proxmox VE {version} does not know `{path}`; it came with Proxmox VE 9"))
            .help("take the field out, or upgrade the cluster")
    }));
}
