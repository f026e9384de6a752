//! Parameters: pool.

use crate::sim::params;
use crate::sim::verify::{Kind, Param, format, opt, req};

/// `pve-poolid` where it is a parameter of the body or query; PVE checks rights first, so the format is looked at later.
const POOLID: Param = req("poolid", Kind::Str);

/// `GET /pools`.
pub const LIST: &[Param] = &[opt("poolid", Kind::Str), opt("type", Kind::Enum(&["qemu", "lxc", "storage"]))];

/// `GET /pools/{poolid}`.
pub const GET: &[Param] = &[opt("type", Kind::Enum(&["qemu", "lxc", "storage"]))];

/// `POST /pools`.
pub const CREATE: &[Param] = &[POOLID, opt("comment", Kind::Str)];

/// `DELETE /pools`.
pub const DELETE: &[Param] = &[POOLID];

/// `PUT`, both forms.
pub const UPDATE: &[Param] = &[
    POOLID,
    opt("allow-move", Kind::Bool),
    opt("comment", Kind::Str),
    opt("delete", Kind::Bool),
    opt("storage", Kind::List(params::storage_id)),
    opt("vms", Kind::List(params::vmid)),
];

/// A pool of another noun's parameters.
pub const OF_GUEST: Param = opt("pool", format(pool_id));

/// `pve-poolid`: up to three levels of words.
pub fn pool_id(text: &str) -> Result<(), String> {
    let word = |w: &str| !w.is_empty() && w.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let parts: Vec<&str> = text.split('/').collect();
    match parts.len() <= 3 && parts.iter().all(|p| word(p)) {
        true => Ok(()),
        false => Err(format!("value '{text}' does not look like a valid pool name\n")),
    }
}
