//! For CI: JUnit XML as Jenkins, GitLab and GitHub's actions read it. A suite a source, a case an object; drift is a failure, what
//! could not be compared an error.

use crate::base::quantity::counted;
use crate::daemon::record::DriftRecord;
use crate::daemon::report::findings::{Compared, Findings, whole};
use crate::report::text::visible;
use std::collections::{BTreeMap, BTreeSet};

/// The cases of a source, by kind and name.
type Suite<'a> = BTreeMap<(&'a str, &'a str), Case<'a>>;

#[derive(Default)]
struct Case<'a> {
    drift: Vec<&'a DriftRecord>,
    error: Option<&'a str>,
}

/// The report.
pub fn write(findings: &Findings<'_>) -> String {
    let lasting = findings.lasting();
    let mut suites: BTreeMap<&str, Suite<'_>> = BTreeMap::new();
    for Compared { source, kind, name, error } in findings.compared {
        let case = suites.entry(source).or_default().entry((kind, name)).or_default();
        case.error = error.as_deref();
    }
    for drift in &lasting {
        suites.entry(&drift.source).or_default().entry((&drift.kind, &drift.name)).or_default().drift.push(drift);
    }
    let (mut tests, mut failures, mut errors) = (0, 0, 0);
    let mut body = String::new();
    for (source, suite) in &suites {
        let bad = suite.values().filter(|case| !case.drift.is_empty()).count();
        let unseen = suite.values().filter(|case| case.drift.is_empty() && case.error.is_some()).count();
        (tests, failures, errors) = (tests + suite.len(), failures + bad, errors + unseen);
        body.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{bad}\" errors=\"{unseen}\" skipped=\"0\" time=\"0\">\n",
            attribute(&format!("drift {source}")),
            suite.len()
        ));
        for ((kind, name), case) in suite {
            body.push_str(&self::case(findings, source, kind, name, case));
        }
        body.push_str("  </testsuite>\n");
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"pvectl drift\" tests=\"{tests}\" \
         failures=\"{failures}\" errors=\"{errors}\" time=\"0\">\n{body}</testsuites>\n"
    )
}

fn case(findings: &Findings<'_>, source: &str, kind: &str, name: &str, case: &Case<'_>) -> String {
    let class = attribute(&format!("{source}.{kind}"));
    let open =
        format!("    <testcase name=\"{}\" classname=\"{class}\" time=\"0\"", attribute(&format!("{kind}/{name}")));
    let fields: usize = case.drift.iter().map(|drift| drift.fields.len()).sum();
    if !case.drift.is_empty() {
        let paths: BTreeSet<&str> =
            case.drift.iter().flat_map(|drift| &drift.fields).map(|field| field.path.as_str()).collect();
        let paths = paths.into_iter().collect::<Vec<_>>().join(", ");
        let message = attribute(&format!("{} drifted: {}", counted(fields, "field"), visible(&paths)));
        let lines: String = case.drift.iter().map(|drift| lines(findings, drift)).collect();
        return format!(
            "{open}>\n      <failure message=\"{message}\" type=\"drift\">{}</failure>\n    </testcase>\n",
            escape(&lines)
        );
    }
    match case.error {
        Some(why) => {
            let message = attribute(&format!("not compared: {}", visible(why)));
            format!("{open}>\n      <error message=\"{message}\" type=\"unseen\"/>\n    </testcase>\n")
        }
        None => format!("{open}/>\n"),
    }
}

/// A spell in lines.
fn lines(findings: &Findings<'_>, drift: &DriftRecord) -> String {
    let mut out = String::new();
    if let Some(identity) = &drift.identity {
        out.push_str(&format!("{}\n", visible(identity)));
    }
    for field in &drift.fields {
        let (from, to) = (whole(field.from.as_ref()), whole(field.to.as_ref()));
        let path = visible(&field.path);
        out.push_str(&format!("{path}: cluster {from}, manifest {to} ({}, {})\n", field.cause, field.impact));
    }
    if let Some(since) = findings.since(drift) {
        out.push_str(&format!("since {since}\n"));
    }
    if let Some(by) = &drift.by {
        out.push_str(&visible(&format!("by {}: {}", by.user, by.what)));
        out.push('\n');
    }
    out
}

/// Text between tags. What XML 1.0 cannot hold at all becomes `�`.
fn escape(text: &str) -> String {
    let shown = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&apos;".to_owned(),
        '\t' | '\n' => c.to_string(),
        c if c < ' ' || matches!(c, '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}') => '\u{fffd}'.to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// Text between quotes: readers make blanks of line ends that are not written so.
fn attribute(text: &str) -> String {
    escape(text).replace('\n', "&#10;").replace('\t', "&#9;")
}
