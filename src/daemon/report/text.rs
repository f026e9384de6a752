//! For people and `grep`: a line a field.

use crate::daemon::report::findings::{Findings, value};
use crate::report::text::visible;

/// The report.
pub fn write(findings: &Findings<'_>) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for drift in findings.lasting() {
        let object = format!("{}/{}", drift.kind, drift.name);
        for field in &drift.fields {
            let (from, to) = (value(field.from.as_ref()), value(field.to.as_ref()));
            let mut row = vec![drift.source.clone(), object.clone(), visible(&field.path), from, to];
            if let Some(since) = findings.since(drift) {
                row.push(since);
                row.push(drift.by.as_ref().map_or_else(|| "-".to_owned(), |by| visible(&by.user)));
            }
            rows.push(row);
        }
    }
    let mut out = String::new();
    if !rows.is_empty() {
        let heads = ["SOURCE", "OBJECT", "FIELD", "CLUSTER", "MANIFEST", "SINCE", "BY"];
        rows.insert(0, heads.iter().take(rows[0].len()).map(|head| (*head).to_owned()).collect());
        out.push_str(&table(&rows));
        out.push('\n');
    }
    for object in findings.unseen() {
        let why = object.error.as_deref().map(visible).unwrap_or_default();
        out.push_str(&format!("not compared: {}/{} ({}): {why}\n", object.kind, object.name, object.source));
    }
    out.push_str(&findings.summary());
    out.push('\n');
    out
}

/// Columns as wide as their widest cell, the last as it is.
fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..).map_while(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
