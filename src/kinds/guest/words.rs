//! What a manifest may say where: options that have a field of their own, and parts that a bus does not take.

use crate::kinds::guest::plan::GuestDesired;
use crate::kinds::guest::{table, versions};
use crate::resource::kind::PlanContext;
use crate::resource::step::{Delta, Problem};
use std::collections::BTreeSet;

/// Options that no manifest says, parts on a bus that does not take them, and what the cluster's version does not know.
pub fn check_options(cx: &PlanContext<'_>, want: &GuestDesired, delta: &mut Delta) {
    for path in want.fields.keys() {
        let Some(option) = path.strip_prefix("options.") else {
            check_bus(want, path, delta);
            continue;
        };
        if let Some(reason) = table::engine_managed(option) {
            delta.problems.push(Problem::new(path, format!("`{option}` is no option of a manifest")).help(reason));
        }
    }
    check_one_source(want, delta);
    versions::check(want, &cx.seen.index.version, delta);
}

fn check_bus(want: &GuestDesired, path: &str, delta: &mut Delta) {
    let Some((row, slot)) = table::find(want.guest, path) else { return };
    if !row.fits(slot) {
        let word = row.path.rsplit('.').next().unwrap_or("");
        delta.problems.push(
            Problem::new(path, format!("{slot} takes no `{word}`"))
                .help(format!("PVE knows it for: {}", row.buses.join(", "))),
        );
    }
}

/// Devices that come from one of two places, and volumes from one of several.
fn check_one_source(want: &GuestDesired, delta: &mut Delta) {
    let lists: [(&str, &[&str], bool); 4] = [
        ("usb", &["mapping", "host"], true),
        ("pci", &["mapping", "host"], true),
        ("mounts", &["storage", "hostPath", "device", "volume"], false),
        ("disks", &["storage", "iso", "volume"], false),
    ];
    for (list, sources, needed) in lists {
        let entry = |path: &str| path.strip_prefix(list)?.strip_prefix('.')?.split('.').next().map(str::to_owned);
        let slots: BTreeSet<String> = want.fields.keys().filter_map(|path| entry(path)).collect();
        for slot in slots {
            let said: Vec<&str> =
                sources.iter().copied().filter(|s| want.fields.contains_key(&format!("{list}.{slot}.{s}"))).collect();
            if said.len() > 1 || needed && said.is_empty() {
                delta.problems.push(
                    Problem::new(
                        &format!("{list}.{slot}"),
                        format!("{slot} comes from exactly one of: {}", sources.join(", ")),
                    )
                    .help("give one of them"),
                );
            }
        }
    }
}
