//! `patch report`: what targets got, opening by opening, from what stands on them. Text for terminals and mails, Markdown for
//! wikis, a whole page of HTML for whoever keeps records.

use crate::cli::args::Global;
use crate::cli::args::patch::Report as Args;
use crate::cli::exit;
use crate::cli::output::{self, ReportFormat};
use crate::cli::patch::{Of, local, look_once, packages, read, span};
use crate::cli::run::{Ended, Failure, print};
use crate::daemon::report::markdown::{code, plain};
use crate::daemon::windows::news::summary;
use crate::daemon::windows::{ChangedRecord, PatchRecord};
use crate::report::text::visible;
use jiff::tz::TimeZone;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Value, json};

/// What the targets of one opening of a window got.
pub struct Opening {
    /// The window.
    pub window: String,
    /// The zone of its times.
    pub zone: TimeZone,
    /// When it opened, in seconds since 1970.
    pub at: i64,
    /// What each target got.
    pub patches: Vec<PatchRecord>,
}

/// `patch report`.
pub fn report(global: &Global, args: &Args) -> Ended {
    let (tree, only) = read(&args.which)?;
    let scene = look_once(global, &tree, &only)?;
    let now = scene.now();
    let since = args.since.map_or(i64::MIN, |since| now.saturating_sub(since));
    let mut openings: Vec<Opening> = Vec::new();
    for of in &scene.windows() {
        for patch in of.record(now).patches {
            let at = i64::try_from(patch.opened_ms / 1000).unwrap_or(i64::MAX);
            // Who was only looked at, by `patch plan --look` or in an opening that is long over, got nothing.
            let only_looked = patch.result.is_none() && patch.attempts == 0 && !of_now(of, at);
            if at < since || only_looked {
                continue;
            }
            match openings.iter_mut().find(|opening| (opening.window.as_str(), opening.at) == (of.name, at)) {
                Some(opening) => opening.patches.push(patch),
                None => openings.push(Opening {
                    window: of.name.to_owned(),
                    zone: of.window.zone().clone(),
                    at,
                    patches: vec![patch],
                }),
            }
        }
    }
    openings.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.window.cmp(&b.window)));
    let written = match &args.output {
        ReportFormat::Text => text(&openings),
        ReportFormat::Markdown => markdown(&openings),
        ReportFormat::Html => html(&openings, now)
            .map_err(|error| Failure::new(exit::FAILED, format!("the page could not be written: {error:#}")))?,
        ReportFormat::Value(form) => {
            let all: Vec<Value> = openings.iter().flat_map(|opening| &opening.patches).map(|p| json!(p)).collect();
            output::write(&Value::from(all), form)?
        }
    };
    print(&written);
    Ok(exit::DONE)
}

/// Whether an opening is the window's newest.
fn of_now(of: &Of<'_>, at: i64) -> bool {
    of.turns.opening.is_some_and(|opening| opening.slot == at)
}

impl Opening {
    fn opened(&self) -> String {
        local(&self.zone, self.at)
    }

    fn summary(&self) -> String {
        summary(&self.patches.iter().collect::<Vec<_>>())
    }
}

/// How a target's turn ended, in a sentence.
fn ended(patch: &PatchRecord) -> String {
    let word = match patch.result.as_deref() {
        Some("Updated") => "updated",
        Some("UpToDate") => "up to date",
        Some("LeftOut") => "left out",
        Some("Failed") => "failed",
        Some("WentBack") => "failed, and went back to its snapshot",
        Some(_) | None => "has not ended",
    };
    let mut text = word.to_owned();
    if let Some(why) = &patch.why {
        text += &format!(": {why}");
    }
    if let Some(took) = patch.took_ms() {
        text += &format!("; took {}", span(i64::try_from(took / 1000).unwrap_or(i64::MAX)));
    }
    if patch.attempts > 1 {
        text += &format!("; begun {} times", patch.attempts);
    }
    if patch.rebooted {
        text += "; rebooted";
    }
    if let Some(why) = &patch.reboot_required {
        text += &format!("; needs a reboot: {why}");
    }
    text
}

/// Whether it is a security update, in a word.
fn class(changed: &ChangedRecord) -> &'static str {
    match changed.security {
        Some(true) => "security",
        Some(false) | None => "",
    }
}

/// The last lines of output are worth reading where it did not go well.
fn log(patch: &PatchRecord) -> &[String] {
    if patch.is_bad() { &patch.log } else { &[] }
}

/// For terminals and mails.
pub fn text(openings: &[Opening]) -> String {
    if openings.is_empty() {
        return "Nothing is known of any opening.\n".to_owned();
    }
    let mut out = String::new();
    for opening in openings {
        out += &format!("PatchWindow/{}, opened {}: {}\n", opening.window, opening.opened(), opening.summary());
        for patch in &opening.patches {
            let system = patch.system.as_ref().map(|system| format!(", {system}")).unwrap_or_default();
            let head = format!("{}{system}: {}", patch.label(), ended(patch));
            out += &format!("  {}\n", visible(&head));
            for changed in &patch.changed {
                let line = format!("{}  {} → {}  {}", changed.name, changed.from, changed.to, class(changed));
                out += &format!("    {}\n", visible(line.trim_end()));
            }
            for left in &patch.left {
                let why = left.why.as_deref().unwrap_or("not installed");
                out += &format!("    {} is left: {}\n", visible(&left.name), visible(why));
            }
            if !patch.cves.is_empty() {
                out += &format!("    {}\n", visible(&patch.cves.join(", ")));
            }
            for check in &patch.checks {
                let word = if check.ok { "well" } else { "not well" };
                out += &format!("    {} is {word}: {}\n", visible(&check.what), visible(&check.said));
            }
            log(patch).iter().for_each(|line| out += &format!("    | {}\n", visible(line)));
        }
        out.push('\n');
    }
    out.pop();
    out
}

/// For wikis and pull requests.
pub fn markdown(openings: &[Opening]) -> String {
    let mut out = "# Patch report\n".to_owned();
    if openings.is_empty() {
        out += "\nNothing is known of any opening.\n";
    }
    for opening in openings {
        out += &format!("\n## {}, {}\n\n{}\n\n", plain(&opening.window), plain(&opening.opened()), opening.summary());
        out += "| Target | System | Result | Packages | Vulnerabilities |\n|---|---|---|---|---|\n";
        for patch in &opening.patches {
            let system = patch.system.as_deref().unwrap_or("–");
            let (changed, cves) = (packages(patch.changed.len()), patch.cves.join(", "));
            let cells = [&patch.label(), system, &ended(patch), &changed, &cves].map(plain);
            out += &format!("| {} |\n", cells.join(" | "));
        }
        for patch in opening.patches.iter().filter(|patch| !patch.changed.is_empty() || !patch.left.is_empty()) {
            out += &format!("\n### {}\n\n| Package | From | To | |\n|---|---|---|---|\n", plain(&patch.label()));
            for changed in &patch.changed {
                let [name, from, to] = [&changed.name, &changed.from, &changed.to].map(|text| code(&visible(text)));
                out += &format!("| {name} | {from} | {to} | {} |\n", class(changed));
            }
            for left in &patch.left {
                let why = plain(left.why.as_deref().unwrap_or("not installed"));
                out += &format!("| {} | | | left: {why} |\n", code(&visible(&left.name)));
            }
        }
        for patch in opening.patches.iter().filter(|patch| !log(patch).is_empty()) {
            out += &format!("\n{}, last lines:\n\n", plain(&patch.label()));
            log(patch).iter().for_each(|line| out += &format!("    {}\n", visible(line)));
        }
    }
    out
}

/// A whole page, without scripts and without anything from elsewhere. Every text is escaped by the engine.
pub fn html(openings: &[Opening], now: i64) -> Result<String, minijinja::Error> {
    let mut pages = Environment::new();
    pages.set_auto_escape_callback(|_| AutoEscape::Html);
    pages.set_undefined_behavior(UndefinedBehavior::Strict);
    pages.add_filter("visible", |text: &str| visible(text));
    pages.add_template("report", include_str!("report.html"))?;
    let one = |patch: &PatchRecord| {
        let mut value = json!(patch);
        value["label"] = patch.label().into();
        value["ended"] = ended(patch).into();
        value["bad"] = patch.is_bad().into();
        value["lines"] = json!(log(patch));
        value
    };
    let openings: Vec<Value> = openings
        .iter()
        .map(|opening| {
            json!({
                "window": opening.window, "opened": opening.opened(), "summary": opening.summary(),
                "patches": opening.patches.iter().map(one).collect::<Vec<_>>(),
            })
        })
        .collect();
    let values = json!({"openings": openings, "made": output::utc(now)});
    pages.get_template("report")?.render(minijinja::value::Serde(&values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::windows::{CheckRecord, LeftRecord};

    const EVIL: &str = "<script>alert(1)</script>\"'|`*\u{1b}[31m";

    fn opening() -> Opening {
        let patch = PatchRecord {
            id: "/sunday/200@1".into(),
            source: String::new(),
            window: "sunday".into(),
            target: "200".into(),
            name: EVIL.into(),
            opened_ms: 1_795_309_200_000,
            began_ms: Some(1_795_309_210_000),
            ended_ms: Some(1_795_309_400_000),
            result: Some("Failed".into()),
            why: Some(EVIL.into()),
            system: Some("debian 12".into()),
            manager: Some("apt".into()),
            changed: vec![ChangedRecord { name: EVIL.into(), from: "1".into(), to: EVIL.into(), security: Some(true) }],
            left: vec![LeftRecord { name: EVIL.into(), why: None }],
            cves: vec![EVIL.into()],
            checks: vec![CheckRecord { what: EVIL.into(), ok: false, said: EVIL.into() }],
            log: vec![EVIL.into()],
            rebooted: false,
            reboot_required: Some(EVIL.into()),
            attempts: 2,
        };
        Opening { window: "sunday".into(), zone: TimeZone::UTC, at: 1_795_309_200, patches: vec![patch] }
    }

    #[test]
    fn a_name_of_a_stranger_is_text_in_a_page() {
        let page = html(&[opening()], 1_795_400_000).expect("our own template is well");
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains('\u{1b}') && !page.contains("alert(1)</"), "{page}");
        assert!(page.contains("&lt;script&gt;"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), 11, "every one of them is shown");
        for part in ["http:", "https:", " src=", "@import", "url("] {
            assert!(!page.contains(part), "nothing from elsewhere: {part}");
        }
        assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    }

    #[test]
    fn a_name_of_a_stranger_is_text_in_markdown_and_on_a_terminal() {
        let page = markdown(&[opening()]);
        assert!(!page.contains('\u{1b}'), "{page}");
        for line in page.lines().filter(|line| line.contains("script") && !line.starts_with("    ")) {
            let bare: String = line.split("``").step_by(2).collect();
            assert!(!bare.contains("<script"), "{line}");
        }
        assert!(!text(&[opening()]).contains('\u{1b}'));
    }

    #[test]
    fn a_report_of_nothing_says_so() {
        assert_eq!(text(&[]), "Nothing is known of any opening.\n");
        assert!(markdown(&[]).contains("Nothing is known"));
        assert!(html(&[], 0).expect("it is well").contains("Nothing is known"));
    }

    #[test]
    fn how_a_turn_ended_is_one_sentence() {
        let mut patch = opening().patches.remove(0);
        patch.why = Some("tcp:22: nobody listens".into());
        patch.reboot_required = None;
        assert_eq!(ended(&patch), "failed: tcp:22: nobody listens; took 3m; begun 2 times");
        patch.result = None;
        patch.why = None;
        assert!(ended(&patch).starts_with("has not ended"));
    }
}
