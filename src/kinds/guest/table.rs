//! The table that drives everything about a guest's fields: for each field of a manifest which option of PVE it is, or which
//! part of one, its normal form, what its absence means, and what changing it does. Collecting, reading, writing, exporting
//! and checking all walk it, so that a new field is a row here and a line in the spec.

use crate::base::id::GuestType;
use crate::kinds::guest::form::Form;
use crate::kinds::guest::mapping::slot_number;
use crate::kinds::guest::{table_ct, table_vm};
use crate::resource::step::Impact;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Where a field lives in PVE's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A whole option.
    Option(&'static str),
    /// A part of an option.
    Part(&'static str, &'static str),
    /// The option that the slot names, whole.
    Slot,
    /// A part of the option that the slot names.
    SlotPart(&'static str),
    /// A part of an option with the slot's number: `ipconfig0` for `net0`.
    Numbered(&'static str, &'static str),
    /// Read off the volume behind the slot, and never written into the option of a volume that is there.
    Volume,
    /// Not an option: power and pool.
    Index,
}

/// A field.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its path in the manifest; `*` stands for the slot.
    pub path: &'static str,
    /// Where it lives.
    pub at: At,
    /// Its normal form.
    pub form: Form,
    /// What its absence means, in normal form.
    pub default: Option<&'static str>,
    /// What changing it does to a running guest. PVE's own answer (`/pending` after the write) counts in the end.
    pub impact: Impact,
    /// The buses that take it; empty for all of the list.
    pub buses: &'static [&'static str],
}

/// A field that takes effect at the next start and has no default of its own.
pub const fn row(path: &'static str, at: At, form: Form) -> Row {
    Row { path, at, form, default: form.default(), impact: Impact::AfterReboot, buses: &[] }
}

impl Row {
    /// With what its absence means.
    pub const fn or(self, default: &'static str) -> Row {
        Row { default: Some(default), ..self }
    }
    /// Its absence means nothing that is known.
    pub const fn open(self) -> Row {
        Row { default: None, ..self }
    }
    /// Takes effect at once.
    pub const fn live(self) -> Row {
        Row { impact: Impact::Live, ..self }
    }
    /// Means nothing to the running guest.
    pub const fn quiet(self) -> Row {
        Row { impact: Impact::None, ..self }
    }
    /// Only for these buses.
    pub const fn on(self, buses: &'static [&'static str]) -> Row {
        Row { buses, ..self }
    }

    /// The list of the manifest that it belongs to, if it is one with slots.
    pub fn list(&self) -> Option<&'static str> {
        self.path.split_once(".*").map(|(list, _)| list)
    }

    /// The slot in a path of this field: `scsi0` of `disks.scsi0.cache`, empty for a field without slots; `None` for
    /// another field's path.
    pub fn slot<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self.path.split_once('*') {
            None => (self.path == path).then_some(""),
            Some((before, after)) => {
                path.strip_prefix(before)?.strip_suffix(after).filter(|s| !s.is_empty() && !s.contains('.'))
            }
        }
    }

    /// The option that holds it, for a slot.
    pub fn option(&self, slot: &str) -> Option<String> {
        match self.at {
            At::Option(option) | At::Part(option, _) => Some(option.to_owned()),
            At::Slot | At::SlotPart(_) => Some(if slot.is_empty() { "rootfs".to_owned() } else { slot.to_owned() }),
            At::Numbered(stem, _) => Some(format!("{stem}{}", slot.trim_start_matches(|c: char| !c.is_ascii_digit()))),
            At::Volume | At::Index => None,
        }
    }

    /// Whether a slot's bus takes it.
    pub fn fits(&self, slot: &str) -> bool {
        self.buses.is_empty() || self.buses.iter().any(|bus| slot_number(slot, bus).is_some())
    }
}

/// All fields of a type of guest.
pub fn rows(guest: GuestType) -> &'static [Row] {
    match guest {
        GuestType::Qemu => table_vm::ROWS,
        GuestType::Lxc => table_ct::ROWS,
    }
}

/// The words that options of a list's slots begin with.
pub fn buses(guest: GuestType, list: &str) -> &'static [&'static str] {
    match (guest, list) {
        (GuestType::Qemu, "disks") => &["scsi", "virtio", "sata", "ide", "efidisk", "tpmstate"],
        (_, "networks") => &["net"],
        (GuestType::Qemu, "numaNodes") => &["numa"],
        (GuestType::Qemu, "usb") => &["usb"],
        (GuestType::Qemu, "pci") => &["hostpci"],
        (GuestType::Qemu, "serialPorts") => &["serial"],
        (GuestType::Qemu, "virtiofs") => &["virtiofs"],
        (GuestType::Lxc, "mounts") => &["mp"],
        (GuestType::Lxc, "devices") => &["dev"],
        (GuestType::Qemu | GuestType::Lxc, _) => &[],
    }
}

/// The row of a path and its slot.
pub fn find(guest: GuestType, path: &str) -> Option<(&'static Row, &str)> {
    let first = |path: &'static str| path.split('.').next().unwrap_or(path);
    // Every field of every guest is looked up several times a plan: only rows that begin alike are tried.
    static BY_WORD: [OnceLock<BTreeMap<&str, Vec<&Row>>>; 2] = [OnceLock::new(), OnceLock::new()];
    let index = BY_WORD[usize::from(guest == GuestType::Lxc)].get_or_init(|| {
        let mut index: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        rows(guest).iter().for_each(|row| index.entry(first(row.path)).or_default().push(row));
        index
    });
    let word = path.split('.').next().unwrap_or(path);
    index.get(word)?.iter().find_map(|row| Some((*row, row.slot(path)?)))
}

/// The fields that an option of PVE is, by their paths: `hardware.cores` for `cores`, `disks.scsi0` for `scsi0`.
pub fn field_of(guest: GuestType, option: &str) -> Option<String> {
    rows(guest).iter().find_map(|row| match row.at {
        At::Option(o) | At::Part(o, _) if o == option => {
            let head = row.path.split('.').take(2).collect::<Vec<_>>().join(".");
            Some(if matches!(row.at, At::Part(..)) { head } else { row.path.to_owned() })
        }
        At::Numbered(stem, _) if slot_number(option, stem).is_some() => {
            Some(format!("networks.net{}", &option[stem.len()..]))
        }
        At::Slot | At::SlotPart(_) => match row.list() {
            None => (option == "rootfs").then(|| "rootfs".to_owned()),
            Some(list) => {
                let ours = buses(guest, list).iter().any(|bus| slot_number(option, bus).is_some());
                ours.then(|| format!("{list}.{option}"))
            }
        },
        At::Option(_) | At::Part(..) | At::Numbered(..) | At::Volume | At::Index => None,
    })
}

/// Options of the configuration API that no manifest may say, with the reason.
pub fn engine_managed(option: &str) -> Option<&'static str> {
    Some(match option {
        "vmid" | "node" => "the field of that name says it",
        "delete" | "revert" => "what leaves the manifest is reset",
        "digest" => "every write carries the digest of what was seen",
        "force" | "skiplock" => "a lock is waited for, never gone past, and a volume is never destroyed by a change",
        "lock" => "locks are PVE's own",
        "template" => "a template is declared as a GuestTemplate",
        "background_delay" => "changes are written in one request that is done when it is answered",
        "import-working-storage" => "no change imports an image",
        "archive" | "ostemplate" | "restore" | "unique" | "live-restore" | "ignore-unpack-errors" => {
            "where a guest comes from is said by `from`"
        }
        "start" => "whether it runs is said by `power`",
        "pool" => "the field of that name says it",
        "storage" => "each volume names its storage",
        "bwlimit" => "PVE's own limits of bandwidth hold",
        "ha-managed" => "high availability is declared by its own kinds",
        "password" | "ssh-public-keys" => "they are used at creation alone, and PVE gives none back to compare",
        "cipassword" => {
            "a password has no place in a manifest: give `cloudInit.sshKeys`, or `cloudInit.custom.user` with a hash"
        }
        _ if slot_number(option, "unused").is_some() => {
            "detached volumes are PVE's own list: plug one in with `volume` of a disk"
        }
        _ if option.starts_with("lxc.") || option == "idmap" => {
            "PVE's API takes no raw lxc keys, ID maps (`lxc.idmap`) among them: write them on the node into /etc/pve/lxc/VMID.conf, where pvectl leaves them as they are"
        }
        _ => return None,
    })
}
