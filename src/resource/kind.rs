//! What a kind is. `None` desired is deletion, `None` observed is creation: one `plan` function, four cases. Kinds never
//! talk: they return queries as values and decode answers.

use crate::base::id::VmId;
use crate::base::links::Links;
use crate::manifest::document::NAME_CHARACTERS_MAX;
use crate::pve::request::Query;
use crate::resource::index::Index;
use crate::resource::marker::Marker;
use crate::resource::merge::Fields;
use crate::resource::observation::Observation;
use crate::resource::reference::{Claim, Identity, Reference, ResourceRef};
use crate::resource::step::{Delta, Problem};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

/// What a plan may look at besides the spec and the object.
pub struct PlanContext<'a> {
    /// Which resource is planned.
    pub resource: &'a ResourceRef,
    /// Which object it is, or will be.
    pub identity: &'a Identity,
    /// The manifest set.
    pub set: &'a str,
    /// Everything seen in this pass.
    pub seen: &'a Observation,
    /// What every other resource of the set is.
    pub identities: &'a BTreeMap<ResourceRef, Identity>,
    /// Guests that the same plan deletes.
    pub leaving: &'a BTreeSet<VmId>,
    /// Its manifest is there, and it is to be deleted all the same (`pvectl delete`): what it made goes before it.
    pub going: bool,
    /// The manifest says `pvectl/deletion-policy: Retain`.
    pub retain: bool,
    /// The `GuestSet` or `NetworkProfile` that it is made for.
    pub member_of: Option<&'a str>,
    /// An object without our marker may be taken over.
    pub adopt: bool,
    /// We speak with a ticket of root@pam, which may set what no token may.
    pub root_ticket: bool,
    /// The nodes that have a host link.
    pub links: &'a Links,
    /// The token of a lock on networks that a run of ours may have left.
    pub left_lock: Option<&'a str>,
    /// `metadata.annotations` of the manifest.
    pub annotations: &'a BTreeMap<String, String>,
}

impl PlanContext<'_> {
    /// The guests of the set, each with what declares it.
    pub fn declared(&self) -> BTreeMap<VmId, ResourceRef> {
        let guest = |(resource, identity): (&ResourceRef, &Identity)| match identity {
            Identity::Guest { vmid, .. } => Some((*vmid, resource.clone())),
            Identity::Pool(_) | Identity::Object { .. } => None,
        };
        self.identities.iter().filter_map(guest).collect()
    }

    /// The marker of an object that is no guest, with the fields that are applied.
    pub fn marker(&self, applied: Fields) -> Marker {
        Marker {
            owner: self.resource.clone(),
            set: self.set.to_owned(),
            vmid: None,
            retain: self.retain,
            member_of: self.member_of.map(str::to_owned),
            source: None,
            version: None,
            applied,
        }
    }
}

/// An answer that a kind could not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What was being read, and what was wrong.
    pub message: String,
}

/// An object of a kind on the cluster, ours or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name: the manifest's where it is ours, PVE's otherwise.
    pub name: String,
    /// Which object.
    pub identity: Identity,
    /// Our marker, if it was read.
    pub marker: Option<Arc<Marker>>,
}

impl Listed {
    /// Its name as `metadata.name` may be: an id of PVE's may hold more than a DNS label.
    pub fn label(&self) -> String {
        let label = dns_label(&self.name);
        if label.is_empty() { "unnamed".to_owned() } else { label }
    }
}

/// A name as `metadata.name` may be: `Windows Server` becomes `windows-server`. Empty where nothing is left of it.
pub fn dns_label(name: &str) -> String {
    let mut out = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => out.push(c),
            _ if out.ends_with('-') || out.is_empty() => {}
            _ => out.push('-'),
        }
    }
    out.chars().take(NAME_CHARACTERS_MAX).collect::<String>().trim_matches('-').to_owned()
}

/// A guest of the manifests, as policies may mean it by its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// Which resource.
    pub resource: ResourceRef,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// The number that its manifest gives.
    pub vmid: Option<VmId>,
}

/// A type of resource with a schema.
pub trait Kind: Send + Sync + 'static {
    /// Its name in manifests.
    const NAME: &'static str;
    /// What the user writes. Its doc comments become `explain` and the schema's descriptions.
    type Spec: DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// What the cluster says, in the same units.
    type Observed: Send + Sync + 'static;

    /// Other resources that the spec names.
    fn refs(spec: &Self::Spec) -> Vec<Reference>;
    /// What is wrong with a spec whatever the cluster is like, each with its field.
    fn check(_spec: &Self::Spec) -> Vec<Problem> {
        Vec::new()
    }
    /// Settles which guests of the manifests the spec means by their labels.
    fn choose(_spec: &mut Self::Spec, _guests: &[Labelled]) {}
    /// What it wants to be.
    fn claim(name: &str, spec: &Self::Spec) -> Claim;
    /// What lists the objects of this kind, and those that it refers to: asked for with the index, and only where manifests
    /// or a command speak of this kind. Nothing for what the index holds anyway.
    fn lists() -> Vec<Query> {
        Vec::new()
    }
    /// What lists them on one node, where only the node itself knows: asked for through the host link after the index, of each
    /// node that has one, where manifests or a command speak of this kind.
    fn lists_of(_node: &str, _index: &Index) -> Vec<Query> {
        Vec::new()
    }
    /// Whether an object can carry our marker. One that cannot is never pruned, and is deleted only by its manifest.
    fn marks() -> bool {
        true
    }
    /// Whether its manifest is what says how that goes which it made: then it is planned with [`PlanContext::going`] when it is
    /// deleted, until nothing is left.
    fn goes_itself() -> bool {
        false
    }
    /// What must be read to plan it; `spec` is `None` for something that may have to be deleted.
    fn reads(identity: &Identity, spec: Option<&Self::Spec>, index: &Index) -> Vec<Query>;
    /// Whether an object is Proxmox's own, which nobody made and nobody can change.
    fn is_native(_identity: &Identity, _seen: &Observation) -> bool {
        false
    }
    /// Names of DNS whose addresses it needs.
    fn names(_spec: &Self::Spec) -> Vec<String> {
        Vec::new()
    }
    /// Whether the spec speaks of PVE's firewall, so that it may close the way by which we talk to PVE.
    fn filters(_spec: &Self::Spec) -> bool {
        false
    }
    /// The addresses that the spec gives it: we may be running in it.
    fn addresses(_spec: &Self::Spec) -> Vec<IpAddr> {
        Vec::new()
    }
    /// Guests of the manifests whose addresses it needs. They are no [`Kind::refs`]: it waits for none of them.
    fn guests(_spec: &Self::Spec) -> Vec<Reference> {
        Vec::new()
    }
    /// Files of secrets that it wants to know of.
    fn files(_spec: &Self::Spec) -> Vec<String> {
        Vec::new()
    }
    /// Objects of this kind on the cluster.
    fn list(seen: &Observation) -> Vec<Listed>;
    /// The columns of `get` for one of them, after the name: header and value.
    fn columns(listed: &Listed, seen: &Observation) -> Vec<(&'static str, String)>;
    /// The object as it is; `None` if it is not there.
    fn decode(identity: &Identity, seen: &Observation) -> Result<Option<Self::Observed>, DecodeError>;
    /// The marker on it.
    fn marker(observed: &Self::Observed) -> Option<&Marker>;
    /// What is to be done.
    fn plan(cx: &PlanContext<'_>, desired: Option<&Self::Spec>, observed: Option<&Self::Observed>) -> Delta;
    /// What is to be done about each guest that a policy means, one delta a guest, named by [`ResourceRef::member`].
    fn members(_cx: &PlanContext<'_>, _spec: &Self::Spec) -> Vec<Delta> {
        Vec::new()
    }
    /// The spec that would make the object as it is, for `get -o yaml`.
    fn export(observed: &Self::Observed) -> Value;
    /// What it has that no manifest of the kind can say, in words.
    fn unsaid(_observed: &Self::Observed) -> Vec<String> {
        Vec::new()
    }
}

/// A spec of some kind.
pub type AnySpec = Box<dyn Any + Send + Sync>;

/// A kind in a list of kinds.
pub trait AnyKind: Send + Sync {
    /// [`Kind::NAME`].
    fn name(&self) -> &'static str;
    /// JSON Schema (draft 2020-12) of the spec.
    fn schema(&self) -> Value;
    /// Reads a spec; the error carries the path of the field and what is wrong with it.
    fn parse(&self, spec: &Value) -> Result<AnySpec, (String, String)>;
    /// [`Kind::refs`].
    fn refs(&self, spec: &AnySpec) -> Vec<Reference>;
    /// [`Kind::check`].
    fn check(&self, _spec: &AnySpec) -> Vec<Problem> {
        Vec::new()
    }
    /// [`Kind::choose`].
    fn choose(&self, _spec: &mut AnySpec, _guests: &[Labelled]) {}
    /// [`Kind::claim`].
    fn claim(&self, name: &str, spec: &AnySpec) -> Claim;
    /// [`Kind::lists`].
    fn lists(&self) -> Vec<Query>;
    /// [`Kind::lists_of`].
    fn lists_of(&self, _node: &str, _index: &Index) -> Vec<Query> {
        Vec::new()
    }
    /// [`Kind::marks`].
    fn marks(&self) -> bool;
    /// [`Kind::goes_itself`].
    fn goes_itself(&self) -> bool {
        false
    }
    /// [`Kind::reads`].
    fn reads(&self, identity: &Identity, spec: Option<&AnySpec>, index: &Index) -> Vec<Query>;
    /// [`Kind::names`].
    fn names(&self, spec: &AnySpec) -> Vec<String>;
    /// [`Kind::filters`].
    fn filters(&self, _spec: &AnySpec) -> bool {
        false
    }
    /// [`Kind::addresses`].
    fn addresses(&self, _spec: &AnySpec) -> Vec<IpAddr> {
        Vec::new()
    }
    /// [`Kind::guests`].
    fn guests(&self, _spec: &AnySpec) -> Vec<Reference> {
        Vec::new()
    }
    /// [`Kind::files`].
    fn files(&self, spec: &AnySpec) -> Vec<String>;
    /// [`Kind::is_native`].
    fn is_native(&self, identity: &Identity, seen: &Observation) -> bool;
    /// [`Kind::list`].
    fn list(&self, seen: &Observation) -> Vec<Listed>;
    /// [`Kind::columns`].
    fn columns(&self, listed: &Listed, seen: &Observation) -> Vec<(&'static str, String)>;
    /// [`Kind::decode`] and [`Kind::plan`] in one, and [`Kind::marker`] of what was decoded.
    fn plan(&self, cx: &PlanContext<'_>, desired: Option<&AnySpec>) -> Result<(Delta, Option<Marker>), DecodeError>;
    /// [`Kind::members`].
    fn members(&self, _cx: &PlanContext<'_>, _spec: &AnySpec) -> Vec<Delta> {
        Vec::new()
    }
    /// [`Kind::decode`] and [`Kind::export`] in one.
    fn export(&self, identity: &Identity, seen: &Observation) -> Result<Option<Value>, DecodeError>;
    /// [`Kind::unsaid`] of the object, if it is there and can be read.
    fn unsaid(&self, _identity: &Identity, _seen: &Observation) -> Vec<String> {
        Vec::new()
    }
}

/// Makes a [`Kind`] an [`AnyKind`].
pub struct Entry<K>(pub PhantomData<fn() -> K>);

fn spec<K: Kind>(spec: &AnySpec) -> &K::Spec {
    spec.downcast_ref().expect("a spec is given back to the kind that parsed it")
}

impl<K: Kind> AnyKind for Entry<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn schema(&self) -> Value {
        schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<K::Spec>().to_value()
    }

    fn parse(&self, value: &Value) -> Result<AnySpec, (String, String)> {
        match serde_path_to_error::deserialize::<_, K::Spec>(value) {
            Ok(spec) => Ok(Box::new(spec)),
            Err(error) => Err((error.path().to_string(), error.inner().to_string())),
        }
    }

    fn refs(&self, value: &AnySpec) -> Vec<Reference> {
        K::refs(spec::<K>(value))
    }

    fn check(&self, value: &AnySpec) -> Vec<Problem> {
        K::check(spec::<K>(value))
    }

    fn choose(&self, value: &mut AnySpec, guests: &[Labelled]) {
        K::choose(value.downcast_mut().expect("a spec is given back to the kind that parsed it"), guests);
    }

    fn claim(&self, name: &str, value: &AnySpec) -> Claim {
        K::claim(name, spec::<K>(value))
    }

    fn lists(&self) -> Vec<Query> {
        K::lists()
    }

    fn lists_of(&self, node: &str, index: &Index) -> Vec<Query> {
        K::lists_of(node, index)
    }

    fn marks(&self) -> bool {
        K::marks()
    }

    fn goes_itself(&self) -> bool {
        K::goes_itself()
    }

    fn reads(&self, identity: &Identity, value: Option<&AnySpec>, index: &Index) -> Vec<Query> {
        K::reads(identity, value.map(spec::<K>), index)
    }

    fn names(&self, value: &AnySpec) -> Vec<String> {
        K::names(spec::<K>(value))
    }

    fn filters(&self, value: &AnySpec) -> bool {
        K::filters(spec::<K>(value))
    }

    fn addresses(&self, value: &AnySpec) -> Vec<IpAddr> {
        K::addresses(spec::<K>(value))
    }

    fn guests(&self, value: &AnySpec) -> Vec<Reference> {
        K::guests(spec::<K>(value))
    }

    fn files(&self, value: &AnySpec) -> Vec<String> {
        K::files(spec::<K>(value))
    }

    fn is_native(&self, identity: &Identity, seen: &Observation) -> bool {
        K::is_native(identity, seen)
    }

    fn list(&self, seen: &Observation) -> Vec<Listed> {
        K::list(seen)
    }

    fn columns(&self, listed: &Listed, seen: &Observation) -> Vec<(&'static str, String)> {
        K::columns(listed, seen)
    }

    fn plan(&self, cx: &PlanContext<'_>, desired: Option<&AnySpec>) -> Result<(Delta, Option<Marker>), DecodeError> {
        let observed = K::decode(cx.identity, cx.seen)?;
        let marker = observed.as_ref().and_then(K::marker).cloned();
        Ok((K::plan(cx, desired.map(spec::<K>), observed.as_ref()), marker))
    }

    fn members(&self, cx: &PlanContext<'_>, value: &AnySpec) -> Vec<Delta> {
        K::members(cx, spec::<K>(value))
    }

    fn export(&self, identity: &Identity, seen: &Observation) -> Result<Option<Value>, DecodeError> {
        Ok(K::decode(identity, seen)?.as_ref().map(K::export))
    }

    fn unsaid(&self, identity: &Identity, seen: &Observation) -> Vec<String> {
        K::decode(identity, seen).ok().flatten().as_ref().map(K::unsaid).unwrap_or_default()
    }
}
