//! From a request to an answer: who asks, which endpoint, may they, are the parameters right, on which node.

use crate::host::guest::Operation as Guest;
use crate::host::operation::Operation;
use crate::sim::api;
use crate::sim::ctx::Ctx;
use crate::sim::params;
use crate::sim::request::{Args, Auth, Check, Refusal, Route, WireAnswer, WireRequest};
use crate::sim::rights;
use crate::sim::verify::{Param, verify};
use crate::sim::world::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Answers one request. `task_fault` marks the next task (see [`crate::sim::faults`]).
pub fn answer(world: &mut World, request: &WireRequest, task_fault: Option<(String, String)>) -> WireAnswer {
    let now = world.clock_ms + world.latency_ms;
    world.advance_to(now);
    let bare = |reason: &str| WireAnswer { status: 401, reason: reason.to_owned(), body: None };
    // What goes through the host link is no part of PVE's API: nobody gets there over the wire.
    let outside = Operation::is_link(&request.path) && !matches!(request.auth, Auth::Trusted(_));
    let found = if outside { None } else { find(&request.method, &request.path) };
    if Operation::is_link(&request.path) && !outside && found.is_none() {
        return match api::link::answer(world, request) {
            Ok(data) => WireAnswer { status: 200, reason: "OK".to_owned(), body: Some(json!({ "data": data })) },
            Err(refusal) => refusal.into_answer(),
        };
    }
    if Guest::is_guest(&request.path) && matches!(request.auth, Auth::Trusted(_)) {
        return match api::guest_ssh::answer(world, request) {
            Ok(text) => WireAnswer { status: 200, reason: "OK".to_owned(), body: Some(json!({ "data": text })) },
            Err(refusal) => refusal.into_answer(),
        };
    }
    let public = matches!(found, Some((Route { check: Check::World, .. }, _)));
    let user = match authenticate(world, request) {
        Ok(user) => user,
        Err(_) if public => String::new(),
        Err(reason) => return bare(reason),
    };
    let Some((route, in_path)) = found else {
        let text = format!("Method '{} {}' not implemented", request.method, decoded(&request.path));
        return Refusal::new(501, text).into_answer();
    };
    match serve(world, &user, route, in_path, request, task_fault) {
        Ok(body) => WireAnswer { status: 200, reason: "OK".to_owned(), body: Some(body) },
        Err(refusal) => refusal.into_answer(),
    }
}

fn serve(
    world: &mut World,
    user: &str,
    route: &Route,
    in_path: BTreeMap<String, String>,
    request: &WireRequest,
    task_fault: Option<(String, String)>,
) -> Result<Value, Refusal> {
    let mut ctx = Ctx { world, user: user.to_owned(), task_fault, extra: json!({}) };
    permit(&ctx, route, &in_path)?;
    if let Some(node) = in_path.get("node") {
        reach(ctx.world, node)?;
    }
    let mut tables: Vec<&[Param]> = route.params.to_vec();
    let path_params: Vec<Param> = in_path
        .keys()
        .filter(|name| !tables.iter().any(|t| t.iter().any(|p| p.declares(name))))
        .filter_map(|name| params::path_param(name))
        .collect();
    tables.push(&path_params);
    let given: Vec<(String, Value)> = in_path
        .iter()
        .map(|(k, v)| (k.clone(), Value::String(v.clone())))
        .chain(request.params.iter().filter(|(k, _)| !in_path.contains_key(k)).cloned())
        .collect();
    let args: Args = verify(&tables, &given)?;
    if request.method != "GET" && !ctx.world.quorate {
        return Err(Refusal::died("cluster not ready - no quorum?"));
    }
    let data = (route.run)(&mut ctx, &args)?;
    let mut body = ctx.extra;
    body["data"] = data;
    Ok(body)
}

/// Whether the entry node can hand the request to a node.
fn reach(world: &World, node: &str) -> Result<(), Refusal> {
    match world.nodes.get(if node == "localhost" { world.entry_node.as_str() } else { node }) {
        Some(n) if n.online => Ok(()),
        Some(_) => Err(Refusal::new(595, "No route to host")),
        None => Err(Refusal::died(format!(
            "hostname lookup '{node}' failed - failed to get address info for: {node}: Temporary failure in name resolution"
        ))),
    }
}

fn permit(ctx: &Ctx<'_>, route: &Route, in_path: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let fill =
        |template: &str| in_path.iter().fold(template.to_owned(), |text, (k, v)| text.replace(&format!("{{{k}}}"), v));
    match route.check {
        Check::World | Check::User => Ok(()),
        Check::All(path, privileges) => ctx.require(&fill(path), privileges),
        Check::Any(path, privileges) => ctx.require_any(&fill(path), privileges),
        Check::Root if ctx.is_root() => Ok(()),
        Check::Root => Err(Refusal::forbidden("user != root@pam")),
    }
}

/// The user behind a request, or the reason phrase of the 401.
fn authenticate(world: &World, request: &WireRequest) -> Result<String, &'static str> {
    match &request.auth {
        Auth::Trusted(user) => Ok(user.clone()),
        Auth::None => Err("No ticket"),
        Auth::Header(text) => {
            let Some(token) = text.strip_prefix("PVEAPIToken=").or_else(|| text.strip_prefix("PVEAPIToken ")) else {
                return Err("No ticket");
            };
            const REFUSED: &str = "Authentication failed!";
            let (id, secret) = token.split_once('=').ok_or(REFUSED)?;
            let (user, name) = id.split_once('!').ok_or(REFUSED)?;
            let entry = world.users.get(user).filter(|u| u.config.get("enable").is_none_or(|e| e != "0"));
            let token = entry.and_then(|u| u.tokens.get(name)).ok_or(REFUSED)?;
            let alive = token.expire == 0 || token.expire > world.now();
            if token.secret == secret && alive { Ok(id.to_owned()) } else { Err(REFUSED) }
        }
        Auth::Ticket { ticket, csrf } => {
            let user = world.tickets.get(ticket).ok_or("Authentication failed!")?;
            let right = csrf.as_deref() == Some(csrf_of(ticket).as_str());
            if request.method == "GET" || right {
                Ok(user.clone())
            } else {
                Err("Permission denied - invalid csrf token")
            }
        }
    }
}

/// The CSRF prevention token that belongs to a ticket.
pub fn csrf_of(ticket: &str) -> String {
    let text = String::from("csrf");
    format!("6920A5F0:{}", crate::sim::ctx::digest_of([(&text, &ticket.to_owned())]))
}

/// Whether a user may see a guest; lists hide what may not be seen.
pub fn may_see(world: &World, user: &str, vmid: u32) -> bool {
    rights::allowed(world, user, &format!("/vms/{vmid}"), &["VM.Audit"], false)
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The route of a path, and the values of its placeholders. Literal segments win over placeholders.
fn find(method: &str, path: &str) -> Option<(&'static Route, BTreeMap<String, String>)> {
    let raw: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let mut best: Option<(usize, &'static Route, BTreeMap<String, String>)> = None;
    for route in api::routes().filter(|r| r.method == method) {
        let Some((literals, values)) = fits(route.path, &raw) else { continue };
        if best.as_ref().is_none_or(|(n, ..)| literals > *n) {
            best = Some((literals, route, values));
        }
    }
    best.map(|(_, route, values)| (route, values))
}

/// A volume id holds a `/` that clients may or may not encode: `{volume}` at the end takes all that is left.
fn fits(template: &str, raw: &[&str]) -> Option<(usize, BTreeMap<String, String>)> {
    let parts: Vec<&str> = template.split('/').filter(|s| !s.is_empty()).collect();
    let greedy = parts.last() == Some(&"{volume}");
    if parts.len() != raw.len() && !(greedy && raw.len() > parts.len()) {
        return None;
    }
    let (mut literals, mut values) = (0, BTreeMap::new());
    for (i, part) in parts.iter().enumerate() {
        match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some("volume") => {
                values.insert("volume".to_owned(), decoded(&raw[i..].join("/")));
            }
            Some(name) => {
                values.insert(name.to_owned(), decoded(raw[i]));
            }
            None if *part == raw[i] => literals += 1,
            None => return None,
        }
    }
    Some((literals, values))
}
