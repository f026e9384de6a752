//! Requests in tests: one line each.

use crate::sim::request::{Auth, WireRequest};
use crate::sim::router;
use crate::sim::world::World;
use serde_json::Value;

/// A request of somebody; the data, or the whole body of a refusal.
pub(in crate::sim) fn ask(world: &mut World, who: &str, call: &str, params: &Value) -> Result<Value, Value> {
    let (method, path) = call.split_once(' ').expect("METHOD /path");
    let params = params.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    let auth = Auth::Trusted(who.to_owned());
    let request = WireRequest { method: method.to_owned(), path: path.to_owned(), params, auth };
    let answer = router::answer(world, &request, None);
    let mut body = answer.body.unwrap_or_default();
    match answer.status {
        200 => Ok(body["data"].take()),
        _ => Err(body),
    }
}

/// A request of root@pam.
pub(in crate::sim) fn root(world: &mut World, call: &str, params: &Value) -> Result<Value, Value> {
    ask(world, "root@pam", call, params)
}

/// The message of a refusal.
pub(in crate::sim) fn refused(result: Result<Value, Value>) -> String {
    let body = result.expect_err("a refusal");
    body["message"].as_str().unwrap_or_default().trim_end().to_owned()
}

/// A request of root@pam that starts a task: how the task ends.
pub(in crate::sim) fn ended(world: &mut World, call: &str, params: &Value) -> String {
    let upid = root(world, call, params).expect("a task");
    let task = |w: &World| w.tasks.iter().find(|t| upid == t.upid.as_str()).cloned().expect("the task");
    let due = task(world).due_ms;
    world.advance_to(due);
    task(world).exit_status
}
