//! Verbs that talk to a daemon: `status`, `proposals`, `approve`, `reject`, `suspend`, `resume`, `reconcile`, `events`, `history`,
//! and `drift --daemon`.

use crate::base::clock::Clock;
use crate::base::quantity::counted;
use crate::cli::args::daemon::{At, By, Decide, Events, Past, Proposals, Reconcile, Resume, Status, Suspend, Trust};
use crate::cli::args::{self, FormatArgs};
use crate::cli::exit;
use crate::cli::output::{self, DriftFormat, Format, table};
use crate::cli::remote::Remote;
use crate::cli::run::{Ended, Failure, print};
use crate::cli::session::WallClock;
use crate::daemon::http::words::{ago, short, span, utc};
use crate::daemon::record::{
    ConditionRecord, DriftRecord, EventRecord, FieldRecord, ObjectRecord, ProposalRecord, RunRecord, SourceRecord,
};
use crate::daemon::report::findings::{Compared, Findings, Times};
use crate::daemon::report::{junit, markdown};
use crate::report::text::visible;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// `status`.
pub fn status(args: &Status) -> Ended {
    let found = Remote::of(&args.at)?.get(&["sources"], &[])?;
    let sources: Vec<SourceRecord> = Remote::list(&found)?;
    let wide = match shown(&args.format, &found, || sources.iter().map(|s| s.name.clone()).collect())? {
        None => return Ok(exit::DONE),
        Some(wide) => wide,
    };
    let now = WallClock.now_ms();
    let mut head = vec!["NAME", "CLUSTER", "MODE", "STATE", "REVISION", "OBJECTS", "READY", "DRIFTED", "READ"];
    if wide {
        head.extend(["FROM", "SUBJECT"]);
    }
    let rows = sources.iter().map(|s| {
        let state = match (&s.suspended, s.says("Ready", "True")) {
            (Some(_), _) => "Suspended",
            (None, true) => "Ready",
            (None, false) => "Degraded",
        };
        let mut row = vec![
            s.name.clone(),
            s.cluster.clone(),
            s.mode.as_str().to_owned(),
            state.to_owned(),
            short(&s.revision),
            s.objects.to_string(),
            s.ready.to_string(),
            s.drifted.to_string(),
            ago(s.read_ms, now),
        ];
        if wide {
            row.extend([s.origin.clone(), s.subject.clone().unwrap_or_default()]);
        }
        row
    });
    print(&table(&head, rows));
    for source in &sources {
        if let Some(why) = &source.suspended {
            print(&format!("\n{} is suspended: {}\n", source.name, visible(why)));
        }
        let bad = |c: &&ConditionRecord| match c.condition.as_str() {
            // What stands behind it has a condition of its own where this says nothing.
            "Ready" => c.status != "True" && !c.message.is_empty(),
            _ => c.status == "True",
        };
        for c in source.conditions.iter().filter(bad) {
            print(&format!("\n{}: {}: {}\n", source.name, visible(&c.reason), visible(&c.message)));
        }
        source.diagnostics.iter().for_each(|d| print(&format!("{}\n", lines(d))));
    }
    Ok(exit::DONE)
}

/// `proposals`.
pub fn proposals(args: &Proposals) -> Ended {
    let remote = Remote::of(&args.at)?;
    if let Some(id) = &args.id {
        let found = remote.get(&["proposals", id], &[])?;
        let one: Vec<ProposalRecord> = Remote::list(&json!({"items": [found]}))?;
        if shown(&args.format, &found, || vec![id.clone()])?.is_some() {
            for p in &one {
                let by = p.by.as_ref().map(|by| format!(" by {}", visible(by))).unwrap_or_default();
                print(&lines(&p.text));
                print(&format!("\n{}{by}; made {}, until {}\n", p.verdict.as_str(), utc(p.made_ms), utc(p.expires_ms)));
            }
        }
        return Ok(exit::DONE);
    }
    let found = remote.get(&["proposals"], &[])?;
    let all: Vec<ProposalRecord> = Remote::list(&found)?;
    if shown(&args.format, &found, || all.iter().map(|p| p.id.clone()).collect())?.is_some() {
        let now = WallClock.now_ms();
        let rows = all.iter().map(|p| {
            let made = ago(p.made_ms, now);
            let until = if p.waits() { ago(p.expires_ms, now) } else { "-".to_owned() };
            let by = p.by.clone().unwrap_or_else(|| "-".to_owned());
            vec![p.id.clone(), p.source.clone(), p.verdict.as_str().to_owned(), short(&p.revision), made, until, by]
        });
        print(&table(&["ID", "SOURCE", "STATE", "REVISION", "MADE", "UNTIL", "BY"], rows));
    }
    Ok(exit::DONE)
}

/// `approve`.
pub fn approve(args: &Decide) -> Ended {
    wish(&args.at, &args.format, &["proposals", &args.id, "approve"], json!({"by": who(&args.by)}))
}

/// `reject`.
pub fn reject(args: &Decide) -> Ended {
    wish(&args.at, &args.format, &["proposals", &args.id, "reject"], json!({"by": who(&args.by)}))
}

/// `suspend`.
pub fn suspend(args: &Suspend) -> Ended {
    let body = json!({"by": who(&args.by), "why": args.why});
    wish(&args.at, &args.format, &["sources", &args.source, "suspend"], body)
}

/// `resume`.
pub fn resume(args: &Resume) -> Ended {
    wish(&args.at, &args.format, &["sources", &args.source, "resume"], json!({"by": who(&args.by)}))
}

/// `reconcile`.
pub fn reconcile(args: &Reconcile) -> Ended {
    wish(&args.at, &args.format, &["sources", &args.source, "reconcile"], json!({"object": args.object}))
}

fn who(by: &By) -> Option<&str> {
    by.by.as_deref().filter(|by| !by.is_empty())
}

fn wish(at: &At, format: &FormatArgs, path: &[&str], body: Value) -> Ended {
    let said = Remote::of(at)?.post(path, &body)?;
    let of = || path.get(1).map(|of| (*of).to_owned()).into_iter().collect();
    if shown(format, &said, of)?.is_some() {
        print(&format!("{}\n", visible(said["message"].as_str().unwrap_or("done"))));
    }
    Ok(exit::DONE)
}

/// `events`.
pub fn events(args: &Events) -> Ended {
    let Events { warnings, past } = args;
    let mut query = query(past);
    query.push(("level", if *warnings { "Warning" } else { "" }));
    let limit = past.limit.map(|l| l.to_string()).unwrap_or_default();
    query.push(("limit", &limit));
    let found = Remote::of(&past.at)?.get(&["events"], &query)?;
    let all: Vec<EventRecord> = Remote::list(&found)?;
    note(&found);
    if shown(&past.format, &found, || all.iter().filter_map(|e| e.object.clone()).collect())?.is_some() {
        let rows = all.iter().map(|e| {
            let times = if e.count > 1 { format!(" ({} times)", e.count) } else { String::new() };
            let object = e.object.clone().unwrap_or_else(|| "-".to_owned());
            let level = e.level.as_str().to_owned();
            vec![utc(e.at_ms), level, e.reason.clone(), e.source.clone(), object, format!("{}{times}", e.message)]
        });
        print(&table(&["AT", "LEVEL", "REASON", "SOURCE", "OBJECT", "MESSAGE"], rows));
    }
    Ok(exit::DONE)
}

/// `history`.
pub fn history(args: &Past) -> Ended {
    let remote = Remote::of(&args.at)?;
    let limit = args.limit.map(|l| l.to_string()).unwrap_or_default();
    let mut query = query(args);
    query.push(("limit", &limit));
    let drift = remote.get(&["drift", "history"], &query)?;
    let runs = remote.get(&["runs"], &query)?;
    let (spells, ended): (Vec<DriftRecord>, Vec<RunRecord>) = (Remote::list(&drift)?, Remote::list(&runs)?);
    note(&drift);
    let mut value = json!({"drift": drift["items"], "runs": runs["items"]});
    if let Some(note) = drift.get("note").or(runs.get("note")) {
        value["note"] = note.clone();
    }
    let names = || spells.iter().map(|d| format!("{}/{}", d.kind, d.name)).collect();
    if shown(&args.format, &value, names)?.is_none() {
        return Ok(exit::DONE);
    }
    let now = WallClock.now_ms();
    let rows = spells.iter().map(|d| {
        let healed = match (d.healed_ms, d.healed_by) {
            (Some(_), Some(by)) => by.as_str().to_owned(),
            (Some(_), None) => "somebody".to_owned(),
            (None, _) => "it lasts".to_owned(),
        };
        let fields = d.fields.iter().map(|f| f.path.clone()).collect::<Vec<_>>().join(",");
        let by = d.by.as_ref().map_or_else(|| "-".to_owned(), |by| by.user.clone());
        vec![
            utc(d.since_ms()),
            format!("{}/{}", d.kind, d.name),
            d.source.clone(),
            fields,
            by,
            span(d.lasted_ms(now)),
            healed,
        ]
    });
    print(&format!("Drift:\n{}", table(&["SINCE", "OBJECT", "SOURCE", "FIELDS", "BY", "LASTED", "HEALED-BY"], rows)));
    let rows = ended.iter().map(|r| {
        let result = match (r.ended_ms, r.failed.is_empty(), r.converged) {
            (None, _, _) => "in progress".to_owned(),
            (Some(_), false, _) => format!("{} failed", r.failed.len()),
            (Some(_), true, Some(true)) => "converged".to_owned(),
            (Some(_), true, Some(false) | None) => "something is left".to_owned(),
        };
        let took = span(r.ended_ms.unwrap_or(now).saturating_sub(r.began_ms));
        vec![
            utc(r.began_ms),
            r.id.clone(),
            r.source.clone(),
            short(&r.revision),
            r.objects.len().to_string(),
            r.steps.to_string(),
            took,
            result,
        ]
    });
    print(&format!(
        "\nRuns:\n{}",
        table(&["BEGAN", "RUN", "SOURCE", "REVISION", "OBJECTS", "STEPS", "TOOK", "RESULT"], rows)
    ));
    for (object, why) in ended.iter().flat_map(|r| &r.failed) {
        print(&format!("  {}: {}\n", visible(object), visible(why)));
    }
    Ok(exit::DONE)
}

/// `drift --daemon`: with the exit codes of `drift`.
pub fn drift(address: &str, args: &args::Drift) -> Ended {
    let remote = Remote::open(address, &args.trust, exit::NOT_COMPARED)?;
    let found = remote.get(&["drift"], &[])?;
    let spells: Vec<DriftRecord> = Remote::list(&found)?;
    // What was never compared has not drifted, and nobody should read that as: all is well.
    let sources: Vec<SourceRecord> = Remote::list(&remote.get(&["sources"], &[])?)?;
    let unseen: Vec<&str> = sources.iter().filter(|s| s.seen_ms == 0).map(|s| s.name.as_str()).collect();
    let format = match &args.output {
        Some(DriftFormat::Plain(format)) => FormatArgs { output: Some(format.clone()) },
        Some(DriftFormat::Markdown | DriftFormat::Junit) | None => FormatArgs::default(),
    };
    let now = WallClock.now_ms();
    match &args.output {
        Some(DriftFormat::Markdown) => print(&markdown::write(&findings(&spells, &compared(&remote)?, now))),
        Some(DriftFormat::Junit) => print(&junit::write(&findings(&spells, &compared(&remote)?, now))),
        Some(DriftFormat::Plain(_)) | None => {
            let names = || spells.iter().map(|d| format!("{}/{}", d.kind, d.name)).collect();
            if shown(&format, &found, names)?.is_some() {
                spells.iter().for_each(|d| print(&spell(d, now)));
                let fields: usize = spells.iter().map(|d| d.fields.len()).sum();
                let (objects, fields) = (counted(spells.len(), "object"), counted(fields, "field"));
                print(&format!("{objects} drifted, in {fields}\n"));
            }
        }
    }
    if !unseen.is_empty() {
        let message = format!("the daemon has not compared {} yet", unseen.join(", "));
        return Err(Failure::new(exit::NOT_COMPARED, message).hint("pvectl status says why"));
    }
    Ok(if spells.is_empty() { exit::DONE } else { exit::DIFFERENCES })
}

/// Every object that the daemon compares.
fn compared(remote: &Remote) -> Result<Vec<Compared>, Failure> {
    let objects: Vec<ObjectRecord> = Remote::list(&remote.get(&["objects"], &[])?)?;
    Ok(objects.iter().map(Compared::of).collect())
}

fn findings<'a>(drift: &'a [DriftRecord], compared: &'a [Compared], now_ms: u64) -> Findings<'a> {
    Findings { drift, compared, times: Times::Until(now_ms) }
}

/// What the daemon of `PVECTL_DAEMON` says of the objects of a kind, by name; nothing where none is set. For verbs that look
/// at the cluster itself: one that does not answer is a warning, not the end.
pub fn known(kind: &str) -> Option<BTreeMap<String, Vec<ObjectRecord>>> {
    let own = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let address = own("PVECTL_DAEMON")?;
    let file = |name: &str| own(name).map(PathBuf::from);
    let trust =
        Trust { daemon_token_file: file("PVECTL_DAEMON_TOKEN_FILE"), daemon_ca_file: file("PVECTL_DAEMON_CA_FILE") };
    let read = || {
        let found = Remote::open(&address, &trust, exit::FAILED)?.get(&["objects"], &[("kind", kind)])?;
        Remote::list::<ObjectRecord>(&found)
    };
    match read() {
        Ok(all) => {
            let mut known: BTreeMap<String, Vec<ObjectRecord>> = BTreeMap::new();
            all.into_iter().for_each(|object| known.entry(object.name.clone()).or_default().push(object));
            Some(known)
        }
        Err(failure) => {
            tracing::warn!("nothing of the daemon is shown: {}", failure.message);
            None
        }
    }
}

/// What `describe` adds of the daemon's.
pub fn described(objects: &[ObjectRecord]) -> String {
    let now = WallClock.now_ms();
    let mut text = "Daemon:\n".to_owned();
    for o in objects {
        let (state, seen) = (o.standing(), ago(o.seen_ms, now));
        text += &format!("  {state}  source {}, {}, compared {seen}\n", visible(&o.source), o.mode.as_str());
        for c in &o.conditions {
            text += &format!("    {}  {}  {}: {}\n", c.condition, c.status, visible(&c.reason), visible(&c.message));
        }
        if let Some(error) = &o.error {
            text += &error.lines().map(|line| format!("    {}\n", visible(line))).collect::<String>();
        }
    }
    text
}

fn spell(drift: &DriftRecord, now_ms: u64) -> String {
    let identity = drift.identity.as_ref().map(|i| format!("  {}", visible(i))).unwrap_or_default();
    let by =
        drift.by.as_ref().map(|by| format!(" by {}: {}", visible(&by.user), visible(&by.what))).unwrap_or_default();
    let since = drift.since_ms();
    let mut text = format!("  ~ {}/{}{identity}  (source {})\n", drift.kind, visible(&drift.name), drift.source);
    text += &format!("    since {} ({}){by}\n", utc(since), ago(since, now_ms));
    for FieldRecord { path, from, to, cause: _, impact } in &drift.fields {
        let value = |value: &Option<String>| value.as_ref().map_or_else(|| "(default)".to_owned(), |v| visible(v));
        text += &format!("    ~ {}: declared {}, found {}  [{impact}]\n", visible(path), value(to), value(from));
    }
    text
}

fn query(past: &Past) -> Vec<(&'static str, &str)> {
    vec![
        ("object", past.object.as_deref().unwrap_or_default()),
        ("source", past.source.as_deref().unwrap_or_default()),
        ("since", past.since.as_deref().unwrap_or_default()),
    ]
}

/// The daemon's note goes to the talk, not to the data.
fn note(found: &Value) {
    if let Some(note) = found["note"].as_str() {
        let _ = writeln!(anstream::stderr(), "note: {}", visible(note));
    }
}

/// Writes a value in the form that is wanted; `Some(wide)`: it is a table that is wanted.
fn shown(format: &FormatArgs, value: &Value, names: impl FnOnce() -> Vec<String>) -> Result<Option<bool>, Failure> {
    match &format.output {
        Some(Format::Value(form)) => {
            print(&output::write(value, form)?);
            Ok(None)
        }
        Some(Format::Name) => {
            names().iter().for_each(|name| print(&format!("{}\n", visible(name))));
            Ok(None)
        }
        Some(Format::Wide) => Ok(Some(true)),
        Some(Format::Table) | None => Ok(Some(false)),
    }
}

/// Several lines, each as it may be shown.
fn lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", visible(line))).collect()
}
