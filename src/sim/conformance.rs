//! Recorded answers of genuine PVE, replayed in process; and the endpoints against PVE's own schema.
//!
//! The data is not part of the project: it is looked for at `PVECTL_PVE_DATA`, else at `../shared/pve`.

mod compare;

use crate::host::operation::Operation;
use crate::sim::baseline::Baseline;
use crate::sim::front::Sim;
use crate::sim::serve::wire::{RawRequest, respond};
use compare::{Memory, carry, learn, norm, plain, quote, shape, shape_diff, value_diff};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The least share of recorded calls that must agree. It only rises.
const FLOOR: f64 = 0.9987;
/// Virtual time between two calls.
const PAUSE: Duration = Duration::from_millis(200);
/// Who logs in with which password.
const PEOPLE: &[(&str, &str, &str)] = &[
    ("root", "root@pam", "rootpw123"),
    ("admin", "admin@pve", "adminpw123"),
    ("limited", "limited@pve", "limitedpw123"),
];

#[expect(clippy::print_stdout, reason = "a test says what it measured; cargo shows it on request or on failure")]
fn say(text: &str) {
    println!("{text}");
}

/// The text of a data file; `None` if it is absent and may be.
fn data(name: &str) -> Option<String> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/pve");
    let path = std::env::var_os("PVECTL_PVE_DATA").map_or_else(beside, PathBuf::from).join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if std::env::var_os("PVECTL_TEST_REQUIRE_ALL").is_some_and(|v| v == "1") => {
            panic!("PVECTL_TEST_REQUIRE_ALL=1, but {} cannot be read: {error}", path.display())
        }
        Err(error) => {
            say(&format!("skipped: {} cannot be read: {error} (set PVECTL_PVE_DATA)", path.display()));
            None
        }
    }
}

/// A call's answer.
struct Got {
    status: u16,
    reason: String,
    body: Value,
}

/// One run through the recordings.
struct Replay {
    sim: Sim,
    tokens: BTreeMap<String, String>,
    tickets: BTreeMap<String, Value>,
    memory: Memory,
}

/// How one call went.
struct Verdict {
    faults: Vec<String>,
    unserved: bool,
    values: Vec<String>,
}

impl Replay {
    fn new() -> Replay {
        let sim = Sim::new(Baseline::Recordings);
        let tokens = crate::sim::serve::tokens(&sim);
        Replay { sim, tokens, tickets: BTreeMap::new(), memory: Memory::new() }
    }

    fn ask(&self, raw: &RawRequest) -> Got {
        let Some(answer) = respond(&self.sim, raw) else {
            return Got { status: 0, reason: "no answer".to_owned(), body: Value::Null };
        };
        let body = match answer.body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&answer.body)
                .unwrap_or_else(|_| serde_json::json!({ "_raw": String::from_utf8_lossy(&answer.body) })),
        };
        Got { status: answer.status, reason: answer.reason, body }
    }

    fn ticket(&mut self, who: &str) -> Value {
        if !self.tickets.contains_key(who) {
            let (_, user, password) = PEOPLE.iter().find(|(w, ..)| *w == who).expect("a known person");
            let raw = RawRequest {
                method: "POST".to_owned(),
                target: "/api2/json/access/ticket".to_owned(),
                content_type: Some(FORM.to_owned()),
                body: format!("username={}&password={password}", quote(user)).into_bytes(),
                ..RawRequest::default()
            };
            let made = self.ask(&raw).body["data"].take();
            self.tickets.insert(who.to_owned(), made);
        }
        self.tickets[who].clone()
    }

    /// The recorded words about credentials, as credentials of our own.
    fn identify(&mut self, auth: &str, raw: &mut RawRequest) {
        let word = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
        if auth == "none" {
            return;
        }
        if let Some(token) = auth.strip_prefix("token ").map(word) {
            let secret = self.tokens.get(&token).map_or("unknown", String::as_str);
            raw.authorization = Some(format!("PVEAPIToken={token}={secret}"));
        } else if let Some(header) = auth.strip_prefix("header Authorization: ") {
            raw.authorization = Some(header.to_owned());
        } else if let Some(rest) = auth.strip_prefix("ticket cookie ") {
            let made = self.ticket(&word(rest));
            let text = |key: &str| made[key].as_str().unwrap_or("none").to_owned();
            raw.cookie = Some(format!("PVEAuthCookie={}", quote(&text("ticket"))));
            raw.csrf = (!rest.contains("without")).then(|| text("CSRFPreventionToken"));
        } else if let Some(cookie) = auth.strip_prefix("cookie:") {
            raw.cookie = Some(format!("PVEAuthCookie={cookie}"));
        } else {
            raw.authorization = Some(auth.to_owned());
        }
    }

    fn request(&mut self, call: &Value) -> RawRequest {
        let path = carry(call["path"].as_str().unwrap_or_default(), &self.memory);
        let target = if path.starts_with("/api2/") { path } else { format!("/api2/json{path}") };
        let method = call["method"].as_str().unwrap_or_default().to_owned();
        let mut raw = RawRequest { method, target, ..RawRequest::default() };
        self.identify(call["auth"].as_str().unwrap_or("none"), &mut raw);
        let json = call["encoding"] == "json";
        let Some(params) = call["params"].as_object() else { return raw };
        if let Some(body) = params.get("_rawbody").and_then(Value::as_str) {
            let body = carry(body, &self.memory);
            let kind = match body.strip_prefix("--").and_then(|b| b.split("\r\n").next()) {
                Some(boundary) => format!("multipart/form-data; boundary={boundary}"),
                None if json => JSON.to_owned(),
                None if call["name"].as_str().unwrap_or_default().contains("no-content-type") => {
                    "text/plain".to_owned()
                }
                None => FORM.to_owned(),
            };
            (raw.content_type, raw.body) = (Some(kind), body.into_bytes());
        } else if json {
            let body = carry(&call["params"].to_string(), &self.memory);
            (raw.content_type, raw.body) = (Some(JSON.to_owned()), body.into_bytes());
        } else {
            let each = |(key, value): (&String, &Value)| {
                let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                values.into_iter().map(|v| (key.clone(), plain(&v))).collect::<Vec<_>>()
            };
            let text: Vec<String> = params
                .iter()
                .flat_map(each)
                .map(|(k, v)| if v == "<password>" { (k, password(call)) } else { (k, carry(&v, &self.memory)) })
                .map(|(k, v)| format!("{}={}", quote(&k), quote(&v)))
                .collect();
            match raw.method.as_str() {
                "POST" | "PUT" => (raw.content_type, raw.body) = (Some(FORM.to_owned()), text.join("&").into_bytes()),
                _ => raw.target = format!("{}?{}", raw.target, text.join("&")),
            }
        }
        raw
    }

    /// Follows a task to its end as root would.
    fn follow(&self, upid: &str) -> String {
        let node = upid.split(':').nth(1).unwrap_or_default();
        let raw = RawRequest {
            method: "GET".to_owned(),
            target: format!("/api2/json/nodes/{node}/tasks/{}/status", quote(upid)),
            authorization: self.tokens.get("root@pam!test").map(|s| format!("PVEAPIToken=root@pam!test={s}")),
            ..RawRequest::default()
        };
        for _ in 0..3600 {
            let data = self.ask(&raw).body["data"].take();
            if data["status"] == "stopped" {
                return plain(&data["exitstatus"]);
            }
            self.sim.advance(Duration::from_secs(1));
        }
        "still running".to_owned()
    }

    fn call(&mut self, call: &Value) -> Verdict {
        self.sim.advance(PAUSE);
        let raw = self.request(call);
        let got = self.ask(&raw);
        let made = &got.body["data"];
        if let (Some(id), Some(secret)) = (made["full-tokenid"].as_str(), made["value"].as_str()) {
            self.tokens.insert(id.to_owned(), secret.to_owned());
        }
        let (want, status) = (&call["response"], call["status"].as_u64().unwrap_or(0));
        let mut faults = differences(call, &got);
        learn(want, &got.body, &mut self.memory);
        if let Some(task) = call.get("task") {
            match made.as_str().filter(|u| u.starts_with("UPID:")) {
                Some(upid) => {
                    let (end, wanted) = (self.follow(upid), plain(&task["exitstatus"]));
                    if norm(&end) != norm(&wanted) {
                        faults.push(format!("task ended {end:?}, wanted {wanted:?}"));
                    }
                }
                None if faults.is_empty() => faults.push("no UPID".to_owned()),
                None => {}
            }
        }
        let whole = want.get("_truncated_from").is_none();
        let values = match faults.is_empty() && status == 200 && whole {
            true => value_diff(want, &got.body, ""),
            false => Vec::new(),
        };
        Verdict { faults, unserved: got.status == 501 && status != 501, values }
    }
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// Recordings hide passwords; what was sent follows from the answer.
fn password(call: &Value) -> String {
    if call["status"] == 401 {
        return "wrong-password".to_owned();
    }
    if call["status"] == 400 {
        return "abc".to_owned();
    }
    let user = call["params"]["username"].as_str().unwrap_or_default();
    let user = call["params"]["realm"].as_str().map_or_else(|| user.to_owned(), |realm| format!("{user}@{realm}"));
    PEOPLE.iter().find(|(_, u, _)| *u == user).map_or("a-long-password-1", |(.., p)| p).to_owned()
}

/// Where an answer differs from the recorded one: the first kind of difference only.
fn differences(call: &Value, got: &Got) -> Vec<String> {
    let (want, status) = (&call["response"], call["status"].as_u64().unwrap_or(0));
    let reason = call["reason"].as_str().unwrap_or_default();
    if u64::from(got.status) != status {
        return vec![format!("status {} {:?}, wanted {status} {reason}", got.status, got.reason)];
    }
    if norm(&got.reason) != norm(reason) {
        return vec![format!("reason {:?}, wanted {reason:?}", got.reason)];
    }
    let texts = |v: &Value| -> BTreeMap<String, String> {
        let hidden = |k: &String| want["errors"][k] == "<password>";
        let errors = v["errors"].as_object().into_iter().flatten();
        errors.filter(|(k, _)| !hidden(k)).map(|(k, v)| (k.clone(), norm(&plain(v)))).collect()
    };
    let (theirs, ours) = (texts(want), texts(&got.body));
    if theirs != ours {
        return vec![format!("errors {ours:?}, wanted {theirs:?}")];
    }
    let Some(members) = want.as_object().filter(|_| status == 200) else { return Vec::new() };
    let truncated = members.contains_key("_truncated_from");
    let members = members.iter().filter(|(k, _)| *k != "_truncated_from").map(|(k, v)| (k.clone(), v.clone()));
    let found = shape_diff(&shape(&Value::Object(members.collect())), &shape(&got.body), "");
    found.into_iter().filter(|d| !(truncated && d.contains("extra"))).take(4).collect()
}

/// `GET /nodes/*/qemu/*/config`.
fn endpoint(call: &Value) -> String {
    const NAMED: &[&str] = &[
        "nodes",
        "snapshot",
        "storage",
        "pools",
        "users",
        "roles",
        "groups",
        "rules",
        "ipset",
        "aliases",
        "backup",
        "resources",
    ];
    let path = call["path"].as_str().unwrap_or_default().split('?').next().unwrap_or_default();
    let mut out = vec![];
    for part in path.split('/') {
        let before = *out.last().unwrap_or(&"");
        let number = part.bytes().all(|b| b.is_ascii_digit());
        let id = NAMED.contains(&before)
            || (["qemu", "lxc"].contains(&before) && number)
            || (before == "tasks" && part.starts_with("UPID"));
        out.push(if id { "*" } else { part });
    }
    format!("{} {}", call["method"].as_str().unwrap_or_default(), out.join("/"))
}

#[test]
fn the_simulator_answers_as_genuine_pve_did() {
    let Some(text) = data("transcripts.jsonl") else { return };
    let mut replay = Replay::new();
    let mut table: BTreeMap<String, (u32, u32, u32)> = BTreeMap::new();
    let (mut total, mut agree, mut unserved, mut values) = (0_u32, 0_u32, 0_u32, 0_u32);
    let mut shown = Vec::new();
    for line in text.lines() {
        let call: Value = serde_json::from_str(line).expect("a line of JSON");
        let verdict = replay.call(&call);
        let entry = table.entry(endpoint(&call)).or_default();
        let good = verdict.faults.is_empty();
        (total, agree) = (total + 1, agree + u32::from(good));
        (unserved, values) = (unserved + u32::from(verdict.unserved), values + u32::from(!verdict.values.is_empty()));
        *entry = (entry.0 + 1, entry.1 + u32::from(good), entry.2 + u32::from(verdict.unserved));
        if !verdict.values.is_empty() {
            let few = verdict.values.iter().take(4).cloned().collect::<Vec<_>>().join("; ");
            shown.push(format!("~ {}: {few}", raw_of(&call, "name")));
        }
        if !good && !verdict.unserved {
            let name = call["name"].as_str().unwrap_or_default();
            say(&format!(
                "- {name}: {} {}: {}",
                raw_of(&call, "method"),
                raw_of(&call, "path"),
                verdict.faults.join("; ")
            ));
        }
    }
    say(&shown.join("\n"));
    say("agree/calls by endpoint, where they differ:");
    for (endpoint, (calls, good, _)) in table.iter().filter(|(_, (calls, good, not))| good + not < *calls) {
        say(&format!("{good:4}/{calls:<4} {endpoint}"));
    }
    let share = f64::from(agree) / f64::from(total.max(1));
    let of_served = f64::from(agree) / f64::from((total - unserved).max(1));
    say(&format!("not served: {unserved} calls; of the others {of_served:.4} agree"));
    say(&format!("agree {agree}/{total} = {share:.4}; of these, values differ in {values}"));
    assert!(share >= FLOOR, "{agree} of {total} recorded calls agree ({share:.4}), at least {FLOOR} must");
}

fn raw_of<'a>(call: &'a Value, key: &str) -> &'a str {
    call[key].as_str().unwrap_or_default()
}

/// Path → method → names of parameters.
type Documented = BTreeMap<String, BTreeMap<String, Vec<String>>>;

fn collect(nodes: &Value, out: &mut Documented) {
    for node in nodes.as_array().into_iter().flatten() {
        let methods = out.entry(raw_of(node, "path").to_owned()).or_default();
        for (method, info) in node["info"].as_object().into_iter().flatten() {
            let names = info["parameters"]["properties"].as_object().into_iter().flatten();
            methods.insert(method.clone(), names.map(|(k, _)| k.clone()).collect());
        }
        collect(&node["children"], out);
    }
}

#[test]
fn every_endpoint_and_parameter_is_one_of_pve() {
    let Some(text) = data("apidoc.json") else { return };
    let mut documented = Documented::new();
    collect(&serde_json::from_str(&text).expect("JSON"), &mut documented);
    let mut wrong = Vec::new();
    // What goes through the host link is no part of PVE's API: the closed list of operations says what there is, and on the
    // wire it is refused.
    for route in crate::sim::api::routes().filter(|route| !Operation::is_link(route.path)) {
        let path = route.path;
        let Some(names) = documented.get(path).and_then(|m| m.get(route.method)) else {
            if path != "/" {
                wrong.push(format!("{} {path}: no such endpoint", route.method));
            }
            continue;
        };
        for param in route.params.iter().flat_map(|t| t.iter()) {
            let name = if param.count > 0 { format!("{}[n]", param.name) } else { param.name.to_owned() };
            if !names.contains(&name) {
                wrong.push(format!("{} {path}: no parameter {name}", route.method));
            }
        }
    }
    assert!(wrong.is_empty(), "{} things that PVE does not have:\n{}", wrong.len(), wrong.join("\n"));
}
