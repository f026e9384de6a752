//! The table: a row for each kind, in the order in which they are made. Sources are PVE's API schema (9.1), recordings of
//! genuine answers, and where a comment says so, Proxmox's source.

use crate::kinds::objects::firewall as fw;
use crate::kinds::objects::form::Form;
use crate::kinds::objects::object::Described;
use crate::kinds::objects::row::{Field, Holds, Mark, Reset, Row, Verb, With};
use crate::pve::request::Method;
use crate::resource::kind::PlanContext;
use crate::resource::reference::{Identity, Reference, ResourceRef};
use crate::resource::step::Limit;
use serde_json::{Map, Value};

/// A reference from a field to an object of a kind, by PVE's id; an object that no manifest declares will do.
pub fn reference(kind: &str, name: &str, path: &str) -> Reference {
    let path = path.split('.').map(str::to_owned).collect();
    Reference { to: ResourceRef::new(kind, name), path, or_on_cluster: true }
}

/// Whether the set declares an object of a kind, by its id.
pub fn is_declared(cx: &PlanContext<'_>, kind: &str, id: &str) -> bool {
    cx.identities.values().any(|i| matches!(i, Identity::Object { kind: k, id: of } if *k == kind && of == id))
}

/// `spec.id`, or the name.
fn id_or_name(name: &str, spec: &Value) -> String {
    spec["id"].as_str().unwrap_or(name).to_owned()
}

fn no_refs(_: &Value) -> Vec<Reference> {
    Vec::new()
}

fn export_id(id: &str, _: &Value) -> Map<String, Value> {
    Map::from_iter([("id".to_owned(), id.into())])
}

const fn verb(method: Method, path: &'static str, with: &'static [With]) -> Verb {
    Verb { method, path, with, whole: false }
}

const FIREWALL: Limit = Limit::File("cluster.fw");
const FIREWALL_AUDIT: (&str, &str) = ("/", "Sys.Audit");
const FIREWALL_MODIFY: (&str, &str) = ("/", "Sys.Modify");
/// PVE bounds comments of the firewall by nothing; its file is read line by line.
const LINE: Mark = Mark::Comment { one_line: true, max: 8192 };
/// `user.cfg` keeps comments percent-encoded on a line; users' comments are bounded by the schema.
const ENCODED: Mark = Mark::Comment { one_line: false, max: 2048 };

/// What a row says where it has nothing to say.
const PLAIN: Row = Row {
    kind: "",
    word: "",
    list: "",
    nested: None,
    id: &[],
    join: '/',
    refers: &[],
    also: &[],
    create: verb(Method::Post, "", &[]),
    update: verb(Method::Put, "", &[]),
    delete: verb(Method::Delete, "", &[]),
    reset: Reset::Delete,
    fields: &[],
    mark: Mark::Nowhere,
    holds: Holds::Nothing,
    limit: FIREWALL,
    audit: FIREWALL_AUDIT,
    modify: FIREWALL_MODIFY,
    claim: id_or_name,
    check: |_, _, _| Vec::new(),
    own: None,
    refs: no_refs,
    options: false,
    hidden: &[],
    blank: false,
    export: export_id,
    columns: &[],
};

/// Address sets. A comment is changed by renaming a set to itself, as the API's description says.
pub static IP_SET: Row = Row {
    kind: "IpSet",
    word: "address set",
    list: "/cluster/firewall/ipset",
    id: &["name"],
    create: verb(Method::Post, "/cluster/firewall/ipset", &[With::Id("name", 0)]),
    update: verb(Method::Post, "/cluster/firewall/ipset", &[With::Id("name", 0), With::Id("rename", 0)]),
    delete: verb(Method::Delete, "/cluster/firewall/ipset/{0}", &[With::Fixed("force", "1")]),
    mark: LINE,
    holds: Holds::Members,
    check: |_, id, _| fw::name(id, 64),
    refs: fw::set_refs,
    ..PLAIN
};

/// Aliases. Every change names the address again. Their list has one digest for all, which each change of one of them
/// changes: it would refuse our own next request, so it is not sent; `name` says which alias is meant.
pub static ALIAS: Row = Row {
    kind: "FirewallAlias",
    word: "alias",
    list: "/cluster/firewall/aliases",
    id: &["name"],
    create: verb(Method::Post, "/cluster/firewall/aliases", &[With::Id("name", 0)]),
    update: Verb { method: Method::Put, path: "/cluster/firewall/aliases/{0}", with: &[], whole: true },
    delete: verb(Method::Delete, "/cluster/firewall/aliases/{0}", &[]),
    fields: &[Field::new("cidr", "cidr", Form::Network)],
    mark: LINE,
    check: |_, id, spec| fw::alias(id, spec),
    columns: &[("CIDR", "cidr")],
    ..PLAIN
};

/// Security groups.
pub static SECURITY_GROUP: Row = Row {
    kind: "SecurityGroup",
    word: "security group",
    list: "/cluster/firewall/groups",
    id: &["group"],
    create: verb(Method::Post, "/cluster/firewall/groups", &[With::Id("group", 0)]),
    update: verb(Method::Post, "/cluster/firewall/groups", &[With::Id("group", 0), With::Id("rename", 0)]),
    delete: verb(Method::Delete, "/cluster/firewall/groups/{0}", &[]),
    mark: LINE,
    holds: Holds::Rules,
    also: &["/cluster/firewall/ipset", "/cluster/firewall/aliases"],
    check: fw::group,
    refs: fw::group_refs,
    ..PLAIN
};

macro_rules! described {
    ($($name:ident, $spec:ty, $row:ident, $doc:literal;)*) => {$(
        #[doc = $doc]
        pub struct $name;

        impl Described for $name {
            const ROW: &'static Row = &$row;
            type Spec = $spec;
        }
    )*};
}

described! {
    IpSet, fw::IpSetSpec, IP_SET, "The kind `IpSet`.";
    FirewallAlias, fw::FirewallAliasSpec, ALIAS, "The kind `FirewallAlias`.";
    SecurityGroup, fw::SecurityGroupSpec, SECURITY_GROUP, "The kind `SecurityGroup`.";
}
