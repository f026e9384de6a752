//! The privileges that a guest's plan takes, all of them before the first request: what PVE asks for each option
//! (`check_vm_modify_config_perm`, `check_ct_modify_config_perm`), for making, cloning, growing, starting, and what it lets
//! only root@pam do.

use crate::base::id::{GuestType, VmId};
use crate::kinds::guest::compose;
use crate::kinds::guest::fit::{bridges_query, original, volumes};
use crate::kinds::guest::mapping::{self, Place, slot_number};
use crate::kinds::guest::observed::GuestSeen;
use crate::kinds::guest::plan::{GuestDesired, Source};
use crate::kinds::guest::spec::RebootPolicy;
use crate::pve::property::PropertyString;
use crate::resource::kind::PlanContext;
use crate::resource::merge::Difference;
use crate::resource::privilege::{require, require_any};
use crate::resource::reference::Identity;
use crate::resource::step::{Delta, Impact, Problem};
use std::collections::{BTreeMap, BTreeSet};

/// What PVE asks of who changes an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// One of these privileges on the guest.
    Any(&'static [&'static str]),
    /// To be root@pam, by a ticket.
    Root,
}

const CPU: Asks = Asks::Any(&["VM.Config.CPU"]);
const MEMORY: Asks = Asks::Any(&["VM.Config.Memory"]);
const BOARD: Asks = Asks::Any(&["VM.Config.HWType"]);
const OPTIONS: Asks = Asks::Any(&["VM.Config.Options"]);
const DISK: Asks = Asks::Any(&["VM.Config.Disk"]);
const NETWORK: Asks = Asks::Any(&["VM.Config.Network"]);
const CLOUD_INIT: Asks = Asks::Any(&["VM.Config.Cloudinit", "VM.Config.Network"]);

fn of_vm(option: &str, value: &str) -> Asks {
    let numbered = |word: &str| slot_number(option, word).is_some();
    let mapped = PropertyString::parse(value, "").get("mapping").is_some();
    match option {
        "cores" | "cpu" | "cpulimit" | "cpuunits" | "numa" | "smp" | "sockets" | "vcpus" => CPU,
        "memory" | "balloon" | "shares" | "allow-ksm" => MEMORY,
        "acpi" | "hotplug" | "kvm" | "machine" | "scsihw" | "smbios1" | "tablet" | "vga" | "watchdog" | "audio0"
        | "rng0" => BOARD,
        "agent" | "autostart" | "bios" | "description" | "keyboard" | "localtime" | "migrate_downtime"
        | "migrate_speed" | "name" | "onboot" | "ostype" | "protection" | "reboot" | "startdate" | "startup"
        | "tags" | "tdf" | "template" => OPTIONS,
        "boot" | "bootdisk" | "vmstatestorage" => DISK,
        "freeze" => Asks::Any(&["VM.PowerMgmt"]),
        "cicustom" | "cipassword" | "citype" | "ciuser" | "ciupgrade" | "nameserver" | "searchdomain" | "sshkeys" => {
            CLOUD_INIT
        }
        "cdrom" => Asks::Any(&["VM.Config.CDROM"]),
        _ if numbered("ipconfig") => CLOUD_INIT,
        _ if numbered("numa") => CPU,
        _ if numbered("net") => NETWORK,
        _ if mapping::is_disk_slot(option) && value.contains("media=cdrom") => Asks::Any(&["VM.Config.CDROM"]),
        _ if mapping::is_disk_slot(option) || numbered("efidisk") || numbered("tpmstate") || numbered("unused") => DISK,
        _ if numbered("serial") && value == "socket" => BOARD,
        _ if numbered("usb") && (mapped || value.contains("spice")) => BOARD,
        _ if numbered("hostpci") && mapped => BOARD,
        _ if numbered("virtiofs") => BOARD,
        // As in PVE: what stands in no list is root's.
        _ => Asks::Root,
    }
}

fn of_ct(option: &str, value: &str, unprivileged: bool) -> Asks {
    let numbered = |word: &str| slot_number(option, word).is_some();
    match option {
        "cores" | "cpulimit" | "cpuunits" => CPU,
        "memory" | "swap" => MEMORY,
        "hostname" | "nameserver" | "searchdomain" => NETWORK,
        "features" => {
            let more = PropertyString::parse(value, "").iter().any(|(key, _)| key != "nesting");
            if more || !unprivileged { Asks::Root } else { Asks::Any(&["VM.Allocate"]) }
        }
        "hookscript" | "lock" | "template" => Asks::Root,
        _ if option == "rootfs" || numbered("mp") || numbered("unused") => {
            let path = PropertyString::parse(value, "volume").get("volume").is_some_and(|v| v.starts_with('/'));
            if path { Asks::Root } else { DISK }
        }
        _ if numbered("net") => NETWORK,
        _ if numbered("dev") || option.starts_with("lxc.") => Asks::Root,
        _ => OPTIONS,
    }
}

/// The option that a field is written to.
fn option_of(guest: GuestType, path: &str) -> Option<String> {
    match mapping::place(guest, path) {
        Place::Option(option) | Place::Part(option, _) => Some(option),
        Place::Elsewhere => mapping::volume_path(path).map(|(slot, _)| slot.to_owned()),
    }
}

/// The option that a field is written to, and what PVE asks of who writes it so; `None` for what is no option.
fn asked(want: &GuestDesired, field: &str, value: Option<&str>, unprivileged: bool) -> Option<(String, Asks)> {
    let option = option_of(want.guest, field)?;
    // A part's value says nothing about the whole option; a removal has none.
    let told = value.filter(|v| !v.is_empty());
    let last = field.rsplit('.').next().unwrap_or("");
    let value = match (want.guest, last) {
        (_, _) if field.starts_with("options.") => told.unwrap_or(""),
        (GuestType::Qemu, "mapping") if told.is_some() => "mapping=x",
        (GuestType::Qemu, "host") if told == Some("spice") => "spice",
        (GuestType::Qemu, "device") if told.is_none_or(|v| v == "socket") => "socket",
        (GuestType::Qemu, "iso") => "media=cdrom",
        (GuestType::Lxc, "hostPath" | "device") => "/",
        // The default is what is there already, as far as PVE asks.
        (GuestType::Lxc, "keyctl" | "fuse" | "mknod" | "mount" | "forceRwSys") if told != Some("0") => "keyctl=1",
        (_, _) if field.starts_with("usb.") || field.starts_with("pci.") => {
            let mapped = want
                .fields
                .keys()
                .any(|k| k.starts_with(&field[..field.len() - last.len()]) && k.ends_with(".mapping"));
            if mapped { "mapping=x" } else { "" }
        }
        (_, _) => "",
    };
    if field == "unprivileged" {
        return None;
    }
    let asks = match want.guest {
        GuestType::Qemu => of_vm(&option, value),
        GuestType::Lxc => of_ct(&option, value, unprivileged),
    };
    Some((option, asks))
}

/// Whether `pct create` takes an option that PVE leaves to root@pam.
fn pct_takes(option: &str) -> bool {
    !option.starts_with("lxc.") && !matches!(option, "lock" | "template")
}

fn is_unprivileged(want: &GuestDesired) -> bool {
    want.fields.get("unprivileged").is_none_or(|u| u == "1")
}

/// Whether a new container is made through the host link: it wants something that no token may set, and its node has a link.
pub fn by_link(cx: &PlanContext<'_>, want: &GuestDesired) -> bool {
    let Identity::Guest { node, .. } = cx.identity else { return false };
    if cx.root_ticket || want.guest != GuestType::Lxc || !cx.links.reach(node) {
        return false;
    }
    let unprivileged = is_unprivileged(want);
    let roots = want.fields.iter().filter_map(|(field, value)| asked(want, field, Some(value), unprivileged));
    let roots: Vec<String> = roots.filter(|(_, asks)| *asks == Asks::Root).map(|(option, _)| option).collect();
    matches!(want.source, Source::OsTemplate(_)) && !roots.is_empty() && roots.iter().all(|option| pct_takes(option))
}

/// Who writes.
struct Writer<'a> {
    /// The container is unprivileged.
    unprivileged: bool,
    /// The host link does it, as root.
    linked: bool,
    /// Whole options as they shall be.
    whole: &'a BTreeMap<String, String>,
}

/// What the fields take, each with its place in the manifest.
fn require_fields<'a>(
    cx: &PlanContext<'_>,
    want: &GuestDesired,
    writer: &Writer<'_>,
    paths: &[String],
    fields: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    delta: &mut Delta,
) {
    for (field, value) in fields {
        let Some((option, asks)) = asked(want, field, value, writer.unprivileged) else { continue };
        match asks {
            Asks::Any(privileges) => require_any(cx, delta, paths, privileges),
            Asks::Root if cx.root_ticket || writer.linked => {}
            Asks::Root => delta.problems.push(root_only(cx, want, field, &option, writer.whole.get(&option))),
        }
        let told = value.filter(|v| !v.is_empty());
        let last = field.rsplit('.').next().unwrap_or("");
        if let (GuestType::Qemu, Some(mapping)) = (want.guest, mapping_of(field, last, told)) {
            require(cx, delta, &format!("/mapping/{mapping}"), "Mapping.Use");
        }
        if want.guest == GuestType::Qemu && option == "startup" {
            // It changes how the host behaves.
            require(cx, delta, "/", "Sys.Modify");
        }
    }
}

/// The mapping of the cluster that a field uses, by its path below `/mapping`.
fn mapping_of(field: &str, last: &str, told: Option<&str>) -> Option<String> {
    let list = field.split('.').next()?;
    match (list, last, told?) {
        ("usb", "mapping", name) => Some(format!("usb/{name}")),
        ("pci", "mapping", name) => Some(format!("pci/{name}")),
        ("virtiofs", "directory", name) => Some(format!("dir/{name}")),
        ("hardware", "source", "/dev/hwrng") => Some("hwrng".to_owned()),
        (_, _, _) => None,
    }
}

fn root_only(cx: &PlanContext<'_>, want: &GuestDesired, field: &str, option: &str, whole: Option<&String>) -> Problem {
    let guest = want.guest;
    let tool = if guest == GuestType::Qemu { "qm" } else { "pct" };
    let mapped = ["hostpci", "usb"].iter().any(|word| slot_number(option, word).is_some());
    let way = if mapped { "use a resource mapping (mapping=NAME), or " } else { "" };
    let (vmid, node) = match cx.identity {
        Identity::Guest { vmid, node, .. } => (vmid.to_string(), node.as_str()),
        Identity::Pool(_) | Identity::Object { .. } => ("VMID".to_owned(), "the node"),
    };
    // A new container is not there to be set.
    let new = guest == GuestType::Lxc && whole.is_none() && matches!(want.source, Source::OsTemplate(_));
    let by_hand = match whole {
        Some(value) => format!("set it on {node} and say the same here: {tool} set {vmid} --{option} '{value}'"),
        None => format!("set it on the host with {tool} set and say the same here"),
    };
    let link = if new && pct_takes(option) && !cx.links.reach(node) {
        format!(", or give the context a host link to {node} (`link:`): then pct create makes it there")
    } else {
        String::new()
    };
    Problem::new(field, format!("PVE lets only root@pam's own login set `{option}` like this, never a token"))
        .help(format!("{way}log in with user root@pam and a password, or {by_hand}{link}"))
}

/// What making a guest takes: on its own path, or on that of its pool. Without VM.Audit PVE hides guests silently, so that
/// even "it is not there" would be a guess.
pub fn require_create(cx: &PlanContext<'_>, want: &GuestDesired, source: Option<&GuestSeen>, delta: &mut Delta) {
    let Identity::Guest { vmid, .. } = cx.identity else { return };
    let paths: Vec<String> = std::iter::once(format!("/vms/{vmid}"))
        .chain(want.fields.get("pool").map(|pool| format!("/pool/{pool}")))
        .collect();
    require_any(cx, delta, &paths, &["VM.Audit"]);
    require_any(cx, delta, &paths, &["VM.Allocate"]);
    if let Some(number) = source_number(cx, want) {
        require(cx, delta, &format!("/vms/{number}"), "VM.Clone");
    }
    for volume in source.map(|s| volumes(s.row.guest, &s.config)).unwrap_or_default() {
        let to = match &want.source {
            Source::Template { storage: Some(storage), .. }
            | Source::Guest { storage: Some(storage), .. }
            | Source::Archive { storage: Some(storage), .. } => storage,
            Source::Template { .. }
            | Source::Guest { .. }
            | Source::Empty
            | Source::Iso(_)
            | Source::Image { .. }
            | Source::OsTemplate(_)
            | Source::Archive { .. }
            | Source::Existing => volume.split(':').next().unwrap_or(""),
        };
        require(cx, delta, &format!("/storage/{to}"), "Datastore.AllocateSpace");
    }
    let none = BTreeMap::new();
    let writer = Writer { unprivileged: is_unprivileged(want), linked: by_link(cx, want), whole: &none };
    // What is made from nothing is made with all of its fields; a clone has what its source has.
    let from_nothing =
        matches!(want.source, Source::Empty | Source::Iso(_) | Source::Image { .. } | Source::OsTemplate(_));
    let changed: Vec<(String, Option<String>)> = if from_nothing {
        want.fields.iter().map(|(path, to)| (path.clone(), Some(to.clone()))).collect()
    } else {
        delta.changes.iter().map(|c| (c.path.clone(), c.to.clone())).collect()
    };
    // Our marker stands in the description, and our tag among the tags.
    let fields = changed.iter().map(|(path, to)| (path.as_str(), to.as_deref())).chain([("description", None)]);
    require_fields(cx, want, &writer, &paths, fields, delta);
    require_bridges(cx, want, changed.iter().map(|(path, _)| path.as_str()), delta);
    if want.fields.get("power").is_some_and(|p| p == "Running") {
        require_any(cx, delta, &paths, &["VM.PowerMgmt"]);
    }
}

fn source_number(cx: &PlanContext<'_>, want: &GuestDesired) -> Option<VmId> {
    match &want.source {
        Source::Template { template, .. } => match cx.identities.get(template)? {
            Identity::Guest { vmid, .. } => Some(*vmid),
            Identity::Pool(_) | Identity::Object { .. } => None,
        },
        Source::Guest { of, .. } => original(cx, want.guest, of).ok().flatten().map(|row| row.vmid),
        Source::Empty
        | Source::Iso(_)
        | Source::Image { .. }
        | Source::OsTemplate(_)
        | Source::Archive { .. }
        | Source::Existing => None,
    }
}

/// What changing a guest takes.
pub fn require_update(
    cx: &PlanContext<'_>,
    want: &GuestDesired,
    seen: &GuestSeen,
    differences: &[Difference],
    delta: &mut Delta,
) {
    let vms = [format!("/vms/{}", seen.row.vmid)];
    let unprivileged = seen.config.get("unprivileged").is_some_and(|u| u == "1");
    let fields = differences.iter().map(|d| (d.path.as_str(), d.to.as_deref()));
    let marker = (!differences.is_empty() || seen.marker.is_none()).then_some(("description", None));
    let whole = compose::write(want.guest, &seen.config, &want.fields, differences).set;
    let writer = Writer { unprivileged, linked: false, whole: &whole };
    require_fields(cx, want, &writer, &vms, fields.chain(marker), delta);
    require_bridges(cx, want, differences.iter().map(|d| d.path.as_str()), delta);
    for d in differences {
        if let (Some((_, "size")), Some(storage)) = (mapping::volume_path(&d.path), storage_of(seen, &d.path)) {
            require(cx, delta, &format!("/storage/{storage}"), "Datastore.AllocateSpace");
        }
        if d.path == "pool"
            && let Some(pool) = d.to.as_ref().or(d.from.as_ref())
        {
            require(cx, delta, &format!("/pool/{pool}"), "Pool.Allocate");
            require_any(cx, delta, &vms, &["VM.Allocate", "Permissions.Modify"]);
        }
    }
    let later = differences.iter().any(|d| mapping::impact(want.guest, &d.path) == Impact::AfterReboot);
    let restarts = want.reboot == RebootPolicy::IfRequired && seen.running() && (later || !seen.pending.is_empty());
    // The HA manager does it with rights of its own.
    let power = differences.iter().any(|d| d.path == "power") && !seen.row.ha_managed();
    if restarts || power {
        require_any(cx, delta, &vms, &["VM.PowerMgmt"]);
    }
    if want.template && !seen.row.template {
        require_any(cx, delta, &vms, &["VM.Allocate"]);
    }
}

/// The storage that an existing volume is on.
fn storage_of(seen: &GuestSeen, path: &str) -> Option<String> {
    let (slot, _) = mapping::volume_path(path)?;
    let parts = mapping::parts(seen.row.guest, slot, seen.config.get(slot)?);
    let volume = parts.get("file").or_else(|| parts.get("volume"))?;
    volume.split_once(':').map(|(storage, _)| storage.to_owned())
}

/// What deleting a guest takes.
pub fn require_delete(cx: &PlanContext<'_>, seen: &GuestSeen, delta: &mut Delta) {
    let vms = format!("/vms/{}", seen.row.vmid);
    require(cx, delta, &vms, "VM.Allocate");
    if seen.running() {
        require(cx, delta, &vms, "VM.PowerMgmt");
    }
}

/// The right to use the bridges of the networks that are written. A vnet that we see, we may use: its zone is not known.
fn require_bridges<'a>(
    cx: &PlanContext<'_>,
    want: &GuestDesired,
    fields: impl Iterator<Item = &'a str>,
    delta: &mut Delta,
) {
    let Identity::Guest { node, .. } = cx.identity else { return };
    let slots: BTreeSet<&str> = fields.filter_map(|path| path.strip_prefix("networks.")?.split('.').next()).collect();
    let list = cx.seen.value(&bridges_query(node)).and_then(|v| v.as_array());
    for bridge in slots.iter().filter_map(|slot| want.fields.get(&format!("networks.{slot}.bridge"))) {
        let is_vnet = list.is_some_and(|l| l.iter().any(|b| b["iface"] == *bridge && b["type"] == "vnet"));
        if !is_vnet {
            require(cx, delta, &format!("/sdn/zones/localnetwork/{bridge}"), "SDN.Use");
        }
    }
}
