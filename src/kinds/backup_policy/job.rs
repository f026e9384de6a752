//! The job of a policy: a row of its own for the table of objects, in the policy's words, and what the spec becomes in it.

use crate::base::id::VmId;
use crate::kinds::backup_policy::members::Members;
use crate::kinds::backup_policy::spec::{BackupPolicySpec, Mode};
use crate::kinds::objects::content::member;
use crate::kinds::objects::form::Form;
use crate::kinds::objects::object::Seen;
use crate::kinds::objects::row::{Field, Row};
use crate::kinds::objects::storage::config_id;
use crate::kinds::objects::table;
use crate::resource::kind::PlanContext;
use crate::resource::step::{Change, Problem};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The kind's name.
pub const NAME: &str = "BackupPolicy";
/// PVE's bound of a job's id (`pve-backup-jobid`).
const ID_MAX: usize = 50;
const GUESTS: &str = "guests";
const POOL: &str = "selector.pools";
const ALL: &str = "selector";
const TEMPLATES: &str = "templates";

/// The job of a policy.
pub static ROW: Row = Row {
    kind: NAME,
    fields: &[
        Field::new("schedule", "schedule", Form::Text),
        Field::new("storage", "storage", Form::Text),
        Field::new("enabled", "enabled", Form::Flag).default("1"),
        Field::new(GUESTS, "vmid", Form::Numbers),
        Field::new(POOL, "pool", Form::Text),
        Field::new(ALL, "all", Form::Flag).default("0"),
        Field::new(TEMPLATES, "exclude", Form::Numbers).default(""),
        Field::new("node", "node", Form::Text),
        Field::new("mode", "mode", Form::Text).default("snapshot"),
        Field::new("compress", "compress", Form::Text).default("0"),
        Field::new("retention", "prune-backups", Form::Keep),
        Field::new("notesTemplate", "notes-template", Form::Text),
        // A property string in either direction, with flags as 0 and 1.
        Field::new("fleecing", "fleecing", Form::Keep),
        Field::new("protected", "protected", Form::Flag).default("0"),
        Field::new("repeatMissed", "repeat-missed", Form::Flag).default("0"),
    ],
    check,
    ..table::JOB
};

/// The id of a policy's job.
pub fn id(name: &str) -> String {
    format!("pvectl-{name}")
}

fn check(_: &PlanContext<'_>, id: &str, _: &Value) -> Vec<Problem> {
    let mut problems = config_id(id, false);
    if id.chars().count() > ID_MAX {
        let longest = ID_MAX - self::id("").len();
        problems.push(
            Problem::new("", format!("its job would be called `{id}`, and PVE takes {ID_MAX} characters at most"))
                .help(format!("give the policy a name of {longest} characters at most")),
        );
    }
    problems
}

/// What a policy says in the words of its job.
pub fn spec(policy: &BackupPolicySpec, members: &Members) -> Value {
    let BackupPolicySpec {
        selector: _,
        schedule,
        storage,
        enabled,
        mode,
        compress,
        retention,
        notes_template,
        fleecing,
        repeat_missed,
        protected,
        node,
        // These two are looked at, and no option of the job.
        max_age: _,
        namespace: _,
    } = policy;
    let mut out = Map::new();
    let mut say = |path: &str, value: Value| {
        if !value.is_null() {
            out.insert(path.to_owned(), value);
        }
    };
    say("schedule", json!(schedule));
    say("storage", json!(storage));
    say("enabled", json!(enabled));
    say("mode", json!(mode.map(|m| m.as_str())));
    say("compress", json!(compress));
    say("retention", json!(retention));
    say("notesTemplate", json!(notes_template));
    say("fleecing", json!(fleecing));
    say("repeatMissed", json!(repeat_missed));
    say("protected", json!(protected));
    say("node", json!(node));
    let numbers = |all: &BTreeSet<VmId>| json!(all.iter().map(|v| v.get()).collect::<Vec<_>>());
    match members {
        Members::Everyone(templates) => {
            say(ALL, true.into());
            if !templates.is_empty() {
                say(TEMPLATES, numbers(templates));
            }
        }
        Members::Pool(pool) => say(POOL, json!(pool)),
        Members::These(all) => say(GUESTS, numbers(all)),
    }
    out.into()
}

fn numbers(text: &str) -> BTreeSet<VmId> {
    text.split(',').filter_map(|n| n.trim().parse().ok().and_then(VmId::new)).collect()
}

/// The guests that a job names by their numbers, and those that it leaves out.
pub fn named(seen: Option<&Seen>) -> (BTreeSet<VmId>, BTreeSet<VmId>) {
    let of = |key: &str| seen.map(|seen| numbers(&member(&seen.row, key))).unwrap_or_default();
    (of("vmid"), of("exclude"))
}

/// Who joins the job's list and who leaves it, if it was a list and is one.
pub fn moved(changes: &[Change]) -> (BTreeSet<VmId>, BTreeSet<VmId>) {
    let Some(change) = changes.iter().find(|c| c.path == GUESTS) else { return Default::default() };
    let (Some(from), Some(to)) = (&change.from, &change.to) else { return Default::default() };
    let (from, to) = (numbers(from), numbers(to));
    (to.difference(&from).copied().collect(), from.difference(&to).copied().collect())
}

/// A value of the job in the policy's words, where these are others.
fn in_words(path: &str, value: Option<String>) -> Option<String> {
    match (path, value?) {
        ("mode", word) => {
            let mode = [Mode::Snapshot, Mode::Suspend, Mode::Stop].into_iter().find(|mode| mode.as_str() == word);
            Some(mode.map_or(word, |mode| format!("{mode:?}")))
        }
        (ALL, flag) => (flag == "1").then(|| "every guest".to_owned()),
        (TEMPLATES, list) => (!list.is_empty()).then(|| format!("without {list}")),
        (_, value) => Some(value),
    }
}

/// Puts changes in the policy's words.
pub fn say(changes: &mut [Change]) {
    for change in changes {
        change.from = in_words(&change.path, change.from.take());
        change.to = in_words(&change.path, change.to.take());
    }
}

/// The spec that would make a job as it is.
pub fn export(seen: &Seen) -> Value {
    let mut out = Map::new();
    let (listed, _) = named(Some(seen));
    let selector = match (member(&seen.row, "pool"), member(&seen.row, "all").as_str()) {
        (pool, _) if !pool.is_empty() => json!({"pools": [pool]}),
        (_, "1") => json!({}),
        (_, _) => json!({"vmids": listed.iter().map(|v| v.get()).collect::<Vec<_>>()}),
    };
    out.insert("selector".into(), selector);
    for field in ROW.fields.iter().filter(|f| ![GUESTS, POOL, ALL, TEMPLATES].contains(&f.path)) {
        let Some(normal) = field.form.normal(&seen.row[field.option]) else { continue };
        if field.default == Some(normal.as_str()) || normal.is_empty() {
            continue;
        }
        let mut value = field.form.export(&normal);
        match field.path {
            "mode" => value = json!(in_words("mode", Some(normal))),
            "fleecing" => value["enabled"] = (value["enabled"] == 1).into(),
            _ => {}
        }
        out.insert(field.path.to_owned(), value);
    }
    out.into()
}
