//! A machine as a guest: what it is cloned from and as, and how it is configured before its first start.

use crate::base::id::GuestType;
use crate::kinds::guest::compose;
use crate::kinds::guest::desired::Collect;
use crate::kinds::guest::firewall;
use crate::kinds::guest::form::normal_tags;
use crate::kinds::guest::mapping;
use crate::kinds::guest::moving::Moving;
use crate::kinds::guest::observed::GuestSeen;
use crate::kinds::guest::plan::{GuestDesired, Source};
use crate::kinds::guest::spec::{RebootPolicy, VolumePolicy};
use crate::kinds::runner_pool::look::template_ref;
use crate::kinds::runner_pool::spec::{RunnerNetwork, RunnerPoolSpec};
use crate::pve::request::Params;
use crate::resource::merge::{Cause, Difference};
use serde_json::{Value, json};

/// The machine of a name as a guest that shall be.
pub fn wanted(spec: &RunnerPoolSpec, guest: GuestType, name: &str) -> GuestDesired {
    let mut collect = Collect::new(guest);
    collect.name(name, None);
    collect.part("pool", &spec.pool);
    if !spec.tags.is_empty() {
        collect.part("tags", &spec.tags);
    }
    collect.part("networks", spec.networks.iter().map(|network| self::network(guest, network)).collect::<Vec<_>>());
    firewall::collect(&mut collect.fields, spec.firewall.as_ref());
    GuestDesired {
        guest,
        fields: collect.fields,
        source: Source::Template {
            template: template_ref(spec),
            mode: spec.clone.mode,
            storage: spec.clone.storage.clone(),
        },
        reboot: RebootPolicy::Never,
        volumes: VolumePolicy::Keep,
        cloud_init_drive: None,
        moving: Moving::new(None, None, None),
        template: false,
        version: None,
        at_creation: Vec::new(),
    }
}

/// A network as the guest's kinds have it; the card is a VM's alone.
fn network(guest: GuestType, network: &RunnerNetwork) -> Value {
    let RunnerNetwork { slot, profile: _, bridge, vlan, model, mtu, rate_limit, firewall } = network;
    let model = model.as_ref().filter(|_| guest == GuestType::Qemu);
    json!({
        "slot": slot, "bridge": bridge, "vlan": vlan, "model": model, "mtu": mtu, "rateLimit": rate_limit,
        "firewall": firewall,
    })
}

/// What makes a clone as it shall be: what differs, and its configuration's part of that as parameters of one write.
pub fn differences(want: &GuestDesired, seen: &GuestSeen) -> (Vec<Difference>, Params) {
    let read = |path: &str| match path {
        "pool" => seen.row.pool.clone(),
        _ if firewall::is_field(path) => {
            seen.firewall.as_ref().and_then(|f| f.fact(path)).or_else(|| firewall::default(path))
        }
        _ => mapping::read(want.guest, &seen.config, path).or_else(|| mapping::default(want.guest, path)),
    };
    let differences: Vec<Difference> = want
        .fields
        .iter()
        .filter(|(path, _)| path.as_str() != "pool")
        .filter_map(|(path, to)| {
            let from = read(path);
            let differs = from.as_ref() != Some(to);
            differs.then(|| Difference { path: path.clone(), from, to: Some(to.clone()), cause: Cause::Change })
        })
        .collect();
    let write = compose::write(want.guest, &seen.config, &want.fields, &differences);
    let mut params = write.params();
    let tagged = seen.config.get("tags").is_some_and(|t| t.split([';', ',', ' ']).any(|t| t == mapping::TAG));
    if !tagged && !params.iter().any(|(key, _)| key == "tags") {
        let own = seen.config.get("tags").map_or("", String::as_str);
        let all = mapping::encode(want.guest, "tags", &normal_tags(own.split([';', ',', ' '])));
        params.push(("tags".to_owned(), all));
    }
    // PVE copies every option of a template (`PVE::API2::Qemu`: "copy everything else"). A machine of a pool must be able to go, and
    // one that a restarted node brings back would have no runner.
    let template_only =
        ["protection", "onboot"].into_iter().filter(|key| seen.config.get(*key).is_some_and(|v| v == "1"));
    params.extend(template_only.map(|key| (key.to_owned(), "0".to_owned())));
    (differences, params)
}
