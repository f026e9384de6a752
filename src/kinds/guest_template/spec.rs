//! What users write of a golden image.

use crate::base::id::{GuestType, VmId};
use crate::kinds::container::{Console, CtHardware, Features};
use crate::kinds::guest::board::Hardware;
use crate::kinds::guest::cloud_init::CloudInit;
use crate::kinds::guest::devices::SerialPort;
use crate::kinds::guest::from::{
    FileFrom, ImageFrom, OneSource, check_archive, check_parts, exactly_one, of_archive, of_file, of_image, one_source,
};
use crate::kinds::guest::networks::{CtNetwork, Network};
use crate::kinds::guest::plan::{Original, Source};
use crate::kinds::guest::rules::checks::Checks;
use crate::kinds::guest::spec::{CloneMode, Options, VmIdRange};
use crate::kinds::guest::volumes::{Disk, Mount, RootFs};
use crate::kinds::guest_template::of_type::OfType;
use crate::resource::reference::ResourceRef;
use schemars::JsonSchema;
use serde::Deserialize;

/// A golden image: a VM or CT that is a PVE template when done. It is built, configured, and converted last.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestTemplateSpec {
    /// A virtual machine unless said.
    #[serde(default, rename = "type")]
    pub guest_type: TemplateType,
    /// The node that it is made on.
    #[serde(default)]
    pub node: Option<String>,
    /// Its number.
    #[serde(default)]
    #[schemars(range(min = 100, max = 999_999_999))]
    pub vmid: Option<u32>,
    /// Or a range to allot it from; with versions there must be room in it for the old and the new.
    #[serde(default)]
    pub vmid_range: Option<VmIdRange>,
    /// Its name in PVE, where that is another than the manifest's: any DNS name; empty for a guest whose name is left as it
    /// is. It takes a `vmid`, by which the guest is found.
    #[serde(default)]
    #[schemars(regex(
        pattern = r"^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*)?$"
    ))]
    pub host_name: Option<String>,
    /// Which version of the image this is, such as `2026-11`. Another one is built beside the old, under a number of its own:
    /// guests that are made from then on come from the new one, and the old one stays until `--prune` deletes it, which waits
    /// until nothing is linked to it. Needs a `vmidRange`, or no number at all.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$"))]
    pub version: Option<String>,
    /// Where it comes from. Used when it is made, and not after.
    #[serde(deserialize_with = "a_source")]
    pub source: TemplateSource,
    /// Processors, memory and the virtual board; of a container processors and memory.
    #[serde(default)]
    pub hardware: Option<OfType<Hardware, CtHardware>>,
    /// Its disks, each by its slot (virtual machines).
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Its root file system (containers).
    #[serde(default)]
    pub rootfs: Option<RootFs>,
    /// Further volumes, each by its slot (containers).
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Its network interfaces, each by its slot.
    #[serde(default)]
    pub networks: Vec<OfType<Network, CtNetwork>>,
    /// Its serial ports, each by its slot (virtual machines).
    #[serde(default)]
    pub serial_ports: Vec<SerialPort>,
    /// The slots that it starts from, in order: disks and networks (virtual machines).
    #[serde(default)]
    pub boot_order: Option<Vec<String>>,
    /// What cloud-init tells those that are made of it (virtual machines).
    #[serde(default)]
    pub cloud_init: Option<CloudInit>,
    /// Whether its root is an ordinary user of the host; decided when it is made (containers).
    #[serde(default)]
    pub unprivileged: Option<bool>,
    /// What it may do beyond the usual (containers).
    #[serde(default)]
    pub features: Option<Features>,
    /// Operating system inside; PVE finds out by itself (containers).
    #[serde(default)]
    pub os_type: Option<String>,
    /// Time zone such as `Europe/Berlin`, or `host` for the node's (containers).
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Its console (containers).
    #[serde(default)]
    pub console: Option<Console>,
    /// DNS servers (containers).
    #[serde(default)]
    pub nameservers: Option<Vec<String>>,
    /// DNS search domain (containers).
    #[serde(default)]
    pub search_domain: Option<String>,
    /// Rules that the built image must pass before it is converted: the name of a rule set, or a list of sets and rules.
    #[serde(default)]
    pub checks: Option<Checks>,
    /// The pool that it is in.
    #[serde(default)]
    pub pool: Option<String>,
    /// Its tags; the tag `pvectl` is added.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// Notes for people.
    #[serde(default)]
    pub description: Option<String>,
    /// PVE's own protection against deletion.
    #[serde(default)]
    pub protection: Option<bool>,
    /// Any other option of PVE's configuration API, verbatim.
    #[serde(default)]
    pub options: Options,
}

/// What a template is a template of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum TemplateType {
    /// A VM.
    #[default]
    VirtualMachine,
    /// A CT.
    Container,
}

impl TemplateType {
    /// As PVE's paths have it.
    pub fn guest(self) -> GuestType {
        match self {
            TemplateType::VirtualMachine => GuestType::Qemu,
            TemplateType::Container => GuestType::Lxc,
        }
    }

    /// The kind that a guest of its type is.
    pub fn kind(self) -> &'static str {
        match self {
            TemplateType::VirtualMachine => "VirtualMachine",
            TemplateType::Container => "Container",
        }
    }
}

/// Where a template comes from: exactly one of them.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateSource {
    /// An image of a disk, such as a distribution's cloud image (virtual machines).
    #[serde(default)]
    pub cloud_image: Option<ImageFrom>,
    /// A clone of another guest.
    #[serde(default)]
    pub clone: Option<CloneSource>,
    /// A backup that is restored, such as `local:backup/vzdump-lxc-200-2026_11_21-02_00_00.tar.zst`: what PVE lets only
    /// root@pam set, such as `keyctl` of a container, comes with it.
    #[serde(default)]
    pub archive: Option<String>,
    /// A container template: a volume, or `url`, `checksum` and `storage` (containers).
    #[serde(default)]
    pub os_template: Option<FileFrom>,
    /// A container template of Proxmox's list, by its name such as `debian-12-standard` (containers).
    #[serde(default)]
    pub appliance: Option<String>,
    /// An OCI image by its reference with a tag, such as `docker.io/library/nginx:1.27` (containers, Proxmox VE 9.1 and later).
    #[serde(default)]
    pub oci: Option<String>,
    /// Where the volumes of an archive go; for `appliance` and `oci` the storage that keeps the file.
    #[serde(default)]
    pub storage: Option<String>,
    /// A guest that exists: it is taken over and turned into a template.
    #[serde(default)]
    pub existing: Option<ExistingSource>,
}

/// A clone of another guest: exactly one of `vmid`, `guest` and `template`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloneSource {
    /// The number of the guest.
    #[serde(default)]
    #[schemars(range(min = 100, max = 999_999_999))]
    pub vmid: Option<u32>,
    /// Its name: in the manifests, or on the cluster.
    #[serde(default)]
    pub guest: Option<String>,
    /// Another `GuestTemplate`.
    #[serde(default)]
    pub template: Option<String>,
    /// The snapshot that it is copied from; as it is now when left out.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// Full unless said.
    #[serde(default = "CloneMode::full")]
    pub mode: CloneMode,
    /// Where its disks go; beside the source's when left out.
    #[serde(default)]
    pub storage: Option<String>,
}

/// A guest that exists.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExistingSource {
    /// Its number.
    #[schemars(range(min = 100, max = 999_999_999))]
    pub vmid: u32,
}

fn a_source<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<TemplateSource, D::Error> {
    one_source(deserializer).map(Option::unwrap_or_default)
}

impl OneSource for TemplateSource {
    fn check(&self) -> Result<(), String> {
        let TemplateSource { cloud_image, clone, archive, os_template, appliance, oci, storage, existing } = self;
        exactly_one(
            &[
                ("cloudImage", cloud_image.is_some()),
                ("clone", clone.is_some()),
                ("archive", archive.is_some()),
                ("osTemplate", os_template.is_some()),
                ("appliance", appliance.is_some()),
                ("oci", oci.is_some()),
                ("existing", existing.is_some()),
            ],
            &[("storage", storage.is_some(), &["archive", "appliance", "oci"])],
        )?;
        for (word, said) in [("appliance", appliance.is_some()), ("oci", oci.is_some())] {
            if said && storage.is_none() {
                return Err(format!("`{word}` needs `storage`: where the file is kept, such as `storage: local`"));
            }
        }
        if let Some(CloneSource { vmid, guest, template, snapshot, .. }) = clone {
            let said = [vmid.is_some(), guest.is_some(), template.is_some()];
            if said.iter().filter(|s| **s).count() != 1 {
                return Err("a clone is of exactly one of `vmid`, `guest` and `template`".to_owned());
            }
            if template.is_some() && snapshot.is_some() {
                return Err("a template has no snapshots: `snapshot` goes with `vmid` or `guest`".to_owned());
            }
        }
        check_parts(None, cloud_image.as_ref())
    }
}

impl TemplateSource {
    /// What stands against it as the source of a guest of a type: the word, and why.
    pub fn unfit(&self, guest: GuestType) -> Option<(&'static str, String)> {
        let of_vms = [("cloudImage", self.cloud_image.is_some())];
        let of_cts = [
            ("osTemplate", self.os_template.is_some()),
            ("appliance", self.appliance.is_some()),
            ("oci", self.oci.is_some()),
        ];
        let (others, noun, other): (&[(&'static str, bool)], _, _) = match guest {
            GuestType::Qemu => (&of_cts, "virtual machine", "container"),
            GuestType::Lxc => (&of_vms, "container", "virtual machine"),
        };
        let word = others.iter().find(|(_, said)| *said).map(|(word, _)| *word);
        let wrong = word.map(|word| (word, format!("`{word}` makes a {other}, and this is a template of a {noun}")));
        let lxc = guest == GuestType::Lxc;
        wrong.or_else(|| check_archive(self.archive.as_ref(), lxc).err().map(|why| ("archive", why)))
    }

    /// What it says.
    pub fn source(&self) -> Source {
        let TemplateSource { cloud_image, clone, archive, os_template, appliance, oci, storage, existing: _ } = self;
        let image = cloud_image.as_ref().and_then(of_image);
        image
            .or_else(|| clone.as_ref().map(CloneSource::source))
            .or_else(|| archive.as_ref().map(|a| of_archive(a, storage, None)))
            .or_else(|| of_file(os_template.as_ref(), appliance.as_ref(), oci.as_ref(), storage))
            .unwrap_or(Source::Existing)
    }
}

impl CloneSource {
    fn source(&self) -> Source {
        let CloneSource { vmid, guest, template, snapshot, mode, storage } = self;
        let of = match (vmid.and_then(|v| VmId::new(v.into())), guest) {
            (Some(vmid), _) => Original::Number(vmid),
            (None, guest) => Original::Name(guest.clone().unwrap_or_default()),
        };
        match template {
            Some(template) => Source::Template {
                template: ResourceRef::new("GuestTemplate", template),
                mode: *mode,
                storage: storage.clone(),
            },
            None => Source::Guest { of, snapshot: snapshot.clone(), mode: *mode, storage: storage.clone() },
        }
    }
}
