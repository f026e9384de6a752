//! Verbs that only look: `get`, `describe`, `explain`, `schema`, `completion`, `version`.

use crate::base::id::VmId;
use crate::cli::addresses::addresses;
use crate::cli::args::{self, Cli, FormatArgs, Global};
use crate::cli::daemon;
use crate::cli::exit;
use crate::cli::kind::find_kind;
use crate::cli::output::{self, Form, Format, yaml};
use crate::cli::patch;
use crate::cli::policies;
use crate::cli::profiles;
use crate::cli::run::{Ended, Failure, block_on, print};
use crate::cli::runners;
use crate::cli::session::Session;
use crate::cli::sets;
use crate::config::disk::write_atomically;
use crate::daemon::record::ObjectRecord;
use crate::engine::observe::{index, on_nodes, read_all};
use crate::kinds::guest::observed::{GuestSeen, decode};
use crate::kinds::{list, patch_window, runner_pool, snapshot_policy};
use crate::manifest::document::{API_VERSION, LIST};
use crate::manifest::explain;
use crate::pve::request::Query;
use crate::resource::kind::{AnyKind, Listed};
use crate::resource::observation::Observation;
use crate::resource::reference::Identity;
use clap::CommandFactory;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Everything of a kind with its markers: one read a guest of that kind.
pub async fn survey(session: &Session, kind: &dyn AnyKind) -> Result<(Vec<Listed>, Observation), Failure> {
    let cluster = session.cluster();
    let wire = |e: crate::pve::error::PveError| Failure::wire(exit::FAILED, &e);
    let index = index(cluster.api, cluster.clock, &kind.lists().into_iter().collect()).await.map_err(wire)?;
    let bare = Observation::new(index.clone());
    let mut reads: BTreeSet<Query> =
        kind.list(&bare).iter().flat_map(|l| kind.reads(&l.identity, None, &index)).collect();
    reads.extend(on_nodes(&[kind], &index, &session.links));
    let seen = read_all(cluster.api, cluster.clock, index, reads).await.map_err(wire)?;
    Ok((kind.list(&seen), seen))
}

/// `get`.
pub fn get(global: &Global, args: &args::Get) -> Ended {
    if list::is_set(&args.kind) {
        return sets::get(global, args);
    }
    if args.selector.is_some() {
        return Err(Failure::new(
            exit::USAGE,
            "labels stand in manifests, not on the cluster: get cannot select by them",
        )
        .hint("select with diff or apply: pvectl diff -f … -l app=web"));
    }
    if list::is_profile(&args.kind) {
        return profiles::get(global, args);
    }
    let kind = find_kind(&args.kind)?;
    if kind.name() == snapshot_policy::NAME {
        return policies::get(global, args);
    }
    if kind.name() == patch_window::NAME {
        return patch::status::get(global, args);
    }
    if kind.name() == runner_pool::NAME {
        return runners::list::get(global, args);
    }
    let session = Session::open(global, None)?;
    let wide = args.format.output == Some(Format::Wide);
    let (listed, seen, found, missing) = block_on(async {
        let (listed, seen) = survey(&session, kind).await?;
        let (listed, missing) = only(listed, &args.names, kind);
        let asked = if wide { addresses(&session.cluster(), &listed, &seen).await } else { BTreeMap::new() };
        Ok::<_, Failure>((listed, seen, asked, missing))
    })??;
    session.close()?;
    if let (Some(missing), true) = (&missing, listed.is_empty()) {
        return Err(missing.clone());
    }
    match &args.format.output {
        Some(Format::Name) => listed.iter().for_each(|l| print(&format!("{}/{}\n", kind.name(), l.name))),
        Some(Format::Value(Form::Yaml)) => {
            for l in &listed {
                print(&format!("---\n{}", yaml(&manifest(kind, l, &seen)?)));
            }
        }
        Some(Format::Value(form)) => {
            let mut items = listed.iter().map(|l| manifest(kind, l, &seen)).collect::<Result<Vec<Value>, _>>()?;
            // As kubectl does: one that was asked for by its name is itself, everything else is a list.
            let value = match (args.names.len(), items.len()) {
                (1, 1) => items.remove(0),
                _ => json!({"apiVersion": API_VERSION, "kind": LIST, "items": items}),
            };
            print(&output::write(&value, form)?);
        }
        Some(Format::Table | Format::Wide) | None => {
            let told = if wide { daemon::known(kind.name()) } else { None };
            print(&table(kind, &listed, &seen, wide.then_some(&found), told.as_ref()));
        }
    }
    // What is there was shown; what is not is told.
    missing.map_or(Ok(exit::DONE), Err)
}

/// Those that were asked for by name; all, where none was.
fn only(mut listed: Vec<Listed>, names: &[String], kind: &dyn AnyKind) -> (Vec<Listed>, Option<Failure>) {
    if names.is_empty() {
        return (listed, None);
    }
    let missing = names.iter().find(|name| !listed.iter().any(|l| l.name == **name)).map(|name| {
        let near = crate::base::diagnostic::nearest(name, listed.iter().map(|l| l.name.as_str()));
        let failure = Failure::new(exit::FAILED, format!("there is no {} `{name}`", kind.name()));
        match near {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure,
        }
    });
    listed.retain(|l| names.contains(&l.name));
    (listed, missing)
}

/// An object as the manifest that would make it so.
fn manifest(kind: &dyn AnyKind, listed: &Listed, seen: &Observation) -> Result<Value, Failure> {
    let spec = kind
        .export(&listed.identity, seen)
        .map_err(|e| Failure::new(exit::FAILED, format!("{} could not be read: {}", listed.name, e.message)))?;
    Ok(json!({"apiVersion": API_VERSION, "kind": kind.name(), "metadata": {"name": listed.label()}, "spec": spec}))
}

/// What `get` shows; `wide`: with what each object is, and the addresses of guests; `told`: how a daemon has it.
fn table(
    kind: &dyn AnyKind,
    listed: &[Listed],
    seen: &Observation,
    wide: Option<&BTreeMap<VmId, Vec<String>>>,
    told: Option<&BTreeMap<String, Vec<ObjectRecord>>>,
) -> String {
    let Some(first) = listed.first() else { return "none\n".into() };
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut head = vec!["NAME".to_owned(), "SET".to_owned()];
    head.extend(kind.columns(first, seen).iter().map(|(h, _)| (*h).to_owned()));
    if wide.is_some() {
        head.push("OBJECT".into());
        if matches!(first.identity, Identity::Guest { .. }) {
            head.push("ADDRESSES".into());
            head.push("REBOOT-REQUIRED".into());
        }
    }
    if told.is_some() {
        head.push("DAEMON".into());
    }
    table.set_header(head);
    for l in listed {
        let mut row = vec![l.name.clone(), l.marker.as_ref().map_or_else(|| "-".to_owned(), |m| m.set.clone())];
        let columns = kind.columns(l, seen).into_iter();
        row.extend(columns.map(|(_, v)| if v.is_empty() { "-".to_owned() } else { v }));
        if let Some(found) = wide {
            row.push(l.identity.to_string());
            if let Identity::Guest { vmid, .. } = &l.identity {
                let own = found.get(vmid).map(|list| list.join(",")).filter(|text| !text.is_empty());
                row.push(own.unwrap_or_else(|| "-".to_owned()));
                let waits = waits_for_a_restart(&l.identity, seen).map(|seen| seen.pending.join(","));
                row.push(waits.unwrap_or_else(|| "-".to_owned()));
            }
        }
        if let Some(told) = told {
            let states = told.get(&l.name).map(|all| all.iter().map(ObjectRecord::standing).collect::<Vec<_>>());
            row.push(states.map_or_else(|| "-".to_owned(), |states| states.join(",")));
        }
        table.add_row(row);
    }
    let lines = table.lines().map(|l| l.trim().to_owned()).collect::<Vec<_>>();
    lines.join("\n") + "\n"
}

/// A guest with changes that wait for its next start, if there are any.
fn waits_for_a_restart(identity: &Identity, seen: &Observation) -> Option<GuestSeen> {
    let guest = decode(identity, seen).ok().flatten()?;
    (guest.running() && !guest.pending.is_empty()).then_some(guest)
}

/// `describe`.
pub fn describe(global: &Global, args: &args::Describe) -> Ended {
    if list::is_set(&args.kind) {
        return sets::describe(global, args);
    }
    if list::is_profile(&args.kind) {
        return profiles::describe(global, args);
    }
    let kind = find_kind(&args.kind)?;
    if kind.name() == snapshot_policy::NAME {
        return policies::describe(global, args);
    }
    if kind.name() == patch_window::NAME {
        return patch::status::describe(global, args);
    }
    if kind.name() == runner_pool::NAME {
        return runners::describe::describe(global, &args.name, &args.files, &args.format);
    }
    let session = Session::open(global, None)?;
    let (listed, seen) = block_on(survey(&session, kind))??;
    session.close()?;
    let Some(found) = listed.iter().find(|l| l.name == args.name) else {
        let near = crate::base::diagnostic::nearest(&args.name, listed.iter().map(|l| l.name.as_str()));
        let failure = Failure::new(exit::FAILED, format!("there is no {} `{}`", kind.name(), args.name));
        return Err(near.map_or_else(
            || Failure { ..Failure::new(exit::FAILED, failure.message.clone()) },
            |n| Failure::new(exit::FAILED, failure.message.clone()).hint(format!("did you mean `{n}`?")),
        ));
    };
    match &args.format.output {
        Some(Format::Value(form)) => {
            print(&output::write(&description(kind, found, &seen)?, form)?);
            return Ok(exit::DONE);
        }
        Some(Format::Name) => {
            print(&format!("{}/{}\n", kind.name(), found.name));
            return Ok(exit::DONE);
        }
        Some(Format::Table | Format::Wide) | None => {}
    }
    print(&format!("Name:    {}\nKind:    {}\nObject:  {}\n", found.name, kind.name(), found.identity));
    match &found.marker {
        Some(marker) => print(&format!("Owner:   {} of the manifest set `{}`\n", marker.owner, marker.set)),
        None => print("Owner:   nobody (pvectl does not touch it)\n"),
    }
    for (head, value) in kind.columns(found, &seen).iter().filter(|(_, v)| !v.is_empty()) {
        let head = format!("{}{}:", &head[..1], head[1..].to_lowercase());
        print(&format!("{head:8} {value}\n"));
    }
    if let Some(guest) = waits_for_a_restart(&found.identity, &seen) {
        print("Conditions:\n  RebootRequired  True  PendingChanges: these take effect at its next start\n");
        guest.pending_changes().iter().for_each(|change| print(&format!("    {change}\n")));
    }
    if let Some(told) = daemon::known(kind.name()).and_then(|mut known| known.remove(&found.name)) {
        print(&daemon::described(&told));
    }
    if let Some(marker) = found.marker.as_ref().filter(|m| !m.applied.is_empty()) {
        print("Last applied:\n");
        marker.applied.iter().for_each(|(field, value)| print(&format!("  {field}: {value}\n")));
    }
    if !matches!(found.identity, Identity::Pool(_)) {
        let spec = manifest(kind, found, &seen)?;
        print(&format!("As it is:\n{}", yaml(&spec["spec"]).lines().map(|l| format!("  {l}\n")).collect::<String>()));
    }
    Ok(exit::DONE)
}

/// What `describe` tells, for machines: the manifest that would make it so, and under `status` what is known besides.
fn description(kind: &dyn AnyKind, found: &Listed, seen: &Observation) -> Result<Value, Failure> {
    let mut value = manifest(kind, found, seen)?;
    let columns = kind.columns(found, seen).into_iter().filter(|(_, v)| !v.is_empty());
    let columns: serde_json::Map<String, Value> = columns.map(|(head, v)| (head.to_lowercase(), v.into())).collect();
    let owner = found.marker.as_ref().map(|m| json!({"resource": m.owner.to_string(), "set": m.set}));
    let applied = found.marker.as_ref().map(|m| json!(m.applied));
    value["status"] =
        json!({"object": found.identity.to_string(), "owner": owner, "lastApplied": applied, "columns": columns});
    Ok(value)
}

/// `explain`.
pub fn explain(args: &args::Explain) -> Ended {
    let mut words = args.path.split('.');
    let (name, schema) = schema_of(words.next().unwrap_or(""))?;
    let path: Vec<&str> = words.collect();
    match explain::explain(&schema, name, &path, args.recursive) {
        Ok(text) => {
            print(&text);
            Ok(exit::DONE)
        }
        Err(error) => Err(Failure::new(exit::USAGE, error.to_string())),
    }
}

/// The name and the spec's schema of a kind, sets included.
fn schema_of(name: &str) -> Result<(&'static str, Value), Failure> {
    list::schema(name).map_or_else(|| find_kind(name).map(|k| (k.name(), k.schema())), Ok)
}

/// The schema of a whole manifest, as an editor wants it, around the spec's.
pub fn document_schema(name: &str, mut spec: Value) -> Value {
    let definitions = spec.as_object_mut().and_then(|o| o.remove("$defs"));
    if let Some(object) = spec.as_object_mut() {
        object.remove("$schema");
        object.remove("title");
    }
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "type": "object",
        "additionalProperties": false,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": name},
            "metadata": {
                "type": "object",
                "additionalProperties": false,
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"},
                    "labels": texts,
                    "annotations": texts,
                },
            },
            "spec": spec,
        },
    });
    if let (Some(definitions), Some(object)) = (definitions, schema.as_object_mut()) {
        object.insert("$defs".into(), definitions);
    }
    schema
}

/// `schema`.
pub fn schema(args: &args::Schema) -> Ended {
    let all =
        || list::names().into_iter().filter_map(list::schema).map(|(name, spec)| (name, document_schema(name, spec)));
    if let Some(folder) = &args.directory {
        for (name, schema) in all() {
            let path = folder.join(format!("{name}.json"));
            write_atomically(&path, &format!("{schema:#}\n"))
                .map_err(|e| Failure::new(exit::FAILED, format!("{} cannot be written: {e}", path.display())))?;
        }
        return Ok(exit::DONE);
    }
    match &args.kind {
        Some(kind) => {
            let (name, spec) = schema_of(kind)?;
            print(&format!("{:#}\n", document_schema(name, spec)));
        }
        None => {
            let all: serde_json::Map<String, Value> = all().map(|(name, schema)| (name.to_owned(), schema)).collect();
            print(&format!("{:#}\n", Value::Object(all)));
        }
    }
    Ok(exit::DONE)
}

/// `completion`.
pub fn completion(args: &args::Completion) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pvectl", &mut script);
    print(&String::from_utf8_lossy(&script));
    Ok(exit::DONE)
}

/// `version`.
pub fn version(args: &FormatArgs) -> Ended {
    let version = env!("CARGO_PKG_VERSION");
    match &args.output {
        Some(Format::Value(form)) => print(&output::write(&json!({"version": version}), form)?),
        Some(Format::Table | Format::Wide | Format::Name) | None => print(&format!("pvectl {version}\n")),
    }
    Ok(exit::DONE)
}
