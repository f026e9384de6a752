//! Every request that pvectl can send, against PVE's own schema of its API: path and method are there, each parameter is
//! declared, what is required is sent, and each value is one that PVE takes. Requests are recorded at the door (all lives of
//! the corpus, in process) and on the wire (the real program with a log-in, through a server that takes notes).
//!
//! The schema is not part of the project: it is looked for at `PVECTL_PVE_DATA`, else at `../shared/pve`.

use crate::corpus::LIVES;
use crate::world::{ALL, Lab, desired, nothing, prune, run};
use futures::future::BoxFuture;
use pvectl::cli::auth::Account;
use pvectl::engine::reconcile::{Cluster, reconcile};
use pvectl::github::operation::Operation as OnGitHub;
use pvectl::host::guest::Operation as InGuest;
use pvectl::host::operation::Operation;
use pvectl::kinds::list::KINDS;
use pvectl::lockout::way::Way;
use pvectl::plan::assemble::Settings;
use pvectl::pve::api::Api;
use pvectl::pve::error::PveError;
use pvectl::pve::request::{Call, Method, Query};
use pvectl::report::event::Nobody;
use pvectl::resource::observation::Observation;
use pvectl::resource::reference::ResourceRef;
use pvectl::secret_files::Folder;
use pvectl::sim::faults::{Fault, FaultKind};
use pvectl::sim::request::{Auth, WireAnswer, WireRequest};
use pvectl::sim::world::Power;
use pvectl::sim::{Sim, SimApi, baseline::Baseline};
use regex_lite::Regex;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

// ---- PVE's schema ----------------------------------------------------------------------------------------------------

/// A request as it goes over the wire: method, path below `/api2/json`, decoded parameters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    method: String,
    path: String,
    params: Vec<(String, String)>,
}

/// Methods by path template.
pub(crate) struct ApiDoc(pub(crate) BTreeMap<String, Value>);

#[expect(clippy::print_stderr, reason = "a test says what it measured, or why it measured nothing")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

impl ApiDoc {
    /// `None` where the schema is absent and may be.
    pub(crate) fn load() -> Option<ApiDoc> {
        let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/pve");
        let path = std::env::var_os("PVECTL_PVE_DATA").map_or_else(beside, PathBuf::from).join("apidoc.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if std::env::var_os("PVECTL_TEST_REQUIRE_ALL").is_some_and(|v| v == "1") => {
                panic!("PVECTL_TEST_REQUIRE_ALL=1, but {} cannot be read: {error}", path.display())
            }
            Err(error) => {
                say(&format!("skipped: {} cannot be read: {error} (set PVECTL_PVE_DATA)", path.display()));
                return None;
            }
        };
        let tree: Value = serde_json::from_str(&text).expect("the schema is JSON");
        let mut paths = BTreeMap::new();
        flatten(&tree, &mut paths);
        assert!(paths.len() > 400, "only {} paths: is this the whole schema?", paths.len());
        Some(ApiDoc(paths))
    }

    /// The template of a path, literal segments first, and what stands in its placeholders.
    fn template(&self, path: &str) -> Option<(&str, Vec<(String, String)>)> {
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |template: &&String| {
            let wanted: Vec<&str> = template.split('/').collect();
            wanted.len() == parts.len() && wanted.iter().zip(&parts).all(|(w, p)| w.starts_with('{') || w == p)
        };
        let template = self.0.keys().filter(fits).min_by_key(|t| t.matches('{').count())?;
        let places = template.split('/').zip(&parts).filter_map(|(name, text)| {
            let name = name.strip_prefix('{')?.strip_suffix('}')?;
            Some((name.to_owned(), percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()))
        });
        Some((template, places.collect()))
    }

    /// What is wrong with a request; `Ok` is its template.
    fn check(&self, sent: &Sent) -> Result<String, Vec<String>> {
        let Some((template, places)) = self.template(&sent.path) else {
            return Err(vec![format!("PVE has no path {}", sent.path)]);
        };
        let Some(method) = self.0[template].get(&sent.method) else {
            return Err(vec![format!("PVE has no {} {template}", sent.method)]);
        };
        let none = Map::new();
        let declared = method["parameters"]["properties"].as_object().unwrap_or(&none);
        let mut wrong = Vec::new();
        let given: Vec<(&str, &str)> =
            places.iter().chain(&sent.params).map(|(k, v)| (k.as_str(), v.as_str())).collect();
        for (name, value) in &given {
            match schema_of(declared, name) {
                None => wrong.push(format!("`{name}` is not declared")),
                Some(schema) => {
                    // A list is sent as its items, each under the same name.
                    let schema = if schema["type"] == "array" { &schema["items"] } else { schema };
                    wrong.extend(fault(schema, value).map(|why| format!("{name}={value:?}: {why}")));
                    let needs = schema["requires"].as_str();
                    wrong.extend(
                        needs
                            .filter(|n| !given.iter().any(|(k, _)| k == n))
                            .map(|n| format!("`{name}` needs `{n}` beside it")),
                    );
                }
            }
            let is_list = schema_of(declared, name).is_some_and(|schema| schema["type"] == "array");
            if !is_list && given.iter().filter(|(k, _)| k == name).count() > 1 {
                wrong.push(format!("`{name}` is sent twice"));
            }
        }
        for (name, schema) in declared {
            if !is_on(&schema["optional"]) && !given.iter().any(|(k, _)| k == name) {
                wrong.push(format!("`{name}` is required, and missing"));
            }
        }
        if wrong.is_empty() { Ok(template.to_owned()) } else { Err(wrong) }
    }
}

fn flatten(tree: &Value, paths: &mut BTreeMap<String, Value>) {
    for node in tree.as_array().into_iter().flatten() {
        if let (Some(path), true) = (node["path"].as_str(), node["info"].is_object()) {
            paths.insert(path.to_owned(), node["info"].clone());
        }
        flatten(&node["children"], paths);
    }
}

fn is_on(flag: &Value) -> bool {
    *flag == 1 || *flag == true || *flag == "1"
}

/// A word of an `enum`, which may be a number.
fn shown(word: &Value) -> String {
    word.as_str().map_or_else(|| word.to_string(), str::to_owned)
}

/// The declaration of a name, `scsi[n]` for `scsi7`.
fn schema_of<'a>(declared: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    declared.get(name).or_else(|| if stem == name { None } else { declared.get(&format!("{stem}[n]")) })
}

/// What PVE would say against a value, if anything.
fn fault(schema: &Value, value: &str) -> Option<String> {
    if schema.get("oneOf").is_some() || schema.get("type-property").is_some() {
        return Some("this test does not understand its schema".to_owned());
    }
    let number = |key: &str| schema[key].as_f64().or_else(|| schema[key].as_str()?.parse().ok());
    match schema["type"].as_str().unwrap_or("string") {
        "boolean" if !matches!(value, "0" | "1") => return Some("a form knows only 0 and 1".to_owned()),
        "integer" if value.parse::<i64>().is_err() => return Some("it is no integer".to_owned()),
        "number" if value.parse::<f64>().is_err() => return Some("it is no number".to_owned()),
        "boolean" | "integer" | "number" | "string" => {}
        other => return Some(format!("this test knows no type `{other}`")),
    }
    if let Ok(n) = value.parse::<f64>() {
        let bounds = (number("minimum"), number("maximum"));
        if matches!(bounds, (Some(min), _) if n < min) || matches!(bounds, (_, Some(max)) if n > max) {
            return Some(format!("it is not in {bounds:?}"));
        }
    }
    let length = value.chars().count() as f64;
    if number("maxLength").is_some_and(|max| length > max) || number("minLength").is_some_and(|min| length < min) {
        return Some(format!("{length} characters are too many or too few"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.iter().map(shown).any(|w| w == value)
    {
        return Some(format!("it is none of {words:?}"));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && !perl(pattern).is_match(value)
    {
        return Some(format!("it does not match {pattern}"));
    }
    match &schema["format"] {
        Value::String(name) => named_format(name, value),
        Value::Object(parts) => property_string(parts, value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

/// A pattern of Perl's, anchored at both ends as PVE does it.
fn perl(pattern: &str) -> Regex {
    let pattern = pattern.replace("(?^:", "(?:").replace("(?^i:", "(?i:").replace("{,", "{0,").replace("\\0", "\\x00");
    Regex::new(&format!("^(?:{pattern})$")).expect("a pattern that can be read")
}

/// Formats that PVE names and checks by code. One that is not here fails, so that nothing is passed over.
fn named_format(name: &str, value: &str) -> Option<String> {
    let matches = |pattern: &str| perl(pattern).is_match(value);
    let list =
        |pattern: &str| value.split([',', ';', ' ']).filter(|p| !p.is_empty()).all(|p| perl(pattern).is_match(p));
    const LABEL: &str = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
    let is_cidr = |text: &str| {
        text.split_once('/').is_some_and(|(a, mask)| {
            a.parse::<std::net::IpAddr>().is_ok() && mask.parse::<u8>().is_ok_and(|m| m <= 128)
        })
    };
    let is_volume = |text: &str| perl("[a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]:[^\\s,]+").is_match(text);
    let good = match name {
        "pve-node" => matches(LABEL),
        "dns-name" => matches(&format!("{LABEL}(?:\\.{LABEL})*")),
        "dns-name-list" => list(&format!("{LABEL}(?:\\.{LABEL})*")),
        "pve-ha-resource-or-vm-id" => matches("(?:(?:vm|ct):)?[1-9][0-9]{2,8}"),
        "ip" => value.parse::<std::net::IpAddr>().is_ok(),
        // Addresses, or the zone and the addresses (`PVE::Network::SDN::SubnetPlugin::parse_sdn_subnet_id`).
        "pve-sdn-subnet-id" => match value.split('-').collect::<Vec<_>>()[..] {
            [_, address, mask] => is_cidr(&format!("{address}/{mask}")),
            _ => is_cidr(value),
        },
        "ip-list" => value.split(',').all(|ip| ip.parse::<std::net::IpAddr>().is_ok()),
        "pve-vmid" => matches("[1-9][0-9]{2,8}"),
        "pve-vmid-list" => list("[1-9][0-9]{2,8}"),
        "pve-storage-id" => matches("[a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]"),
        "pve-poolid" => matches("[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+){0,2}"),
        "pve-storage-content" => matches("images|rootdir|vztmpl|iso|backup|snippets|import"),
        "pve-configid" => matches("[A-Za-z][A-Za-z0-9_-]+"),
        "pve-configid-list" => list("[A-Za-z][A-Za-z0-9_-]+"),
        "pve-tag-list" => list("(?i)[a-z0-9_][a-z0-9_+.-]*"),
        "pve-iface" => value.len() <= 20 && matches("[a-zA-Z][a-zA-Z0-9_]{1,20}([:.][0-9]+)?"),
        "pve-bridge-id" => matches("[-_.a-zA-Z0-9]+"),
        // One that is made may not begin with PVE; an entry of the access list may name PVE's own.
        "pve-roleid" => matches("[A-Za-z0-9._-]+") && !value.to_uppercase().starts_with("PVE"),
        "pve-roleid-list" => list("[A-Za-z0-9._-]+"),
        "pve-groupid" => matches("[A-Za-z0-9._-]+"),
        "pve-groupid-list" => list("[A-Za-z0-9._-]+"),
        "email-opt" => value.is_empty() || matches("[^\\s@]+@[^\\s@]+"),
        "email-or-username-list" => list("[^\\s@]+(?:@[^\\s@]+)?"),
        // Times and days, in the forms that are used here.
        "pve-calendar-event" => {
            let day = "(?:mon|tue|wed|thu|fri|sat|sun)";
            matches(&format!("(?:{day}(?:\\.\\.{day})? )?\\d{{1,2}}:\\d{{2}}|hourly|daily|weekly|monthly"))
        }
        "prune-backups" => {
            value.split(',').all(|p| perl("keep-(?:all|last|hourly|daily|weekly|monthly|yearly)=\\d+").is_match(p))
        }
        "backup-fleecing" => matches("enabled=[01](?:,storage=[A-Za-z][A-Za-z0-9._-]*)?"),
        "pve-storage-content-list" => list("images|rootdir|vztmpl|iso|backup|snippets|import"),
        "pve-storage-path" => value.starts_with('/'),
        "pve-storage-server" => matches("[A-Za-z0-9.:-]+"),
        "pve-storage-options" => matches("[^\\s]+"),
        "pve-node-list" => list(LABEL),
        "IPorCIDR" => value.parse::<std::net::IpAddr>().is_ok() || is_cidr(value),
        "IPorCIDRorAlias" => {
            value.parse::<std::net::IpAddr>().is_ok()
                || is_cidr(value)
                || matches("(?:(?:dc|guest)/)?[A-Za-z][A-Za-z0-9_-]+")
        }
        "pve-fw-addr-spec" => list("\\+?(?:(?:dc|guest|sdn)/)?[A-Za-z][A-Za-z0-9_-]+|[0-9a-fA-F:./-]+"),
        "pve-fw-dport-spec" | "pve-fw-sport-spec" => list("[a-z0-9-]+(?::[a-z0-9-]+)?"),
        "pve-fw-protocol-spec" => matches("[a-z0-9-]+"),
        "pve-fw-icmp-type-spec" => matches("[a-z0-9/-]+"),
        "pve-priv-list" => list("(?:VM|Datastore|Pool|SDN|Sys|Permissions|Mapping|Realm|User|Group)\\.[A-Za-z.]+"),
        "pve-tokenid-list" => list("[^\\s:/]+@[A-Za-z][A-Za-z0-9._-]+![A-Za-z][A-Za-z0-9._-]+"),
        "pve-userid" | "pve-userid-list" => list("[^\\s:/]+@[A-Za-z][A-Za-z0-9._-]+"),
        "pve-realm" => matches("[A-Za-z][A-Za-z0-9._-]+"),
        "mac-addr" => matches("(?i)[a-f0-9][02468ace](?::[a-f0-9]{2}){5}"),
        "ipv4" => value.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => value.parse::<std::net::Ipv6Addr>().is_ok(),
        "pve-ipv4-config" => matches!(value, "dhcp" | "manual") || is_cidr(value),
        "pve-ipv6-config" => matches!(value, "auto" | "dhcp" | "manual") || is_cidr(value),
        "address-list" | "lxc-ip-with-ll-iface-list" => {
            value.split([',', ';', ' ']).filter(|p| !p.is_empty()).all(|p| p.parse::<std::net::IpAddr>().is_ok())
        }
        "pve-qm-ipconfig" => value.split(',').all(|part| match part.split_once('=') {
            Some(("ip", v)) => v == "dhcp" || is_cidr(v),
            Some(("gw", v)) => v.parse::<std::net::Ipv4Addr>().is_ok(),
            Some(("ip6", v)) => matches!(v, "auto" | "dhcp") || is_cidr(v),
            Some(("gw6", v)) => v.parse::<std::net::Ipv6Addr>().is_ok(),
            Some(_) | None => false,
        }),
        "pve-sdn-dhcp-range" => {
            let address = "[0-9a-fA-F:.]+";
            matches(&format!("start-address={address},end-address={address}"))
        }
        "pve-qm-rng" => matches("(?:source=)?/dev/(?:urandom|random|hwrng)(?:,(?:max_bytes|period)=\\d+)*"),
        "pve-qm-watchdog" => {
            matches("(?:model=)?(?:i6300esb|ib700)(?:,action=(?:reset|shutdown|poweroff|pause|debug|none))?")
        }
        // Texts are base64, and say so.
        "pve-qm-smbios1" => {
            let texts = "(?:manufacturer|product|version|serial|sku|family)=[A-Za-z0-9+/]+={0,2}";
            matches(&format!("(?:base64=1(?:,uuid=[a-fA-F0-9-]{{36}}|,{texts})+|uuid=[a-fA-F0-9-]{{36}})"))
        }
        "pve-lxc-dev-string" => value.starts_with("/dev/"),
        "pve-ct-timezone" => value == "host" || matches("[A-Za-z_+-]+(?:/[A-Za-z0-9_+-]+)*"),
        "pve-startup-order" => matches("(?:(?:order=)?\\d+)?(?:,?up=\\d+)?(?:,?down=\\d+)?"),
        "pve-qm-boot" => matches("(?:legacy=)?[acdn]{1,4}|order=[a-z]+[0-9]+(?:;[a-z]+[0-9]+)*|\\s*"),
        "pve-vm-cpu-conf" => matches("(?:cputype=)?[A-Za-z0-9._-]+(?:,(?:flags|hidden|phys-bits)=[^,]+)*"),
        "pve-qm-cicustom" => value.split(',').all(|part| {
            let parts = part.split_once('=');
            parts.is_some_and(|(key, v)| matches!(key, "user" | "network" | "meta" | "vendor") && is_volume(v))
        }),
        "pve-hotplug-features" => value == "0" || value == "1" || list("network|disk|cpu|memory|usb|cloudinit"),
        "urlencoded" => matches("[-%a-zA-Z0-9_.!~*'()]*"),
        "pve-volume-id" => is_volume(value),
        "pve-volume-id-or-qm-path" | "pve-lxc-mp-string" | "pve-volume-id-or-absolute-path" => {
            value == "none" || value == "cdrom" || value.starts_with('/') || is_volume(value)
        }
        "disk-size" => matches("\\d+(?:\\.\\d+)?[KMGT]?"),
        // A drive of `ide` has its format by name, those of the other buses in full: the same keys but for `model`.
        "pve-qm-ide" => {
            value.split(',').skip(1).all(|part| part.split_once('=').is_some_and(|(k, _)| perl("[a-z_]+").is_match(k)))
                && value.split(',').next().is_some_and(is_volume)
        }
        _ => return Some(format!("this test knows no format `{name}`")),
    };
    (!good).then(|| format!("it is no `{name}`"))
}

/// A property string against the schema of its keys.
fn property_string(parts: &Map<String, Value>, value: &str) -> Option<String> {
    let default = parts.iter().find(|(_, s)| is_on(&s["default_key"])).map(|(k, _)| k.as_str());
    let mut given: BTreeMap<String, String> = BTreeMap::new();
    for part in value.split(',').filter(|p| !p.is_empty()) {
        let (key, text) = match (part.split_once('='), default) {
            (Some((key, text)), _) => (key, text),
            (None, Some(default)) => (default, part),
            (None, None) => return Some(format!("`{part}` has no key")),
        };
        let Some(schema) = parts.get(key) else { return Some(format!("it knows no key `{key}`")) };
        // `virtio=MAC` says two things: the model, and its address.
        let key_as = schema["keyAlias"].as_str().map(|k| (k.to_owned(), key.to_owned()));
        let value_as = (schema["alias"].as_str().unwrap_or(key).to_owned(), text.to_owned());
        for (key, text) in key_as.into_iter().chain([value_as]) {
            if given.insert(key.clone(), text).is_some() {
                return Some(format!("`{key}` comes twice"));
            }
        }
    }
    for (key, text) in &given {
        let schema = &parts[key];
        // Property strings know more words for a boolean than forms do (`parse_boolean`).
        let text = match text.as_str() {
            "on" | "yes" | "true" if schema["type"] == "boolean" => "1",
            "off" | "no" | "false" if schema["type"] == "boolean" => "0",
            text => text,
        };
        if let Some(why) = fault(schema, text) {
            return Some(format!("{key}={text:?}: {why}"));
        }
    }
    let missing =
        parts.iter().find(|(k, s)| s.get("alias").is_none() && !is_on(&s["optional"]) && !given.contains_key(*k));
    missing.map(|(key, _)| format!("`{key}` is required in it, and missing"))
}

// ---- recording at the door -------------------------------------------------------------------------------------------

/// The simulator, and notes of all that is asked of it.
struct Recorder<'a> {
    api: SimApi,
    notes: &'a Mutex<Vec<Sent>>,
}

impl Recorder<'_> {
    fn note(&self, method: &str, path: &str, params: &[(String, String)]) {
        let sent = Sent { method: method.to_owned(), path: path.to_owned(), params: params.to_vec() };
        self.notes.lock().expect("nobody panics with it").push(sent);
    }
}

impl Api for Recorder<'_> {
    fn get<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Value, PveError>> {
        self.note("GET", &query.path, &query.params);
        self.api.get(query)
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Value, PveError>> {
        self.note(call.method.as_str(), &call.path, &call.params);
        self.api.send(call)
    }
}

/// A container, a template made of it, clones of that; everything that the lives of the corpus do not do.
const CONTAINERS: &[&str] = &[
    r"
{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {name: ct-base}, spec: {type: Container, vmid: 9100, node: pve3, source: {clone: {vmid: 8200, storage: local-lvm}}, description: base}}
---
{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {name: twin}, spec: {vmid: 230, node: pve3, from: {template: ct-base, mode: Full}, power: Running, description: x}}
",
    r"
{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {name: ct-base}, spec: {type: Container, vmid: 9100, node: pve3, source: {clone: {vmid: 8200, storage: local-lvm}}, description: base}}
---
{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {name: twin}, spec: {vmid: 230, node: pve3, from: {template: ct-base, mode: Full}, power: Stopped, description: y}}
",
];

/// Machines that are restarted to take a change, in a pool and out of it.
const RESTARTED: &[&str] = &[
    r"
{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: p}, spec: {}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: r}, spec: {vmid: 140, node: pve1, pool: p, power: Running, hardware: {cores: 1}, disks: [{slot: virtio0, storage: local-lvm, size: 1Gi, cache: writeback}, {slot: sata0, storage: nfs, size: 1Gi}, {slot: ide0, storage: nfs, size: 1536Mi}], update: {reboot: IfRequired}}}
---
{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {name: s}, spec: {vmid: 141, node: pve1, pool: p, power: Running, unprivileged: true, from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}, rootfs: {storage: local-lvm, size: 1Gi}, networks: [{slot: net0, bridge: vmbr0, mtu: 1400, rateLimit: 12.5, firewall: true, mac: 'bc:24:11:00:00:07', ip: manual}], update: {reboot: IfRequired}}}
",
    r"
{apiVersion: pvectl/v1alpha1, kind: Pool, metadata: {name: p}, spec: {}}
---
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: r}, spec: {vmid: 140, node: pve1, power: Running, hardware: {cores: 4, sockets: 2, cpu: x86-64-v2-AES, memory: 3Gi, bios: seabios, machine: q35, vga: std}, networks: [{slot: net0, bridge: vmbr0, model: vmxnet3, rateLimit: 0.5, mtu: 1500}], disks: [{slot: virtio0, storage: local-lvm, size: 1Gi, cache: none}, {slot: sata0, storage: nfs, size: 2Gi}, {slot: ide0, storage: nfs, size: 1536Mi}], update: {reboot: IfRequired}}}
---
{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {name: s}, spec: {vmid: 141, node: pve1, power: Running, unprivileged: true, features: {nesting: true}, from: {osTemplate: 'local:vztmpl/alpine-3.22-default_20260401_amd64.tar.gz'}, rootfs: {storage: local-lvm, size: 1Gi}, update: {reboot: IfRequired}}}
",
    r"
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: r}, spec: {vmid: 140, node: pve1, power: Stopped}}
",
];

const STRANGERS: &str = r"
{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: opnsense}, spec: {vmid: 8100, tags: [firewall], description: 'ours now: 100 %, a=b & c'}}
---
{apiVersion: pvectl/v1alpha1, kind: Container, metadata: {name: legacy-dns}, spec: {vmid: 8200, startup: {onBoot: false, order: 2, downDelay: 30s}}}
---
{apiVersion: pvectl/v1alpha1, kind: GuestTemplate, metadata: {name: debian}, spec: {source: {existing: {vmid: 8000}}}}
";

/// Applies each state in its turn, and at the end nothing.
fn live(states: &[&str], notes: &Mutex<Vec<Sent>>, install: bool) {
    let lab = Lab::homelab();
    // A container is cloned at rest.
    lab.sim.with_world(|w| w.guests.get_mut(&8200).expect("it is there").power = Power::Stopped);
    let recorder = Recorder { api: lab.sim.api(), notes };
    // What looks after our own way reads more.
    let way = Way { from: "192.168.1.50".parse().expect("one"), to: "192.168.1.11:8006".parse().expect("one") };
    let settings = Settings { ways: vec![way], left_lock: Some("left".into()), ..prune() };
    for state in states {
        match lab.try_apply(&recorder, &KINDS, &desired(state), &settings) {
            Ok(report) => assert!(report.converged(), "{}", crate::world::open(&report)),
            Err(halt) => panic!("{}", crate::world::stopped(&halt)),
        }
        if install {
            lab.install();
        }
    }
    let report = lab.try_apply(&recorder, &KINDS, &nothing(), &prune()).expect("all of it can go");
    assert!(report.converged(), "{}", crate::world::open(&report));
    let last = desired(states.last().expect("a life has a state"));
    if let Some(settings) = crate::world::by_manifest(&last).filter(|_| states != crate::objects::OPTIONS) {
        let report = lab.try_apply(&recorder, &KINDS, &last, &settings).expect("it goes by its manifest");
        assert!(report.converged(), "{}", crate::world::open(&report));
    }
}

/// What `get`, `describe`, `wait` and exporting read.
fn survey(lab: &Lab, notes: &Mutex<Vec<Sent>>) {
    let recorder = Recorder { api: lab.sim.api(), notes };
    let clock = lab.sim.clock();
    for kind in KINDS {
        run(async {
            let index = pvectl::engine::observe::index(&recorder, &clock, &kind.lists().into_iter().collect())
                .await
                .expect("readable");
            let bare = Observation::new(index.clone());
            let reads = kind.list(&bare).iter().flat_map(|l| kind.reads(&l.identity, None, &index)).collect();
            let seen = pvectl::engine::observe::read_all(&recorder, &clock, index, reads).await.expect("readable");
            kind.list(&seen).iter().for_each(|l| drop(kind.export(&l.identity, &seen).expect("it can be read")));
        });
    }
}

/// All that pvectl asks in all lives.
fn recorded() -> Vec<Sent> {
    let notes = Mutex::default();
    for life in LIVES {
        live(life.states, &notes, false);
        live(life.states, &notes, true);
        // Each state may be the last: what runs is stopped to be deleted. None begins with a volume that was taken out, or
        // with a token whose secret has gone elsewhere.
        let moved = |state: &str| state.contains("kind: ApiToken") && !state.contains("secret: ");
        let first = life.states.iter().filter(|state| !state.contains("volume: ") && !moved(state));
        first.for_each(|state| live(&[state], &notes, false));
    }
    for states in [CONTAINERS, RESTARTED, crate::objects::OPTIONS] {
        live(states, &notes, true);
    }
    crate::hands::every_request(|lab| Recorder { api: lab.sim.api(), notes: &notes });
    crate::runner_pools::every_request(&|method, path, params| {
        let sent = Sent { method: method.to_owned(), path: path.to_owned(), params: params.to_vec() };
        notes.lock().expect("nobody panics with it").push(sent);
    });
    crate::windows::every_request(&|lab| Box::new(Recorder { api: lab.sim.api(), notes: &notes }));
    // Taken over, looked at, and let go.
    let lab = Lab::homelab();
    let recorder = Recorder { api: lab.sim.api(), notes: &notes };
    let set = desired(STRANGERS);
    let adopt: BTreeSet<ResourceRef> = set.resources.keys().cloned().collect();
    let settings = Settings { adopt, ..crate::world::plain() };
    let clock = lab.sim.clock();
    let names = lab.sim.names();
    let cluster = Cluster { api: &recorder, clock: &clock, kinds: &KINDS, names: &names, files: &Folder::new("") };
    let report = run(reconcile(&cluster, &set, &settings, ALL, &Nobody, &|_| true)).expect("they can be taken over");
    assert!(report.converged(), "{}", crate::world::open(&report));
    survey(&lab, &notes);
    networks(&notes);
    crate::logs::every_request(|lab| Recorder { api: lab.sim.api(), notes: &notes });
    crate::node_health::every_request(|lab| Recorder { api: lab.sim.api(), notes: &notes });
    // What HA looks after is stopped by its manager.
    lab.sim.with_world(|w| {
        let resource = serde_json::json!({"sid": "vm:8100", "type": "vm", "state": "started"});
        w.table("cluster/ha/resources").insert("vm:8100".into(), resource);
    });
    let stopped = "{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: opnsense}, spec: {vmid: 8100, power: Stopped}}";
    let _ = lab.try_apply(&recorder, &KINDS, &desired(stopped), &crate::world::plain());
    lab.sim.with_world(|w| w.table("cluster/ha/resources").clear());
    // A template whose disk was not converted is finished disk by disk.
    lab.sim.with_world(|world| {
        world.edit_guest(8000, "scsi1", Some("local-lvm:vm-8000-disk-7,size=1G"));
    });
    let _ = lab.try_apply(&recorder, &KINDS, &set, &settings);
    // A task that fails is asked for its log.
    lab.sim.inject(Fault::on("PUT", "/resize", FaultKind::TaskFails("no space".into())));
    let grown = "{apiVersion: pvectl/v1alpha1, kind: VirtualMachine, metadata: {name: opnsense}, spec: {vmid: 8100, disks: [{slot: scsi0, size: 17Gi}]}}";
    let _ = lab.try_apply(&recorder, &KINDS, &desired(grown), &crate::world::plain());
    // Networks: what fails on the way is taken back, and what waits is applied.
    let nets = crate::corpus::LIVES.iter().find(|l| l.name.starts_with("zones with")).expect("a life").states[0];
    for (method, path) in [("POST", "/cluster/sdn/vnets"), ("PUT", "/cluster/sdn")] {
        lab.sim.inject(Fault::on(method, path, FaultKind::Status(500, "no".into())));
        let _ = lab.try_apply(&recorder, &KINDS, &desired(nets), &crate::world::plain());
        lab.sim.clear_faults();
    }
    let _ = lab.try_apply(&recorder, &KINDS, &desired(nets), &crate::world::plain());
    // A role, a user and a token: made, found there, and completed.
    for privileges in [vec!["Pool"], vec!["Pool"], vec!["VirtualMachine"]] {
        let privileges = pvectl::cli::auth::privileges(privileges);
        let account = Account { role: "Reconciler", privileges, user: "pvectl@pve", token: "ci" };
        run(account.establish(&cluster)).expect("root may do that");
    }
    notes.into_inner().expect("nobody panics with it")
}

// ---- recording on the wire -------------------------------------------------------------------------------------------

/// A server of HTTPS that hands requests to a simulator and takes notes. `second_factor`: whoever logs in is asked for it.
struct Wire {
    sim: Sim,
    url: String,
    fingerprint: String,
    notes: Arc<Mutex<Vec<Sent>>>,
}

impl Wire {
    fn start(second_factor: bool) -> Wire {
        let sim = Sim::new(Baseline::Homelab);
        sim.set_speed(Some(500.0));
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let der = made.cert.der().clone();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the usual versions")
            .with_no_client_auth()
            .with_single_cert(vec![der.clone()], key.into())
            .expect("key and certificate fit");
        let config = Arc::new(config);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("https://{}", listener.local_addr().expect("it has an address"));
        let notes: Arc<Mutex<Vec<Sent>>> = Arc::default();
        let (shared, cluster) = (Arc::clone(&notes), sim.clone());
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, notes, sim) = (Arc::clone(&config), Arc::clone(&shared), cluster.clone());
                std::thread::spawn(move || {
                    let tls = rustls::ServerConnection::new(config).expect("a connection begins");
                    let mut stream = rustls::StreamOwned::new(tls, stream);
                    let _ = answer(&mut stream, &sim, &notes, second_factor);
                });
            }
        });
        let fingerprint = pvectl::pve::http::tls::Fingerprint::of(&der).to_string();
        Wire { sim, url, fingerprint, notes }
    }

    /// Runs the real program as root with a password.
    #[track_caller]
    fn run(&self, home: &Path, words: &str, code: i32) -> String {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_pvectl"))
            .args(words.split_whitespace())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .env("HOME", home)
            .env("PVECTL_ENDPOINT", &self.url)
            .env("PVECTL_FINGERPRINT", &self.fingerprint)
            .env("PVECTL_USERNAME", "root@pam")
            .env("PVECTL_PASSWORD", "rootpw123")
            .env("PVECTL_TOTP", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
            .stdin(std::process::Stdio::null())
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    fn taken(&self) -> Vec<Sent> {
        self.notes.lock().expect("nobody panics with it").clone()
    }
}

/// One request and its answer; the connection ends after it.
fn answer(
    stream: &mut (impl Read + Write),
    sim: &Sim,
    notes: &Mutex<Vec<Sent>>,
    second_factor: bool,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let header = |name: &str| {
        let found = head.iter().skip(1).filter_map(|l| l.split_once(": ")).find(|(k, _)| k.eq_ignore_ascii_case(name));
        found.map(|(_, v)| v.to_owned())
    };
    let mut body = vec![0; header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let mut first = head.first().map_or("", String::as_str).split(' ');
    let (method, target) = (first.next().unwrap_or("").to_owned(), first.next().unwrap_or("").to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let path = path.strip_prefix("/api2/json").unwrap_or(path).to_owned();
    let form = if query.is_empty() { String::from_utf8_lossy(&body).into_owned() } else { query.to_owned() };
    let params: Vec<(String, String)> =
        url::form_urlencoded::parse(form.as_bytes()).map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    notes.lock().expect("nobody panics with it").push(Sent {
        method: method.clone(),
        path: path.clone(),
        params: params.clone(),
    });
    let auth = match (header("authorization"), header("cookie")) {
        (Some(text), _) => Auth::Header(text),
        (None, Some(cookie)) => Auth::Ticket {
            ticket: percent_encoding::percent_decode_str(cookie.trim_start_matches("PVEAuthCookie="))
                .decode_utf8_lossy()
                .into_owned(),
            csrf: header("csrfpreventiontoken"),
        },
        (None, None) => Auth::None,
    };
    let mut params: Vec<(String, Value)> = params.into_iter().map(|(k, v)| (k, Value::String(v))).collect();
    let challenged = params.iter().any(|(k, _)| k == "tfa-challenge");
    let answer = if path == "/access/ticket" && second_factor && !challenged {
        let data = serde_json::json!({"username": "root@pam", "ticket": "PVE:!tfa!%7B%22totp%22%3Atrue%7D:X::abc", "NeedTFA": 1, "CSRFPreventionToken": "x"});
        WireAnswer { status: 200, reason: "OK".into(), body: Some(serde_json::json!({"data": data})) }
    } else {
        if challenged {
            params = vec![("username".into(), "root@pam".into()), ("password".into(), "rootpw123".into())];
        }
        sim.handle(&WireRequest { method, path, params, auth })
    };
    let WireAnswer { status, reason, body } = answer;
    let body = body.map(|b| b.to_string()).unwrap_or_default();
    let reason = reason.lines().next().unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let stream = reader.into_inner();
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.flush()
}

/// All that the real program says on the wire in a working day.
fn on_the_wire() -> Vec<Sent> {
    let wire = Wire::start(true);
    let home = tempfile::TempDir::new().expect("a folder of its own");
    let at = home.path();
    wire.run(at, "apply -f manifests/homelab --yes", 0);
    wire.run(at, "diff -f manifests/homelab", 0);
    wire.run(at, "drift -f manifests/homelab", 0);
    // These stand in manifests only.
    for kind in KINDS.iter().filter(|kind| !matches!(kind.name(), "SnapshotPolicy" | "PatchWindow" | "RunnerPool")) {
        wire.run(at, &format!("get {} -o yaml", kind.name()), 0);
    }
    wire.sim.advance(std::time::Duration::from_secs(60));
    wire.run(at, "get vm -o wide", 0);
    wire.run(at, "get ct -o wide", 0);
    wire.run(at, "check vm web-01 --rules LinuxRunner --inside", 1);
    wire.run(at, "check ct pg-01", 1);
    wire.run(at, "describe vm web-01", 0);
    wire.run(at, "snapshot create vm web-01 clean --ram --yes", 0);
    wire.run(at, "snapshot list vm web-01", 0);
    wire.run(at, "snapshot list", 0);
    wire.run(at, "wait VirtualMachine/web-01 --for condition=Ready --timeout 5s", 0);
    let plan = at.join("plan.json").display().to_string();
    wire.sim.with_world(|w| w.edit_guest(101, "tags", Some("other")));
    wire.run(at, &format!("plan -f manifests/homelab -o {plan}"), 0);
    wire.run(at, &format!("apply {plan} --yes"), 0);
    let file = at.join("adopt.yaml");
    std::fs::write(&file, STRANGERS).expect("a file can be written");
    wire.run(at, &format!("adopt VirtualMachine/opnsense -f {} --set home --yes", file.display()), 0);
    wire.run(at, "delete vm web-02 --yes --allow data-loss", 0);
    wire.run(at, "wait VirtualMachine/web-02 --for delete --timeout 5s", 0);
    wire.taken()
}

// ---- what holds ------------------------------------------------------------------------------------------------------

/// All that `network show` reads, of a VM and of a CT.
fn networks(notes: &Mutex<Vec<Sent>>) {
    let lab = Lab::homelab();
    let life = LIVES.iter().find(|l| l.name.starts_with("network profiles")).expect("a life");
    lab.apply(&desired(life.states[0]), &crate::world::plain());
    let by_hand = |path: &str, params: &[(&str, &str)]| {
        let mut call = Call::new(Method::Post, path);
        call.params = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        run(lab.sim.api().send(&call)).expect("it is made");
    };
    for guest in ["qemu/131", "lxc/132"] {
        by_hand(&format!("/nodes/pve1/{guest}/firewall/ipset"), &[("name", "ipfilter-net0")]);
    }
    let recorder = Recorder { api: lab.sim.api(), notes };
    let (clock, names) = (lab.sim.clock(), lab.sim.names());
    let cluster = Cluster { api: &recorder, clock: &clock, kinds: &KINDS, names: &names, files: &Folder::new("") };
    for name in ["agent", "server"] {
        let found = run(pvectl::cli::scene::read(&cluster, name)).map_err(|e| e.message).expect("it is read");
        assert_eq!(found.guest.names.sets.len(), 1);
    }
}

/// Every request that pvectl can make, as `METHOD template`. A new constructor of a request enters here, and a life that
/// makes it send.
const EXPECTED: &[&str] = &[
    "DELETE /nodes/{node}/lxc/{vmid}/firewall/rules/{pos}",
    "DELETE /nodes/{node}/qemu/{vmid}/firewall/rules/{pos}",
    "GET /nodes/{node}/lxc/{vmid}/firewall/rules",
    "GET /nodes/{node}/qemu/{vmid}/firewall/rules",
    "POST /nodes/{node}/lxc/{vmid}/firewall/rules",
    "POST /nodes/{node}/qemu/{vmid}/firewall/rules",
    "PUT /nodes/{node}/qemu/{vmid}/firewall/rules/{pos}",
    "GET /nodes/{node}/lxc/{vmid}/firewall/aliases",
    "GET /nodes/{node}/lxc/{vmid}/firewall/ipset",
    "GET /nodes/{node}/lxc/{vmid}/firewall/ipset/{name}",
    "GET /nodes/{node}/qemu/{vmid}/firewall/aliases",
    "GET /nodes/{node}/qemu/{vmid}/firewall/ipset",
    "GET /nodes/{node}/qemu/{vmid}/firewall/ipset/{name}",
    "DELETE /access/groups/{groupid}",
    "DELETE /access/roles/{roleid}",
    "DELETE /access/users/{userid}",
    "DELETE /access/users/{userid}/token/{tokenid}",
    "DELETE /cluster/backup/{id}",
    "DELETE /cluster/firewall/aliases/{name}",
    "DELETE /cluster/firewall/groups/{group}",
    "DELETE /cluster/firewall/groups/{group}/{pos}",
    "DELETE /cluster/firewall/ipset/{name}",
    "DELETE /cluster/firewall/ipset/{name}/{cidr}",
    "DELETE /storage/{storage}",
    "GET /access/acl",
    "GET /access/groups",
    "GET /access/roles",
    "GET /access/users",
    "GET /cluster/ceph/status",
    "GET /cluster/backup",
    "GET /cluster/firewall/aliases",
    "GET /cluster/firewall/groups",
    "GET /cluster/firewall/groups/{group}",
    "GET /cluster/firewall/ipset",
    "GET /cluster/firewall/ipset/{name}",
    "GET /cluster/firewall/options",
    "GET /cluster/firewall/rules",
    "GET /nodes/{node}/firewall/rules",
    "GET /nodes/{node}/firewall/options",
    "GET /nodes/{node}/lxc/{vmid}/firewall/options",
    "GET /nodes/{node}/qemu/{vmid}/firewall/options",
    "GET /storage",
    "POST /access/groups",
    "POST /cluster/backup",
    "POST /cluster/firewall/aliases",
    "POST /cluster/sdn/lock",
    "GET /cluster/sdn/controllers",
    "POST /cluster/sdn/vnets/{vnet}/subnets",
    "PUT /cluster/sdn/vnets/{vnet}/subnets/{subnet}",
    "DELETE /cluster/sdn/vnets/{vnet}/subnets/{subnet}",
    "GET /cluster/sdn/vnets/{vnet}/subnets",
    "POST /cluster/sdn/vnets",
    "POST /cluster/sdn/zones",
    "PUT /cluster/sdn",
    "PUT /cluster/sdn/vnets/{vnet}",
    "PUT /cluster/sdn/zones/{zone}",
    "DELETE /cluster/sdn/vnets/{vnet}",
    "DELETE /cluster/sdn/zones/{zone}",
    "GET /cluster/sdn/vnets",
    "GET /cluster/sdn/zones",
    "GET /nodes/{node}/sdn/zones",
    "POST /cluster/sdn/rollback",
    "DELETE /cluster/sdn/lock",
    "POST /cluster/firewall/groups",
    "POST /cluster/firewall/groups/{group}",
    "POST /cluster/firewall/ipset",
    "POST /cluster/firewall/ipset/{name}",
    "POST /storage",
    "PUT /access/groups/{groupid}",
    "PUT /access/users/{userid}",
    "PUT /access/users/{userid}/token/{tokenid}",
    "PUT /cluster/backup/{id}",
    "PUT /cluster/firewall/aliases/{name}",
    "PUT /cluster/firewall/groups/{group}/{pos}",
    "PUT /cluster/firewall/ipset/{name}/{cidr}",
    "PUT /cluster/firewall/options",
    "PUT /nodes/{node}/firewall/options",
    "PUT /nodes/{node}/lxc/{vmid}/firewall/options",
    "PUT /nodes/{node}/qemu/{vmid}/firewall/options",
    "PUT /storage/{storage}",
    "GET /access/roles/{roleid}",
    "GET /access/users/{userid}",
    "GET /access/users/{userid}/token/{tokenid}",
    "POST /access/roles",
    "POST /access/users",
    "POST /access/users/{userid}/token/{tokenid}",
    "PUT /access/acl",
    "PUT /access/roles/{roleid}",
    "DELETE /nodes/{node}/lxc/{vmid}",
    "DELETE /nodes/{node}/lxc/{vmid}/snapshot/{snapname}",
    "DELETE /nodes/{node}/qemu/{vmid}",
    "DELETE /nodes/{node}/qemu/{vmid}/snapshot/{snapname}",
    "DELETE /pools",
    "GET /access/permissions",
    "GET /cluster/ha/resources",
    "GET /cluster/resources",
    "GET /cluster/status",
    "GET /cluster/tasks",
    "GET /nodes/{node}/aplinfo",
    "GET /nodes/{node}/disks/list",
    "GET /nodes/{node}/disks/smart",
    "GET /nodes/{node}/disks/zfs",
    "GET /nodes/{node}/disks/zfs/{name}",
    "GET /nodes/{node}/journal",
    "GET /nodes/{node}/disks/lvmthin",
    "GET /nodes/{node}/lxc",
    "GET /nodes/{node}/lxc/{vmid}/config",
    "GET /nodes/{node}/lxc/{vmid}/feature",
    "GET /nodes/{node}/lxc/{vmid}/firewall/options",
    "GET /nodes/{node}/lxc/{vmid}/interfaces",
    "GET /nodes/{node}/lxc/{vmid}/migrate",
    "GET /nodes/{node}/lxc/{vmid}/pending",
    "GET /nodes/{node}/lxc/{vmid}/snapshot",
    "GET /nodes/{node}/lxc/{vmid}/status/current",
    "GET /nodes/{node}/network",
    "GET /nodes/{node}/qemu",
    "GET /nodes/{node}/qemu/{vmid}/agent/exec-status",
    "GET /nodes/{node}/qemu/{vmid}/agent/info",
    "GET /nodes/{node}/qemu/{vmid}/agent/network-get-interfaces",
    "GET /nodes/{node}/qemu/{vmid}/config",
    "GET /nodes/{node}/qemu/{vmid}/feature",
    "GET /nodes/{node}/qemu/{vmid}/migrate",
    "GET /nodes/{node}/qemu/{vmid}/pending",
    "GET /nodes/{node}/qemu/{vmid}/snapshot",
    "GET /nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config",
    "GET /nodes/{node}/qemu/{vmid}/status/current",
    "GET /nodes/{node}/storage/{storage}/content",
    "GET /nodes/{node}/status",
    "GET /nodes/{node}/tasks",
    "GET /nodes/{node}/vzdump/defaults",
    "GET /nodes/{node}/vzdump/extractconfig",
    "GET /nodes/{node}/tasks/{upid}/log",
    "GET /nodes/{node}/tasks/{upid}/status",
    "GET /pools",
    "GET /version",
    "POST /access/ticket",
    "POST /nodes/{node}/aplinfo",
    "POST /nodes/{node}/lxc",
    "POST /nodes/{node}/lxc/{vmid}/clone",
    "POST /nodes/{node}/lxc/{vmid}/move_volume",
    "POST /nodes/{node}/lxc/{vmid}/migrate",
    "POST /nodes/{node}/lxc/{vmid}/snapshot",
    "POST /nodes/{node}/lxc/{vmid}/snapshot/{snapname}/rollback",
    "POST /nodes/{node}/lxc/{vmid}/status/reboot",
    "POST /nodes/{node}/lxc/{vmid}/status/shutdown",
    "POST /nodes/{node}/lxc/{vmid}/status/start",
    "POST /nodes/{node}/lxc/{vmid}/status/stop",
    "POST /nodes/{node}/lxc/{vmid}/template",
    "POST /nodes/{node}/qemu",
    "POST /nodes/{node}/qemu/{vmid}/agent/exec",
    "POST /nodes/{node}/qemu/{vmid}/clone",
    "POST /nodes/{node}/qemu/{vmid}/move_disk",
    "POST /nodes/{node}/qemu/{vmid}/migrate",
    "POST /nodes/{node}/qemu/{vmid}/snapshot",
    "POST /nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback",
    "POST /nodes/{node}/qemu/{vmid}/status/reboot",
    "POST /nodes/{node}/qemu/{vmid}/status/shutdown",
    "POST /nodes/{node}/qemu/{vmid}/status/start",
    "POST /nodes/{node}/qemu/{vmid}/status/stop",
    "POST /nodes/{node}/qemu/{vmid}/template",
    "POST /nodes/{node}/storage/{storage}/download-url",
    "POST /nodes/{node}/storage/{storage}/oci-registry-pull",
    "POST /nodes/{node}/vzdump",
    "POST /pools",
    "PUT /cluster/ha/resources/{sid}",
    "PUT /nodes/{node}/lxc/{vmid}/config",
    "PUT /nodes/{node}/lxc/{vmid}/resize",
    "PUT /nodes/{node}/qemu/{vmid}/config",
    "PUT /nodes/{node}/qemu/{vmid}/resize",
    "PUT /pools/{poolid}",
    "GET /nodes/{node}/apt/update",
    "GET /nodes/{node}/qemu/{vmid}/agent/file-read",
    "POST /nodes/{node}/apt/update",
    "POST /nodes/{node}/status",
    "PUT /nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config",
    "PUT /nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config",
];

/// Parameters that not every life sends: each must have been, by somebody.
const RARE: &[(&str, &str)] = &[
    ("GET /nodes/{node}/lxc/{vmid}/feature", "snapname"),
    ("GET /nodes/{node}/qemu/{vmid}/feature", "snapname"),
    ("GET /nodes/{node}/storage/{storage}/content", "vmid"),
    ("POST /access/ticket", "tfa-challenge"),
    ("POST /cluster/backup", "fleecing"),
    ("POST /nodes/{node}/lxc", "force"),
    ("POST /nodes/{node}/lxc/{vmid}/clone", "hostname"),
    ("POST /nodes/{node}/lxc/{vmid}/clone", "snapname"),
    ("POST /nodes/{node}/lxc/{vmid}/migrate", "restart"),
    ("POST /nodes/{node}/lxc/{vmid}/migrate", "timeout"),
    ("POST /nodes/{node}/qemu", "force"),
    ("POST /nodes/{node}/vzdump", "protected"),
    ("POST /nodes/{node}/qemu/{vmid}/clone", "pool"),
    ("POST /nodes/{node}/qemu/{vmid}/clone", "snapname"),
    ("POST /nodes/{node}/qemu/{vmid}/clone", "storage"),
    ("POST /nodes/{node}/qemu/{vmid}/clone", "target"),
    ("POST /nodes/{node}/qemu/{vmid}/migrate", "online"),
    ("POST /nodes/{node}/qemu/{vmid}/migrate", "with-local-disks"),
    ("POST /nodes/{node}/qemu/{vmid}/snapshot", "vmstate"),
    ("POST /nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback", "start"),
    ("POST /nodes/{node}/qemu/{vmid}/status/stop", "overrule-shutdown"),
    ("POST /nodes/{node}/qemu/{vmid}/template", "disk"),
    ("POST /cluster/sdn/lock", "allow-pending"),
    ("PUT /nodes/{node}/qemu/{vmid}/config", "delete"),
    ("PUT /pools/{poolid}", "allow-move"),
    ("PUT /pools/{poolid}", "delete"),
];

/// Places in the sources that make a request, by file. Who adds one adds it to [`EXPECTED`] too, or sees that it is there.
const CONSTRUCTORS: &[(&str, usize)] = &[
    ("kinds/objects/members.rs", 3),
    ("kinds/objects/object.rs", 2),
    ("kinds/objects/plan.rs", 1),
    ("kinds/objects/row.rs", 3),
    ("kinds/firewall_rules/list.rs", 5),
    ("kinds/objects/sdn.rs", 8),
    ("lockout/answers.rs", 1),
    ("lockout/reads.rs", 6),
    ("cli/auth.rs", 6),
    ("cli/host.rs", 1),
    ("cli/logs/inside.rs", 1),
    ("cli/logs/node.rs", 1),
    ("cli/logs/tasks.rs", 2),
    ("cli/patch/plan.rs", 1),
    ("cli/profiles.rs", 9),
    ("cli/raw.rs", 2),
    ("daemon/signs.rs", 1),
    ("daemon/work.rs", 1),
    ("engine/door.rs", 1),
    ("engine/follow.rs", 3),
    ("github/operation.rs", 2),
    ("host/guest.rs", 2),
    ("host/operation.rs", 15),
    ("kinds/guest/file.rs", 3),
    ("kinds/guest/firewall.rs", 5),
    ("cli/runners/drain.rs", 1),
    ("cli/runners/logs.rs", 1),
    ("cli/scene.rs", 1),
    ("kinds/guest/fit.rs", 2),
    ("kinds/guest/ha.rs", 2),
    ("kinds/guest/hand/backup.rs", 2),
    ("kinds/guest/hand/clone.rs", 3),
    ("kinds/guest/hand/deed.rs", 2),
    ("kinds/guest/hand/migrate.rs", 2),
    ("kinds/guest/hand/power.rs", 1),
    ("kinds/guest/hand/restore.rs", 2),
    ("kinds/guest/hand/snapshot.rs", 6),
    ("kinds/guest/create.rs", 2),
    ("kinds/guest/moving.rs", 2),
    ("kinds/guest/plan.rs", 4),
    ("kinds/guest/restore.rs", 2),
    ("kinds/guest/rules/inside.rs", 3),
    ("kinds/guest/update.rs", 8),
    ("kinds/host_mount/storage.rs", 1),
    ("kinds/node_health.rs", 6),
    ("kinds/patch_window/guest.rs", 2),
    ("kinds/patch_window/node/deltas.rs", 5),
    ("kinds/patch_window/node/seen.rs", 7),
    ("kinds/patch_window/steps.rs", 6),
    ("kinds/pool.rs", 3),
    ("kinds/runner_pool/member.rs", 8),
    ("kinds/runner_pool/way.rs", 2),
    ("kinds/snapshot_policy/member.rs", 2),
    ("kinds/snapshot_policy/room.rs", 2),
    ("resource/index.rs", 2),
    ("resource/interfaces.rs", 1),
    ("resource/observation.rs", 1),
];

#[test]
fn every_request_is_one_that_proxmox_ve_takes_and_none_is_left_untried() {
    let Some(doc) = ApiDoc::load() else { return };
    let at_the_door = recorded();
    let on_the_wire = on_the_wire();
    let all: BTreeSet<&Sent> = at_the_door.iter().chain(&on_the_wire).collect();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut rare: BTreeSet<(&str, &str)> = RARE.iter().copied().collect();
    let mut wrong = Vec::new();
    for sent in &all {
        // What goes through the host link is no part of PVE's API: it is one of the closed list, or nothing.
        if Operation::is_link(&sent.path) {
            if Operation::read(&sent.method, &sent.path, &sent.params).is_none() {
                wrong.push(format!("{} {}: no operation of the host link", sent.method, sent.path));
            }
            continue;
        }
        // Neither is what goes to GitHub, or to a guest by SSH.
        if OnGitHub::is_github(&sent.path) {
            if OnGitHub::read(&sent.method, &sent.path, &sent.params).is_none() {
                wrong.push(format!("{} {}: no operation of GitHub's", sent.method, sent.path));
            }
            continue;
        }
        if InGuest::is_guest(&sent.path) {
            if InGuest::read(&sent.method, &sent.path, &sent.params).is_none() {
                wrong.push(format!("{} {}: no operation in a guest", sent.method, sent.path));
            }
            continue;
        }
        match doc.check(sent) {
            Ok(template) => {
                let pair = format!("{} {template}", sent.method);
                rare.retain(|(p, name)| *p != pair || !sent.params.iter().any(|(k, _)| k == name));
                *seen.entry(pair).or_default() += 1;
            }
            Err(why) => wrong.push(format!("{} {}: {}", sent.method, sent.path, why.join("; "))),
        }
    }
    let values: usize = all.iter().map(|s| s.params.len()).sum();
    say(&format!(
        "{} requests at the door and {} on the wire; {} different ones with {values} values verified, {} of (method, path)",
        at_the_door.len(),
        on_the_wire.len(),
        all.len(),
        seen.len()
    ));
    assert!(wrong.is_empty(), "{} requests that PVE would refuse:\n{}", wrong.len(), wrong.join("\n"));
    let expected: BTreeSet<String> = EXPECTED.iter().map(|e| (*e).to_owned()).collect();
    let sent: BTreeSet<String> = seen.keys().cloned().collect();
    let untried: Vec<&String> = expected.difference(&sent).collect();
    let unheard: Vec<&String> = sent.difference(&expected).collect();
    assert!(rare.is_empty(), "never sent: {rare:?}");
    assert!(untried.is_empty() && unheard.is_empty(), "never sent: {untried:?}\nnot in the list: {unheard:?}");
}

#[test]
fn every_place_that_makes_a_request_is_counted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(&root).expect("it is below").display().to_string();
            // The simulator answers, and the wire carries: neither makes requests of its own but the log-in. Sources of
            // manifests ask git.
            if name == "sim" || name == "pve" || name == "daemon/source" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a source");
            let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
            let makers = ["Call::new", "Query::new", "Call {", "Query {"];
            let places = text.lines().filter(|l| {
                let code = l.split("//").next().unwrap_or_default();
                makers.iter().any(|m| code.contains(m)) && !code.contains("-> ")
            });
            let count = places.count();
            if count > 0 {
                found.insert(name, count);
            }
        }
    }
    let counted: BTreeMap<String, usize> = CONSTRUCTORS.iter().map(|(f, n)| ((*f).to_owned(), *n)).collect();
    assert_eq!(found, counted);
}

#[test]
fn what_the_daemon_watches_by_is_known_to_pve() {
    let Some(doc) = ApiDoc::load() else { return };
    let time = pvectl::pve::request::Query::new("/nodes/pve1/time");
    for query in pvectl::daemon::signs::queries().into_iter().chain([time]) {
        let sent = Sent { method: "GET".into(), path: query.path.clone(), params: query.params.clone() };
        assert!(doc.check(&sent).is_ok(), "{query}: {:?}", doc.check(&sent));
    }
}

#[test]
fn mutants_of_requests_are_caught() {
    let Some(doc) = ApiDoc::load() else { return };
    let sent = |method: &str, path: &str, params: &[(&str, &str)]| Sent {
        method: method.to_owned(),
        path: path.to_owned(),
        params: params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    };
    let config = "/nodes/pve1/qemu/100/config";
    let good = [
        ("cores", "2"),
        ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=7"),
        ("scsi0", "local-lvm:20,discard=on"),
        ("delete", "ide2,boot"),
        ("onboot", "1"),
    ];
    assert_eq!(doc.check(&sent("PUT", config, &good)), Ok("/nodes/{node}/qemu/{vmid}/config".to_owned()));
    for (what, mutant, word) in [
        ("an unknown parameter", ("corse", "2"), "`corse` is not declared"),
        ("an indexed name where none is", ("cores1", "2"), "`cores1` is not declared"),
        ("a number too small", ("cores", "0"), "it is not in"),
        ("no number", ("cores", "two"), "it is no integer"),
        ("a boolean in words", ("onboot", "true"), "a form knows only 0 and 1"),
        ("a word that is none of them", ("ostype", "linux"), "it is none of"),
        ("a text too long", ("description", &"x".repeat(8193)), "too many"),
        (
            "an unknown key in a property string",
            ("net0", "virtio=BC:24:11:00:00:01,brigde=vmbr0"),
            "it knows no key `brigde`",
        ),
        ("a number too big in a property string", ("net0", "virtio,bridge=vmbr0,tag=4095"), "it is not in"),
        ("a key twice in a property string", ("net0", "virtio,model=e1000"), "`model` comes twice"),
        ("a required key missing in a property string", ("scsi0", "discard=on"), "`file` is required in it"),
        ("a bad address", ("ipconfig0", "ip=10.0.0.300/24"), "it is no `pve-qm-ipconfig`"),
        ("a raw blank in what is to be encoded", ("sshkeys", "ssh-ed25519 AAAA"), "it is no `urlencoded`"),
        ("a digest that is none", ("digest", &"a".repeat(41)), "too many"),
    ] {
        let found = doc.check(&sent("PUT", config, &[mutant])).expect_err(what).join("; ");
        assert!(found.contains(word), "{what}: {found}");
    }
    for (what, mutant, word) in [
        ("an unknown path", sent("GET", "/nodes/pve1/qemu/100/colour", &[]), "PVE has no path"),
        (
            "an unknown method",
            sent("POST", "/nodes/pve1/lxc/100/config", &[]),
            "PVE has no POST /nodes/{node}/lxc/{vmid}/config",
        ),
        ("a VMID too big", sent("GET", "/nodes/pve1/qemu/1000000000/config", &[]), "it is not in"),
        ("something missing", sent("POST", "/nodes/pve1/qemu/100/clone", &[]), "`newid` is required, and missing"),
        ("one without the other", sent("GET", "/pools", &[("type", "qemu")]), "`type` needs `poolid` beside it"),
        (
            "a size without a unit that PVE knows",
            sent("PUT", "/nodes/pve1/qemu/100/resize", &[("disk", "scsi0"), ("size", "4Gi")]),
            "does not match",
        ),
    ] {
        let found = doc.check(&mutant).expect_err(what).join("; ");
        assert!(found.contains(word), "{what}: {found}");
    }
}
