//! Golden images: guests that are PVE templates when done.

pub mod of_type;
pub mod spec;

use crate::base::id::{GuestType, VmId};
use crate::kinds::guest::desired::Collect;
use crate::kinds::guest::from::references;
use crate::kinds::guest::moving::Moving;
use crate::kinds::guest::networks::CtNetwork;
use crate::kinds::guest::observed::{self, GuestSeen};
use crate::kinds::guest::plan::{self, GuestDesired};
use crate::kinds::guest::rules::checks::Checks;
use crate::kinds::guest::rules::evaluate::stops_conversion;
use crate::kinds::guest::said::{self, Said};
use crate::kinds::guest::spec::{RebootPolicy, VmIdRange, VolumePolicy};
use crate::kinds::guest::{export, fit};
use crate::kinds::guest_template::spec::GuestTemplateSpec;
use crate::pve::request::Query;
use crate::resource::index::Index;
use crate::resource::kind::{DecodeError, Kind, Listed, PlanContext};
use crate::resource::marker::Marker;
use crate::resource::observation::Observation;
use crate::resource::reference::{Claim, Identity, Reference, ResourceRef};
use crate::resource::step::{Delta, Problem, Step};
use serde_json::{Value, json};

/// The kind `GuestTemplate`.
pub struct GuestTemplateKind;

impl Kind for GuestTemplateKind {
    const NAME: &'static str = "GuestTemplate";
    type Spec = GuestTemplateSpec;
    type Observed = GuestSeen;

    fn refs(spec: &GuestTemplateSpec) -> Vec<Reference> {
        let (template, guest) = (["source", "clone", "template"], ["source", "clone", "guest"]);
        let from = references(&spec.source.source(), spec.guest_type.kind(), &template, &guest);
        let pool = spec.pool.as_ref().map(|p| Reference {
            to: ResourceRef::new("Pool", p),
            path: vec!["pool".into()],
            or_on_cluster: true,
        });
        from.into_iter().chain(pool).collect()
    }

    fn check(spec: &GuestTemplateSpec) -> Vec<Problem> {
        said::check(&Said {
            guest: spec.guest_type.guest(),
            vmid: spec.vmid.is_some() || spec.source.existing.is_some(),
            range: spec.vmid_range.is_some(),
            node: spec.node.is_some(),
            placement: false,
            host_name: spec.host_name.is_some(),
            update: None,
            options: Some(&spec.options),
        })
    }

    fn claim(_name: &str, spec: &GuestTemplateSpec) -> Claim {
        let existing = spec.source.existing.as_ref().map(|e| e.vmid);
        Claim::Guest {
            guest: spec.guest_type.guest(),
            vmid: existing.or(spec.vmid).and_then(|v| VmId::new(v.into())),
            range: spec.vmid_range.map(|VmIdRange(a, b)| (a, b)),
            nodes: plan::nodes(spec.node.as_ref(), None),
            takes_over: existing.is_some(),
            source: Self::refs(spec).into_iter().map(|r| r.to).find(|to| to.kind != "Pool"),
            source_vmid: spec.source.clone.as_ref().and_then(|c| c.vmid).and_then(|v| VmId::new(v.into())),
            version: spec.version.clone(),
            memory: 0,
        }
    }

    fn reads(identity: &Identity, spec: Option<&GuestTemplateSpec>, index: &Index) -> Vec<Query> {
        let Some(spec) = spec else { return fit::reads(identity, false, None, &[], index) };
        let nodes = plan::nodes(spec.node.as_ref(), None);
        fit::reads(identity, !spec.networks.is_empty(), Some(&spec.source.source()), &nodes, index)
    }

    fn list(seen: &Observation) -> Vec<Listed> {
        let mut all = observed::list(GuestType::Qemu, true, seen);
        all.extend(observed::list(GuestType::Lxc, true, seen));
        // One that is still being built is no template of PVE's yet, and says by its marker what it will be.
        let building = [GuestType::Qemu, GuestType::Lxc].into_iter().flat_map(|g| observed::list(g, false, seen));
        all.extend(building.filter(|l| l.marker.as_ref().is_some_and(|m| m.owner.kind == Self::NAME)));
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
        let mut problems = Vec::new();
        let want = desired.map(|spec| wanted(&cx.resource.name, spec, &mut problems));
        if let Some((word, why)) = desired.and_then(|spec| spec.source.unfit(spec.guest_type.guest())) {
            problems.push(
                Problem::new(&format!("source.{word}"), why).help("say `type: VirtualMachine` or `type: Container`"),
            );
        }
        let checks = desired.and_then(|spec| Some((spec.checks.as_ref()?, spec.guest_type.guest())));
        if let Some((checks, guest)) = checks {
            let faults = checks.faults(guest).into_iter();
            problems.extend(faults.map(|why| Problem::new("checks", why).help("pvectl explain GuestTemplate.checks")));
        }
        let mut delta = plan::plan(cx, want.as_ref(), observed);
        if let (Some((checks, _)), Some(seen)) = (checks, observed) {
            examine(checks, seen, &mut delta);
        }
        if !problems.is_empty() {
            delta.steps.clear();
            delta.problems.extend(problems);
        }
        delta
    }
}

/// What is built is examined when all else is done, and converted only if it passes.
fn examine(checks: &Checks, seen: &GuestSeen, delta: &mut Delta) {
    let converts = |step: &Step| step.call.path.ends_with("/template");
    if seen.row.template || !delta.steps.iter().any(converts) {
        return;
    }
    let written = |step: &Step| step.call.path.ends_with("/config") || step.call.path.ends_with("/resize");
    if delta.steps.iter().any(written) {
        // It is not yet what it will be: the next round sees it whole.
        delta.steps.retain(|step| !converts(step));
        return;
    }
    let problems = stops_conversion(checks, seen);
    if !problems.is_empty() {
        delta.steps.clear();
        delta.problems.extend(problems);
    }
}

/// Everything that its type of guest has of it. What the other type has, and this one has not, goes to the problems.
fn wanted(name: &str, spec: &GuestTemplateSpec, problems: &mut Vec<Problem>) -> GuestDesired {
    let GuestTemplateSpec {
        guest_type,
        node: _,
        vmid: _,
        vmid_range: _,
        host_name,
        version,
        source,
        hardware,
        disks,
        rootfs,
        mounts,
        networks,
        serial_ports,
        boot_order,
        cloud_init,
        unprivileged,
        features,
        os_type,
        time_zone,
        console,
        nameservers,
        search_domain,
        pool,
        checks: _,
        tags,
        description,
        protection,
        options,
    } = spec;
    let guest = guest_type.guest();
    let mut collect = Collect::new(guest);
    collect.name(name, host_name.as_deref());
    collect.part("pool", pool);
    collect.part("tags", tags);
    collect.part("description", description);
    collect.part("protection", protection);
    let mut of_type = |word: &str, part: Result<Value, String>| match part {
        Ok(part) => Some(part),
        Err(why) => {
            let noun = fit::noun(guest);
            let problem = Problem::new(word, format!("`{word}` is not that of a {noun}: {why}"));
            problems.push(problem.help(format!("see what a {noun} has: pvectl explain {}.{word}", guest_type.kind())));
            None
        }
    };
    collect.part("hardware", hardware.as_ref().and_then(|h| of_type("hardware", h.of(guest))));
    let networks: Vec<Value> = networks.iter().filter_map(|n| of_type("networks", n.of(guest))).collect();
    let of_vms = [
        ("disks", disks.is_empty()),
        ("serialPorts", serial_ports.is_empty()),
        ("bootOrder", boot_order.is_none()),
        ("cloudInit", cloud_init.is_none()),
    ];
    let of_cts = [
        ("rootfs", rootfs.is_none()),
        ("mounts", mounts.is_empty()),
        ("unprivileged", unprivileged.is_none()),
        ("features", features.is_none()),
        ("osType", os_type.is_none()),
        ("timeZone", time_zone.is_none()),
        ("console", console.is_none()),
        ("nameservers", nameservers.is_none()),
        ("searchDomain", search_domain.is_none()),
    ];
    match guest {
        GuestType::Qemu => {
            collect.part("disks", disks);
            collect.part("serialPorts", serial_ports);
            collect.part("bootOrder", boot_order);
            collect.part("cloudInit", cloud_init);
            foreign(guest, &of_cts, problems);
        }
        GuestType::Lxc => {
            for slot in networks.iter().filter_map(|n| n["slot"].as_str()) {
                collect.text(format!("networks.{slot}.name"), &CtNetwork::usual_name(slot));
            }
            collect.part("rootfs", rootfs);
            collect.part("mounts", mounts);
            collect.part("unprivileged", unprivileged);
            collect.part("features", features);
            collect.part("osType", os_type);
            collect.part("timeZone", time_zone);
            collect.part("console", console);
            collect.part("nameservers", nameservers);
            collect.part("searchDomain", search_domain);
            foreign(guest, &of_vms, problems);
        }
    }
    collect.part("networks", networks);
    collect.options(options);
    GuestDesired {
        guest,
        fields: collect.fields,
        source: source.source(),
        reboot: RebootPolicy::Never,
        volumes: VolumePolicy::Keep,
        cloud_init_drive: cloud_init.as_ref().and_then(|c| c.drive_to_make()),
        moving: Moving::default(),
        template: true,
        version: version.clone(),
        at_creation: Vec::new(),
    }
}

/// What the other type of guest has: each word, and whether it is left out as it should be.
fn foreign(guest: GuestType, words: &[(&str, bool)], problems: &mut Vec<Problem>) {
    let noun = fit::noun(guest);
    problems.extend(words.iter().filter(|(_, left_out)| !left_out).map(|(word, _)| {
        Problem::new(word, format!("a {noun} has no `{word}`")).help("leave it out, or give the other `type`")
    }));
}
