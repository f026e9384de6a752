//! Who may change which option of a machine.

use super::disk::wanted;
use super::{file_of, is_disk};
use crate::sim::ctx::Ctx;
use crate::sim::request::Refusal;
use crate::sim::volume::storage_of;

/// The privilege that changing an option takes.
fn privilege(key: &str, value: &str) -> &'static str {
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    match stem {
        "ide" | "sata" | "scsi" | "virtio" if value.contains("media=cdrom") => "VM.Config.CDROM",
        "ide" | "sata" | "scsi" | "virtio" | "unused" | "efidisk" | "tpmstate" => "VM.Config.Disk",
        "cores" | "sockets" | "cpu" | "cpulimit" | "cpuunits" | "numa" | "vcpus" | "smp" | "affinity" => {
            "VM.Config.CPU"
        }
        "memory" | "balloon" | "shares" | "hugepages" => "VM.Config.Memory",
        "net" | "ipconfig" | "nameserver" | "searchdomain" => "VM.Config.Network",
        "cicustom" | "cipassword" | "citype" | "ciuser" | "ciupgrade" | "sshkeys" => "VM.Config.Cloudinit",
        "acpi" | "bios" | "scsihw" | "machine" | "vga" | "kvm" | "keyboard" | "tablet" | "serial" | "parallel"
        | "usb" | "hostpci" | "audio" | "arch" | "agent" | "watchdog" | "rng" => "VM.Config.HWType",
        _ => "VM.Config.Options",
    }
}

/// Options that only root@pam itself may touch, and the finer rights of the others.
pub(super) fn permitted(ctx: &Ctx<'_>, path: &str, key: &str, value: Option<&str>) -> Result<(), Refusal> {
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    if !ctx.is_root() {
        if matches!(key, "args" | "lock" | "hookscript") {
            return Err(Refusal::died(format!("only root can set '{key}' config")));
        }
        let value = value.unwrap_or_default();
        match stem {
            "hostpci" if !value.is_empty() && !value.contains("mapping=") => {
                return Err(Refusal::died(format!("only root can set '{key}' config for non-mapped devices")));
            }
            "usb" if !value.is_empty() && !value.contains("mapping=") && !value.contains("spice") => {
                return Err(Refusal::died(format!("only root can set '{key}' config for real devices")));
            }
            "serial" if !value.is_empty() && value != "socket" => {
                return Err(Refusal::died(format!("only root can modify '{key}' config for real devices")));
            }
            _ => {}
        }
    }
    ctx.require(path, &[privilege(key, value.unwrap_or_default())])?;
    let Some(value) = value else { return Ok(()) };
    let bridge = value.split(',').find_map(|p| p.strip_prefix("bridge="));
    if let Some(bridge) = bridge.filter(|_| stem == "net") {
        ctx.require(&format!("/sdn/zones/localnetwork/{bridge}"), &["SDN.Use"])?;
    }
    if is_disk(key) {
        let file = file_of(value);
        if let Some((storage, _)) = wanted(file) {
            if !ctx.world.storages.contains_key(storage) {
                return Err(Refusal::died(format!("storage '{storage}' does not exist")));
            }
            ctx.require(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
        } else if file.contains(':') && !ctx.world.storages.contains_key(storage_of(file)) {
            return Err(Refusal::died(format!("storage '{}' does not exist", storage_of(file))));
        }
    }
    Ok(())
}
