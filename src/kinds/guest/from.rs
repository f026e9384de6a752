//! Where a guest comes from, as users write it: exactly one source, whatever the kind.

use crate::base::id::VmId;
use crate::kinds::guest::file::{Content, File};
use crate::kinds::guest::plan::{Original, Source};
use crate::kinds::guest::spec::{CloneMode, DeserializeMap, Short, short_or_map};
use crate::resource::reference::{Reference, ResourceRef};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;

/// The checksum of a file: `sha256:` and its digits; PVE holds the download against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// PVE's word: `sha256`, `sha512`, ….
    pub algorithm: &'static str,
    /// Its digits, in lower case.
    pub digits: String,
}

/// Algorithms that PVE knows, with the number of hexadecimal digits of each.
const ALGORITHMS: [(&str, usize); 6] =
    [("md5", 32), ("sha1", 40), ("sha224", 56), ("sha256", 64), ("sha384", 96), ("sha512", 128)];

impl Checksum {
    /// Reads `sha256:0123…`; an error says what is wrong.
    pub fn parse(text: &str) -> Result<Checksum, String> {
        let wanted = "write it like sha256:… with all its digits, as the publisher's SHA256SUMS or SHA512SUMS gives it";
        let (word, digits) = text.split_once(':').ok_or_else(|| format!("`{text}` is no checksum; {wanted}"))?;
        let Some((algorithm, length)) = ALGORITHMS.iter().find(|(name, _)| *name == word.to_lowercase()) else {
            let known = ALGORITHMS.map(|(name, _)| name).join(", ");
            return Err(format!("`{word}` is no checksum that PVE knows; it knows {known}"));
        };
        if digits.len() != *length || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("{algorithm} has {length} hexadecimal digits, and `{digits}` is not that; {wanted}"));
        }
        Ok(Checksum { algorithm, digits: digits.to_lowercase() })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.digits)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Checksum, D::Error> {
        Checksum::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Checksum {
    fn schema_name() -> Cow<'static, str> {
        "Checksum".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^(md5|sha1|sha224|sha256|sha384|sha512):[0-9a-fA-F]{32,128}$", "description": "A checksum such as `sha256:` and its 64 digits, or `sha512:` and its 128."})
    }
}

/// A file: its volume on a storage (`local:iso/debian.iso`), or the URL that the node downloads it from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileFrom {
    /// It is on a storage.
    Volume(String),
    /// The node downloads it, once.
    Url(UrlFrom),
}

/// A file that the node downloads. It is named after its checksum, so that a new one is a new file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UrlFrom {
    /// Where it is: `https://…` or `http://…`.
    #[schemars(regex(pattern = r"^https?://.+"))]
    pub url: String,
    /// Its checksum; PVE refuses a file that has another.
    pub checksum: Checksum,
    /// The storage that keeps it; it must take this type of content.
    pub storage: String,
}

impl Short for FileFrom {
    fn from_text(text: &str) -> Result<FileFrom, String> {
        Ok(FileFrom::Volume(text.to_owned()))
    }
}

impl<'de> DeserializeMap<'de> for FileFrom {
    fn from_map<D: Deserializer<'de>>(deserializer: D) -> Result<FileFrom, D::Error> {
        UrlFrom::deserialize(deserializer).map(FileFrom::Url)
    }
}

impl<'de> Deserialize<'de> for FileFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FileFrom, D::Error> {
        short_or_map(deserializer)
    }
}

impl JsonSchema for FileFrom {
    fn schema_name() -> Cow<'static, str> {
        "FileFrom".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let url = generator.subschema_for::<UrlFrom>();
        json_schema!({"anyOf": [{"type": "string", "description": "A volume such as `local:iso/debian.iso`."}, url]})
    }
}

impl FileFrom {
    fn file(&self, content: Content) -> File {
        match self {
            FileFrom::Volume(volume) => File::Volume(volume.clone(), content),
            FileFrom::Url(UrlFrom { url, checksum, storage }) => {
                File::Url { url: url.clone(), checksum: checksum.clone(), storage: storage.clone(), content }
            }
        }
    }
}

/// An image of a disk, such as a distribution's cloud image: by `url` with `checksum` and `storage`, or by `volume`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageFrom {
    /// Where it is: `https://…/debian-12-generic-amd64.qcow2`. A name in `.img` is kept as `.qcow2`, which such images are.
    #[serde(default)]
    #[schemars(regex(pattern = r"^https?://.+"))]
    pub url: Option<String>,
    /// Its checksum; PVE refuses a file that has another.
    #[serde(default)]
    pub checksum: Option<Checksum>,
    /// The storage that keeps the downloaded file; it must take content of the type `import`.
    #[serde(default)]
    pub storage: Option<String>,
    /// A file that is there, such as `local:import/debian-12.qcow2`.
    #[serde(default)]
    pub volume: Option<String>,
    /// The disk that it is copied to, which `disks` describes; `scsi0` unless said. The disk then grows to its `size`.
    #[serde(default = "first_disk")]
    #[schemars(regex(pattern = r"^(scsi([0-9]|[12][0-9]|30)|virtio([0-9]|1[0-5])|sata[0-5]|ide[0-3])$"))]
    pub slot: String,
}

fn first_disk() -> String {
    "scsi0".to_owned()
}

impl ImageFrom {
    fn file(&self) -> Option<File> {
        match (&self.volume, &self.url, &self.checksum, &self.storage) {
            (Some(volume), None, None, None) => Some(File::Volume(volume.clone(), Content::Import)),
            (None, Some(url), Some(checksum), Some(storage)) => Some(File::Url {
                url: url.clone(),
                checksum: checksum.clone(),
                storage: storage.clone(),
                content: Content::Import,
            }),
            (_, _, _, _) => None,
        }
    }
}

/// A copy of a guest, or of one of its snapshots (a branch): exactly one of `vmid` and `guest`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloneFrom {
    /// The number of the guest.
    #[serde(default)]
    #[schemars(range(min = 100, max = 999_999_999))]
    pub vmid: Option<u32>,
    /// Or its name: in the manifests, or on the cluster.
    #[serde(default)]
    pub guest: Option<String>,
    /// The snapshot that it is copied from; as it is now when left out.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// Full unless said; only a template has linked clones.
    #[serde(default = "CloneMode::full")]
    pub mode: CloneMode,
    /// Where its disks go; beside the source's when left out.
    #[serde(default)]
    pub storage: Option<String>,
}

impl CloneFrom {
    fn source(&self) -> Option<Source> {
        let of = match (self.vmid.and_then(|v| VmId::new(v.into())), &self.guest) {
            (Some(vmid), None) => Original::Number(vmid),
            (None, Some(name)) => Original::Name(name.clone()),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        Some(Source::Guest { of, snapshot: self.snapshot.clone(), mode: self.mode, storage: self.storage.clone() })
    }
}

/// Where a VM comes from: exactly one of `template`, `clone`, `image`, `iso` and `archive`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VmFrom {
    /// The `GuestTemplate` that it is cloned from.
    #[serde(default)]
    pub template: Option<String>,
    /// Linked (unless said) or full, for `template`.
    #[serde(default)]
    pub mode: Option<CloneMode>,
    /// Where the disks of a full clone or of an archive go; beside the template's, or where they were, when left out.
    #[serde(default)]
    pub storage: Option<String>,
    /// A copy of another guest or of a snapshot of it.
    #[serde(default)]
    pub clone: Option<CloneFrom>,
    /// An image of a disk, such as a cloud image.
    #[serde(default)]
    pub image: Option<ImageFrom>,
    /// A CD to install from: it gets a drive at a free slot, and is started from after the disks.
    #[serde(default)]
    pub iso: Option<FileFrom>,
    /// A backup of a VM that is restored, such as `local:backup/vzdump-qemu-101-2026_11_21-02_00_00.vma.zst`.
    #[serde(default)]
    pub archive: Option<String>,
    /// Whether what comes from an archive keeps its MAC addresses; new ones unless said. The original must not run beside it.
    #[serde(default)]
    pub keep_mac: Option<bool>,
}

/// Where a container comes from: exactly one of `osTemplate`, `appliance`, `oci`, `template`, `clone` and `archive`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CtFrom {
    /// A container template: a volume such as `local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst`, or `url`, `checksum` and
    /// `storage`.
    #[serde(default)]
    pub os_template: Option<FileFrom>,
    /// A container template of Proxmox's list, by its name (`debian-12-standard`): the newest on `storage`, or the newest of the
    /// list, which the node then downloads to `storage`.
    #[serde(default)]
    pub appliance: Option<String>,
    /// An OCI image by its reference with a tag, such as `docker.io/library/nginx:1.27`, which the node pulls to `storage`
    /// (Proxmox VE 9.1 and later). A tag that is there is not pulled again.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[a-zA-Z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]+)?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"))]
    pub oci: Option<String>,
    /// The `GuestTemplate` that it is cloned from.
    #[serde(default)]
    pub template: Option<String>,
    /// Linked (unless said) or full, for `template`.
    #[serde(default)]
    pub mode: Option<CloneMode>,
    /// Where the volumes of a full clone or of an archive go; for `appliance` and `oci` the storage that keeps the file.
    #[serde(default)]
    pub storage: Option<String>,
    /// A copy of another container or of a snapshot of it.
    #[serde(default)]
    pub clone: Option<CloneFrom>,
    /// A backup of a container that is restored, such as `local:backup/vzdump-lxc-200-2026_11_21-02_00_00.tar.zst`. Whether it is
    /// unprivileged and its features (nesting, keyctl) come with it.
    #[serde(default)]
    pub archive: Option<String>,
    /// Whether what comes from an archive keeps its MAC addresses; new ones unless said. The original must not run beside it.
    #[serde(default)]
    pub keep_mac: Option<bool>,
    /// Whether what comes from an archive keeps its host name; that of the manifest unless said.
    #[serde(default)]
    pub keep_hostname: Option<bool>,
}

/// A choice of sources, of which exactly one is to be given.
pub trait OneSource {
    /// What stands against it as it is written.
    fn check(&self) -> Result<(), String>;
}

/// Reads a source and holds it against its rules, so that the error stands where it is written.
pub fn one_source<'de, T: DeserializeOwned + OneSource, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let from = Option::<T>::deserialize(deserializer)?;
    from.as_ref().map_or(Ok(()), T::check).map_err(D::Error::custom)?;
    Ok(from)
}

/// Exactly one of the words; `beside` are further words, each with the sources that they go with.
pub fn exactly_one(sources: &[(&str, bool)], beside: &[(&str, bool, &[&str])]) -> Result<(), String> {
    let all = || sources.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let said: Vec<&str> = sources.iter().filter(|(_, said)| *said).map(|(name, _)| *name).collect();
    let [one] = said.as_slice() else {
        return Err(match said.as_slice() {
            [] => format!("it names no source; give exactly one of {}", all()),
            _ => format!("it names {} sources ({}); give exactly one", said.len(), said.join(", ")),
        });
    };
    match beside.iter().find(|(_, said, with)| *said && !with.contains(one)) {
        Some((word, _, with)) => Err(format!("`{word}` goes with {}, not with `{one}`", with.join(", "))),
        None => Ok(()),
    }
}

/// What is wrong with a clone or an image by itself.
pub fn check_parts(clone: Option<&CloneFrom>, image: Option<&ImageFrom>) -> Result<(), String> {
    if clone.is_some_and(|c| c.source().is_none()) {
        return Err("a clone is of exactly one of `vmid` and `guest`".to_owned());
    }
    if image.is_some_and(|i| i.file().is_none()) {
        return Err("an image is either `volume`, or `url` with `checksum` and `storage`".to_owned());
    }
    Ok(())
}

/// What is wrong with an archive as it is written: a volume id of a backup of this type of guest.
pub fn check_archive(archive: Option<&String>, lxc: bool) -> Result<(), String> {
    let Some(volume) = archive else { return Ok(()) };
    let name = volume.split_once(":backup/").map(|(_, name)| name);
    let Some(name) = name else {
        return Err(format!(
            "`{volume}` is no backup; write it like STORAGE:backup/NAME, as pvesm list STORAGE --content backup shows it"
        ));
    };
    let (is_vm, is_ct) = (
        name.starts_with("vzdump-qemu-") || name.starts_with("vm/"),
        name.starts_with("vzdump-lxc-") || name.starts_with("ct/"),
    );
    match (lxc, is_vm, is_ct) {
        (true, true, _) => Err(format!("`{volume}` is a backup of a virtual machine, and this is a container")),
        (false, _, true) => Err(format!("`{volume}` is a backup of a container, and this is a virtual machine")),
        (_, _, _) => Ok(()),
    }
}

impl OneSource for VmFrom {
    fn check(&self) -> Result<(), String> {
        let VmFrom { template, mode, storage, clone, image, iso, archive, keep_mac } = self;
        exactly_one(
            &[
                ("template", template.is_some()),
                ("clone", clone.is_some()),
                ("image", image.is_some()),
                ("iso", iso.is_some()),
                ("archive", archive.is_some()),
            ],
            &[
                ("mode", mode.is_some(), &["template"]),
                ("storage", storage.is_some(), &["template", "archive"]),
                ("keepMac", keep_mac.is_some(), &["archive"]),
            ],
        )?;
        check_parts(clone.as_ref(), image.as_ref())?;
        check_archive(archive.as_ref(), false)
    }
}

impl OneSource for CtFrom {
    fn check(&self) -> Result<(), String> {
        let CtFrom { os_template, appliance, oci, template, mode, storage, clone, archive, keep_mac, keep_hostname } =
            self;
        exactly_one(
            &[
                ("osTemplate", os_template.is_some()),
                ("appliance", appliance.is_some()),
                ("oci", oci.is_some()),
                ("template", template.is_some()),
                ("clone", clone.is_some()),
                ("archive", archive.is_some()),
            ],
            &[
                ("mode", mode.is_some(), &["template"]),
                ("storage", storage.is_some(), &["template", "archive", "appliance", "oci"]),
                ("keepMac", keep_mac.is_some(), &["archive"]),
                ("keepHostname", keep_hostname.is_some(), &["archive"]),
            ],
        )?;
        for (word, said) in [("appliance", appliance.is_some()), ("oci", oci.is_some())] {
            if said && storage.is_none() {
                return Err(format!("`{word}` needs `storage`: where the file is kept, such as `storage: local`"));
            }
        }
        check_parts(clone.as_ref(), None)?;
        check_archive(archive.as_ref(), true)
    }
}

/// A clone of a template of the manifests.
fn of_template(template: &str, mode: Option<CloneMode>, storage: &Option<String>) -> Source {
    Source::Template {
        template: ResourceRef::new("GuestTemplate", template),
        mode: mode.unwrap_or_default(),
        storage: storage.clone(),
    }
}

/// The source that an image is.
pub fn of_image(image: &ImageFrom) -> Option<Source> {
    image.file().map(|file| Source::Image { slot: image.slot.clone(), file })
}

/// The source that a container's file is: of `osTemplate`, `appliance` and `oci` the one that is given.
pub fn of_file(
    os_template: Option<&FileFrom>,
    appliance: Option<&String>,
    oci: Option<&String>,
    storage: &Option<String>,
) -> Option<Source> {
    let storage = storage.clone().unwrap_or_default();
    let file = match (os_template, appliance, oci) {
        (Some(file), _, _) => file.file(Content::CtTemplate),
        (_, Some(name), _) => File::Appliance { name: name.clone(), storage },
        (_, _, Some(reference)) => File::Oci { reference: reference.clone(), storage },
        (None, None, None) => return None,
    };
    Some(Source::OsTemplate(file))
}

/// The source that a restored archive is.
pub fn of_archive(archive: &str, storage: &Option<String>, keep_mac: Option<bool>) -> Source {
    Source::Archive { volume: archive.to_owned(), storage: storage.clone(), keep_mac: keep_mac.unwrap_or(false) }
}

impl VmFrom {
    /// What it says.
    pub fn source(&self) -> Source {
        let VmFrom { template, mode, storage, clone, image, iso, archive, keep_mac } = self;
        let template = template.as_ref().map(|t| of_template(t, *mode, storage));
        template
            .or_else(|| clone.as_ref().and_then(CloneFrom::source))
            .or_else(|| image.as_ref().and_then(of_image))
            .or_else(|| iso.as_ref().map(|iso| Source::Iso(iso.file(Content::Iso))))
            .or_else(|| archive.as_ref().map(|a| of_archive(a, storage, *keep_mac)))
            .unwrap_or(Source::Empty)
    }
}

impl CtFrom {
    /// What it says.
    pub fn source(&self) -> Source {
        let CtFrom { os_template, appliance, oci, template, mode, storage, clone, archive, keep_mac, keep_hostname: _ } =
            self;
        let template = template.as_ref().map(|t| of_template(t, *mode, storage));
        template
            .or_else(|| clone.as_ref().and_then(CloneFrom::source))
            .or_else(|| of_file(os_template.as_ref(), appliance.as_ref(), oci.as_ref(), storage))
            .or_else(|| archive.as_ref().map(|a| of_archive(a, storage, *keep_mac)))
            .unwrap_or(Source::Empty)
    }
}

/// The resources that a source names. `kind` is that of the guest itself; `template` and `clone` are the words before the name.
pub fn references(source: &Source, kind: &str, template: &[&str], clone: &[&str]) -> Vec<Reference> {
    let path = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
    match source {
        Source::Template { template: to, .. } => {
            vec![Reference { to: to.clone(), path: path(template), or_on_cluster: false }]
        }
        Source::Guest { of: Original::Name(name), .. } => {
            vec![Reference { to: ResourceRef::new(kind, name), path: path(clone), or_on_cluster: true }]
        }
        Source::Guest { of: Original::Number(_), .. }
        | Source::Empty
        | Source::Iso(_)
        | Source::Image { .. }
        | Source::OsTemplate(_)
        | Source::Archive { .. }
        | Source::Existing => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn checksums_are_whole() {
        let sum = Checksum::parse(&format!("SHA256:{}", "Ab".repeat(32))).expect("it is one");
        assert_eq!((sum.algorithm, sum.digits.len()), ("sha256", 64));
        assert_eq!(sum.to_string(), format!("sha256:{}", "ab".repeat(32)));
        for bad in ["abc", "sha256:abc", "crc32:00000000", &format!("sha256:{}", "x".repeat(64))] {
            assert!(Checksum::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_source_is_exactly_one() {
        let says = |from: serde_json::Value| serde_json::from_value::<VmFrom>(from).expect("a map").check();
        assert_eq!(says(json!({"template": "a", "mode": "Linked"})), Ok(()));
        let sum = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(says(json!({"image": {"url": "https://x/a.qcow2", "checksum": sum, "storage": "local"}})), Ok(()));
        for (from, word) in [
            (json!({}), "it names no source; give exactly one of template, clone, image, iso, archive"),
            (json!({"template": "a", "iso": "local:iso/x.iso"}), "it names 2 sources (template, iso)"),
            (json!({"iso": "local:iso/x.iso", "mode": "Full"}), "`mode` goes with template, not with `iso`"),
            (json!({"clone": {"snapshot": "x"}}), "exactly one of `vmid` and `guest`"),
            (json!({"clone": {"vmid": 100, "guest": "x"}}), "exactly one of `vmid` and `guest`"),
            (json!({"image": {"url": "https://x/a.qcow2"}}), "`url` with `checksum` and `storage`"),
            (json!({"archive": "local:iso/x"}), "is no backup"),
            (json!({"archive": "local:backup/vzdump-lxc-200-x.tar"}), "is a backup of a container"),
        ] {
            let found = says(from.clone()).expect_err("it is wrong");
            assert!(found.contains(word), "{from}: {found}");
        }
        let ct: CtFrom = serde_json::from_value(json!({"oci": "docker.io/library/nginx:1.27"})).expect("a map");
        assert!(ct.check().expect_err("no storage").contains("`oci` needs `storage`"));
    }
}
