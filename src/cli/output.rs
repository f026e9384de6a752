//! Forms of output: what `-o` names, and values written in them.

pub mod jsonpath;

use crate::cli::exit;
use crate::cli::run::Failure;
use crate::report::text::visible;
use comfy_table::{ContentArrangement, Table, presets};
use jsonpath::JsonPath;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value;

/// Instructions that a template may take: a loop over some 100,000 objects, and no loop for ever.
const FUEL: u64 = 10_000_000;

/// A form of output.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// `Kind/name`, one a line.
    Name,
    /// A value for machines.
    Value(Form),
}

/// How a value is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// YAML documents.
    Yaml,
    /// JSON; while something runs, an event a line.
    Json,
    /// Texts picked out of the JSON by kubectl's JSONPath templates.
    JsonPath(JsonPath),
    /// A Jinja template (Jinja is to Python what Go's templates are to kubectl) over the JSON.
    Template(String),
}

/// Reads what was typed behind `-o`.
pub fn parse(text: &str) -> Result<Format, String> {
    let (word, argument) = text.split_once('=').map_or((text, None), |(w, a)| (w, Some(a)));
    match (word, argument) {
        ("table", None) => Ok(Format::Table),
        ("wide", None) => Ok(Format::Wide),
        ("name", None) => Ok(Format::Name),
        ("yaml", None) => Ok(Format::Value(Form::Yaml)),
        ("json", None) => Ok(Format::Value(Form::Json)),
        ("jsonpath", Some(path)) => JsonPath::parse(path).map(|p| Format::Value(Form::JsonPath(p))),
        ("template", Some(template)) => {
            environment(template).map(|_| Format::Value(Form::Template(template.to_owned()))).map_err(|e| wrong(&e))
        }
        _ => Err("expected table, wide, name, yaml, json, jsonpath=PATHS or template=JINJA".to_owned()),
    }
}

/// What `drift` writes: a form as any other, or a report for those who read no terminal.
#[derive(Debug, Clone, PartialEq)]
pub enum DriftFormat {
    /// A form that other verbs have, too.
    Plain(Format),
    /// For wikis and pull requests.
    Markdown,
    /// JUnit XML, for CI.
    Junit,
}

/// Reads what was typed behind `-o` of `drift`.
pub fn parse_drift(text: &str) -> Result<DriftFormat, String> {
    match text {
        "markdown" => Ok(DriftFormat::Markdown),
        "junit" => Ok(DriftFormat::Junit),
        plain => parse(plain).map(DriftFormat::Plain).map_err(|e| e.replace(", json,", ", json, markdown, junit,")),
    }
}

/// What `patch report` writes.
#[derive(Debug, Clone, PartialEq)]
pub enum ReportFormat {
    /// For terminals and mails.
    Text,
    /// For wikis and pull requests.
    Markdown,
    /// A whole page.
    Html,
    /// A value for machines.
    Value(Form),
}

/// Reads what was typed behind `-o` of `patch report`.
pub fn parse_report(text: &str) -> Result<ReportFormat, String> {
    let expected = "expected text, markdown, html, yaml, json, jsonpath=PATHS or template=JINJA";
    match text {
        "text" => Ok(ReportFormat::Text),
        "markdown" => Ok(ReportFormat::Markdown),
        "html" => Ok(ReportFormat::Html),
        other => match parse(other) {
            Ok(Format::Value(form)) => Ok(ReportFormat::Value(form)),
            Ok(Format::Table | Format::Wide | Format::Name) => Err(expected.to_owned()),
            Err(why) if other.contains('=') => Err(why),
            Err(_) => Err(expected.to_owned()),
        },
    }
}

impl Format {
    /// Events are wanted as JSON.
    pub fn is_json(format: Option<&Format>) -> bool {
        format == Some(&Format::Value(Form::Json))
    }
}

/// A value in a form, as it is printed. Fails if a template fails.
pub fn write(value: &Value, form: &Form) -> Result<String, Failure> {
    match form {
        Form::Yaml => Ok(yaml(value)),
        Form::Json => Ok(format!("{value:#}\n")),
        Form::JsonPath(path) => Ok(ended(path.write(value))),
        Form::Template(template) => {
            let rendered =
                environment(template).and_then(|e| e.get_template("-o")?.render(minijinja::value::Serde(value)));
            rendered.map(ended).map_err(|e| Failure::new(exit::USAGE, format!("the template failed: {}", wrong(&e))))
        }
    }
}

/// YAML of a value, as a document.
pub fn yaml(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_else(|e| format!("# {e}\n"))
}

/// With a line's end, unless there is nothing.
fn ended(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn environment(template: &str) -> Result<Environment<'_>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.add_template("-o", template)?;
    Ok(environment)
}

fn wrong(error: &minijinja::Error) -> String {
    match error.line() {
        Some(line) => format!("{error} (line {line} of the template)"),
        None => error.to_string(),
    }
}

/// A time in seconds since 1970, as people and machines read it: `2026-11-21T17:00:00Z`.
pub fn utc(at: i64) -> Option<String> {
    jiff::Timestamp::from_second(at).ok().map(|time| time.to_string())
}

/// Rows under a head; `none` where there are none. What is empty becomes `-`, and control characters are shown as such.
pub fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head.to_vec());
    let mut count = 0;
    for row in rows {
        let cell = |text: String| if text.is_empty() { "-".to_owned() } else { visible(&text) };
        table.add_row(row.into_iter().map(cell).collect::<Vec<_>>());
        count += 1;
    }
    if count == 0 {
        return "none\n".to_owned();
    }
    table.lines().map(|line| format!("{}\n", line.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(format: &str) -> Result<String, String> {
        let value = json!({"items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]});
        match parse(format)? {
            Format::Value(form) => write(&value, &form).map_err(|f| f.message),
            other @ (Format::Table | Format::Wide | Format::Name) => Err(format!("{other:?} is for people")),
        }
    }

    #[test]
    fn templates_are_rendered_over_the_value() {
        assert_eq!(written("template={% for i in items %}{{ i.metadata.name }};{% endfor %}").as_deref(), Ok("a;b;\n"));
        assert_eq!(written("template={{ items|length }}").as_deref(), Ok("2\n"));
        assert_eq!(written("jsonpath={.items[*].metadata.name}").as_deref(), Ok("a b\n"));
    }

    #[test]
    fn templates_that_are_wrong_say_so() {
        for format in
            ["template={% for i in items %}", "template={{ nothing.there }}", "jsonpath={.items[", "yml", "json=x"]
        {
            assert!(written(format).is_err(), "{format}");
        }
    }

    #[test]
    fn reports_are_for_drift_alone() {
        assert_eq!(parse_drift("junit"), Ok(DriftFormat::Junit));
        assert_eq!(parse_drift("markdown"), Ok(DriftFormat::Markdown));
        assert_eq!(parse_drift("name"), Ok(DriftFormat::Plain(Format::Name)));
        assert!(parse_drift("xml").is_err_and(|e| e.contains("json, markdown, junit, jsonpath")));
        assert!(parse("junit").is_err_and(|e| !e.contains("junit")));
    }

    #[test]
    fn reports_of_updates_are_no_tables() {
        assert_eq!(parse_report("html"), Ok(ReportFormat::Html));
        assert_eq!(parse_report("json"), Ok(ReportFormat::Value(Form::Json)));
        for wrong in ["table", "wide", "name", "junit", "template={{ x"] {
            assert!(parse_report(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_template_that_runs_for_ever_is_stopped() {
        let endless = "template={% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}";
        assert!(written(endless).is_err_and(|e| e.contains("fuel")));
    }
}
