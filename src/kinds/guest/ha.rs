//! Guests that the HA manager looks after. It has a state of its own for each, and acts on it every ten seconds: so power is
//! asked of it, and what it is at is waited for. It knows no way to stop a guest that is never hard.

use crate::kinds::guest::observed::GuestSeen;
use crate::pve::request::{Call, Method, Query, segment};
use crate::resource::index::GuestRow;
use crate::resource::kind::PlanContext;
use crate::resource::privilege::require;
use crate::resource::step::{Delta, Impact, Note, Problem, Step};
use std::time::Duration;

/// What it takes until a request to the manager shows: its round on one node, and that of the guest's node after it.
pub const SETTLES: Duration = Duration::from_secs(20);

/// The read that lists all HA resources with the states asked for; one for all guests.
pub fn query() -> Query {
    Query::new("/cluster/ha/resources")
}

/// What a guest's plan reads of HA.
pub fn reads(row: &GuestRow) -> Option<Query> {
    row.ha_managed().then(query)
}

/// What the manager is doing with a guest just now (states of `PVE::HA::Manager`): it is left alone until that is done.
pub fn at_work(row: &GuestRow) -> Option<&str> {
    row.ha.as_deref().filter(|state| {
        matches!(
            *state,
            "migrate"
                | "relocate"
                | "request_stop"
                | "request_start"
                | "request_start_balance"
                | "fence"
                | "recovery"
                | "freeze"
        )
    })
}

/// What the manager was asked for: `started`, `stopped`, ….
fn asked<'a>(cx: &'a PlanContext<'_>, row: &GuestRow) -> Option<&'a str> {
    let list = cx.seen.value(&query())?.as_array()?;
    let sid = row.sid();
    let found = list.iter().find(|r| r["sid"] == *sid)?;
    // The default of the state is `started`, and `enabled` an older word for it.
    Some(match found["state"].as_str().unwrap_or("started") {
        "enabled" => "started",
        state => state,
    })
}

/// Has the manager start or stop a guest, or waits while it is about to. PVE lets only holders of Sys.Console on `/` say so.
pub fn power(cx: &PlanContext<'_>, seen: &GuestSeen, on: bool, delta: &mut Delta) {
    let row = &seen.row;
    let (word, state) = if on { ("start", "started") } else { ("stop", "stopped") };
    require(cx, delta, "/", "Sys.Audit");
    require(cx, delta, "/", "Sys.Console");
    if row.ha.as_deref() == Some("error") {
        delta.problems.push(Problem::new("power", format!("the HA manager has given up on guest {}", row.vmid)).help(
            format!(
                "see why (ha-manager status), mend it, and clear the error: ha-manager set {} --state disabled",
                row.sid()
            ),
        ));
        return;
    }
    if asked(cx, row) == Some(state) {
        delta.notes.push(Note::Unsettled(format!("the HA manager was asked to {word} it, and does so in a moment")));
        return;
    }
    if !on {
        let text = "HA manages it, and stops a guest hard that has not shut down in 60 s";
        delta.notes.push(Note::Info(text.into()));
    }
    let call = Call::new(Method::Put, format!("/cluster/ha/resources/{}", segment(&row.sid()))).with("state", state);
    let title = format!("have the HA manager {word} {} {}", row.guest, row.vmid);
    delta.steps.push(Step::new(title, call, Impact::Restart).settles(SETTLES));
}

/// A guest that HA manages is not deleted: PVE refuses it, and to take it out of HA is not for this plan to decide.
pub fn check_delete(seen: &GuestSeen, delta: &mut Delta) {
    // An ignored resource is one too.
    if seen.row.ha.is_some() {
        let sid = seen.row.sid();
        delta.problems.push(
            Problem::new(
                "",
                format!("guest {} is the HA resource {sid}, and PVE deletes no such guest", seen.row.vmid),
            )
            .help(format!("take it out of HA first: pvectl api DELETE /cluster/ha/resources/{sid}")),
        );
    }
}
