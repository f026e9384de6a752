//! Pools: named groups of guests and storages. Membership of guests is written where the guest is (`pool: web`).

use crate::pve::request::{Call, Method, Query, segment};
use crate::resource::index::Index;
use crate::resource::kind::{DecodeError, Kind, Listed, PlanContext};
use crate::resource::marker::Marker;
use crate::resource::merge::{Fields, merge};
use crate::resource::observation::Observation;
use crate::resource::privilege::require;
use crate::resource::reference::{Claim, Identity, Reference};
use crate::resource::step::{Action, Change, Delta, Impact, Limit, Problem, Step};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// A pool of guests and storages. Its id is `metadata.name`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolSpec {
    /// A line for people, shown in PVE's list of pools.
    #[serde(default)]
    pub comment: Option<String>,
}

/// A pool as it is.
#[derive(Debug)]
pub struct PoolSeen {
    comment: String,
    marker: Option<Marker>,
}

/// The kind `Pool`.
pub struct PoolKind;

fn id_of(identity: &Identity) -> &str {
    match identity {
        Identity::Pool(id) => id,
        Identity::Guest { .. } | Identity::Object { .. } => unreachable!("a pool is addressed by its id"),
    }
}

impl Kind for PoolKind {
    const NAME: &'static str = "Pool";
    type Spec = PoolSpec;
    type Observed = PoolSeen;

    fn refs(_spec: &PoolSpec) -> Vec<Reference> {
        Vec::new()
    }

    fn claim(name: &str, _spec: &PoolSpec) -> Claim {
        Claim::Pool(name.to_owned())
    }

    fn reads(_identity: &Identity, _spec: Option<&PoolSpec>, _index: &Index) -> Vec<Query> {
        Vec::new()
    }

    fn list(seen: &Observation) -> Vec<Listed> {
        let row = |id: &String, comment: &str| {
            let (_, marker) = Marker::split(comment);
            Listed {
                name: marker.as_ref().map_or(id.clone(), |m| m.owner.name.clone()),
                identity: Identity::Pool(id.clone()),
                marker: marker.map(Arc::new),
            }
        };
        seen.index.pools.iter().map(|(id, pool)| row(id, &pool.comment)).collect()
    }

    fn columns(listed: &Listed, seen: &Observation) -> Vec<(&'static str, String)> {
        let id = id_of(&listed.identity);
        let members = seen.index.guests.values().filter(|g| g.pool.as_deref() == Some(id)).count();
        let comment = seen.index.pools.get(id).map(|row| Marker::split(&row.comment).0);
        vec![("GUESTS", members.to_string()), ("COMMENT", comment.unwrap_or_default())]
    }

    fn decode(identity: &Identity, seen: &Observation) -> Result<Option<PoolSeen>, DecodeError> {
        let id = id_of(identity);
        Ok(seen.index.pools.get(id).map(|row| {
            let (comment, marker) = Marker::split(&row.comment);
            PoolSeen { comment, marker }
        }))
    }

    fn marker(observed: &PoolSeen) -> Option<&Marker> {
        observed.marker.as_ref()
    }

    fn export(observed: &PoolSeen) -> Value {
        if observed.comment.is_empty() { json!({}) } else { json!({"comment": observed.comment}) }
    }

    fn plan(cx: &PlanContext<'_>, desired: Option<&PoolSpec>, observed: Option<&PoolSeen>) -> Delta {
        let id = id_of(cx.identity);
        let mut delta = Delta::none(cx.resource.clone(), Some(cx.identity.clone()));
        let Some(spec) = desired else {
            if observed.is_some() {
                delta.action = Action::Delete;
                require(cx, &mut delta, &format!("/pool/{id}"), "Pool.Allocate");
                let staying = cx
                    .seen
                    .index
                    .guests
                    .values()
                    .filter(|g| g.pool.as_deref() == Some(id) && !cx.leaving.contains(&g.vmid));
                let strangers = staying.count();
                if strangers > 0 {
                    delta.problems.push(
                        Problem::new("", format!("pool `{id}` still has {strangers} guests"))
                            .help("PVE deletes only empty pools: move or delete its guests first"),
                    );
                }
                let call = Call::new(Method::Delete, "/pools").with("poolid", id);
                delta.steps.push(Step::new(format!("delete pool {id}"), call, Impact::None).limit(Limit::UserConfig));
            }
            return delta;
        };
        if let Some(problem) = observed.and_then(|seen| ownership(cx, id, seen.marker.as_ref())) {
            delta.problems.push(problem);
            return delta;
        }
        if observed.is_none() {
            // PVE hides pools: without this, absence would be a guess.
            require(cx, &mut delta, &format!("/pool/{id}"), "Pool.Audit");
        }
        let mut fields = Fields::new();
        if let Some(comment) = &spec.comment {
            fields.insert("comment".into(), comment.trim_end().to_owned());
        }
        let marker = cx.marker(fields.clone());
        let current = observed.map(|o| Fields::from([("comment".to_owned(), o.comment.clone())])).unwrap_or_default();
        let applied = observed.and_then(|o| o.marker.as_ref()).map(|m| m.applied.clone()).unwrap_or_default();
        let differences = merge(&fields, &applied, |p| current.get(p).cloned(), |_| Some(String::new()));
        delta.changes = differences
            .into_iter()
            .map(|d| Change { path: d.path, from: d.from, to: d.to, cause: d.cause, impact: Impact::None })
            .collect();
        let text = match (&spec.comment, observed) {
            (Some(comment), _) => comment.clone(),
            (None, Some(seen)) if delta.changes.is_empty() => seen.comment.clone(),
            (None, Some(_) | None) => String::new(),
        };
        let comment = marker.join(&text);
        match observed {
            None => {
                delta.action = Action::Create;
                let call = Call::new(Method::Post, "/pools").with("poolid", id).with("comment", comment);
                delta.steps.push(Step::new(format!("create pool {id}"), call, Impact::None).limit(Limit::UserConfig));
            }
            Some(seen) => {
                let shortened = Marker::split(&comment).1;
                if !delta.changes.is_empty() || seen.marker != shortened {
                    delta.action = Action::Update;
                    let call = Call::new(Method::Put, format!("/pools/{}", segment(id))).with("comment", comment);
                    delta
                        .steps
                        .push(Step::new(format!("update pool {id}"), call, Impact::None).limit(Limit::UserConfig));
                }
            }
        }
        if !delta.steps.is_empty() {
            require(cx, &mut delta, &format!("/pool/{id}"), "Pool.Allocate");
        }
        delta
    }
}

/// Why a pool that is there may not be touched, if so.
fn ownership(cx: &PlanContext<'_>, id: &str, marker: Option<&Marker>) -> Option<Problem> {
    match marker {
        None if cx.adopt => None,
        None => Some(
            Problem::new("", format!("there is a pool `{id}` already, which pvectl does not own"))
                .help(format!("take it over with: pvectl adopt {} -f …, or choose another name", cx.resource)),
        ),
        Some(marker) if marker.owner != *cx.resource || marker.set != cx.set => Some(
            Problem::new("", format!("pool `{id}` belongs to {} of the manifest set `{}`", marker.owner, marker.set))
                .help("one object has one owner: take it out of the other set first"),
        ),
        Some(_) => None,
    }
}
