//! All that decides about a guest's packets, read from the cluster for `network show` and `network test`.

use crate::base::id::GuestType;
use crate::cli::addresses;
use crate::cli::args::guests::Which;
use crate::cli::exit;
use crate::cli::guests::find;
use crate::cli::run::Failure;
use crate::engine::observe::get;
use crate::engine::reconcile::Cluster as Door;
use crate::firewall::address::{Member, Names};
use crate::firewall::rule::{Deed, Rule};
use crate::firewall::scene::{Cluster, Guest, Interface, Options};
use crate::kinds::guest::mapping;
use crate::kinds::guest::observed::{GuestSeen, decode_row};
use crate::pve::request::{Query, segment};
use crate::resource::index::{node_guests_query, text};
use crate::resource::interfaces;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What was read.
pub struct Found {
    /// The guest.
    pub seen: GuestSeen,
    /// Its name in reports.
    pub name: String,
    /// The cluster's part.
    pub cluster: Cluster,
    /// The guest's part.
    pub guest: Guest,
    /// Its interfaces, with the options that PVE has for each.
    pub cards: Vec<Card>,
    /// Addresses that the guest says it has; none where nobody answers.
    pub told: Vec<IpAddr>,
}

/// An interface.
pub struct Card {
    /// As the evaluation takes it.
    pub interface: Interface,
    /// Its options in normal form: bridge, VLAN, rate, ….
    pub options: BTreeMap<&'static str, String>,
    /// The addresses that the configuration gives it.
    pub configured: Vec<IpAddr>,
}

/// Reads it; `name` is the guest's name or VMID, whatever its type.
pub async fn read(door: &Door<'_>, name: &str) -> Result<Found, Failure> {
    let wire = |e: crate::pve::error::PveError| Failure::wire(exit::FAILED, &e);
    let which = |kind: &str| Which { kind: kind.to_owned(), name: name.to_owned() };
    let (target, mut observation) = match find(door, &which("vm")).await {
        Ok(found) => found,
        Err(no_machine) => find(door, &which("ct")).await.map_err(|_| no_machine)?,
    };
    let there = observation.index.guests.get(&target.vmid).expect("it was found in this index");
    // The index may be ten seconds old; the node's own list is not.
    let list = node_guests_query(&there.node, there.guest);
    let now = get(door.api, door.clock, &list).await.map_err(wire)?;
    observation.add(list, Ok(Arc::new(now)));
    let row = observation.index.guests.get(&target.vmid).expect("it was found in this index").clone();
    let seen = decode_row(&row, &observation)
        .map_err(|e| Failure::new(exit::FAILED, e.message))?
        .ok_or_else(|| Failure::new(exit::FAILED, format!("guest {} is gone", row.vmid)))?;
    let own = format!("/nodes/{}/{}/{}/firewall", row.node, row.guest, row.vmid);
    let ask = |path: String| async move { get(door.api, door.clock, &Query::new(path)).await.map_err(wire) };
    let options = Options::decode(&ask(format!("{own}/options")).await?);
    let rules = decoded(&ask(format!("{own}/rules")).await?);
    let mut groups = BTreeMap::new();
    let asked: BTreeSet<&String> = rules
        .iter()
        .filter_map(|r| match &r.deed {
            Deed::Group(name) => Some(name),
            Deed::Decide(..) => None,
        })
        .collect();
    let known = ask("/cluster/firewall/groups".to_owned()).await?;
    for name in asked {
        if known.as_array().into_iter().flatten().any(|g| g["group"] == **name) {
            let list = ask(format!("/cluster/firewall/groups/{}", segment(name))).await?;
            groups.insert(name.clone(), decoded(&list));
        }
    }
    let sides = |rule: &Rule| [rule.source.clone(), rule.dest.clone()];
    let mut wanted: BTreeSet<String> = rules.iter().chain(groups.values().flatten()).flat_map(sides).collect();
    wanted.insert("+blacklist".to_owned());
    wanted.extend((0..32).map(|n| format!("+guest/ipfilter-net{n}")));
    let cluster_options = ask("/cluster/firewall/options".to_owned()).await?;
    let enabled = text(&cluster_options["enable"]).is_some_and(|t| t != "0");
    let cluster = Cluster { enabled, names: names(&ask, "/cluster/firewall", &wanted).await?, groups };
    let guest = Guest { options, rules, names: names(&ask, &own, &wanted).await? };
    let told = match get(door.api, door.clock, &interfaces::query(&row)).await {
        Ok(answer) if row.status == "running" => {
            addresses::read(&answer).iter().filter_map(|a| a.parse().ok()).collect()
        }
        // An agent that does not answer is no reason to say nothing.
        Ok(_) | Err(_) => Vec::new(),
    };
    let cards = cards(&seen);
    Ok(Found { name: target.resource.name, seen, cluster, guest, cards, told })
}

fn decoded(list: &Value) -> Vec<Rule> {
    list.as_array().into_iter().flatten().filter_map(Rule::decode).collect()
}

/// The sets and aliases of a scope, as far as rules name them.
async fn names<F: Future<Output = Result<Value, Failure>>>(
    ask: &impl Fn(String) -> F,
    scope: &str,
    wanted: &BTreeSet<String>,
) -> Result<Names, Failure> {
    let mut out = Names::default();
    for row in ask(format!("{scope}/aliases")).await?.as_array().into_iter().flatten() {
        let (Some(name), Some(cidr)) = (text(&row["name"]), text(&row["cidr"])) else { continue };
        out.aliases.insert(name.to_ascii_lowercase(), cidr);
    }
    for row in ask(format!("{scope}/ipset")).await?.as_array().into_iter().flatten() {
        let Some(name) = text(&row["name"]) else { continue };
        let is = |w: &String| w.strip_prefix('+').is_some_and(|w| w.rsplit('/').next() == Some(name.as_str()));
        if wanted.iter().any(is) {
            let list = ask(format!("{scope}/ipset/{}", segment(&name))).await?;
            let member = |row: &Value| {
                let nomatch = text(&row["nomatch"]).is_some_and(|t| t == "1");
                Some(Member { cidr: text(&row["cidr"])?, nomatch })
            };
            out.sets.insert(name, list.as_array().into_iter().flatten().filter_map(member).collect());
        }
    }
    Ok(out)
}

const OPTIONS: [&str; 8] = ["bridge", "vlan", "model", "mac", "mtu", "rateLimit", "firewall", "linkDown"];

fn cards(seen: &GuestSeen) -> Vec<Card> {
    let guest = seen.row.guest;
    let slots = seen.config.keys().filter(|key| mapping::is_network(key));
    slots
        .map(|slot| {
            let read = |part: &str| mapping::read(guest, &seen.config, &format!("networks.{slot}.{part}"));
            let options: BTreeMap<&str, String> =
                OPTIONS.iter().filter_map(|part| Some((*part, read(part)?))).collect();
            let address = |text: String| text.split('/').next().and_then(|a| a.parse::<IpAddr>().ok());
            let configured: Vec<IpAddr> = ["ip", "ip6"].into_iter().filter_map(&read).filter_map(address).collect();
            Card {
                interface: Interface {
                    slot: slot.clone(),
                    firewall: options.get("firewall").is_some_and(|f| f == "1"),
                    mac: options.get("mac").cloned().unwrap_or_default(),
                    // PVE's filter knows the addresses of containers alone.
                    addresses: if guest == GuestType::Lxc { configured.clone() } else { Vec::new() },
                },
                options,
                configured,
            }
        })
        .collect()
}
