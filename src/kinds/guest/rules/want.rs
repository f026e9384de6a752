//! What a rule may want of a value in the table's normal form.

use crate::base::quantity::Bytes;

/// What is wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum Want {
    /// Just this.
    Equals(String),
    /// One of these.
    OneOf(Vec<String>),
    /// One of these within the text: `q35` of `pc-q35-9.2+pve1`.
    Has(String),
    /// None of these, nor what lies below them: paths of a node.
    Outside(Vec<String>),
    /// This much or more.
    AtLeast(String),
    /// This much or less.
    AtMost(String),
    /// Something is there, or nothing is.
    Present(bool),
}

/// A text as a measure: a size in bytes, or a number.
pub fn measure(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|n| n.is_finite()).or_else(|| Bytes::parse(text).map(|b| b.0 as f64))
}

impl Want {
    /// Just this.
    pub fn equals(text: &str) -> Want {
        Want::Equals(text.to_owned())
    }

    /// One of these.
    pub fn one_of(words: &[&str]) -> Want {
        Want::OneOf(words.iter().map(|w| (*w).to_owned()).collect())
    }

    /// Whether a value is as wanted; `None` is what is not there. `Err` says why that cannot be told.
    pub fn holds(&self, value: Option<&str>) -> Result<bool, String> {
        let set = value.filter(|v| !v.is_empty());
        let amount = |text: &str| measure(text).ok_or_else(|| format!("`{text}` is no number and no size"));
        match (self, set) {
            (Want::Present(wanted), value) => Ok(value.is_some() == *wanted),
            (Want::Outside(_), None) => Ok(true),
            (Want::Equals(_) | Want::OneOf(_) | Want::Has(_) | Want::AtLeast(_) | Want::AtMost(_), None) => Ok(false),
            (Want::Equals(wanted), Some(value)) => Ok(match (measure(wanted), measure(value)) {
                (Some(a), Some(b)) => a == b,
                (_, _) => wanted == value,
            }),
            (Want::OneOf(words), Some(value)) => Ok(words.iter().any(|w| w == value)),
            (Want::Has(word), Some(value)) => Ok(value.contains(word.as_str())),
            (Want::Outside(paths), Some(value)) => Ok(!paths.iter().any(|path| is_below(value, path))),
            (Want::AtLeast(wanted), Some(value)) => Ok(amount(value)? >= amount(wanted)?),
            (Want::AtMost(wanted), Some(value)) => Ok(amount(value)? <= amount(wanted)?),
        }
    }

    /// In words: `at least 4`.
    pub fn words(&self, say: impl Fn(&str) -> String) -> String {
        let list = |words: &[String], last: &str| {
            let words: Vec<String> = words.iter().map(|w| say(w)).collect();
            words.join(last)
        };
        match self {
            Want::Equals(text) => say(text),
            Want::OneOf(words) => list(words, " or "),
            Want::Has(word) => format!("{word}, of any version"),
            Want::Outside(paths) => format!("not {} nor below", list(paths, ", ")),
            Want::AtLeast(text) => format!("at least {text}"),
            Want::AtMost(text) => format!("at most {text}"),
            Want::Present(true) => "set".to_owned(),
            Want::Present(false) => "not set".to_owned(),
        }
    }

    /// What to write in the manifest.
    pub fn remedy(&self, field: &str, say: impl Fn(&str) -> String) -> String {
        match self {
            Want::Equals(text) | Want::AtLeast(text) | Want::AtMost(text) | Want::Has(text) => {
                format!("{field}: {}", say(text))
            }
            Want::OneOf(words) => format!("{field}: {}", words.first().map(|w| say(w)).unwrap_or_default()),
            Want::Present(true) => format!("set {field}"),
            Want::Present(false) | Want::Outside(_) => format!("take {field} out"),
        }
    }
}

/// Whether a path is another one, or below it; of `/` only itself, as everything is below.
fn is_below(path: &str, other: &str) -> bool {
    let path = path.trim_end_matches('/');
    let other = other.trim_end_matches('/');
    path == other || (!other.is_empty() && path.strip_prefix(other).is_some_and(|rest| rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wish_holds_and_does_not() {
        let paths = Want::Outside(vec!["/".into(), "/etc".into()]);
        for (want, good, bad) in [
            (Want::equals("q35"), Some("q35"), Some("pc")),
            (Want::equals("8Gi"), Some("8192Mi"), Some("8Mi")),
            (Want::one_of(&["a", "b"]), Some("b"), None),
            (Want::Has("q35".into()), Some("pc-q35-9.2+pve1"), Some("pc-i440fx-9.2")),
            (paths.clone(), Some("/srv/etc"), Some("/etc/pve")),
            (paths.clone(), Some("/etcetera"), Some("/")),
            (paths, None, Some("/etc/")),
            (Want::AtLeast("4".into()), Some("4"), Some("3.5")),
            (Want::AtLeast("8Gi".into()), Some("1Ti"), Some("8191Mi")),
            (Want::AtMost("2".into()), Some("2"), None),
            (Want::Present(true), Some("x"), None),
            (Want::Present(false), Some(""), Some("0")),
        ] {
            assert_eq!(want.holds(good), Ok(true), "{want:?} {good:?}");
            assert_eq!(want.holds(bad), Ok(false), "{want:?} {bad:?}");
        }
        assert!(Want::AtLeast("4".into()).holds(Some("many")).is_err());
    }
}
