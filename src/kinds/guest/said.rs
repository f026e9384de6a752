//! What a guest's spec says twice, or says where it cannot be heard: found without a cluster, at the line where it stands.

use crate::base::id::GuestType;
use crate::kinds::guest::spec::{MigratePolicy, Options, Update};
use crate::kinds::guest::table;
use crate::resource::step::Problem;

/// What is looked at.
pub struct Said<'a> {
    /// VM or CT.
    pub guest: GuestType,
    /// `vmid` is given.
    pub vmid: bool,
    /// `vmidRange` is given.
    pub range: bool,
    /// `node` is given.
    pub node: bool,
    /// `placement` is given.
    pub placement: bool,
    /// `hostName` is given.
    pub host_name: bool,
    /// `update`.
    pub update: Option<&'a Update>,
    /// `options`.
    pub options: Option<&'a Options>,
}

/// All that stands against it.
pub fn check(said: &Said<'_>) -> Vec<Problem> {
    let Said { guest, vmid, range, node, placement, host_name, update, options } = said;
    let mut problems = Vec::new();
    if *vmid && *range {
        problems.push(
            Problem::new("vmidRange", "a guest has either a `vmid` or a `vmidRange` to take one from")
                .help("take one of them out"),
        );
    }
    if *node && *placement {
        problems.push(
            Problem::new("placement", "a guest has either a `node` or a `placement` to choose one")
                .help("take one of them out"),
        );
    }
    if *host_name && !*vmid {
        problems.push(
            Problem::new("hostName", "a guest that is not called like its manifest is found by its number")
                .help("give its `vmid`, or leave `hostName` out"),
        );
    }
    if *guest == GuestType::Lxc && update.is_some_and(|u| u.migrate == MigratePolicy::Online) {
        problems.push(
            Problem::new("update.migrate", "a container does not move while it runs")
                .help("write `migrate: Offline`: PVE shuts it down, moves it, and starts it there"),
        );
    }
    for option in options.iter().flat_map(|o| o.keys()) {
        let field = match table::field_of(*guest, option).as_deref() {
            Some("name") => "hostName".to_owned(),
            Some(field) => field.to_owned(),
            None => continue,
        };
        problems.push(
            Problem::new(&format!("options.{option}"), format!("`{option}` has a field of its own"))
                .help(format!("write it as {field}")),
        );
    }
    problems
}
