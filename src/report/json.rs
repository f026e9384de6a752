//! A plan for machines. The shape is documented by this file and held by golden tests.

use crate::plan::assemble::Plan;
use crate::pve::request::Call;
use crate::report::status::conditions;
use crate::resource::step::{Delta, Note};
use serde_json::{Value, json};

/// Parameters of PVE's API whose values are secrets.
const SECRET: [&str; 5] = ["cipassword", "lock-token", "otp", "password", "secret"];

/// What a call says, in its order; one that comes several times has a list. Secrets are masked.
fn parameters(call: &Call) -> Value {
    let mut out = serde_json::Map::new();
    for (key, value) in &call.params {
        let value = if SECRET.contains(&key.as_str()) { "********".to_owned() } else { value.clone() };
        match out.get_mut(key) {
            None => drop(out.insert(key.clone(), value.into())),
            Some(Value::Array(list)) => list.push(value.into()),
            Some(first) => *first = json!([first.clone(), value]),
        }
    }
    out.into()
}

/// One resource of a plan.
pub fn delta(delta: &Delta) -> Value {
    let notes: Vec<Value> = delta
        .notes
        .iter()
        .map(|n| match n {
            Note::Waiting(resource) => json!({"type": "Waiting", "for": resource.to_string()}),
            Note::Locked(lock) => json!({"type": "Locked", "lock": lock}),
            Note::NodeOffline(node) => json!({"type": "NodeOffline", "node": node}),
            Note::Unsettled(why) => json!({"type": "Unsettled", "text": why}),
            Note::Elsewhere { node, wanted } => json!({"type": "Elsewhere", "node": node, "wanted": wanted}),
            Note::Paused => json!({"type": "Paused"}),
            Note::RebootRequired(keys) => json!({"type": "RebootRequired", "fields": keys}),
            Note::Toothless(text) => json!({"type": "Toothless", "text": text}),
            Note::Fresh { copies, late } => json!({"type": format!("{copies:?}Fresh"), "late": late}),
            Note::Warning(text) => json!({"type": "Warning", "text": text}),
            Note::Info(text) => json!({"type": "Info", "text": text}),
        })
        .collect();
    json!({
        "kind": delta.resource.kind,
        "name": delta.resource.name,
        "identity": delta.identity.as_ref().map(ToString::to_string),
        "action": delta.action.as_str(),
        "impact": delta.impact().as_str(),
        "changes": delta.changes.iter().map(|c| json!({"path": c.path, "from": c.from, "to": c.to, "cause": c.cause.as_str(), "impact": c.impact.as_str()})).collect::<Vec<_>>(),
        "steps": delta.steps.iter().map(|s| json!({"title": s.title, "request": s.call.to_string(), "parameters": parameters(&s.call), "impact": s.impact.as_str()})).collect::<Vec<_>>(),
        "notes": notes,
        "problems": delta.problems.iter().map(|p| json!({"path": p.path.join("."), "message": p.message, "help": p.help})).collect::<Vec<_>>(),
        "conditions": conditions(delta).iter().map(|c| json!({"type": format!("{:?}", c.condition), "status": format!("{:?}", c.status), "reason": c.reason, "message": c.message})).collect::<Vec<_>>(),
    })
}

/// A whole plan.
pub fn plan(plan: &Plan) -> Value {
    json!({
        "set": plan.set,
        "resources": plan.deltas.iter().map(delta).collect::<Vec<_>>(),
        "orphans": plan.orphans.iter().map(|o| json!({"resource": o.resource.to_string(), "identity": o.identity.to_string(), "retained": o.retained})).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pve::request::Method;

    #[test]
    fn secrets_are_masked_and_lists_are_lists() {
        let call = Call::new(Method::Post, "/x").with("cipassword", "s3cret").with("command", "a").with("command", "b");
        let call = call.with("cores", 2).with("command", "c");
        assert_eq!(parameters(&call), json!({"cipassword": "********", "command": ["a", "b", "c"], "cores": "2"}));
    }
}
