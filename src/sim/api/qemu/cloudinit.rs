//! Cloud-init: its options, its drive, what it would say to the guest.

use super::config::typed;
use super::unlocked;
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
    if let Some(domain) = get("searchdomain") {
        text += &format!("fqdn: {name}.{domain}\n");
    }
    if let Some(user) = get("ciuser") {
        text += &format!("user: {user}\n");
    }
    text += "chpasswd:\n  expire: False\nusers:\n  - default\npackage_upgrade: true\n";
    Ok(text.into())
}
