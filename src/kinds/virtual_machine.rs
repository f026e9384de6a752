//! Virtual machines.

use crate::base::id::{GuestType, VmId};
use crate::kinds::guest::board::Hardware;
use crate::kinds::guest::cloud_init::CloudInit;
use crate::kinds::guest::desired::Collect;
use crate::kinds::guest::devices::{NumaNode, Pci, SerialPort, Usb, Virtiofs};
use crate::kinds::guest::firewall::{self, GuestFirewall};
use crate::kinds::guest::from::{VmFrom, one_source, references};
use crate::kinds::guest::moving::Moving;
use crate::kinds::guest::networks::{Network, addresses};
use crate::kinds::guest::observed::{self, GuestSeen};
use crate::kinds::guest::plan::{self, GuestDesired, Source};
use crate::kinds::guest::said::{self, Said};
use crate::kinds::guest::spec::{Options, Placement, Power, Startup, Update, VmIdRange};
use crate::kinds::guest::volumes::Disk;
use crate::kinds::guest::{export, fit};
use crate::pve::request::Query;
use crate::resource::index::Index;
use crate::resource::kind::{DecodeError, Kind, Listed, PlanContext};
use crate::resource::marker::Marker;
use crate::resource::observation::Observation;
use crate::resource::reference::{Claim, Identity, Reference, ResourceRef};
use crate::resource::step::{Delta, Problem};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::net::IpAddr;

/// A virtual machine. What is left out is not managed and stays as it is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VirtualMachineSpec {
    /// Its number. Without it one is allotted, and then remembered by the marker on the guest.
    #[serde(default)]
    #[schemars(range(min = 100, max = 999_999_999))]
    pub vmid: Option<u32>,
    /// Allot the number from this range.
    #[serde(default)]
    pub vmid_range: Option<VmIdRange>,
    /// Its name in PVE, where that is another than the manifest's: any DNS name; empty for a guest whose name is left as it
    /// is. It takes a `vmid`, by which the guest is found.
    #[serde(default)]
    #[schemars(regex(
        pattern = r"^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*)?$"
    ))]
    pub host_name: Option<String>,
    /// The node that it is made on. A guest is found wherever it runs, and never made anew because its node changed: with
    /// `update.migrate` it is moved, and else reported.
    #[serde(default)]
    pub node: Option<String>,
    /// Or a choice of nodes.
    #[serde(default)]
    pub placement: Option<Placement>,
    /// Where it comes from; empty when left out. Used when it is made, and not after.
    #[serde(default, deserialize_with = "one_source")]
    pub from: Option<VmFrom>,
    /// The pool that it is in.
    #[serde(default)]
    pub pool: Option<String>,
    /// Its tags; the tag `pvectl` is added.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// Notes for people.
    #[serde(default)]
    pub description: Option<String>,
    /// Whether it shall run.
    #[serde(default)]
    pub power: Option<Power>,
    /// Processors, memory and the virtual board.
    #[serde(default)]
    pub hardware: Option<Hardware>,
    /// Its disks, each by its slot.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Its network interfaces, each by its slot.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// Its NUMA nodes, each by its slot.
    #[serde(default)]
    pub numa_nodes: Vec<NumaNode>,
    /// Its serial ports, each by its slot.
    #[serde(default)]
    pub serial_ports: Vec<SerialPort>,
    /// Its USB devices, each by its slot.
    #[serde(default)]
    pub usb: Vec<Usb>,
    /// Its PCI devices, each by its slot.
    #[serde(default)]
    pub pci: Vec<Pci>,
    /// Directories of the node that it sees, each by its slot.
    #[serde(default)]
    pub virtiofs: Vec<Virtiofs>,
    /// The slots that it starts from, in order: disks and networks.
    #[serde(default)]
    pub boot_order: Option<Vec<String>>,
    /// A script that PVE runs when it starts and stops, such as `local:snippets/hook.pl`. PVE lets only root@pam set it.
    #[serde(default)]
    pub hook_script: Option<String>,
    /// What cloud-init tells it.
    #[serde(default)]
    pub cloud_init: Option<CloudInit>,
    /// Start with the node.
    #[serde(default)]
    pub startup: Option<Startup>,
    /// Its firewall.
    #[serde(default)]
    pub firewall: Option<GuestFirewall>,
    /// PVE's own protection against deletion.
    #[serde(default)]
    pub protection: Option<bool>,
    /// How it may be changed while it runs.
    #[serde(default)]
    pub update: Option<Update>,
    /// Any other option of PVE's configuration API, verbatim.
    #[serde(default)]
    pub options: Options,
}

/// The kind `VirtualMachine`.
pub struct VirtualMachineKind;

impl Kind for VirtualMachineKind {
    const NAME: &'static str = "VirtualMachine";
    type Spec = VirtualMachineSpec;
    type Observed = GuestSeen;

    fn refs(spec: &VirtualMachineSpec) -> Vec<Reference> {
        let from = spec.from.as_ref().map(VmFrom::source);
        let from = from.map(|s| references(&s, Self::NAME, &["from", "template"], &["from", "clone", "guest"]));
        let pool = spec.pool.as_ref().map(|p| Reference {
            to: ResourceRef::new("Pool", p),
            path: vec!["pool".into()],
            or_on_cluster: true,
        });
        from.into_iter().flatten().chain(pool).chain(firewall::refs(spec.firewall.as_ref())).collect()
    }

    fn check(spec: &VirtualMachineSpec) -> Vec<Problem> {
        said::check(&Said {
            guest: GuestType::Qemu,
            vmid: spec.vmid.is_some(),
            range: spec.vmid_range.is_some(),
            node: spec.node.is_some(),
            placement: spec.placement.is_some(),
            host_name: spec.host_name.is_some(),
            update: spec.update.as_ref(),
            options: Some(&spec.options),
        })
    }

    fn claim(_name: &str, spec: &VirtualMachineSpec) -> Claim {
        Claim::Guest {
            guest: GuestType::Qemu,
            vmid: spec.vmid.and_then(|v| VmId::new(v.into())),
            range: spec.vmid_range.map(|VmIdRange(a, b)| (a, b)),
            nodes: plan::nodes(spec.node.as_ref(), spec.placement.as_ref()),
            takes_over: false,
            source: Self::refs(spec).into_iter().map(|r| r.to).find(|to| to.kind != "Pool"),
            source_vmid: spec.from.as_ref().and_then(|f| f.clone.as_ref()?.vmid).and_then(|v| VmId::new(v.into())),
            version: None,
            memory: spec.hardware.as_ref().and_then(|h| h.memory).map_or(512 << 20, |m| m.0.0),
        }
    }

    fn filters(spec: &VirtualMachineSpec) -> bool {
        spec.firewall.is_some() || spec.networks.iter().any(|network| network.firewall == Some(true))
    }

    fn addresses(spec: &VirtualMachineSpec) -> Vec<IpAddr> {
        addresses(spec.networks.iter().flat_map(|network| [&network.ip, &network.ip6]))
    }

    fn reads(identity: &Identity, spec: Option<&VirtualMachineSpec>, index: &Index) -> Vec<Query> {
        let Some(spec) = spec else { return fit::reads(identity, false, None, &[], index) };
        let source = spec.from.as_ref().map(VmFrom::source);
        let nodes = plan::nodes(spec.node.as_ref(), spec.placement.as_ref());
        let mut reads = fit::reads(identity, !spec.networks.is_empty(), source.as_ref(), &nodes, index);
        let VirtualMachineSpec { node, placement, update, .. } = spec;
        reads.extend(Moving::new(node.as_ref(), placement.as_ref(), update.as_ref()).reads(identity, index));
        reads.extend(firewall::reads(fit::row(identity, index), spec.firewall.as_ref()));
        reads
    }

    fn list(seen: &Observation) -> Vec<Listed> {
        observed::list(GuestType::Qemu, false, seen)
    }

    fn columns(listed: &Listed, seen: &Observation) -> Vec<(&'static str, String)> {
        observed::columns(listed, seen)
    }

    fn decode(identity: &Identity, seen: &Observation) -> Result<Option<GuestSeen>, DecodeError> {
        observed::decode(identity, seen)
    }

    fn marker(observed: &GuestSeen) -> Option<&Marker> {
        observed.marker.as_deref()
    }

    fn export(observed: &GuestSeen) -> Value {
        export::export(observed)
    }

    fn unsaid(observed: &GuestSeen) -> Vec<String> {
        export::unsaid(observed)
    }

    fn plan(cx: &PlanContext<'_>, desired: Option<&VirtualMachineSpec>, observed: Option<&GuestSeen>) -> Delta {
        plan::plan(cx, desired.map(|s| wanted(&cx.resource.name, s)).as_ref(), observed)
    }
}

fn wanted(name: &str, spec: &VirtualMachineSpec) -> GuestDesired {
    let VirtualMachineSpec {
        vmid: _,
        vmid_range: _,
        host_name,
        node,
        placement,
        from,
        pool,
        tags,
        description,
        power,
        hardware,
        disks,
        networks,
        numa_nodes,
        serial_ports,
        usb,
        pci,
        virtiofs,
        boot_order,
        hook_script,
        cloud_init,
        startup,
        firewall,
        protection,
        update,
        options,
    } = spec;
    let mut collect = Collect::new(GuestType::Qemu);
    collect.name(name, host_name.as_deref());
    collect.part("pool", pool);
    collect.part("tags", tags);
    collect.part("description", description);
    collect.part("power", power.filter(|p| *p != Power::Unmanaged));
    collect.part("hardware", hardware);
    collect.part("disks", disks);
    collect.part("networks", networks);
    collect.part("numaNodes", numa_nodes);
    collect.part("serialPorts", serial_ports);
    collect.part("usb", usb);
    collect.part("pci", pci);
    collect.part("virtiofs", virtiofs);
    collect.part("bootOrder", boot_order);
    collect.part("hookScript", hook_script);
    collect.part("cloudInit", cloud_init);
    collect.part("startup", startup);
    collect.part("protection", protection);
    firewall::collect(&mut collect.fields, firewall.as_ref());
    collect.options(options);
    GuestDesired {
        guest: GuestType::Qemu,
        fields: collect.fields,
        source: from.as_ref().map_or(Source::Empty, VmFrom::source),
        reboot: update.as_ref().map(|u| u.reboot).unwrap_or_default(),
        volumes: update.as_ref().map(|u| u.volumes).unwrap_or_default(),
        cloud_init_drive: cloud_init.as_ref().and_then(|c| c.drive_to_make()),
        moving: Moving::new(node.as_ref(), placement.as_ref(), update.as_ref()),
        template: false,
        version: None,
        at_creation: Vec::new(),
    }
}
