//! The firewall's objects of the whole datacenter: address sets, aliases, security groups.

use crate::kinds::objects::content::member;
use crate::kinds::objects::form::network;
use crate::kinds::objects::row::query;
use crate::kinds::objects::rules;
use crate::kinds::objects::table::{is_declared, reference};
use crate::resource::kind::PlanContext;
use crate::resource::reference::Reference;
use crate::resource::step::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An address set of the datacenter's firewall, which rules name as `+name`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpSetSpec {
    /// PVE's name for it, where `metadata.name` cannot be that: 2 to 64 lower-case letters, digits, `-` and `_`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// All its members; whatever else stands in it is taken out.
    #[serde(default)]
    pub members: Vec<IpSetMember>,
    /// Names of DNS whose addresses are members too, IPv4 and IPv6. What DNS no longer says stays for an hour, and when it
    /// fails nothing changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(
        pattern = r"^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)+[A-Za-z][A-Za-z0-9-]*$"
    )))]
    pub names: Vec<String>,
    /// Guests of these manifests whose addresses are members too, as they tell them: a container's as its node sees them, a
    /// VM's as its guest agent says. Only addresses of the guest's own network cards count, 16 at most. What a guest no longer
    /// says stays for an hour; while it is stopped or does not answer, nothing changes. It is the guest's own word: whoever
    /// is root in it may claim the address of another. An `ip` in its manifest and `ipFilter` are the stronger way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guests: Vec<IpSetGuest>,
}

/// A guest whose addresses are followed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpSetGuest {
    /// Its kind.
    pub kind: GuestKind,
    /// Its `metadata.name`; a member of a `GuestSet` by its own, such as `web-0`.
    pub name: String,
}

/// The kinds of guests that run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub enum GuestKind {
    /// A VM.
    VirtualMachine,
    /// A CT.
    Container,
}

/// A member of an address set.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpSetMember {
    /// An address, a network, or the name of an alias. PVE keeps a network without the bits of a host.
    pub cidr: String,
    /// What matches it is not in the set.
    #[serde(default)]
    pub nomatch: bool,
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A name for an address or a network in the datacenter's firewall.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FirewallAliasSpec {
    /// PVE's name for it, where `metadata.name` cannot be that: 2 to 64 lower-case letters, digits, `-` and `_`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The address or network. PVE keeps a network without the bits of a host.
    pub cidr: String,
}

/// A security group: rules with a name, which a guest's or a node's rules name as one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecurityGroupSpec {
    /// PVE's name for it, where `metadata.name` cannot be that: 2 to 18 lower-case letters, digits, `-` and `_`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// All its rules, in the order in which they are tried.
    pub rules: Vec<FirewallRule>,
}

/// A rule of the firewall.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FirewallRule {
    /// Which way the traffic goes.
    #[serde(rename = "type")]
    pub direction: RuleDirection,
    /// What becomes of it.
    pub action: RuleAction,
    /// One of PVE's macros, such as `SSH`, in place of protocol and ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "macro")]
    pub macro_name: Option<String>,
    /// A network interface, such as `net0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iface: Option<String>,
    /// Where it comes from: addresses, networks, ranges, an alias, or an address set as `+name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where it goes to, in the same words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dest: Option<String>,
    /// The protocol, such as `tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proto: Option<String>,
    /// Ports that it comes from: `80`, `80,443`, `1000:2000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sport: Option<String>,
    /// Ports that it goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dport: Option<String>,
    /// The type of ICMP, such as `echo-request`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<String>,
    /// How it is logged; left out: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogLevel>,
    /// Whether it is in force; left out: it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Which way traffic goes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleDirection {
    /// To the guest or node.
    In,
    /// From the guest or node.
    Out,
    /// Through the node (nftables only).
    Forward,
}

/// What becomes of traffic.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RuleAction {
    /// It passes.
    Accept,
    /// It is thrown away.
    Drop,
    /// It is refused with an answer.
    Reject,
}

/// How a rule is logged.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// As `emerg`.
    Emerg,
    /// As `alert`.
    Alert,
    /// As `crit`.
    Crit,
    /// As `err`.
    Err,
    /// As `warning`.
    Warning,
    /// As `notice`.
    Notice,
    /// As `info`.
    Info,
    /// As `debug`.
    Debug,
    /// Not at all.
    Nolog,
}

/// PVE's rule for names of the firewall's objects (its API schema): a letter first, then letters, digits, `-` and `_`. It
/// takes capitals and turns them to lower case when it reads its file, so that they are no names to be found by.
pub fn name(id: &str, longest: usize) -> Vec<Problem> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if id.starts_with(|c: char| c.is_ascii_lowercase()) && id.chars().all(plain) && (2..=longest).contains(&id.len()) {
        return Vec::new();
    }
    let message = format!("`{id}` is no name for PVE's firewall");
    let help = format!("2 to {longest} lower-case letters, digits, `-` and `_`, a letter first; give another as `id`");
    vec![Problem::new("id", message).help(help)]
}

/// What is wrong with an alias.
pub fn alias(id: &str, spec: &Value) -> Vec<Problem> {
    let mut problems = name(id, 64);
    let cidr = network(&member(spec, "cidr"));
    if cidr.parse::<std::net::IpAddr>().is_err() && cidr.parse::<ipnet::IpNet>().is_err() {
        problems.push(
            Problem::new("cidr", format!("`{cidr}` is no address and no network"))
                .help("write it like 10.0.0.5, 10.0.0.0/24 or fd00::/64"),
        );
    }
    problems
}

/// Aliases that the members of a set name.
pub fn set_refs(spec: &Value) -> Vec<Reference> {
    let words = spec["members"].as_array().into_iter().flatten().map(|m| member(m, "cidr"));
    let words = words.filter(|w| !w.starts_with(|c: char| c.is_ascii_digit()) && !w.contains(':'));
    words
        .map(|w| {
            let name = w.strip_prefix("dc/").unwrap_or(&w).to_ascii_lowercase();
            reference("FirewallAlias", &name, "members")
        })
        .collect()
}

/// Sets and aliases that rules name.
pub fn group_refs(spec: &Value) -> Vec<Reference> {
    let named = rules::named(&spec["rules"]);
    named.into_iter().map(|(at, side, kind, name)| reference(kind, &name, &format!("rules.{at}.{side}"))).collect()
}

/// What is wrong with a security group: its name, and names in its rules that nothing has. PVE takes such a rule, and then
/// leaves it out of the firewall.
pub fn group(cx: &PlanContext<'_>, id: &str, spec: &Value) -> Vec<Problem> {
    let mut problems = name(id, 18);
    for (at, side, kind, name) in rules::named(&spec["rules"]) {
        let list = if kind == "IpSet" { "/cluster/firewall/ipset" } else { "/cluster/firewall/aliases" };
        let Some(Ok(list)) = cx.seen.index.lists.get(&query(list)) else { continue };
        let there = list.as_array().into_iter().flatten().any(|row| member(row, "name").eq_ignore_ascii_case(&name));
        if !there && !is_declared(cx, kind, &name) {
            problems.push(
                Problem::new(&format!("rules.{at}.{side}"), format!("rule {}: there is no {kind} `{name}`", at + 1))
                    .help(format!(
                        "PVE would leave the rule out of the firewall: declare a `kind: {kind}`, or mend the name"
                    )),
            );
        }
    }
    problems
}
