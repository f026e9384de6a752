//! The table: a row for each kind, in the order in which they are made. Sources are PVE's API schema (9.1), recordings of
//! genuine answers, and where a comment says so, Proxmox's source.

use crate::kinds::objects::access;
use crate::kinds::objects::firewall as fw;
use crate::kinds::objects::form::Form;
use crate::kinds::objects::object::Described;
use crate::kinds::objects::plan::plan;
use crate::kinds::objects::row::{Alone, Field, Holds, Mark, Refer, Reset, Row, Verb, With};
use crate::kinds::objects::storage;
use crate::kinds::objects::switches;
use crate::kinds::objects::token;
use crate::kinds::objects::{network, sdn};
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

const FIREWALL: Limit = Limit::Config("cluster.fw");
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
    id: &[],
    join: '/',
    refers: &[],
    also: &[],
    create: verb(Method::Post, "", &[]),
    update: verb(Method::Put, "", &[]),
    delete: verb(Method::Delete, "", &[]),
    reset: Reset::Delete,
    kept: &[],
    fields: &[],
    mark: Mark::Nowhere,
    holds: Holds::Nothing,
    limit: FIREWALL,
    audit: FIREWALL_AUDIT,
    modify: FIREWALL_MODIFY,
    claim: id_or_name,
    check: |_, _, _| Vec::new(),
    own: None,
    stays: &[],
    refs: no_refs,
    options: false,
    hidden: &[],
    settled: |_| false,
    alone: None,
    export: export_id,
    nested: None,
    files: |_| Vec::new(),
    plan,
    waits: false,
    within: None,
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

const SDN_AUDIT: (&str, &str) = ("/sdn/zones", "SDN.Audit");
/// What applies changes needs it there, and it reaches down.
const SDN_MODIFY: (&str, &str) = ("/sdn", "SDN.Allocate");
const SDN_HIDDEN: &[&str] = &["digest", "state", "pending"];
/// All users with their tokens.
pub const USERS: &str = "/access/users?full=1";

/// Roles. A change names all privileges again.
pub static ROLE: Row = Row {
    kind: "Role",
    word: "role",
    list: "/access/roles",
    id: &["roleid"],
    create: verb(Method::Post, "/access/roles", &[With::Id("roleid", 0)]),
    update: verb(Method::Put, "/access/roles/{0}", &[]),
    delete: verb(Method::Delete, "/access/roles/{0}", &[]),
    fields: &[Field::new("privs", "privs", Form::Words)],
    limit: Limit::UserConfig,
    // The list is open to every user.
    audit: ("/access", "Sys.Modify"),
    modify: ("/access", "Sys.Modify"),
    check: |cx, id, _| access::role(cx, id),
    own: Some("special"),
    ..PLAIN
};

/// Groups.
pub static GROUP: Row = Row {
    kind: "Group",
    word: "group",
    list: "/access/groups",
    id: &["groupid"],
    create: verb(Method::Post, "/access/groups", &[With::Id("groupid", 0)]),
    update: verb(Method::Put, "/access/groups/{0}", &[]),
    delete: verb(Method::Delete, "/access/groups/{0}", &[]),
    mark: ENCODED,
    limit: Limit::UserConfig,
    // One of User.Modify, Sys.Audit and Group.Allocate shows a group; the last is needed to make one anyway.
    audit: ("/access/groups", "Group.Allocate"),
    modify: ("/access/groups", "Group.Allocate"),
    check: |_, id, _| access::plain_id(id),
    columns: &[("USERS", "users")],
    ..PLAIN
};

/// Users. `groups` without `append` names all of them.
pub static USER: Row = Row {
    kind: "User",
    word: "user",
    list: USERS,
    id: &["userid"],
    refers: &[Refer { path: "groups", kind: "Group", list: "/access/groups", member: "groupid" }],
    create: verb(Method::Post, "/access/users", &[With::Id("userid", 0)]),
    update: verb(Method::Put, "/access/users/{0}", &[]),
    delete: verb(Method::Delete, "/access/users/{0}", &[]),
    reset: Reset::Default,
    fields: &[
        Field::new("email", "email", Form::Text).default(""),
        Field::new("firstName", "firstname", Form::Text).default(""),
        Field::new("lastName", "lastname", Form::Text).default(""),
        Field::new("enable", "enable", Form::Flag).default("1"),
        Field::new("expire", "expire", Form::Moment).default("0"),
        Field::new("groups", "groups", Form::Words).default(""),
    ],
    mark: ENCODED,
    limit: Limit::UserConfig,
    audit: ("/access/groups", "User.Modify"),
    modify: ("/access/groups", "User.Modify"),
    check: |_, id, spec| access::user(id, spec),
    stays: &["root@pam"],
    columns: &[("GROUPS", "groups"), ("EMAIL", "email")],
    ..PLAIN
};

/// Tokens, which stand in the list of users. PVE 8 knows no `delete` of their options.
pub static API_TOKEN: Row = Row {
    kind: "ApiToken",
    word: "API token",
    list: USERS,
    id: &["userid", "tokenid"],
    join: '!',
    refers: &[Refer { path: "user", kind: "User", list: USERS, member: "userid" }],
    create: verb(Method::Post, "/access/users/{0}/token/{1}", &[]),
    update: verb(Method::Put, "/access/users/{0}/token/{1}", &[]),
    delete: verb(Method::Delete, "/access/users/{0}/token/{1}", &[]),
    reset: Reset::Default,
    fields: &[
        Field::new("expire", "expire", Form::Moment).default("0"),
        Field::new("privsep", "privsep", Form::Flag).default("1"),
    ],
    mark: ENCODED,
    limit: Limit::UserConfig,
    audit: ("/access/groups", "User.Modify"),
    modify: ("/access/groups", "User.Modify"),
    claim: token::id,
    check: |_, id, spec| token::check(id, spec),
    nested: Some(token::of_users),
    files: token::files,
    plan: token::plan,
    export: token::export,
    columns: &[("PRIVSEP", "privsep"), ("EXPIRE", "expire")],
    ..PLAIN
};

/// Entries of the access control list: one request adds, changes and takes away.
pub static ACL_ENTRY: Row = Row {
    kind: "AclEntry",
    word: "ACL entry",
    list: "/access/acl",
    id: &["path", "roleid", "type", "ugid"],
    join: ' ',
    refers: &[
        Refer { path: "role", kind: "Role", list: "/access/roles", member: "roleid" },
        Refer { path: "user", kind: "User", list: USERS, member: "userid" },
        Refer { path: "group", kind: "Group", list: "/access/groups", member: "groupid" },
    ],
    create: verb(Method::Put, "/access/acl", &[With::Id("path", 0), With::Id("roles", 1), With::Plural(2, 3)]),
    update: verb(Method::Put, "/access/acl", &[With::Id("path", 0), With::Id("roles", 1), With::Plural(2, 3)]),
    delete: verb(
        Method::Put,
        "/access/acl",
        &[With::Id("path", 0), With::Id("roles", 1), With::Plural(2, 3), With::Fixed("delete", "1")],
    ),
    reset: Reset::Default,
    fields: &[Field::new("propagate", "propagate", Form::Flag).default("1")],
    limit: Limit::UserConfig,
    // Without it the list shows only what one may change.
    audit: ("/access", "Sys.Audit"),
    modify: ("{0}", "Permissions.Modify"),
    claim: access::acl_id,
    check: access::acl,
    refs: access::acl_refs,
    export: access::export_acl,
    columns: &[("PATH", "path"), ("ROLE", "roleid"), ("SUBJECT", "ugid")],
    ..PLAIN
};

/// Storages. Their file has one digest for all, which each change of one of them changes: it is not sent.
pub static STORAGE: Row = Row {
    kind: "Storage",
    word: "storage",
    list: "/storage",
    id: &["storage"],
    create: verb(Method::Post, "/storage", &[With::Id("storage", 0)]),
    update: verb(Method::Put, "/storage/{0}", &[]),
    delete: verb(Method::Delete, "/storage/{0}", &[]),
    fields: &[
        Field::new("type", "type", Form::Text).fixed(),
        Field::new("content", "content", Form::Words),
        Field::new("nodes", "nodes", Form::Words).default(""),
        Field::new("disable", "disable", Form::Flag).default("0"),
        Field::new("shared", "shared", Form::Flag).default("0"),
        Field::new("path", "path", Form::Text).fixed(),
        Field::new("server", "server", Form::Text),
        Field::new("export", "export", Form::Text).fixed(),
        Field::new("share", "share", Form::Text).fixed(),
        Field::new("vgname", "vgname", Form::Text).fixed(),
        Field::new("thinpool", "thinpool", Form::Text).fixed(),
        Field::new("pool", "pool", Form::Text),
        Field::new("datastore", "datastore", Form::Text).fixed(),
        Field::new("username", "username", Form::Text),
        Field::new("retention", "prune-backups", Form::Keep),
    ],
    limit: Limit::Config("storage.cfg"),
    audit: ("/storage", "Datastore.Audit"),
    modify: ("/storage", "Datastore.Allocate"),
    check: storage::storage,
    options: true,
    hidden: &["digest"],
    settled: storage::is_settled,
    export: storage::export_storage,
    columns: &[("TYPE", "type"), ("CONTENT", "content")],
    ..PLAIN
};

/// What is so of backup jobs, whoever declares them. One way of naming guests takes the place of another.
pub(in crate::kinds) const JOB: Row = Row {
    kind: "BackupJob",
    word: "backup job",
    list: "/cluster/backup",
    id: &["id"],
    refers: &[Refer { path: "storage", kind: "Storage", list: "/storage", member: "storage" }],
    create: verb(Method::Post, "/cluster/backup", &[With::Id("id", 0)]),
    update: verb(Method::Put, "/cluster/backup/{0}", &[]),
    delete: verb(Method::Delete, "/cluster/backup/{0}", &[]),
    // `PVE::API2::Backup`, `$deletable`: a schedule is always there.
    kept: &["enabled"],
    // The schema bounds the comment; the file is read line by line.
    mark: Mark::Comment { one_line: true, max: 512 },
    limit: Limit::Config("jobs.cfg"),
    audit: ("/", "Sys.Audit"),
    modify: ("/", "Sys.Modify"),
    hidden: &["type", "next-run", "comment", "digest"],
    plan: storage::job_plan,
    ..PLAIN
};

/// Backup jobs.
pub static BACKUP_JOB: Row = Row {
    fields: &[
        Field::new("schedule", "schedule", Form::Text),
        Field::new("storage", "storage", Form::Text),
        Field::new("enabled", "enabled", Form::Flag).default("1"),
        Field::new("vmids", "vmid", Form::Numbers),
        Field::new("pool", "pool", Form::Text),
        Field::new("all", "all", Form::Flag).default("0"),
        Field::new("exclude", "exclude", Form::Numbers).default(""),
        Field::new("node", "node", Form::Text),
        Field::new("mode", "mode", Form::Text).default("snapshot"),
        Field::new("compress", "compress", Form::Text).default("0"),
        Field::new("retention", "prune-backups", Form::Keep),
        Field::new("notesTemplate", "notes-template", Form::Text),
        Field::new("protected", "protected", Form::Flag).default("0"),
        Field::new("repeatMissed", "repeat-missed", Form::Flag).default("0"),
    ],
    check: storage::backup,
    refs: storage::backup_refs,
    options: true,
    columns: &[("SCHEDULE", "schedule"), ("STORAGE", "storage")],
    ..JOB
};

/// Zones of software defined networks. PVE compares one digest for all zones: every request of ours would refuse the next.
pub static SDN_ZONE: Row = Row {
    kind: "SdnZone",
    word: "zone",
    list: sdn::ZONES,
    id: &["zone"],
    also: &[sdn::VNETS, sdn::CONTROLLERS],
    create: verb(Method::Post, "/cluster/sdn/zones", &[With::Id("zone", 0)]),
    update: verb(Method::Put, "/cluster/sdn/zones/{0}", &[]),
    delete: verb(Method::Delete, "/cluster/sdn/zones/{0}", &[]),
    fields: &[
        Field::new("type", "type", Form::Text).fixed(),
        Field::new("nodes", "nodes", Form::Words),
        Field::new("bridge", "bridge", Form::Text),
        Field::new("tag", "tag", Form::Number),
        Field::new("vlanProtocol", "vlan-protocol", Form::Text).default("802.1q"),
        Field::new("peers", "peers", Form::Words),
        Field::new("vxlanPort", "vxlan-port", Form::Number).default("4789"),
        Field::new("controller", "controller", Form::Text),
        Field::new("vrfVxlan", "vrf-vxlan", Form::Number),
        Field::new("exitNodes", "exitnodes", Form::Words),
        Field::new("mtu", "mtu", Form::Number),
        Field::new("ipam", "ipam", Form::Text),
        Field::new("dhcp", "dhcp", Form::Text),
        Field::new("dns", "dns", Form::Text),
        Field::new("reverseDns", "reversedns", Form::Text),
        Field::new("dnsZone", "dnszone", Form::Text),
    ],
    limit: Limit::Config("sdn"),
    audit: SDN_AUDIT,
    modify: SDN_MODIFY,
    check: |_, id, spec| network::zone(id, spec),
    options: true,
    hidden: SDN_HIDDEN,
    waits: true,
    plan: sdn::plan,
    columns: &[("TYPE", "type"), ("NODES", "nodes"), ("PENDING", "state")],
    ..PLAIN
};

/// Virtual networks. `alias` takes no mark of ours: PVE lets few signs into it.
pub static SDN_VNET: Row = Row {
    kind: "SdnVnet",
    word: "virtual network",
    list: sdn::VNETS,
    id: &["vnet"],
    refers: &[Refer { path: "zone", kind: "SdnZone", list: sdn::ZONES, member: "zone" }],
    also: &[sdn::CONTROLLERS],
    create: verb(Method::Post, "/cluster/sdn/vnets", &[With::Id("vnet", 0)]),
    update: verb(Method::Put, "/cluster/sdn/vnets/{0}", &[]),
    delete: verb(Method::Delete, "/cluster/sdn/vnets/{0}", &[]),
    fields: &[
        Field::new("zone", "zone", Form::Text),
        Field::new("tag", "tag", Form::Number),
        Field::new("alias", "alias", Form::Text),
        Field::new("vlanAware", "vlanaware", Form::Flag).default("0"),
        Field::new("isolatePorts", "isolate-ports", Form::Flag).default("0"),
    ],
    limit: Limit::Config("sdn"),
    audit: SDN_AUDIT,
    modify: SDN_MODIFY,
    check: network::vnet,
    waits: true,
    plan: sdn::plan,
    columns: &[("ZONE", "zone"), ("TAG", "tag"), ("ALIAS", "alias"), ("PENDING", "state")],
    ..PLAIN
};

/// Subnets: each in a virtual network, under an id that PVE makes of its zone and its addresses.
pub static SDN_SUBNET: Row = Row {
    kind: "SdnSubnet",
    word: "subnet",
    list: sdn::VNETS,
    id: &["vnet", "cidr"],
    join: ' ',
    refers: &[Refer { path: "vnet", kind: "SdnVnet", list: sdn::VNETS, member: "vnet" }],
    also: &[sdn::ZONES, sdn::CONTROLLERS],
    create: verb(
        Method::Post,
        "/cluster/sdn/vnets/{0}/subnets",
        &[With::Id("subnet", 1), With::Fixed("type", "subnet")],
    ),
    update: verb(Method::Put, "/cluster/sdn/vnets/{0}/subnets/{subnet}", &[]),
    delete: verb(Method::Delete, "/cluster/sdn/vnets/{0}/subnets/{subnet}", &[]),
    fields: &[
        Field::new("gateway", "gateway", Form::Text),
        Field::new("snat", "snat", Form::Flag).default("0"),
        Field::new("dnsZonePrefix", "dnszoneprefix", Form::Text),
        Field::new("dhcpDnsServer", "dhcp-dns-server", Form::Text),
        Field::new("dhcpRanges", "dhcp-range", Form::Ranges).default(""),
    ],
    limit: Limit::Config("sdn"),
    audit: SDN_AUDIT,
    modify: SDN_MODIFY,
    claim: network::subnet_id,
    check: |_, id, spec| network::subnet(id, spec),
    export: network::export_subnet,
    waits: true,
    plan: sdn::plan,
    within: Some(sdn::subnets),
    columns: &[("VNET", "vnet"), ("CIDR", "cidr"), ("GATEWAY", "gateway"), ("PENDING", "state")],
    ..PLAIN
};

/// Options of the firewall. Each scope has its own digest.
pub static FIREWALL_OPTIONS: Row = Row {
    kind: "FirewallOptions",
    word: "firewall options",
    id: &["id"],
    fields: &[
        Field::new("enable", "enable", Form::Flag),
        Field::new("policyIn", "policy_in", Form::Text),
        Field::new("policyOut", "policy_out", Form::Text),
        Field::new("policyForward", "policy_forward", Form::Text),
        Field::new("logLevelIn", "log_level_in", Form::Text),
        Field::new("logLevelOut", "log_level_out", Form::Text),
        Field::new("dhcp", "dhcp", Form::Flag),
        Field::new("ipfilter", "ipfilter", Form::Flag),
        Field::new("macfilter", "macfilter", Form::Flag),
        Field::new("ndp", "ndp", Form::Flag),
        Field::new("radv", "radv", Form::Flag),
        Field::new("ebtables", "ebtables", Form::Flag),
        Field::new("nftables", "nftables", Form::Flag),
        Field::new("logRatelimit", "log_ratelimit", Form::Text),
    ],
    claim: switches::scope,
    check: switches::check,
    alone: Some(Alone { path: switches::path, ids: switches::scopes, refuse: switches::shuts_out }),
    refs: switches::refs,
    export: switches::export,
    columns: &[("ENABLE", "enable"), ("IN", "policy_in"), ("OUT", "policy_out")],
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
    Role, access::RoleSpec, ROLE, "The kind `Role`.";
    Group, access::GroupSpec, GROUP, "The kind `Group`.";
    User, access::UserSpec, USER, "The kind `User`.";
    ApiToken, token::ApiTokenSpec, API_TOKEN, "The kind `ApiToken`.";
    AclEntry, access::AclEntrySpec, ACL_ENTRY, "The kind `AclEntry`.";
    Storage, storage::StorageSpec, STORAGE, "The kind `Storage`.";
    BackupJob, storage::BackupJobSpec, BACKUP_JOB, "The kind `BackupJob`.";
    SdnZone, network::SdnZoneSpec, SDN_ZONE, "The kind `SdnZone`.";
    SdnVnet, network::SdnVnetSpec, SDN_VNET, "The kind `SdnVnet`.";
    SdnSubnet, network::SdnSubnetSpec, SDN_SUBNET, "The kind `SdnSubnet`.";
    FirewallOptions, switches::FirewallOptionsSpec, FIREWALL_OPTIONS, "The kind `FirewallOptions`.";
    IpSet, fw::IpSetSpec, IP_SET, "The kind `IpSet`.";
    FirewallAlias, fw::FirewallAliasSpec, ALIAS, "The kind `FirewallAlias`.";
    SecurityGroup, fw::SecurityGroupSpec, SECURITY_GROUP, "The kind `SecurityGroup`.";
}
