//! Parameters: storage.

use crate::sim::params::{self, VMID};
use crate::sim::verify::{Kind, Param, at_least, between, format, opt, req};

/// Types of storages.
pub const TYPES: &[&str] = &[
    "btrfs",
    "cephfs",
    "cifs",
    "dir",
    "esxi",
    "iscsi",
    "iscsidirect",
    "lvm",
    "lvmthin",
    "nfs",
    "pbs",
    "rbd",
    "zfs",
    "zfspool",
];

/// `GET /storage`.
pub const LIST: &[Param] = &[opt("type", Kind::Enum(TYPES))];

const PRUNE: &[Param] = &[
    opt("keep-all", Kind::Bool),
    opt("keep-daily", at_least(0)),
    opt("keep-hourly", at_least(0)),
    opt("keep-last", at_least(0)),
    opt("keep-monthly", at_least(0)),
    opt("keep-weekly", at_least(0)),
    opt("keep-yearly", at_least(0)),
];

/// `prune-backups`.
pub const PRUNE_BACKUPS: Kind = Kind::Props("", PRUNE);

/// What can be changed later.
pub const OPTIONS: &[Param] = &[
    opt("blocksize", Kind::Str),
    opt("bwlimit", Kind::Str),
    opt("comstar_hg", Kind::Str),
    opt("comstar_tg", Kind::Str),
    opt("content", Kind::List(content)),
    opt("content-dirs", Kind::Str),
    opt("create-base-path", Kind::Bool),
    opt("create-subdirs", Kind::Bool),
    opt("data-pool", Kind::Str),
    opt("disable", Kind::Bool),
    opt("domain", Kind::Len(0, 256)),
    opt("encryption-key", Kind::Str),
    opt("fingerprint", Kind::Str),
    opt("format", Kind::Enum(FORMATS)),
    opt("fs-name", format(params::config_id)),
    opt("fuse", Kind::Bool),
    opt("is_mountpoint", Kind::Str),
    opt("keyring", Kind::Str),
    opt("krbd", Kind::Bool),
    opt("lio_tpg", Kind::Str),
    opt("master-pubkey", Kind::Str),
    opt("max-protected-backups", at_least(-1)),
    opt("mkdir", Kind::Bool),
    opt("monhost", Kind::Str),
    opt("mountpoint", format(path)),
    opt("namespace", Kind::Str),
    opt("nocow", Kind::Bool),
    opt("nodes", Kind::List(params::node)),
    opt("nowritecache", Kind::Bool),
    opt("options", Kind::Str),
    opt("password", Kind::Len(0, 256)),
    opt("pool", Kind::Str),
    opt("port", between(1, 65535)),
    opt("preallocation", Kind::Enum(&["off", "metadata", "falloc", "full"])),
    opt("prune-backups", PRUNE_BACKUPS),
    opt("saferemove", Kind::Bool),
    opt("saferemove-stepsize", Kind::Enum(&["1", "2", "4", "8", "16", "32"])),
    opt("saferemove_throughput", Kind::Str),
    opt("server", Kind::Str),
    opt("shared", Kind::Bool),
    opt("skip-cert-verification", Kind::Bool),
    opt("smbversion", Kind::Enum(&["default", "2.0", "2.1", "3", "3.0", "3.11"])),
    opt("snapshot-as-volume-chain", Kind::Bool),
    opt("sparse", Kind::Bool),
    opt("subdir", format(path)),
    opt("tagged_only", Kind::Bool),
    opt("username", Kind::Str),
    opt("zfs-base-path", format(path)),
];

/// What is fixed at creation.
pub const CREATE: &[Param] = &[
    req("storage", format(params::storage_id)),
    req("type", Kind::Enum(TYPES)),
    opt("authsupported", Kind::Str),
    opt("base", format(params::volume_id)),
    opt("datastore", Kind::Str),
    opt("export", format(path)),
    opt("iscsiprovider", Kind::Str),
    opt("path", format(path)),
    opt("portal", Kind::Str),
    opt("share", Kind::Str),
    opt("target", Kind::Str),
    opt("thinpool", format(lvm_name)),
    opt("vgname", format(lvm_name)),
];

/// Besides the options in `PUT /storage/{storage}`.
pub const UPDATE: &[Param] = &[opt("delete", Kind::List(params::config_id)), opt("digest", Kind::Len(0, 64))];

/// `GET /nodes/{node}/storage`.
pub const ON_NODE: &[Param] = &[
    opt("content", Kind::List(content)),
    opt("enabled", Kind::Bool),
    opt("format", Kind::Bool),
    opt("storage", format(params::storage_id)),
    opt("target", format(params::node)),
];

/// `GET …/content`.
pub const CONTENT: &[Param] = &[opt("content", Kind::Str), opt("vmid", VMID)];

/// `POST …/content`.
pub const ALLOCATE: &[Param] = &[
    req("filename", Kind::Str),
    opt("format", Kind::Enum(FORMATS)),
    req("size", Kind::Pattern(size, usize::MAX)),
    req("vmid", VMID),
];

/// `PUT …/content/{volume}`.
pub const ATTRIBUTES: &[Param] = &[opt("notes", Kind::Str), opt("protected", Kind::Bool)];

/// `DELETE …/content/{volume}`.
pub const FREE: &[Param] = &[opt("delay", between(1, 30))];

/// `POST …/download-url`.
pub const DOWNLOAD: &[Param] = &[
    opt("checksum", Kind::Str),
    opt("checksum-algorithm", Kind::Enum(&["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])),
    opt("compression", Kind::Str),
    req("content", Kind::Enum(&["iso", "vztmpl", "import"])),
    req("filename", Kind::Len(0, 255)),
    req("url", Kind::Pattern(url, usize::MAX)),
    opt("verify-certificates", Kind::Bool),
];

/// `POST …/oci-registry-pull`.
pub const PULL: &[Param] =
    &[opt("filename", Kind::Len(1, 255)), req("reference", Kind::Pattern(oci_reference, usize::MAX))];

/// `GET …/prunebackups`.
pub const PRUNE_LIST: &[Param] =
    &[opt("prune-backups", PRUNE_BACKUPS), opt("type", Kind::Enum(&["qemu", "lxc"])), opt("vmid", VMID)];

/// `POST …/upload`, as the front hands it over.
pub const UPLOAD: &[Param] = &[
    opt("checksum", Kind::Str),
    opt("checksum-algorithm", Kind::Enum(&["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])),
    req("content", Kind::Enum(&["iso", "vztmpl", "import"])),
    req("filename", Kind::Len(0, 255)),
    opt("tmpfilename", Kind::Str),
];

const FORMATS: &[&str] = &["raw", "qcow2", "subvol", "vmdk"];

/// `pve-storage-content`.
pub fn content(text: &str) -> Result<(), String> {
    match text {
        "images" | "rootdir" | "vztmpl" | "iso" | "backup" | "snippets" | "import" | "none" => Ok(()),
        _ => Err(format!("invalid content type '{text}'\n")),
    }
}

fn path(text: &str) -> Result<(), String> {
    match text.starts_with('/') {
        true => Ok(()),
        false => Err(format!("value does not look like a valid absolute path '{text}'\n")),
    }
}

fn lvm_name(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    match text.len() >= 2 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain) {
        true => Ok(()),
        false => Err(format!("lvm name '{text}' contains illegal characters\n")),
    }
}

fn size(text: &str) -> bool {
    let digits = text.strip_suffix(['K', 'M', 'G', 'T', 'k', 'm', 'g', 't']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// `[host[:port]/]path:tag`.
fn oci_reference(text: &str) -> bool {
    let Some((path, tag)) = text.rsplit_once(':') else { return false };
    let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let tag_is = (1..=128).contains(&tag.len()) && !tag.starts_with(['.', '-']) && tag.chars().all(word);
    let (host, rest) = path.split_once('/').unwrap_or(("", path));
    let host_is = host.chars().all(|c| word(c) || c == ':');
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    tag_is && host_is && rest.starts_with(|c: char| c.is_ascii_alphanumeric()) && rest.chars().all(lower)
}

fn url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}
