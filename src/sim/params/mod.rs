//! What parameters must be, by hand and in the shortest form: tables by noun, and the formats that they share.

pub mod access;
pub mod cluster;
pub mod lxc;
pub mod node;
pub mod pool;
pub mod qemu;
pub mod storage;

use crate::sim::verify::{Kind, Param, between, format, req};

/// A VMID.
pub const VMID: Kind = format_vmid();

const fn format_vmid() -> Kind {
    Kind::IntFormat(vmid)
}

/// The usual check of a path placeholder; any unknown one is a plain string.
pub fn path_param(name: &str) -> Option<Param> {
    Some(match name {
        "node" => req("node", format(node)),
        "vmid" => req("vmid", VMID),
        "storage" => req("storage", format(storage_id)),
        "snapname" => req("snapname", format(config_id)),
        "poolid" => req("poolid", Kind::Str),
        "userid" => req("userid", Kind::Str),
        "tokenid" => req("tokenid", Kind::Str),
        "roleid" => req("roleid", Kind::Str),
        "groupid" => req("groupid", Kind::Str),
        "upid" => req("upid", Kind::Str),
        "volume" => req("volume", Kind::Str),
        "id" => req("id", Kind::Str),
        "sid" => req("sid", Kind::Str),
        "pos" => req("pos", between(0, i64::MAX)),
        "name" => req("name", Kind::Str),
        "cidr" => req("cidr", Kind::Str),
        "group" => req("group", Kind::Str),
        "iface" => req("iface", Kind::Str),
        "service" => req("service", Kind::Str),
        "zone" => req("zone", Kind::Str),
        "vnet" => req("vnet", Kind::Str),
        "subnet" => req("subnet", Kind::Str),
        "rule" => req("rule", Kind::Str),
        _ => return None,
    })
}

fn words(text: &str, extra: &str, min: usize) -> bool {
    text.len() >= min
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}

/// `pve-vmid`.
pub fn vmid(text: &str) -> Result<(), String> {
    match text.parse::<u64>() {
        Ok(n) if (100..=999_999_999).contains(&n) => Ok(()),
        _ => Err("value does not look like a valid VM ID\n".to_owned()),
    }
}

/// `pve-node`.
pub fn node(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    match !text.is_empty() && text.chars().all(plain) && !text.starts_with('-') && !text.ends_with('-') {
        true => Ok(()),
        false => Err("value does not look like a valid node name\n".to_owned()),
    }
}

/// `pve-storage-id`.
pub fn storage_id(text: &str) -> Result<(), String> {
    match words(text, "-_.", 2) && text.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        true => Ok(()),
        false => Err(format!("storage ID '{text}' contains illegal characters\n")),
    }
}

/// `pve-configid`.
pub fn config_id(text: &str) -> Result<(), String> {
    match words(text, "-_", 2) {
        true => Ok(()),
        false => Err(format!("invalid configuration ID '{text}'\n")),
    }
}

/// `dns-name`.
pub fn dns_name(text: &str) -> Result<(), String> {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    match text.split('.').all(label) {
        true => Ok(()),
        false => Err("value does not look like a valid DNS name\n".to_owned()),
    }
}

/// `pve-volume-id`.
pub fn volume_id(text: &str) -> Result<(), String> {
    match text.split_once(':') {
        Some((storage, name)) if storage_id(storage).is_ok() && !name.is_empty() => Ok(()),
        _ => Err(format!("unable to parse volume ID '{text}'\n")),
    }
}

/// `pve-tag`, one of a list.
pub fn tag(text: &str) -> Result<(), String> {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    match first && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-+.".contains(c)) {
        true => Ok(()),
        false => Err("invalid characters in tag\n".to_owned()),
    }
}

/// `pve-bridge-id` and other interface names.
pub fn iface(text: &str) -> Result<(), String> {
    match words(text, "_-.:", 2) && text.len() <= 20 {
        true => Ok(()),
        false => Err(format!("invalid network interface name '{text}'\n")),
    }
}

/// Anything goes.
pub fn anything(_: &str) -> Result<(), String> {
    Ok(())
}
