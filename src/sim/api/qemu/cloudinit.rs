//! Cloud-init: its options, its drive, what it would say to the guest.

use super::config::typed;
use super::unlocked;
use crate::sim::api::node;
use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use crate::sim::world::GuestType;
use serde_json::{Value, json};

const KEYS: &[&str] =
    &["cicustom", "cipassword", "ciuser", "ciupgrade", "citype", "nameserver", "searchdomain", "sshkeys"];

/// `GET …/cloudinit`.
pub(super) fn options(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let guest = ctx.guest(args.text("node"), GuestType::Qemu, args.vmid())?;
    let rows = guest.config.iter().filter(|(k, _)| KEYS.contains(&k.as_str()));
    Ok(rows.map(|(k, v)| json!({"key": k, "value": typed(k, v)})).collect())
}

/// `PUT …/cloudinit`.
pub(super) fn rebuild(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    ctx.lock_file(args.vmid())?;
    let guest = ctx.guest(args.text("node"), GuestType::Qemu, args.vmid())?;
    unlocked(guest).map_err(Refusal::died)?;
    Ok(Value::Null)
}

/// `GET …/cloudinit/dump`.
pub(super) fn dump(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let guest = ctx.guest(args.text("node"), GuestType::Qemu, args.vmid())?;
    let get = |k: &str| guest.config.get(k).map(String::as_str);
    let name = get("name").map_or_else(|| format!("VM{}", args.vmid()), str::to_owned);
    let mut text = format!("#cloud-config\nhostname: {name}\nmanage_etc_hosts: true\n");
    // The node's own domain, if the machine has none.
    let domain = get("searchdomain").map(str::to_owned).or_else(|| node::options::search(ctx.world, args.text("node")));
    if let Some(domain) = domain {
        text += &format!("fqdn: {name}.{domain}\n");
    }
    if let Some(user) = get("ciuser") {
        text += &format!("user: {user}\n");
    } else {
        text += "disable_root: False\n";
    }
    if let Some(password) = get("cipassword") {
        text += &format!("password: {password}\n");
    }
    if let Some(keys) = get("sshkeys") {
        let keys = percent_encoding::percent_decode_str(keys).decode_utf8_lossy().into_owned();
        text += "ssh_authorized_keys:\n";
        text.extend(keys.lines().filter(|k| !k.trim().is_empty()).map(|k| format!("  - {k}\n")));
    }
    text += "chpasswd:\n  expire: False\nusers:\n  - default\npackage_upgrade: true\n";
    Ok(text.into())
}
