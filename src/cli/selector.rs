//! Label selectors, as kubectl's users write them: `app=web,tier!=db,canary,!old,env in (prod,test)`.

use crate::cli::exit;
use crate::cli::run::Failure;
use std::collections::{BTreeMap, BTreeSet};

/// All terms have to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<Term>);

/// One label, the values that it may have (`None`: any), and whether that must or must not be so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    label: String,
    values: Option<BTreeSet<String>>,
    holds: bool,
}

impl Selector {
    /// Whether labels match all terms.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|Term { label, values, holds }| {
            let matches = labels.get(label).is_some_and(|have| values.as_ref().is_none_or(|v| v.contains(have)));
            matches == *holds
        })
    }
}

/// Reads a selector.
pub fn parse(text: &str) -> Result<Selector, Failure> {
    let terms: Option<Vec<Term>> = split(text).iter().map(|t| t.trim()).filter(|t| !t.is_empty()).map(term).collect();
    match terms {
        Some(terms) if !terms.is_empty() => Ok(Selector(terms)),
        Some(_) | None => Err(Failure::new(exit::USAGE, format!("`{text}` is no label selector"))
            .hint("write it like app=web,tier!=db,canary,!old or 'env in (prod,test)'")),
    }
}

/// The text at its commas, but for those within parentheses.
fn split(text: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let mut parts = vec![String::new()];
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

fn term(text: &str) -> Option<Term> {
    let one = |value: &str| Some(BTreeSet::from([value.trim().to_owned()]));
    let (label, values, holds) = if let Some((label, value)) = text.split_once("!=") {
        (label, one(value), false)
    } else if let Some((label, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (label, one(value), true)
    } else if let Some((label, list)) = among(text, " notin ") {
        (label, Some(list), false)
    } else if let Some((label, list)) = among(text, " in ") {
        (label, Some(list), true)
    } else if let Some(label) = text.strip_prefix('!') {
        (label, None, false)
    } else {
        (text, None, true)
    };
    let fits = |text: &str| text.chars().all(|c| c.is_alphanumeric() || "-_./".contains(c));
    let label = label.trim();
    let well = !label.is_empty() && fits(label) && values.iter().flatten().all(|value| fits(value));
    well.then(|| Term { label: label.to_owned(), values, holds })
}

/// `LABEL in (A, B)`.
fn among<'a>(text: &'a str, word: &str) -> Option<(&'a str, BTreeSet<String>)> {
    let (label, list) = text.split_once(word).or_else(|| text.split_once(&word.replace("n ", "n(")))?;
    let list = list.trim().trim_start_matches('(').strip_suffix(')')?;
    Some((label, list.split(',').map(|value| value.trim().to_owned()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        parse(selector).expect("is a selector").selects(&labels)
    }

    #[test]
    fn every_shape_selects_what_it_says() {
        let web = [("app", "web"), ("env", "prod")];
        for yes in [
            "app=web",
            "app==web",
            "app = web",
            "app!=db",
            "app",
            "!old",
            "app=web,env=prod",
            "app in (web, db)",
            "app in(web)",
            "app notin (db,cache)",
            "app in (web),env",
            "old notin (a)",
            "app=web,",
        ] {
            assert!(selects(yes, &web), "{yes}");
        }
        for no in ["app=db", "app!=web", "!app", "old", "app in (db)", "app notin (web)", "app=web,env=test", "app="] {
            assert!(!selects(no, &web), "{no}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["", " ", ",", "=", "=a", "app>1", "app in web", "app in (web", "a b", "app=(x)", "!"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
