//! Golden images: guests that are PVE templates when done.

use crate::base::id::{GuestType, VmId};
use crate::kinds::guest::board::Hardware;
use crate::kinds::guest::desired::Collect;
use crate::kinds::guest::moving::Moving;
use crate::kinds::guest::observed::{self, GuestSeen};
use crate::kinds::guest::plan::{self, GuestDesired, Source};
use crate::kinds::guest::said::{self, Said};
use crate::kinds::guest::spec::{CloneMode, RebootPolicy, VmIdRange, VolumePolicy};
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
use serde_json::{Value, json};

/// A golden image: a VM or CT that is a PVE template when done.
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
    /// Or a range to allot it from.
    #[serde(default)]
    pub vmid_range: Option<VmIdRange>,
    /// Its name in PVE, where that is another than the manifest's: any DNS name; empty for a guest whose name is left as it
    /// is. It takes a `vmid`, by which the guest is found.
    #[serde(default)]
    #[schemars(regex(
        pattern = r"^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*)?$"
    ))]
    pub host_name: Option<String>,
    /// Where it comes from.
    pub source: TemplateSource,
    /// Processors, memory and the virtual board (virtual machines).
    #[serde(default)]
    pub hardware: Option<Hardware>,
    /// The pool that it is in.
    #[serde(default)]
    pub pool: Option<String>,
    /// Its tags; the tag `pvectl` is added.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// Notes for people.
    #[serde(default)]
    pub description: Option<String>,
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

/// Where a template comes from: exactly one of them.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateSource {
    /// A clone of another guest.
    #[serde(default)]
    pub clone: Option<CloneSource>,
    /// A guest that exists: it is taken over and turned into a template.
    #[serde(default)]
    pub existing: Option<ExistingSource>,
}

/// A clone of another guest: exactly one of `vmid` and `template`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloneSource {
    /// The number of the guest.
    #[serde(default)]
    #[schemars(range(min = 100, max = 999_999_999))]
    pub vmid: Option<u32>,
    /// Another `GuestTemplate`.
    #[serde(default)]
    pub template: Option<String>,
    /// Full unless said.
    #[serde(default = "full")]
    pub mode: CloneMode,
    /// Where its disks go; beside the source's when left out.
    #[serde(default)]
    pub storage: Option<String>,
}

fn full() -> CloneMode {
    CloneMode::Full
}

/// A guest that exists.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExistingSource {
    /// Its number.
    #[schemars(range(min = 100, max = 999_999_999))]
    pub vmid: u32,
}

/// The kind `GuestTemplate`.
pub struct GuestTemplateKind;

impl Kind for GuestTemplateKind {
    const NAME: &'static str = "GuestTemplate";
    type Spec = GuestTemplateSpec;
    type Observed = GuestSeen;

    fn refs(spec: &GuestTemplateSpec) -> Vec<Reference> {
        let template = spec.source.clone.as_ref().and_then(|c| c.template.as_ref());
        let from = template.map(|t| Reference {
            to: ResourceRef::new("GuestTemplate", t),
            path: vec!["source".into(), "clone".into(), "template".into()],
            or_on_cluster: false,
        });
        let pool = spec.pool.as_ref().map(|p| Reference {
            to: ResourceRef::new("Pool", p),
            path: vec!["pool".into()],
            or_on_cluster: true,
        });
        from.into_iter().chain(pool).collect()
    }

    fn check(spec: &GuestTemplateSpec) -> Vec<Problem> {
        said::check(&Said {
            guest: guest_type(spec),
            vmid: spec.vmid.is_some() || spec.source.existing.is_some(),
            range: spec.vmid_range.is_some(),
            node: spec.node.is_some(),
            placement: false,
            host_name: spec.host_name.is_some(),
            update: None,
            options: None,
        })
    }

    fn claim(_name: &str, spec: &GuestTemplateSpec) -> Claim {
        let existing = spec.source.existing.as_ref().map(|e| e.vmid);
        let clone = spec.source.clone.as_ref();
        Claim::Guest {
            guest: guest_type(spec),
            vmid: existing.or(spec.vmid).and_then(|v| VmId::new(v.into())),
            range: spec.vmid_range.map(|VmIdRange(a, b)| (a, b)),
            nodes: plan::nodes(spec.node.as_ref(), None),
            takes_over: existing.is_some(),
            source: clone.and_then(|c| c.template.as_ref()).map(|t| ResourceRef::new("GuestTemplate", t)),
            source_vmid: clone.and_then(|c| c.vmid).and_then(|v| VmId::new(v.into())),
            memory: 0,
        }
    }

    fn reads(identity: &Identity, spec: Option<&GuestTemplateSpec>, index: &Index) -> Vec<Query> {
        let mut reads = fit::reads(identity, false, None, index);
        let source = spec.and_then(|s| s.source.clone.as_ref()).and_then(|c| c.vmid).and_then(|v| VmId::new(v.into()));
        let there = matches!(identity, Identity::Guest { vmid, .. } if index.guests.contains_key(vmid));
        if let (Some(row), false) = (source.and_then(|v| index.guests.get(&v)), there) {
            reads.extend(fit::looks(row));
        }
        reads
    }

    fn list(seen: &Observation) -> Vec<Listed> {
        let mut all = observed::list(GuestType::Qemu, true, seen);
        all.extend(observed::list(GuestType::Lxc, true, seen));
        all
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
        let mut spec = export::export(observed);
        if let Some(fields) = spec.as_object_mut() {
            // It is taken over as it stands: disks and networks are the template's own business.
            let existing = fields.remove("vmid");
            fields.retain(|field, _| {
                matches!(field.as_str(), "hostName" | "node" | "hardware" | "pool" | "tags" | "description")
            });
            fields.insert("source".into(), json!({"existing": {"vmid": existing}}));
            if observed.row.guest == GuestType::Lxc {
                fields.remove("hardware");
                fields.insert("type".into(), json!("Container"));
            }
        }
        spec
    }

    fn unsaid(observed: &GuestSeen) -> Vec<String> {
        let mut words = export::unsaid(observed);
        words.push("its disks, networks and other options, which stay as they are".into());
        words
    }

    fn plan(cx: &PlanContext<'_>, desired: Option<&GuestTemplateSpec>, observed: Option<&GuestSeen>) -> Delta {
        let mut delta = plan::plan(cx, desired.map(|s| wanted(&cx.resource.name, s)).as_ref(), observed);
        if let Some(spec) = desired
            && spec.source.clone.is_some() == spec.source.existing.is_some()
        {
            delta.steps.clear();
            delta.problems.push(
                Problem::new("source", "a template has exactly one source").help("give either `clone` or `existing`"),
            );
        }
        delta
    }
}

fn guest_type(spec: &GuestTemplateSpec) -> GuestType {
    match spec.guest_type {
        TemplateType::VirtualMachine => GuestType::Qemu,
        TemplateType::Container => GuestType::Lxc,
    }
}

fn wanted(name: &str, spec: &GuestTemplateSpec) -> GuestDesired {
    let GuestTemplateSpec {
        guest_type: _,
        node: _,
        vmid: _,
        vmid_range: _,
        host_name,
        source,
        hardware,
        pool,
        tags,
        description,
    } = spec;
    let mut collect = Collect::new(guest_type(spec));
    collect.name(name, host_name.as_deref());
    collect.part("pool", pool);
    collect.part("tags", tags);
    collect.part("description", description);
    collect.part("hardware", hardware);
    let source = match &source.clone {
        Some(CloneSource { vmid: Some(vmid), mode, storage, .. }) if VmId::new((*vmid).into()).is_some() => {
            Source::Guest {
                vmid: VmId::new((*vmid).into()).expect("just checked"),
                mode: *mode,
                storage: storage.clone(),
            }
        }
        Some(CloneSource { template: Some(template), mode, storage, .. }) => Source::Template {
            template: ResourceRef::new("GuestTemplate", template),
            mode: *mode,
            storage: storage.clone(),
        },
        Some(_) | None => Source::Existing,
    };
    GuestDesired {
        guest: guest_type(spec),
        fields: collect.fields,
        source,
        reboot: RebootPolicy::Never,
        volumes: VolumePolicy::Keep,
        cloud_init_drive: None,
        moving: Moving::default(),
        template: true,
        at_creation: Vec::new(),
    }
}
