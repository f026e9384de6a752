//! The web page: goldens of each, hostile texts, forms, and a real browser where there is one. After a change on purpose:
//! `INSTA_UPDATE=always cargo test --test it pages`, and look at the page.

use crate::site::{NOW, Served, proposal, state};
use proptest::prelude::*;
use pvectl::daemon::record::{FieldRecord, State, Verdict};
use pvectl::daemon::shared::Wish;

/// Every page with a name for its golden.
pub(crate) const PAGES: [(&str, &str); 13] = [
    ("overview", "/"),
    ("objects", "/objects"),
    ("objects_chosen", "/objects?kind=VirtualMachine&state=Drifted&refresh=10"),
    ("object", "/objects/VirtualMachine/web-02"),
    ("object_failed", "/objects/Container/dns?source=lab"),
    ("drift", "/drift"),
    ("proposals", "/proposals"),
    ("proposal", "/proposals/7f3a2c"),
    ("proposal_done", "/proposals/11aa22"),
    ("runs", "/runs"),
    ("events", "/events"),
    ("windows", "/windows"),
    ("runners", "/runners"),
];

/// The token that forms of a page carry.
fn form(text: &str) -> String {
    let (_, rest) = text.split_once("name=\"form\" value=\"").expect("a form");
    rest.chars().take_while(char::is_ascii_hexdigit).collect()
}

#[test]
fn pages_as_they_are() {
    let served = Served::of(state());
    let token = form(&served.get("/").text);
    assert_eq!(token.len(), 64);
    for (name, path) in PAGES {
        let page = served.get(path);
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        let version = format!("pvectl {}", env!("CARGO_PKG_VERSION"));
        insta::assert_snapshot!(
            format!("page_{name}"),
            page.text.replace(&token, "FORM").replace(&version, "pvectl VERSION")
        );
        well_formed(&page.text);
    }
}

#[test]
fn a_daemon_that_knows_nothing_yet_has_pages_too() {
    let served = Served::of(State { unready: Some("nothing was read yet".into()), ..State::default() });
    for path in ["/", "/objects", "/drift", "/proposals", "/runs", "/events", "/windows", "/runners"] {
        let page = served.get(path);
        assert_eq!(page.status, 200, "{path}");
        assert!(page.text.contains("Not ready: nothing was read yet"), "{path}");
        well_formed(&page.text);
    }
    for (path, status) in
        [("/objects/a/b", 404), ("/proposals/none", 404), ("/objects?knd=1", 400), ("/drift?since=x", 400)]
    {
        let page = served.get(path);
        assert_eq!(page.status, status, "{path}");
        well_formed(&page.text);
    }
}

const EMPTY: [&str; 6] = ["meta", "link", "input", "br", "hr", "img"];

/// Every element is closed in its order, every attribute quoted, nothing raw is left.
fn well_formed(page: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = page.strip_prefix("<!doctype html>").expect("a document");
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a raw `>` in {:?}", &rest[..at]);
        let tag = &rest[at + 1..];
        let end = tag.find('>').expect("a tag ends");
        let (inside, after) = (&tag[..end], &tag[end + 1..]);
        rest = after;
        if let Some(name) = inside.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "in {inside:?}");
            continue;
        }
        let (name, attributes) = inside.split_once(' ').unwrap_or((inside, ""));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{inside:?}");
        assert_eq!(attributes.matches('"').count() % 2, 0, "{inside:?}");
        for (index, outside) in attributes.split('"').enumerate().filter(|(index, _)| index % 2 == 0) {
            let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '=' | '-');
            assert!(outside.chars().all(bare), "{index} of {inside:?}");
            let handlers = outside.split(' ').any(|word| word.starts_with("on"));
            assert!(!handlers && !outside.contains("style"), "{inside:?}");
        }
        assert_ne!(name, "script");
        if !EMPTY.contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert_eq!(open, Vec::<String>::new());
}

#[test]
fn what_is_not_well_formed_is_found() {
    for bad in
        ["<b>x", "<b><i>x</b></i>", "<b onclick=\"x\">x</b>", "<p>a > b</p>", "<script>x</script>", "<a href=x'y>z</a>"]
    {
        let page = format!("<!doctype html>{bad}");
        assert!(std::panic::catch_unwind(|| well_formed(&page)).is_err(), "{bad}");
    }
}

/// A state in which every text is this one.
fn hostile(text: &str) -> State {
    let mut all = state();
    let own = || text.to_owned();
    let spoil = |fields: &mut Vec<FieldRecord>| {
        for f in fields {
            (f.path, f.from, f.to, f.cause, f.impact) = (own(), Some(own()), Some(own()), own(), own());
        }
    };
    for source in all.sources.values_mut() {
        (source.name, source.origin, source.cluster, source.revision) = (own(), own(), own(), own());
        (source.subject, source.suspended, source.diagnostics) = (Some(own()), Some(own()), vec![own()]);
        for c in &mut source.conditions {
            (c.condition, c.status, c.reason, c.message) = (own(), own(), own(), own());
        }
    }
    for window in all.windows.values_mut() {
        (window.name, window.schedule, window.time_zone) = (own(), own(), own());
        window.halted = Some(own());
        for target in &mut window.targets {
            (target.name, target.target, target.state, target.detail) = (own(), own(), own(), own());
            target.reboot_required = Some(own());
        }
    }
    for patch in all.patches.values_mut() {
        (patch.name, patch.target, patch.window) = (own(), own(), own());
        (patch.why, patch.system, patch.reboot_required) = (Some(own()), Some(own()), Some(own()));
        (patch.result, patch.cves) = (Some(own()), vec![own()]);
        for changed in &mut patch.changed {
            (changed.name, changed.from, changed.to) = (own(), own(), own());
        }
        for left in &mut patch.left {
            (left.name, left.why) = (own(), Some(own()));
        }
    }
    for pool in all.pools.values_mut() {
        (pool.name, pool.source, pool.scope, pool.demand, pool.template) = (own(), own(), own(), own(), own());
        (pool.assigned, pool.trouble, pool.orphans) = (None, Some(own()), vec![own()]);
        for condition in &mut pool.conditions {
            (condition.reason, condition.message) = (own(), own());
        }
        for machine in &mut pool.machines {
            (machine.name, machine.node, machine.stage, machine.address) = (own(), own(), own(), Some(own()));
            (machine.job, machine.cause, machine.waits) = (Some(own()), Some(own()), Some(own()));
        }
    }
    for runner in all.runners.runners.values_mut() {
        (runner.name, runner.node, runner.pool, runner.result) = (own(), own(), own(), Some(own()));
        (runner.cause, runner.job) = (Some(own()), Some(own()));
    }
    for job in all.runners.jobs.values_mut() {
        (job.repository, job.name, job.pool, job.runner) = (own(), own(), own(), Some(own()));
    }
    for budget in &mut all.budgets {
        (budget.api, budget.account, budget.resource) = (own(), own(), own());
    }
    for object in all.objects.values_mut() {
        (object.source, object.identity, object.action, object.revision) = (own(), Some(own()), own(), own());
        object.error = Some(own());
        spoil(&mut object.fields);
    }
    for drift in &mut all.drift {
        (drift.source, drift.name, drift.kind, drift.identity) = (own(), own(), own(), Some(own()));
        if let Some(by) = &mut drift.by {
            (by.user, by.what) = (own(), own());
        }
        spoil(&mut drift.fields);
    }
    for proposal in all.proposals.values_mut() {
        (proposal.source, proposal.revision, proposal.text, proposal.by) = (own(), own(), own(), Some(own()));
    }
    for run in all.running.values_mut().chain(all.runs.iter_mut()) {
        (run.id, run.source, run.objects) = (own(), own(), vec![own()]);
        run.doing = [(own(), own())].into();
        run.failed = [(own(), own())].into();
    }
    for task in &mut all.tasks {
        (task.upid, task.node, task.user, task.worker, task.object) = (own(), own(), own(), own(), own());
    }
    for event in &mut all.events {
        (event.source, event.reason, event.message) = (own(), own(), own());
    }
    all.unready = Some(own());
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_breaks_out_of_its_place(tail in "[a-z<>&\"'/= ]{0,20}|\\PC{0,12}") {
        let text = format!("<script>x</script>\" onload=\"y' <{tail}");
        let served = Served::of(hostile(&text));
        for (_, path) in PAGES {
            // What is chosen by a name that is no longer there is not found.
            let page = served.get(path.trim_end_matches("?source=lab"));
            prop_assert_eq!(page.status, 200, "{}: {}", path, page.text);
            well_formed(&page.text);
        }
        // What is typed into the address comes back into the page.
        let typed: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        for path in [format!("/objects?name={typed}"), format!("/drift?since={typed}"), format!("/events?{typed}=1")] {
            well_formed(&served.get(&path).text);
        }
    }
}

#[test]
fn forms_ask_the_loop_and_only_with_their_token() {
    let served = Served::of(state());
    let token = form(&served.get("/proposals/7f3a2c").text);
    let send = |path: &str, body: &str| {
        served.ask(
            &format!("POST {path}"),
            &["Content-Type: application/x-www-form-urlencoded", "Sec-Fetch-Site: same-origin"],
            body,
        )
    };
    for body in ["", "form=", "form=0000", "why=x", &format!("form={}", "0".repeat(64))] {
        let answer = send("/proposals/7f3a2c/approve", body);
        assert!((400..500).contains(&answer.status), "{body}: {}", answer.status);
    }
    assert!(served.heard().is_empty());
    let done = send("/proposals/7f3a2c/approve", &format!("form={token}&by=ann"));
    assert!(done.status == 200 && done.text.contains("7f3a2c is approved by ann"), "{}", done.text);
    well_formed(&done.text);
    let refused = send("/proposals/11aa22/approve", &format!("form={token}"));
    assert!(refused.status == 409 && refused.text.contains("only what waits is approved"), "{}", refused.text);
    assert_eq!(send("/sources/lab/suspend", &format!("form={token}&why=new+switches")).status, 200);
    assert_eq!(send("/sources/lab/reconcile", &format!("form={token}&object=Container/dns")).status, 200);
    assert_eq!(send("/sources/lab/approve", &format!("form={token}")).status, 404);
    assert_eq!(send("/proposals/7f3a2c/suspend", &format!("form={token}")).status, 404);
    let heard = served.heard();
    assert_eq!(heard.len(), 4, "{heard:?}");
    assert_eq!(heard[3], Wish::Reconcile { source: "lab".into(), object: Some("Container/dns".into()) });
}

#[test]
fn long_tables_say_that_they_are_cut() {
    let mut many = state();
    for n in 0..600 {
        let id = format!("p{n:04}");
        many.proposals.insert(id.clone(), proposal(&id, Verdict::Expired));
        let mut object = crate::site::object("homelab", &id, true);
        object.seen_ms = NOW;
        many.objects.insert(("homelab".into(), "VirtualMachine".into(), id), object);
    }
    let served = Served::of(many);
    let page = served.get("/objects").text;
    assert!(page.contains("603 objects, of which 500 are shown."), "{page}");
    // What waits is never cut off.
    assert!(served.get("/proposals").text.contains("7f3a2c"));
}
