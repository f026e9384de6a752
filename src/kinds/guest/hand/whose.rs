//! Whether a backup is of the guest that has its number now. Numbers are given again: what is written over by its number
//! alone may be another's. Our markers say it; where one of them is missing, the names and when a VM was made do.

use crate::kinds::guest::hand::restore::Restore;
use crate::kinds::guest::mapping::Config;
use crate::kinds::guest::observed::{GuestSeen, created};
use crate::resource::marker::Marker;

/// Why a backup is not, or may not be, one of the guest; `None`: nothing speaks against it.
pub fn another(restore: &Restore, now: &GuestSeen, saved: &Config, notes: &str) -> Option<String> {
    // A clone by hand carries the notes of its original.
    let of_it = |m: &Marker| m.vmid.is_none_or(|vmid| vmid == restore.vmid.get());
    let marker = Marker::split(notes).1.filter(of_it);
    match (&marker, &now.marker) {
        (Some(then), Some(now)) if then.owner == now.owner => return None,
        (Some(then), Some(now)) => return Some(format!("it is one of {}, and the guest is {}", then.owner, now.owner)),
        (Some(_) | None, _) => {}
    }
    let key = restore.name_key();
    if let (Some(then), Some(now)) = (saved.get(key), now.config.get(key))
        && then != now
    {
        return Some(format!("it is one of `{then}`, and the guest is `{now}`"));
    }
    let older = created(&now.config).is_some_and(|made| restore.backup.time < made);
    older.then(|| "it is older than the guest".to_owned())
}
