//! Who may change which option of a container.

use super::config::{is_mount, numbered};
use crate::pve::property::PropertyString;
use crate::sim::ctx::Ctx;
use crate::sim::request::Refusal;
use std::collections::BTreeMap;

/// Demands what changing a key needs; root@pam needs nothing, and some things nobody else may do.
pub fn permit(
    ctx: &Ctx<'_>,
    vmid: u32,
    key: &str,
    new: Option<&str>,
    old: Option<&str>,
    unprivileged: bool,
) -> Result<(), Refusal> {
    if ctx.is_root() {
        return Ok(());
    }
    let path = format!("/vms/{vmid}");
    let only_root = |what: &str| Refusal::forbidden(&format!("{what} is only allowed for root@pam"));
    if is_mount(key) || numbered(key, "unused") {
        let volume = new.map(|t| PropertyString::parse(t, "volume"));
        match volume.as_ref().and_then(|p| p.get("volume")) {
            Some(v) if v.starts_with("/dev/") => return Err(only_root("mount point type device")),
            Some(v) if v.starts_with('/') => return Err(only_root("mount point type bind")),
            _ => {}
        }
        return ctx.require(&path, &["VM.Config.Disk"]);
    }
    let privilege = match key {
        "memory" | "swap" => "VM.Config.Memory",
        "cores" | "cpulimit" | "cpuunits" => "VM.Config.CPU",
        "hostname" | "nameserver" | "searchdomain" => "VM.Config.Network",
        "features" => return permit_features(ctx, &path, new, old, unprivileged),
        "hookscript" => return Err(only_root("changing the hookscript")),
        "lock" | "template" => return Err(Refusal::died(format!("only root can set '{key}' config"))),
        _ if numbered(key, "net") => "VM.Config.Network",
        _ if numbered(key, "dev") => return Err(only_root("configuring device passthrough")),
        _ => "VM.Config.Options",
    };
    ctx.require(&path, &[privilege])
}

fn permit_features(
    ctx: &Ctx<'_>,
    path: &str,
    new: Option<&str>,
    old: Option<&str>,
    unprivileged: bool,
) -> Result<(), Refusal> {
    if !unprivileged {
        let text = "changing feature flags for privileged container is only allowed for root@pam";
        return Err(Refusal::forbidden(text));
    }
    let rest = |text: Option<&str>| -> BTreeMap<String, String> {
        let parts = PropertyString::parse(text.unwrap_or_default(), "");
        parts.iter().filter(|(k, _)| *k != "nesting").map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    };
    if rest(new) != rest(old) {
        return Err(Refusal::forbidden("changing feature flags (except nesting) is only allowed for root@pam"));
    }
    ctx.require(path, &["VM.Allocate"])
}
