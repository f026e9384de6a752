//! A backup that becomes a new guest. The request that restores carries our own notes, so that the marker of the original,
//! which stands in the backup, is never on the copy: PVE lets what is sent override what was saved, and writes the
//! configuration once (`PVE::QemuServer::restore_merge_config`, `PVE::LXC::Create::sanitize_and_merge_config`).

use crate::base::diagnostic::nearest;
use crate::base::id::{GuestType, VmId};
use crate::base::quantity::Bytes;
use crate::kinds::guest::file::content_query;
use crate::kinds::guest::fit::{noun, volumes};
use crate::kinds::guest::mapping::{self, Config};
use crate::kinds::guest::observed::GuestSeen;
use crate::kinds::guest::plan::{GuestDesired, Source};
use crate::kinds::guest::room;
use crate::pve::request::{Call, Method, Query};
use crate::resource::index::{GuestRow, Index, text};
use crate::resource::kind::PlanContext;
use crate::resource::privilege::{require, require_any};
use crate::resource::reference::Identity;
use crate::resource::step::{Delta, Impact, Limit, Note, Problem, Step};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The read of the configuration that a backup holds.
pub fn extract_query(node: &str, volume: &str) -> Query {
    Query::new(format!("/nodes/{node}/vzdump/extractconfig")).with("volume", volume)
}

/// What is read to restore a backup on a node.
pub fn reads(volume: &str, node: &str, index: &Index) -> Vec<Query> {
    let storage = volume.split(':').next().unwrap_or("");
    let here = index.storages.contains_key(&(node.to_owned(), storage.to_owned()));
    if !here || !index.nodes.get(node).is_some_and(|n| n.online) {
        return Vec::new();
    }
    vec![content_query(node, storage, "backup"), extract_query(node, volume)]
}

/// The notes in a configuration that a backup holds: each of their lines is a comment there, percent-encoded
/// (`PVE::Tools::encode_text`). Lines of the backup program's own are none.
pub fn notes_in(saved: &str) -> String {
    let lines = saved.lines().take_while(|line| !line.starts_with('['));
    let lines = lines.filter_map(|line| line.strip_prefix('#'));
    let own = |line: &&str| line.starts_with("qmdump#") || line.starts_with("vzdump#");
    let decoded = |line: &str| percent_encoding::percent_decode_str(line).decode_utf8_lossy().into_owned();
    lines.filter(|line| !own(line)).map(decoded).collect::<Vec<_>>().join("\n")
}

/// Options and their values in a configuration that a backup holds.
pub fn options_in(saved: &str) -> Config {
    // What comes after the first `[…]` are snapshots and pending values.
    let lines = saved.lines().take_while(|line| !line.starts_with('['));
    let pairs = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

/// The configuration that a backup holds, without its notes; `None` if it was not read.
pub fn config_of(cx: &PlanContext<'_>, volume: &str) -> Option<Config> {
    let Identity::Guest { node, .. } = cx.identity else { return None };
    let saved = cx.seen.value(&extract_query(node, volume))?.as_str()?;
    Some(options_in(saved))
}

/// The guest that a backup holds, as if it were there and stopped.
pub fn saved(cx: &PlanContext<'_>, volume: &str) -> Option<GuestSeen> {
    let Identity::Guest { guest, vmid, node } = cx.identity else { return None };
    let config = config_of(cx, volume)?;
    let row = GuestRow {
        guest: *guest,
        vmid: *vmid,
        node: node.clone(),
        name: String::new(),
        status: "stopped".into(),
        template: config.get("template").is_some_and(|t| t == "1"),
        lock: None,
        pool: None,
        tags: BTreeSet::new(),
        memory: 0,
        cpus: 0,
        ha: None,
    };
    Some(GuestSeen {
        row: Arc::new(row),
        config,
        in_force: Config::new(),
        pending: Vec::new(),
        digest: None,
        lock: None,
        marker: None,
        firewall: None,
    })
}

/// The guest that a backup is of, by its name on the storage: `vzdump-qemu-101-…`, `vm/101/…`.
fn owner_of(volume: &str) -> Option<VmId> {
    let name = volume.split_once(":backup/")?.1;
    let rest = ["vzdump-qemu-", "vzdump-lxc-", "vm/", "ct/"].iter().find_map(|word| name.strip_prefix(word))?;
    rest.split(['-', '/']).next()?.parse().ok().and_then(VmId::new)
}

/// Where the volumes go: PVE puts those of a container on `local` where nothing is said, which nobody means.
fn target(want: &GuestDesired, storage: Option<&str>) -> Option<String> {
    let rootfs = || want.fields.get("rootfs.storage").cloned();
    storage.map(str::to_owned).or_else(|| if want.guest == GuestType::Lxc { rootfs() } else { None })
}

/// Checks that the backup is there and may be read. What is wrong goes to the problems.
pub fn check_there(cx: &PlanContext<'_>, volume: &str, path: &str, delta: &mut Delta) {
    let Identity::Guest { node, vmid, .. } = cx.identity else { return };
    let storage = volume.split(':').next().unwrap_or("");
    let before = delta.problems.len();
    if room::check_takes(cx, storage, node, "backup", path, delta).is_none() || delta.problems.len() > before {
        return;
    }
    let at = format!("/storage/{storage}");
    if !cx.seen.index.may(&at, "Datastore.Allocate") {
        require_any(cx, delta, std::slice::from_ref(&at), &["Datastore.AllocateSpace"]);
        if let Some(owner) = owner_of(volume).filter(|owner| owner != vmid) {
            require(cx, delta, &format!("/vms/{owner}"), "VM.Backup");
        }
    }
    if delta.problems.len() > before {
        return;
    }
    let list = cx.seen.value(&content_query(node, storage, "backup"));
    let held: Vec<String> =
        list.and_then(|l| l.as_array()).into_iter().flatten().filter_map(|v| text(&v["volid"])).collect();
    if list.is_some() && !held.iter().any(|v| v == volume) {
        let help = match nearest(volume, held.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if held.is_empty() => format!("`{storage}` holds no backups"),
            None => format!("there are: {}", held.join(", ")),
        };
        delta.problems.push(Problem::new(path, format!("node `{node}` sees no backup `{volume}`")).help(help));
    } else if config_of(cx, volume).is_none() {
        delta.problems.push(
            Problem::new(path, format!("the configuration in the backup `{volume}` cannot be read"))
                .help(format!("PVE says why: pvesm extractconfig {volume} on `{node}`")),
        );
    }
}

/// Checks what a backup becomes: where its volumes go, and what is decided by it.
pub fn check(
    cx: &PlanContext<'_>,
    want: &GuestDesired,
    volume: &str,
    storage: Option<&str>,
    saved: &GuestSeen,
    delta: &mut Delta,
) {
    let Identity::Guest { node, guest, .. } = cx.identity else { return };
    let root = if want.template { "source" } else { "from" };
    let path = format!("{root}.archive");
    if saved.row.template && !want.template {
        delta.problems.push(
            Problem::new(&path, format!("`{volume}` is a backup of a template, and PVE makes a template of it again"))
                .help("declare a GuestTemplate with this archive, and clone that"),
        );
    }
    let sizes: Vec<(String, Bytes)> = disks(*guest, &saved.config);
    match (target(want, storage), guest) {
        (Some(to), _) => {
            let all = Bytes(sizes.iter().map(|(_, size)| size.0).sum());
            room::check_storage(cx, &to, node, *guest, all, &format!("{root}.storage"), delta);
        }
        (None, GuestType::Lxc) => delta.problems.push(
            Problem::new(&path, "nothing says where the volumes of the backup go")
                .help("give `storage` beside `archive`, or `storage` of `rootfs`"),
        ),
        (None, GuestType::Qemu) => {
            let stores: BTreeSet<&str> = sizes.iter().map(|(store, _)| store.as_str()).collect();
            for store in stores {
                let all = Bytes(sizes.iter().filter(|(s, _)| s == store).map(|(_, size)| size.0).sum());
                room::check_storage(cx, store, node, *guest, all, &path, delta);
            }
        }
    }
    let held = saved.config.get("unprivileged").map_or("0", String::as_str);
    if *guest == GuestType::Lxc
        && let Some(wanted) = want.fields.get("unprivileged").filter(|w| *w != held)
    {
        let (is, shall) = if wanted == "1" { ("privileged", "unprivileged") } else { ("unprivileged", "privileged") };
        delta.problems.push(
            Problem::new("unprivileged", format!("the container in `{volume}` is {is}, and is to be {shall}"))
                .help("leave `unprivileged` out: it comes with the backup; PVE changes it by pct restore on the node"),
        );
    }
    let bound = saved.config.iter().find(|(key, text)| {
        mapping::slot_number(key, "mp").is_some()
            && mapping::parts(*guest, key, text).get("volume").is_some_and(|v| v.starts_with('/'))
    });
    if let (Some((slot, _)), GuestType::Lxc, false) = (bound, guest, cx.root_ticket) {
        delta.problems.push(
            Problem::new(
                &path,
                format!("{slot} of the backup mounts a place of the host, which PVE restores for root@pam alone"),
            )
            .help("log in with user root@pam and a password, or restore it on the host with pct restore"),
        );
    }
}

/// Storage and size of every disk in a saved configuration.
pub fn disks(guest: GuestType, config: &Config) -> Vec<(String, Bytes)> {
    let names = volumes(guest, config);
    let of = |volume: &str| {
        let text = config.values().find(|text| text.contains(volume))?;
        text.split(',').find_map(|part| part.strip_prefix("size=")).and_then(Bytes::parse)
    };
    let pairs = names.iter().map(|volume| {
        let storage = volume.split(':').next().unwrap_or("").to_owned();
        (storage, of(volume).unwrap_or_default())
    });
    pairs.collect()
}

/// Addresses that the backup's configuration gives, where the manifest gives no others.
fn addresses(want: &GuestDesired, config: &Config) -> Vec<String> {
    let word = if want.guest == GuestType::Qemu { "ipconfig" } else { "net" };
    let options = config.iter().filter_map(|(key, text)| Some((mapping::slot_number(key, word)?, text)));
    let fixed = options.flat_map(|(number, text)| {
        ["ip", "ip6"].map(|part| {
            let own = want.fields.contains_key(&format!("networks.net{number}.{part}"));
            let ip = text.split(',').find_map(|p| p.strip_prefix(&format!("{part}=")));
            ip.filter(|ip| ip.contains('/') && !own).map(str::to_owned)
        })
    });
    fixed.flatten().collect()
}

/// The request that restores it, with our notes and our tag, and the name of the manifest.
pub fn step(cx: &PlanContext<'_>, want: &GuestDesired, notes: &str, saved: &GuestSeen, delta: &mut Delta) {
    let (Identity::Guest { guest, vmid, node }, Source::Archive { volume, storage, keep_mac }) =
        (cx.identity, &want.source)
    else {
        return;
    };
    let mut call = Call::new(Method::Post, format!("/nodes/{node}/{guest}")).with("vmid", vmid);
    let name_key = match guest {
        GuestType::Qemu => {
            call = call.with("archive", volume);
            "name"
        }
        GuestType::Lxc => {
            call = call.with("ostemplate", volume).with("restore", 1);
            "hostname"
        }
    };
    call = call.with("unique", u8::from(!keep_mac));
    let to = target(want, storage.as_deref());
    if let Some(to) = &to {
        call = call.with("storage", to);
    }
    if let Some(name) = want.fields.get("name") {
        call = call.with(name_key, name);
    }
    let own = saved.config.get("tags").map(|tags| mapping::normal_tags(tags.split([';', ',', ' '])));
    let tags = want.fields.get("tags").cloned().or(own).unwrap_or_default();
    call = call.with("tags", mapping::encode(*guest, "tags", &tags)).with("description", notes);
    if let Some(pool) = want.fields.get("pool") {
        call = call.with("pool", pool);
    }
    let mut step = Step::new(format!("restore {volume} as {guest} {vmid} on {node}"), call, Impact::None).task(node);
    for storage in to.into_iter().chain([volume.split(':').next().unwrap_or("").to_owned()]).collect::<BTreeSet<_>>() {
        step = step.limit(Limit::Storage(storage));
    }
    delta.steps.push(step);
    let fixed = addresses(want, &saved.config);
    if !fixed.is_empty() {
        let text = format!("it has the original's fixed address ({}): change it before both run", fixed.join(", "));
        delta.notes.push(Note::Info(text));
    }
    if *keep_mac {
        let of = owner_of(volume).map_or_else(String::new, |owner| format!(" ({} {owner})", noun(*guest)));
        let text = format!("it keeps the MAC addresses of the original{of}; the two must not run side by side");
        delta.notes.push(Note::Info(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_the_comments_of_a_configuration() {
        let saved = "#front end%3A 50%25\n#second\n#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:\nname: web\n[before]\n#old\nname: x\n";
        assert_eq!(notes_in(saved), "front end: 50%\nsecond");
        assert_eq!(options_in(saved), Config::from([("name".to_owned(), "web".to_owned())]));
    }

    #[test]
    fn the_guest_of_a_backup_stands_in_its_name() {
        for (volume, vmid) in [
            ("local:backup/vzdump-qemu-101-2026_11_21-02_00_00.vma.zst", Some(101)),
            ("nfs:backup/vzdump-lxc-200-2026_11_21-02_00_00.tar", Some(200)),
            ("pbs:backup/vm/300/2026-11-21T02:00:00Z", Some(300)),
            ("local:backup/by-hand.vma", None),
        ] {
            assert_eq!(owner_of(volume).map(VmId::get), vmid, "{volume}");
        }
    }
}
