//! Containers.

use crate::base::id::{GuestType, VmId};
use crate::kinds::guest::desired::Collect;
use crate::kinds::guest::observed::{self, GuestSeen};
use crate::kinds::guest::plan::{self, GuestDesired, Source};
use crate::kinds::guest::spec::{CloneMode, Options, Placement, Power, Size, Startup, Update, VmIdRange};
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

/// A container. What is left out is not managed and stays as it is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerSpec {
    /// Its number. Without it one is allotted, and then remembered by the marker on the guest.
    #[serde(default)]
    #[schemars(range(min = 100, max = 999_999_999))]
    pub vmid: Option<u32>,
    /// Allot the number from this range.
    #[serde(default)]
    pub vmid_range: Option<VmIdRange>,
    /// The node that it is made on.
    #[serde(default)]
    pub node: Option<String>,
    /// Or a choice of nodes.
    #[serde(default)]
    pub placement: Option<Placement>,
    /// Where it comes from. Used when it is made, and not after.
    #[serde(default)]
    pub from: Option<CtFrom>,
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
    /// Processors and memory.
    #[serde(default)]
    pub hardware: Option<CtHardware>,
    /// Its root file system.
    #[serde(default)]
    pub rootfs: Option<RootFs>,
    /// Further volumes, each by its slot.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Its network interfaces, each by its slot.
    #[serde(default)]
    pub networks: Vec<CtNetwork>,
    /// Whether its root is an ordinary user of the host; decided when it is made.
    #[serde(default)]
    pub unprivileged: Option<bool>,
    /// What it may do beyond the usual.
    #[serde(default)]
    pub features: Option<Features>,
    /// DNS servers.
    #[serde(default)]
    pub nameservers: Option<Vec<String>>,
    /// DNS search domain.
    #[serde(default)]
    pub search_domain: Option<String>,
    /// Start with the node.
    #[serde(default)]
    pub startup: Option<Startup>,
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

/// Where a container comes from: exactly one of `osTemplate` and `template`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CtFrom {
    /// An archive in a storage, such as `local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst`.
    #[serde(default)]
    pub os_template: Option<String>,
    /// The `GuestTemplate` that it is cloned from.
    #[serde(default)]
    pub template: Option<String>,
    /// Linked or full, for a clone.
    #[serde(default)]
    pub mode: CloneMode,
    /// Where the volumes of a full clone go.
    #[serde(default)]
    pub storage: Option<String>,
}

/// Processors and memory of a container.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CtHardware {
    /// Cores; all of the node when left out at creation.
    #[serde(default)]
    #[schemars(range(min = 1, max = 8192))]
    pub cores: Option<u32>,
    /// Memory; whole MiB.
    #[serde(default)]
    pub memory: Option<Size>,
    /// Swap; whole MiB.
    #[serde(default)]
    pub swap: Option<Size>,
}

/// The root file system of a container.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RootFs {
    /// The storage that holds it; needed to create it.
    #[serde(default)]
    pub storage: Option<String>,
    /// Its size. It may grow, never shrink.
    #[serde(default)]
    pub size: Option<Size>,
}

/// A further volume of a container.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// Which mount point: `mp0`, `mp1`, …
    #[schemars(regex(pattern = "^mp[0-9]+$"))]
    pub slot: String,
    /// The storage that holds it; needed to create it.
    #[serde(default)]
    pub storage: Option<String>,
    /// Its size. It may grow, never shrink.
    #[serde(default)]
    pub size: Option<Size>,
    /// Where it is mounted in the container.
    pub path: String,
    /// Whether backups hold it.
    #[serde(default)]
    pub backup: Option<bool>,
}

/// A network interface of a container.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CtNetwork {
    /// Which interface: `net0`, `net1`, …
    #[schemars(regex(pattern = "^net[0-9]+$"))]
    pub slot: String,
    /// Its name in the container: `eth0` unless said.
    #[serde(default)]
    pub name: Option<String>,
    /// The bridge that it hangs on.
    #[serde(default)]
    pub bridge: Option<String>,
    /// VLAN tag.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<u16>,
    /// MAC address; PVE makes one up if none is given, and it then stays.
    #[serde(default)]
    pub mac: Option<String>,
    /// Whether PVE's firewall guards it.
    #[serde(default)]
    pub firewall: Option<bool>,
    /// Largest packet.
    #[serde(default)]
    #[schemars(range(min = 64, max = 65535))]
    pub mtu: Option<u32>,
    /// Rate limit in megabytes a second.
    #[serde(default)]
    pub rate_limit: Option<f64>,
    /// Address with its prefix, `dhcp` or `manual`.
    #[serde(default)]
    pub ip: Option<String>,
    /// Gateway for that address.
    #[serde(default)]
    pub gateway: Option<String>,
}

/// What a container may do beyond the usual.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Features {
    /// Containers inside it.
    #[serde(default)]
    pub nesting: Option<bool>,
}

/// The kind `Container`.
pub struct ContainerKind;

impl Kind for ContainerKind {
    const NAME: &'static str = "Container";
    type Spec = ContainerSpec;
    type Observed = GuestSeen;

    fn refs(spec: &ContainerSpec) -> Vec<Reference> {
        let from = spec.from.as_ref().and_then(|f| f.template.as_ref()).map(|t| Reference {
            to: ResourceRef::new("GuestTemplate", t),
            path: vec!["from".into(), "template".into()],
            or_on_cluster: false,
        });
        let pool = spec.pool.as_ref().map(|p| Reference {
            to: ResourceRef::new("Pool", p),
            path: vec!["pool".into()],
            or_on_cluster: true,
        });
        from.into_iter().chain(pool).collect()
    }

    fn claim(_name: &str, spec: &ContainerSpec) -> Claim {
        Claim::Guest {
            guest: GuestType::Lxc,
            vmid: spec.vmid.and_then(|v| VmId::new(v.into())),
            range: spec.vmid_range.map(|VmIdRange(a, b)| (a, b)),
            nodes: plan::nodes(spec.node.as_ref(), spec.placement.as_ref()),
            takes_over: false,
            source: spec.from.as_ref().and_then(|f| f.template.as_ref()).map(|t| ResourceRef::new("GuestTemplate", t)),
            source_vmid: None,
            memory: spec.hardware.as_ref().and_then(|h| h.memory).map_or(512 << 20, |m| m.0.0),
        }
    }

    fn reads(identity: &Identity, spec: Option<&ContainerSpec>, index: &Index) -> Vec<Query> {
        let archive = spec.and_then(|s| s.from.as_ref()).and_then(|f| f.os_template.as_deref());
        fit::reads(identity, spec.is_some_and(|s| !s.networks.is_empty()), archive, index)
    }

    fn list(seen: &Observation) -> Vec<Listed> {
        observed::list(GuestType::Lxc, false, seen)
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

    fn plan(cx: &PlanContext<'_>, desired: Option<&ContainerSpec>, observed: Option<&GuestSeen>) -> Delta {
        let mut delta = plan::plan(cx, desired.map(|s| wanted(&cx.resource.name, s)).as_ref(), observed);
        if let (Some(spec), None) = (desired, observed)
            && let None | Some(CtFrom { os_template: None, template: None, .. }) = &spec.from
        {
            delta.steps.clear();
            delta.problems.push(
                Problem::new("from", "a container is made from something")
                    .help("give `from: {osTemplate: local:vztmpl/…}` or `from: {template: NAME}`"),
            );
        }
        delta
    }
}

fn wanted(name: &str, spec: &ContainerSpec) -> GuestDesired {
    let ContainerSpec {
        vmid: _,
        vmid_range: _,
        node: _,
        placement: _,
        from,
        pool,
        tags,
        description,
        power,
        hardware,
        rootfs,
        mounts,
        networks,
        unprivileged,
        features,
        nameservers,
        search_domain,
        startup,
        protection,
        update,
        options,
    } = spec;
    let mut collect = Collect::default();
    collect.text("name", Some(name));
    collect.text("pool", pool.as_ref());
    collect.tags(tags.as_ref());
    collect.description(description.as_ref());
    collect.power(*power);
    if let Some(CtHardware { cores, memory, swap }) = hardware {
        collect.text("hardware.cores", *cores);
        collect.size("hardware.memory", *memory);
        collect.size("hardware.swap", *swap);
    }
    if let Some(RootFs { storage, size }) = rootfs {
        collect.text("rootfs.storage", storage.as_ref());
        collect.size("rootfs.size", *size);
    }
    for Mount { slot, storage, size, path, backup } in mounts {
        collect.text(format!("mounts.{slot}.storage"), storage.as_ref());
        collect.size(format!("mounts.{slot}.size"), *size);
        collect.text(format!("mounts.{slot}.path"), Some(path));
        collect.flag(format!("mounts.{slot}.backup"), *backup);
    }
    for CtNetwork { slot, name, bridge, vlan, mac, firewall, mtu, rate_limit, ip, gateway } in networks {
        let at = |part: &str| format!("networks.{slot}.{part}");
        let default_name = format!("eth{}", slot.trim_start_matches("net"));
        collect.text(at("name"), Some(name.as_ref().unwrap_or(&default_name)));
        collect.text(at("bridge"), bridge.as_ref());
        collect.text(at("vlan"), *vlan);
        collect.text(at("mac"), mac.as_ref().map(|m| m.to_uppercase()));
        collect.flag(at("firewall"), *firewall);
        collect.text(at("mtu"), *mtu);
        collect.text(at("rateLimit"), *rate_limit);
        collect.text(at("ip"), ip.as_ref());
        collect.text(at("gateway"), gateway.as_ref());
    }
    collect.flag("unprivileged", *unprivileged);
    collect.flag("features.nesting", features.as_ref().and_then(|f| f.nesting));
    collect.text("nameservers", nameservers.as_ref().map(|n| n.join(" ")));
    collect.text("searchDomain", search_domain.as_ref());
    collect.startup(startup.as_ref());
    collect.flag("protection", *protection);
    collect.options(options);
    let source = match from {
        Some(CtFrom { os_template: Some(volume), .. }) => Source::OsTemplate(volume.clone()),
        Some(CtFrom { template: Some(template), mode, storage, .. }) => Source::Template {
            template: ResourceRef::new("GuestTemplate", template),
            mode: *mode,
            storage: storage.clone(),
        },
        Some(_) | None => Source::Empty,
    };
    GuestDesired {
        guest: GuestType::Lxc,
        fields: collect.fields,
        source,
        reboot: update.as_ref().map(|u| u.reboot).unwrap_or_default(),
        cloud_init_storage: None,
        template: false,
        at_creation: Vec::new(),
    }
}
