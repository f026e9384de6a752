//! What users write.

use crate::host::token::Token;
use crate::kinds::host_mount::place;
use crate::kinds::objects::storage::config_id;
use crate::resource::step::Problem;
use schemars::JsonSchema;
use serde::Deserialize;

/// A disk of a node, mounted by its UUID, and a storage on it if you like. It takes the host link: PVE's API mounts no disk that
/// has data already. Nothing is ever formatted, and what is on the disk stays there when the manifest goes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostMountSpec {
    /// The node.
    pub node: String,
    /// The file system's UUID, as `lsblk -f` shows it on the node.
    pub uuid: String,
    /// Where it is mounted: an absolute path, such as `/mnt/usb-backup`. The folder is made where it is not there.
    pub path: String,
    /// Its type, such as `ext4`, `xfs`, `btrfs`, `vfat`.
    pub fs_type: String,
    /// Mount options, such as `noatime`. `nofail` goes without saying, see `required`.
    #[serde(default)]
    pub options: Option<Vec<String>>,
    /// The node does not boot without it. Left out: it does, and the storage is offline as long as the disk is away.
    #[serde(default)]
    pub required: Option<bool>,
    /// A storage of type `dir` on it, for this node alone. PVE takes it for offline while nothing is mounted there, so that nothing
    /// is written to the node's own disk by mistake.
    #[serde(default)]
    pub storage: Option<MountStorage>,
}

/// A storage on a mount.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MountStorage {
    /// PVE's id for it.
    pub id: String,
    /// What it may hold: `backup`, `iso`, `vztmpl`, `images`, `rootdir`, `snippets`, `import`. Left out: as PVE does (`images`).
    #[serde(default)]
    pub content: Option<Vec<String>>,
}

/// What a node cannot boot without goes without this.
pub const NOFAIL: &str = "nofail";

/// What is no file system that can be mounted, though lsblk tells it as one.
pub fn is_no_file_system(word: &str) -> bool {
    word == "swap" || word == "crypto_LUKS" || word.ends_with("_member")
}

/// Why an option cannot be one.
fn option(at: usize, text: &str) -> Option<Problem> {
    let path = format!("options.{at}");
    let wrong = |why: String, help: &str| Some(Problem::new(&path, why).help(help));
    if Token::argument(text).is_none() || text.contains(',') {
        return wrong(format!("`{text}` is no mount option"), "one a line, without blanks, commas and quotes: noatime");
    }
    if text.starts_with("x-") || ["auto", "noauto", "remount", "bind", "rbind", "move"].contains(&text) {
        return wrong(format!("`{text}` has no effect, or none that you want, in a mount unit"), "take it out");
    }
    if text == "fail" {
        return wrong("`fail` is said by `required: true`".to_owned(), "take it out, and say `required: true`");
    }
    None
}

/// What is wrong with a spec whatever the node is like.
pub fn check(spec: &HostMountSpec) -> Vec<Problem> {
    let HostMountSpec { node: _, uuid, path, fs_type, options, required, storage } = spec;
    let mut problems = Vec::new();
    let plain = |text: &str| Token::argument(text).is_some() && !text.contains(['/', ',']);
    if !plain(uuid) {
        problems.push(Problem::new("uuid", format!("`{uuid}` is no UUID")).help("lsblk -f on the node shows it"));
    }
    if is_no_file_system(fs_type) {
        problems.push(
            Problem::new("fsType", format!("`{fs_type}` is no file system that can be mounted"))
                .help("it is a part of something else: a volume group, a pool, a RAID, an encrypted disk, or swap"),
        );
    } else if !plain(fs_type) {
        problems.push(
            Problem::new("fsType", format!("`{fs_type}` is no type of file system"))
                .help("lsblk -f on the node shows it: ext4, xfs"),
        );
    }
    problems.extend(place::check(path));
    let all = options.iter().flatten();
    problems.extend(all.clone().enumerate().filter_map(|(at, text)| option(at, text)));
    if *required == Some(true) && all.clone().any(|o| o == NOFAIL) {
        problems.push(
            Problem::new("required", "the node shall not boot without it, and `nofail` says the contrary")
                .help("take one of the two out"),
        );
    }
    let length: usize = all.map(|o| o.len() + 1).sum();
    if length > crate::host::token::TOKEN_CHARACTERS_MAX - NOFAIL.len() {
        problems.push(Problem::new("options", "these are too many options").help("shorten the list"));
    }
    if let Some(storage) = storage {
        problems.extend(
            config_id(&storage.id, true)
                .into_iter()
                .map(|p| Problem { path: vec!["storage".into(), "id".into()], ..p }),
        );
    }
    problems
}
