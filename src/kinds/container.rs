//! Containers.

use crate::base::id::{GuestType, VmId};
use crate::kinds::guest::desired::Collect;
use crate::kinds::guest::devices::CtDevice;
use crate::kinds::guest::firewall::{self, GuestFirewall};
use crate::kinds::guest::from::{CtFrom, one_source, references};
use crate::kinds::guest::moving::Moving;
use crate::kinds::guest::networks::{CtNetwork, addresses};
use crate::kinds::guest::observed::{self, GuestSeen};
use crate::kinds::guest::plan::{self, GuestDesired, Source};
use crate::kinds::guest::said::{self, Said};
use crate::kinds::guest::spec::{Options, Placement, Power, Size, Startup, Update, VmIdRange};
use crate::kinds::guest::volumes::{Mount, RootFs};
use crate::kinds::guest::{export, fit};
use crate::pve::request::Query;
use crate::resource::index::Index;
use crate::resource::kind::{DecodeError, Kind, Listed, PlanContext};
use crate::resource::marker::Marker;
use crate::resource::observation::Observation;
use crate::resource::reference::{Claim, Identity, Reference, ResourceRef};
use crate::resource::step::{Delta, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

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
    /// Where it comes from. Used when it is made, and not after.
    #[serde(default, deserialize_with = "one_source")]
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
    /// Devices of the node that it may use, each by its slot.
    #[serde(default)]
    pub devices: Vec<CtDevice>,
    /// Whether its root is an ordinary user of the host; decided when it is made. PVE's API knows the usual map of ids alone:
    /// another one (`lxc.idmap`) is written on the node into `/etc/pve/lxc/VMID.conf`, and stays there as it is.
    #[serde(default)]
    pub unprivileged: Option<bool>,
    /// What it may do beyond the usual.
    #[serde(default)]
    pub features: Option<Features>,
    /// Operating system inside; PVE finds out by itself. `unmanaged` keeps PVE's hands off.
    #[serde(default)]
    #[schemars(extend("enum" = ["debian", "devuan", "ubuntu", "centos", "fedora", "opensuse", "archlinux", "alpine", "gentoo", "nixos", "unmanaged"]))]
    pub os_type: Option<String>,
    /// Time zone such as `Europe/Berlin`, or `host` for the node's.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// The command that runs as its first process; `/sbin/init` unless said.
    #[serde(default)]
    pub entry_point: Option<String>,
    /// Environment of that process, each `NAME=value`.
    #[serde(default)]
    pub env: Option<Vec<String>>,
    /// Its console.
    #[serde(default)]
    pub console: Option<Console>,
    /// Log what happens at its start.
    #[serde(default)]
    pub debug: Option<bool>,
    /// A script that PVE runs when it starts and stops, such as `local:snippets/hook.pl`. PVE lets only root@pam set it.
    #[serde(default)]
    pub hook_script: Option<String>,
    /// DNS servers.
    #[serde(default)]
    pub nameservers: Option<Vec<String>>,
    /// DNS search domain.
    #[serde(default)]
    pub search_domain: Option<String>,
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

/// Processors and memory of a container.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CtHardware {
    /// Cores; all of the node when left out at creation.
    #[serde(default)]
    #[schemars(range(min = 1, max = 8192))]
    pub cores: Option<u32>,
    /// How many processors' time it may take; `0` for no limit.
    #[serde(default)]
    #[schemars(range(min = 0, max = 8192))]
    pub cpu_limit: Option<f64>,
    /// Its weight against other guests when processors are short.
    #[serde(default)]
    #[schemars(range(min = 0, max = 500_000))]
    pub cpu_units: Option<u32>,
    /// Memory; whole MiB.
    #[serde(default)]
    pub memory: Option<Size>,
    /// Swap; whole MiB.
    #[serde(default)]
    pub swap: Option<Size>,
    /// Architecture of the processor: `amd64`, `i386`, `arm64`, `armhf`, `riscv32`, `riscv64`.
    #[serde(default)]
    #[schemars(extend("enum" = ["amd64", "i386", "arm64", "armhf", "riscv32", "riscv64"]))]
    pub arch: Option<String>,
}

/// What a container may do beyond the usual.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Features {
    /// Containers inside it. The one feature that a token may set, on an unprivileged container.
    #[serde(default)]
    pub nesting: Option<bool>,
    /// The keyctl system call, for Docker in an unprivileged container. PVE lets only root@pam set it.
    #[serde(default)]
    pub keyctl: Option<bool>,
    /// FUSE file systems. PVE lets only root@pam set it.
    #[serde(default)]
    pub fuse: Option<bool>,
    /// Make device nodes. PVE lets only root@pam set it.
    #[serde(default)]
    pub mknod: Option<bool>,
    /// Types of file systems that it may mount, such as `nfs`, `cifs`. PVE lets only root@pam set it.
    #[serde(default)]
    pub mount: Option<Vec<String>>,
    /// Mount `/sys` writable. PVE lets only root@pam set it.
    #[serde(default)]
    pub force_rw_sys: Option<bool>,
}

/// The console of a container.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Console {
    /// A device `/dev/console`.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// What PVE's console opens: `tty`, `console`, `shell`.
    #[serde(default)]
    #[schemars(extend("enum" = ["tty", "console", "shell"]))]
    pub mode: Option<String>,
    /// How many ttys it has.
    #[serde(default)]
    #[schemars(range(min = 0, max = 6))]
    pub ttys: Option<u32>,
}

/// The kind `Container`.
pub struct ContainerKind;

impl Kind for ContainerKind {
    const NAME: &'static str = "Container";
    type Spec = ContainerSpec;
    type Observed = GuestSeen;

    fn refs(spec: &ContainerSpec) -> Vec<Reference> {
        let from = spec.from.as_ref().map(CtFrom::source);
        let from = from.map(|s| references(&s, Self::NAME, &["from", "template"], &["from", "clone", "guest"]));
        let pool = spec.pool.as_ref().map(|p| Reference {
            to: ResourceRef::new("Pool", p),
            path: vec!["pool".into()],
            or_on_cluster: true,
        });
        from.into_iter().flatten().chain(pool).chain(firewall::refs(spec.firewall.as_ref())).collect()
    }

    fn check(spec: &ContainerSpec) -> Vec<Problem> {
        said::check(&Said {
            guest: GuestType::Lxc,
            vmid: spec.vmid.is_some(),
            range: spec.vmid_range.is_some(),
            node: spec.node.is_some(),
            placement: spec.placement.is_some(),
            host_name: spec.host_name.is_some(),
            update: spec.update.as_ref(),
            options: Some(&spec.options),
        })
    }

    fn claim(_name: &str, spec: &ContainerSpec) -> Claim {
        Claim::Guest {
            guest: GuestType::Lxc,
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

    fn filters(spec: &ContainerSpec) -> bool {
        spec.firewall.is_some() || spec.networks.iter().any(|network| network.firewall == Some(true))
    }

    fn addresses(spec: &ContainerSpec) -> Vec<IpAddr> {
        addresses(spec.networks.iter().flat_map(|network| [&network.ip, &network.ip6]))
    }

    fn reads(identity: &Identity, spec: Option<&ContainerSpec>, index: &Index) -> Vec<Query> {
        let Some(spec) = spec else { return fit::reads(identity, false, None, &[], index) };
        let source = spec.from.as_ref().map(CtFrom::source);
        let nodes = plan::nodes(spec.node.as_ref(), spec.placement.as_ref());
        let mut reads = fit::reads(identity, !spec.networks.is_empty(), source.as_ref(), &nodes, index);
        let ContainerSpec { node, placement, update, .. } = spec;
        reads.extend(Moving::new(node.as_ref(), placement.as_ref(), update.as_ref()).reads(identity, index));
        reads.extend(firewall::reads(fit::row(identity, index), spec.firewall.as_ref()));
        reads
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

    fn unsaid(observed: &GuestSeen) -> Vec<String> {
        export::unsaid(observed)
    }

    fn plan(cx: &PlanContext<'_>, desired: Option<&ContainerSpec>, observed: Option<&GuestSeen>) -> Delta {
        let mut delta = plan::plan(cx, desired.map(|s| wanted(&cx.resource.name, s)).as_ref(), observed);
        if let (Some(spec), None) = (desired, observed)
            && spec.from.is_none()
        {
            delta.steps.clear();
            delta.problems.push(
                Problem::new("from", "a container is made from something")
                    .help("give `from: {osTemplate: local:vztmpl/…}`, `{appliance: debian-12-standard, storage: local}`, `{template: NAME}`, …: pvectl explain Container.from"),
            );
        }
        delta
    }
}

fn wanted(name: &str, spec: &ContainerSpec) -> GuestDesired {
    let ContainerSpec {
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
        rootfs,
        mounts,
        networks,
        devices,
        unprivileged,
        features,
        os_type,
        time_zone,
        entry_point,
        env,
        console,
        debug,
        hook_script,
        nameservers,
        search_domain,
        startup,
        firewall,
        protection,
        update,
        options,
    } = spec;
    let mut collect = Collect::new(GuestType::Lxc);
    collect.name(name, host_name.as_deref());
    collect.part("pool", pool);
    collect.part("tags", tags);
    collect.part("description", description);
    collect.part("power", power.filter(|p| *p != Power::Unmanaged));
    collect.part("hardware", hardware);
    collect.part("rootfs", rootfs);
    collect.part("mounts", mounts);
    for CtNetwork { slot, .. } in networks {
        collect.text(format!("networks.{slot}.name"), &CtNetwork::usual_name(slot));
    }
    collect.part("networks", networks);
    collect.part("devices", devices);
    collect.part("unprivileged", unprivileged);
    collect.part("features", features);
    collect.part("osType", os_type);
    collect.part("timeZone", time_zone);
    collect.part("entryPoint", entry_point);
    collect.part("env", env);
    collect.part("console", console);
    collect.part("debug", debug);
    collect.part("hookScript", hook_script);
    collect.part("nameservers", nameservers);
    collect.part("searchDomain", search_domain);
    collect.part("startup", startup);
    collect.part("protection", protection);
    firewall::collect(&mut collect.fields, firewall.as_ref());
    collect.options(options);
    if from.as_ref().and_then(|f| f.keep_hostname) == Some(true) {
        collect.fields.remove("name");
    }
    let source = from.as_ref().map_or(Source::Empty, CtFrom::source);
    GuestDesired {
        guest: GuestType::Lxc,
        fields: collect.fields,
        source,
        reboot: update.as_ref().map(|u| u.reboot).unwrap_or_default(),
        volumes: update.as_ref().map(|u| u.volumes).unwrap_or_default(),
        cloud_init_drive: None,
        moving: Moving::new(node.as_ref(), placement.as_ref(), update.as_ref()),
        template: false,
        version: None,
        at_creation: Vec::new(),
    }
}
