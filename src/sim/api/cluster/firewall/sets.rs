//! Aliases and address sets.

use super::{IpSet, digest, load, scope, store, typed, unchanged};
use crate::sim::ctx::Ctx;
use crate::sim::request::{Args, Refusal};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

fn alias_row(alias: &BTreeMap<String, String>) -> Map<String, Value> {
    let mut out: Map<String, Value> = alias.iter().map(|(k, v)| (k.clone(), typed(k, v))).collect();
    let six = alias.get("cidr").is_some_and(|c| c.contains(':'));
    out.insert("ipversion".to_owned(), if six { 6 } else { 4 }.into());
    out
}

/// `GET …/aliases`.
pub fn aliases(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let firewall = load(ctx, &scope(args));
    let digest = digest(&firewall.aliases);
    let rows = firewall.aliases.values().map(|alias| {
        let mut row = alias_row(alias);
        row.insert("digest".to_owned(), digest.as_str().into());
        Value::Object(row)
    });
    Ok(rows.collect::<Vec<_>>().into())
}

/// `GET …/aliases/{name}`.
pub fn alias(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let firewall = load(ctx, &scope(args));
    let found = firewall.aliases.get(&args.text("name").to_ascii_lowercase());
    Ok(alias_row(found.ok_or_else(|| Refusal::param("name", "no such alias"))?).into())
}

fn alias_of(args: &Args, name: &str) -> BTreeMap<String, String> {
    let mut alias =
        BTreeMap::from([("name".to_owned(), name.to_owned()), ("cidr".to_owned(), network(args.text("cidr")))]);
    if let Some(comment) = args.get("comment") {
        alias.insert("comment".to_owned(), comment.to_owned());
    }
    alias
}

/// `POST …/aliases`.
pub fn create_alias(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let scope = scope(args);
    let mut firewall = load(ctx, &scope);
    let key = args.text("name").to_ascii_lowercase();
    if firewall.aliases.contains_key(&key) {
        return Err(Refusal::param("name", format!("alias '{key}' already exists")));
    }
    firewall.aliases.insert(key, alias_of(args, args.text("name")));
    store(ctx, &scope, &firewall);
    Ok(Value::Null)
}

/// `PUT …/aliases/{name}`.
pub fn update_alias(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let scope = scope(args);
    let mut firewall = load(ctx, &scope);
    unchanged(args, &digest(&firewall.aliases))?;
    let key = args.text("name").to_ascii_lowercase();
    let Some(old) = firewall.aliases.remove(&key) else {
        return Err(Refusal::param("name", "no such alias"));
    };
    let name = args.get("rename").or_else(|| old.get("name").map(String::as_str)).unwrap_or(args.text("name"));
    let new_key = name.to_ascii_lowercase();
    if firewall.aliases.contains_key(&new_key) {
        return Err(Refusal::param("name", format!("alias '{new_key}' already exists")));
    }
    firewall.aliases.insert(new_key, alias_of(args, name));
    store(ctx, &scope, &firewall);
    Ok(Value::Null)
}

/// `DELETE …/aliases/{name}`: absence is no error.
pub fn delete_alias(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let scope = scope(args);
    let mut firewall = load(ctx, &scope);
    unchanged(args, &digest(&firewall.aliases))?;
    firewall.aliases.remove(&args.text("name").to_ascii_lowercase());
    store(ctx, &scope, &firewall);
    Ok(Value::Null)
}

/// `GET …/ipset`.
pub fn ipsets(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let firewall = load(ctx, &scope(args));
    let digest = digest(&firewall.ipsets);
    let rows = firewall.ipsets.iter().map(|(name, set)| {
        let mut row = json!({ "name": name, "digest": digest });
        if let Some(comment) = &set.comment {
            row["comment"] = comment.as_str().into();
        }
        row
    });
    Ok(rows.collect::<Vec<_>>().into())
}

/// `POST …/ipset`: names are lower-cased; also renames.
pub fn create_ipset(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let scope = scope(args);
    let mut firewall = load(ctx, &scope);
    unchanged(args, &digest(&firewall.ipsets))?;
    let name = args.text("name").to_ascii_lowercase();
    let comment = args.get("comment").map(str::to_owned);
    if let Some(old) = args.get("rename") {
        let Some(mut set) = firewall.ipsets.remove(old) else {
            return Err(Refusal::param("name", format!("IPSet '{old}' does not exist")));
        };
        set.comment = comment.or(set.comment);
        firewall.ipsets.insert(name, set);
    } else {
        match firewall.ipsets.entry(name) {
            Entry::Occupied(taken) => {
                return Err(Refusal::param("name", format!("IPSet '{}' already exists", taken.key())));
            }
            Entry::Vacant(free) => {
                free.insert(IpSet { comment, entries: Vec::new() });
            }
        }
    }
    store(ctx, &scope, &firewall);
    Ok(Value::Null)
}

fn no_set(name: &str) -> Refusal {
    Refusal::died(format!("no such IPSet '{name}'"))
}

/// `DELETE …/ipset/{name}`.
pub fn delete_ipset(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (scope, name) = (scope(args), args.text("name"));
    let mut firewall = load(ctx, &scope);
    let set = firewall.ipsets.get(name).ok_or_else(|| no_set(name))?;
    if !set.entries.is_empty() && !args.on("force") {
        return Err(Refusal::died(format!("IPSet '{name}' is not empty")));
    }
    firewall.ipsets.remove(name);
    store(ctx, &scope, &firewall);
    Ok(Value::Null)
}

fn entry_row(entry: &BTreeMap<String, String>, digest: &str) -> Value {
    let mut out: Map<String, Value> = entry.iter().map(|(k, v)| (k.clone(), typed(k, v))).collect();
    out.insert("digest".to_owned(), digest.into());
    out.into()
}

/// `GET …/ipset/{name}`.
pub fn entries(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let firewall = load(ctx, &scope(args));
    let set = firewall.ipsets.get(args.text("name")).ok_or_else(|| no_set(args.text("name")))?;
    let digest = digest(&set.entries);
    Ok(set.entries.iter().map(|e| entry_row(e, &digest)).collect::<Vec<_>>().into())
}

/// An address as PVE keeps it: of a range the network, of a single host no prefix.
fn network(text: &str) -> String {
    match text.parse::<ipnet::IpNet>() {
        Ok(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        Ok(net) => net.trunc().to_string(),
        Err(_) => text.to_owned(),
    }
}

/// `POST …/ipset/{name}`.
pub fn create_entry(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (scope, name) = (scope(args), args.text("name"));
    let mut firewall = load(ctx, &scope);
    let set = firewall.ipsets.get_mut(name).ok_or_else(|| no_set(name))?;
    let cidr = network(args.text("cidr"));
    if set.entries.iter().any(|e| e.get("cidr") == Some(&cidr)) {
        return Err(Refusal::param("cidr", format!("address '{cidr}' already exists")));
    }
    let mut entry = BTreeMap::from([("cidr".to_owned(), cidr)]);
    if let Some(comment) = args.get("comment") {
        entry.insert("comment".to_owned(), comment.to_owned());
    }
    if args.on("nomatch") {
        entry.insert("nomatch".to_owned(), "1".to_owned());
    }
    set.entries.push(entry);
    store(ctx, &scope, &firewall);
    Ok(Value::Null)
}

/// `GET …/ipset/{name}/{cidr}`.
pub fn entry(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let firewall = load(ctx, &scope(args));
    let set = firewall.ipsets.get(args.text("name")).ok_or_else(|| no_set(args.text("name")))?;
    let found = set.entries.iter().find(|e| e.get("cidr").is_some_and(|c| c == args.text("cidr")));
    let found = found.ok_or_else(|| Refusal::param("cidr", "no such IP/Network"))?;
    Ok(entry_row(found, &digest(&set.entries)))
}

/// `PUT …/ipset/{name}/{cidr}`.
pub fn update_entry(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (scope, name) = (scope(args), args.text("name"));
    let mut firewall = load(ctx, &scope);
    let set = firewall.ipsets.get_mut(name).ok_or_else(|| no_set(name))?;
    unchanged(args, &digest(&set.entries))?;
    let found = set.entries.iter_mut().find(|e| e.get("cidr").is_some_and(|c| c == args.text("cidr")));
    let entry = found.ok_or_else(|| Refusal::param("cidr", "no such IP/Network"))?;
    if let Some(comment) = args.get("comment") {
        entry.insert("comment".to_owned(), comment.to_owned());
    }
    match args.get("nomatch") {
        Some("1") => {
            entry.insert("nomatch".to_owned(), "1".to_owned());
        }
        Some(_) => {
            entry.remove("nomatch");
        }
        None => {}
    }
    store(ctx, &scope, &firewall);
    Ok(Value::Null)
}

/// `DELETE …/ipset/{name}/{cidr}`: absence is no error.
pub fn delete_entry(ctx: &mut Ctx<'_>, args: &Args) -> Result<Value, Refusal> {
    let (scope, name) = (scope(args), args.text("name"));
    let mut firewall = load(ctx, &scope);
    let set = firewall.ipsets.get_mut(name).ok_or_else(|| no_set(name))?;
    unchanged(args, &digest(&set.entries))?;
    set.entries.retain(|e| e.get("cidr").is_none_or(|c| c != args.text("cidr")));
    store(ctx, &scope, &firewall);
    Ok(Value::Null)
}
