//! `check`: guests held against rule sets, ours or not. It reads; with `--inside` it also runs commands in guests that look
//! at something and change nothing.

use crate::base::diagnostic::{has_errors, nearest, render};
use crate::base::id::GuestType;
use crate::base::quantity::counted;
use crate::base::source::Sources;
use crate::cli::args::Global;
use crate::cli::args::check::Check as Args;
use crate::cli::exit;
use crate::cli::inside;
use crate::cli::kind::find_kind;
use crate::cli::manifests::{self, Tree};
use crate::cli::output::{self, Format};
use crate::cli::run::{Ended, Failure, block_on, colour_err, print};
use crate::cli::session::Session;
use crate::cli::snapshot_rules;
use crate::engine::observe::{index, read_all};
use crate::engine::reconcile::Cluster;
use crate::kinds::guest::observed::{GuestSeen, decode_row};
use crate::kinds::guest::rules::checks::{ANNOTATION, Checks};
use crate::kinds::guest::rules::evaluate::{Inside, agent_read, evaluate, reads};
use crate::kinds::guest::rules::rule::{Finding, Severity, Verdict};
use crate::kinds::guest::rules::sets::RuleSet;
use crate::kinds::list;
use crate::manifest::{read, schema};
use crate::pve::error::PveError;
use crate::resource::kind::{AnyKind, Listed};
use crate::resource::observation::Observation;
use crate::resource::reference::{Identity, ResourceRef};
use comfy_table::{ContentArrangement, Table, presets};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Agents asked at once; pveproxy has three workers a node.
const AT_ONCE: usize = 8;
/// Time for all agents together: who does not answer is not known.
const AGENTS_TIME_MAX: Duration = Duration::from_secs(10);

/// A guest and what came of its rules.
struct Checked {
    kind: &'static str,
    listed: Listed,
    findings: Vec<Finding>,
    /// Its snapshots were looked at, and there are none.
    bare: bool,
}

/// A guest that was asked for, by its kind, with the rules that were named for it.
type Chosen = (&'static str, Listed, Option<Checks>);

/// What of the cluster is to be checked, and against what.
struct Choice {
    kinds: Vec<&'static dyn AnyKind>,
    names: Vec<String>,
    /// `--rules`.
    given: Option<Checks>,
    /// What manifests declare, with the rules that they name.
    declared: Option<(String, BTreeMap<ResourceRef, Option<Checks>>)>,
    /// How old the newest snapshot may be; `None` where other rules were named.
    snapshot_age: Option<Duration>,
}

/// `check [KIND [NAME…]] [-f …] [--rules NAME|FILE]`.
pub fn check(global: &Global, args: &Args) -> Ended {
    let choice = choose(args)?;
    let session = Session::open(global, None)?;
    let (checked, wrong) = block_on(run(&session.cluster(), &choice, args.inside))??;
    session.close()?;
    show(&checked, &args.format.output)?;
    let count = |verdict: Verdict| checked.iter().flat_map(|c| &c.findings).filter(|f| f.verdict == verdict).count();
    let (failed, unknown) = (count(Verdict::Fail), count(Verdict::NotKnown));
    if !global.quiet {
        let rules = failed + unknown + count(Verdict::Pass);
        let _ = writeln!(
            anstream::stderr(),
            "{} on {}: {failed} failed, {unknown} not known.{}",
            counted(rules, "rule"),
            counted(checked.len(), "guest"),
            match checked.iter().filter(|c| c.bare).count() {
                0 => String::new(),
                bare => format!(" {bare} without any snapshot."),
            }
        );
    }
    for line in &wrong {
        let _ = writeln!(anstream::stderr(), "error: {line}");
    }
    match (wrong.is_empty(), failed) {
        (false, _) => Err(Failure::new(exit::NOT_COMPARED, "not everything could be checked")),
        (true, 0) => Ok(exit::DONE),
        (true, _) => Ok(exit::FINDINGS),
    }
}

fn choose(args: &Args) -> Result<Choice, Failure> {
    let kinds = match &args.kind {
        Some(name) => vec![find_kind(name)?],
        None => list::KINDS.iter().copied().filter(|k| is_guests(k.name())).collect(),
    };
    if let Some(kind) = kinds.iter().find(|k| !is_guests(k.name())) {
        return Err(Failure::new(exit::USAGE, format!("there are no rules for a {}", kind.name()))
            .hint("check VirtualMachine, Container or GuestTemplate"));
    }
    let given = given(&args.rules)?;
    let types: &[GuestType] = match args.kind.as_ref().map(|_| kinds[0].name()) {
        Some("VirtualMachine") => &[GuestType::Qemu],
        Some("Container") => &[GuestType::Lxc],
        Some(_) | None => &[GuestType::Qemu, GuestType::Lxc],
    };
    let faults = types.iter().map(|t| given.as_ref().map_or_else(Vec::new, |checks| checks.faults(*t)));
    // Of two types of guest, rules for one of them are fine.
    if let Some(fault) = faults.min_by_key(Vec::len).and_then(|faults| faults.into_iter().next()) {
        return Err(Failure::new(exit::USAGE, fault));
    }
    if args.sources.selector.is_some() && args.sources.files.is_empty() {
        return Err(Failure::new(exit::USAGE, "labels stand in manifests, not on the cluster")
            .hint("name the manifests too: pvectl check -f … -l app=web"));
    }
    let tree = if args.sources.files.is_empty() { None } else { Some(manifests::read(&args.sources)?) };
    let declared = tree.map(|tree| declared(&tree).map(|list| (tree.desired.set.clone(), list))).transpose()?;
    let snapshot_age = given.is_none().then_some(args.max_snapshot_age);
    Ok(Choice { kinds, names: args.names.clone(), given, declared, snapshot_age })
}

fn is_guests(kind: &str) -> bool {
    matches!(kind, "VirtualMachine" | "Container" | "GuestTemplate")
}

/// The rules behind `--rules`; `None` where none were named.
fn given(words: &[String]) -> Result<Option<Checks>, Failure> {
    let mut all = Vec::new();
    for word in words {
        let checks = match (Checks::by_names(word), Path::new(word).is_file()) {
            (Ok(checks), _) => checks,
            (Err(_), true) => from_file(Path::new(word))?,
            (Err(why), false) => {
                return Err(
                    Failure::new(exit::USAGE, why).hint("name a rule set, or a file with a list of rules and sets")
                );
            }
        };
        all.extend(checks.0);
    }
    Ok((!words.is_empty()).then_some(Checks(all)))
}

/// A file of rules, with errors at their places as in a manifest.
fn from_file(path: &Path) -> Result<Checks, Failure> {
    let name = path.display().to_string();
    let unread = |why: String| Failure::new(exit::USAGE, format!("the rules in {name} cannot be read: {why}"));
    let text = std::fs::read_to_string(path).map_err(|e| unread(e.to_string()))?;
    let mut sources = Sources::default();
    let source = sources.add(&name, &text);
    let (documents, mut diagnostics) = read::read(source, &text);
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let schema = settings.into_generator().into_root_schema_for::<Checks>().to_value();
    for document in &documents {
        diagnostics.extend(schema::check(document, &schema, "rules", None));
    }
    for diagnostic in &diagnostics {
        let _ = writeln!(anstream::stderr(), "{}\n", render(diagnostic, &sources, colour_err()));
    }
    if has_errors(&diagnostics) {
        return Err(Failure::new(exit::USAGE, format!("{} in the rules", counted(diagnostics.len(), "error"))));
    }
    let mut all = Vec::new();
    for document in &documents {
        all.extend(Checks::from_value(&document.to_json()).map_err(unread)?.0);
    }
    if all.is_empty() { Err(unread("it holds none".to_owned())) } else { Ok(Checks(all)) }
}

/// The guests that manifests declare, each with the rules that it names.
fn declared(tree: &Tree) -> Result<BTreeMap<ResourceRef, Option<Checks>>, Failure> {
    let mut out = BTreeMap::new();
    for document in tree.loaded.documents.iter().filter(|d| is_guests(&d.kind.0)) {
        let resource = ResourceRef::new(&document.kind.0, &document.name.0);
        if tree.only.as_ref().is_some_and(|only| !only.contains(&resource)) {
            continue;
        }
        let of_spec = document.spec.get("checks").map(|node| Checks::from_value(&node.to_json()));
        let of_notes = document.annotations.get(ANNOTATION).map(|names| Checks::by_names(names));
        let checks = of_notes.or(of_spec).transpose();
        let checks = checks.map_err(|why| Failure::new(exit::USAGE, format!("the checks of {resource}: {why}")))?;
        out.insert(resource, checks);
    }
    if out.is_empty() {
        return Err(Failure::new(exit::USAGE, "the manifests declare no guest"));
    }
    Ok(out)
}

/// Reads, asks and evaluates; with what could not be looked at.
async fn run(
    cluster: &Cluster<'_>,
    choice: &Choice,
    look_inside: bool,
) -> Result<(Vec<Checked>, Vec<String>), Failure> {
    let wire = |e: PveError| Failure::wire(exit::NOT_COMPARED, &e);
    let index = index(cluster.api, cluster.clock, &BTreeSet::new()).await.map_err(wire)?;
    let bare = Observation::new(index.clone());
    let every = |seen: &Observation| -> Vec<(&'static str, Listed)> {
        choice.kinds.iter().flat_map(|kind| kind.list(seen).into_iter().map(|l| (kind.name(), l))).collect()
    };
    let needs = |kind: &&&'static dyn AnyKind| kind.list(&bare).into_iter().map(|l| (**kind, l)).collect::<Vec<_>>();
    let wanted: BTreeSet<_> = choice
        .kinds
        .iter()
        .flat_map(|k| needs(&k))
        .flat_map(|(kind, l)| kind.reads(&l.identity, None, &index))
        .collect();
    let mut seen = read_all(cluster.api, cluster.clock, index, wanted).await.map_err(wire)?;
    let (chosen, mut wrong) = select(every(&seen), choice, &seen);
    let mut guests: Vec<(&'static str, Listed, Checks, GuestSeen)> = Vec::new();
    for (kind, listed, checks) in chosen {
        let Identity::Guest { vmid, .. } = &listed.identity else { continue };
        let Some(row) = seen.index.guests.get(vmid).map(Arc::clone) else { continue };
        match decode_row(&row, &seen) {
            Ok(Some(guest)) => {
                let checks = checks.unwrap_or_else(|| Checks::of(RuleSet::usual(row.guest)));
                guests.push((kind, listed, checks, guest));
            }
            Ok(None) => wrong.push(format!("{kind}/{} went away while it was looked at", called(&listed))),
            Err(error) => wrong.push(format!("{kind}/{} could not be looked at: {}", called(&listed), error.message)),
        }
    }
    more(cluster, &guests, &mut seen).await.map_err(wire)?;
    if choice.snapshot_age.is_some() {
        snapshot_rules::read(cluster, guests.iter().map(|(_, _, _, guest)| guest), &mut seen).await.map_err(wire)?;
    }
    let mut checked = Vec::with_capacity(guests.len());
    for (kind, listed, checks, guest) in guests {
        let inside = if look_inside { inside::look(cluster, &checks, &guest).await } else { Inside::new() };
        let mut findings = evaluate(&checks, &guest, &seen, &inside);
        let list = choice.snapshot_age.and_then(|age| snapshot_rules::judge(cluster, &guest.row, &seen, age));
        let bare = list.as_ref().is_some_and(Vec::is_empty);
        findings.extend(list.into_iter().flatten());
        checked.push(Checked { kind, listed, findings, bare });
    }
    Ok((checked, wrong))
}

/// What a guest is called: its number while PVE knows no name, as when its node is away.
fn called(listed: &Listed) -> String {
    match &listed.identity {
        Identity::Guest { vmid, .. } if listed.name.is_empty() => vmid.to_string(),
        Identity::Guest { .. } | Identity::Pool(_) | Identity::Object { .. } => listed.name.clone(),
    }
}

/// What the rules read besides configurations: firewalls as any read, agents once and with little patience.
async fn more(
    cluster: &Cluster<'_>,
    guests: &[(&'static str, Listed, Checks, GuestSeen)],
    seen: &mut Observation,
) -> Result<(), PveError> {
    let wanted: BTreeSet<_> = guests.iter().flat_map(|(_, _, checks, guest)| reads(checks, guest)).collect();
    let firewalls = read_all(cluster.api, cluster.clock, seen.index.clone(), wanted.clone()).await?;
    for query in wanted {
        if let Some(answer) = firewalls.answer(&query).cloned() {
            seen.add(query, answer);
        }
    }
    let agents = guests.iter().filter_map(|(_, _, checks, guest)| agent_read(checks, guest));
    let mut answers = futures::stream::iter(agents.map(|query| async move {
        let answer = cluster.api.get(&query).await;
        (query, answer)
    }))
    .buffer_unordered(AT_ONCE);
    let all = async {
        while let Some((query, answer)) = answers.next().await {
            seen.add(query, answer.map(Arc::new));
        }
    };
    // The answers that came in time are kept.
    let _ = tokio::time::timeout(AGENTS_TIME_MAX, all).await;
    Ok(())
}

/// Those that were asked for, each with its rules; and what was asked for and is not there.
fn select(every: Vec<(&'static str, Listed)>, choice: &Choice, seen: &Observation) -> (Vec<Chosen>, Vec<String>) {
    let Choice { kinds: _, names, given, declared, snapshot_age: _ } = choice;
    let mut wrong = Vec::new();
    let means = |listed: &Listed, name: &String| {
        let Identity::Guest { vmid, .. } = &listed.identity else { return false };
        let row = seen.index.guests.get(vmid);
        listed.name == *name || vmid.to_string() == *name || row.is_some_and(|r| r.name == *name)
    };
    for name in names.iter().filter(|name| !every.iter().any(|(_, l)| means(l, name))) {
        let near = nearest(name, every.iter().map(|(_, l)| l.name.as_str()));
        wrong.push(format!(
            "there is no guest `{name}`{}",
            near.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default()
        ));
    }
    let owner = |listed: &Listed| listed.marker.as_ref().map(|m| (m.owner.clone(), m.set.clone()));
    if let Some((set, list)) = declared {
        let there: BTreeSet<ResourceRef> =
            every.iter().filter_map(|(_, l)| owner(l)).filter(|(_, s)| s == set).map(|(r, _)| r).collect();
        let kinds: BTreeSet<&str> = choice.kinds.iter().map(|k| k.name()).collect();
        let absent = list.keys().filter(|r| kinds.contains(r.kind.as_str()) && !there.contains(*r));
        wrong.extend(absent.map(|r| format!("{r} is not there: it has yet to be applied")));
    }
    let chosen = every.into_iter().filter_map(|(kind, listed)| {
        if !names.is_empty() && !names.iter().any(|name| means(&listed, name)) {
            return None;
        }
        let own = match declared {
            None => None,
            Some((set, list)) => {
                let (resource, _) = owner(&listed).filter(|(_, s)| s == set)?;
                list.get(&resource)?.clone()
            }
        };
        Some((kind, listed, given.clone().or(own)))
    });
    (chosen.collect(), wrong)
}

fn show(checked: &[Checked], format: &Option<Format>) -> Result<(), Failure> {
    match format {
        Some(Format::Value(form)) => print(&output::write(&value(checked), form)?),
        Some(Format::Name) => {
            let bad = checked.iter().filter(|c| c.findings.iter().any(|f| f.verdict == Verdict::Fail));
            bad.for_each(|c| print(&format!("{}/{}\n", c.kind, called(&c.listed))));
        }
        Some(Format::Wide) => print(&table(checked, true)),
        Some(Format::Table) | None => print(&table(checked, false)),
    }
    Ok(())
}

fn value(checked: &[Checked]) -> Value {
    let guests = checked.iter().map(|Checked { kind, listed, findings, bare: _ }| {
        let list = findings.iter().map(|Finding { rule, verdict, read, wanted, remedy }| {
            json!({
                "rule": rule.id, "set": rule.set, "severity": rule.severity.as_str(), "verdict": verdict.as_str(),
                "subject": rule.subject(), "read": read, "wanted": wanted, "why": rule.why, "remedy": remedy,
            })
        });
        json!({
            "kind": kind, "name": called(listed), "object": listed.identity.to_string(),
            "set": listed.marker.as_ref().map(|m| &m.set), "findings": list.collect::<Vec<_>>(),
        })
    });
    json!({"guests": guests.collect::<Vec<_>>()})
}

/// What did not pass; `wide`: everything, with the reasons.
fn table(checked: &[Checked], wide: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut head = vec!["GUEST", "RULE", "VERDICT", "READ", "WANTED", "REMEDY"];
    if wide {
        head.extend(["SEVERITY", "WHY"]);
    }
    table.set_header(head);
    for Checked { kind, listed, findings, bare: _ } in checked {
        let mut findings: Vec<&Finding> = findings.iter().filter(|f| wide || f.verdict != Verdict::Pass).collect();
        findings.sort_by_key(|f| {
            (f.verdict == Verdict::Pass, f.verdict == Verdict::NotKnown, f.rule.severity != Severity::Error)
        });
        for Finding { rule, verdict, read, wanted, remedy } in findings {
            let weak = *verdict == Verdict::Fail && rule.severity == Severity::Warning;
            let verdict_text = if weak { "fail (warning)" } else { verdict.as_str() };
            let remedy = if *verdict == Verdict::Pass { "-" } else { remedy.as_str() };
            let subject = format!("{}: {read}", rule.subject());
            let name = format!("{kind}/{}", called(listed));
            let mut row =
                vec![name, rule.id.clone(), verdict_text.to_owned(), subject, wanted.clone(), remedy.to_owned()];
            if wide {
                row.extend([rule.severity.as_str().to_owned(), rule.why.clone()]);
            }
            table.add_row(row);
        }
    }
    if table.row_count() == 0 {
        return String::new();
    }
    table.lines().map(|l| l.trim().to_owned() + "\n").collect()
}
