//! `checks` of a manifest, and of `pvectl check --rules`: a rule set by name, or a list of sets and rules.

use crate::base::diagnostic::nearest;
use crate::base::id::GuestType;
use crate::kinds::guest::rules::evaluate::is_readable;
use crate::kinds::guest::rules::rule::{Rule, Severity, noun};
use crate::kinds::guest::rules::sets::{ALL, RuleSet};
use crate::kinds::guest::rules::want::{Want, measure};
use crate::kinds::guest::table;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;

/// The annotation that names rule sets.
pub const ANNOTATION: &str = "pvectl/checks";

/// A rule set by name, or a list of sets and rules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checks(pub Vec<Check>);

/// One entry of the list.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    /// All rules of a set.
    Set(RuleSet),
    /// A rule of the user's own.
    Rule(CustomRule),
}

/// A rule of one's own about a field of the guest: exactly one of `equals`, `oneOf`, `atLeast`, `atMost` and `present`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomRule {
    /// Its name, in kebab case.
    #[schemars(regex(pattern = "^[a-z0-9]+(-[a-z0-9]+)*$"))]
    pub id: String,
    /// The field of the manifest that it reads off the guest, such as `hardware.cores`, `disks.scsi0.cache`, `options.args`;
    /// `*` in place of a slot stands for each that is there.
    pub field: String,
    /// It must be this.
    #[serde(default)]
    pub equals: Option<Scalar>,
    /// It must be one of these.
    #[serde(default)]
    pub one_of: Option<Vec<Scalar>>,
    /// It must be this much or more: a number or a size.
    #[serde(default)]
    pub at_least: Option<Scalar>,
    /// It must be this much or less.
    #[serde(default)]
    pub at_most: Option<Scalar>,
    /// It must be set, or not.
    #[serde(default)]
    pub present: Option<bool>,
    /// Why: it stands beside every finding.
    pub why: String,
    /// How much it weighs; an error unless said.
    #[serde(default)]
    pub severity: Severity,
}

/// Text, a number or a boolean.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar(pub Value);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        match Value::deserialize(deserializer)? {
            value @ (Value::String(_) | Value::Number(_) | Value::Bool(_)) => Ok(Scalar(value)),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err(Error::custom("a rule compares with text, a number or a boolean"))
            }
        }
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number", "boolean"], "description": "Text, a number or a boolean, as in the field."})
    }
}

fn set(name: &str) -> Result<RuleSet, String> {
    RuleSet::find(name).ok_or_else(|| {
        let names = ALL.map(RuleSet::name);
        let near = nearest(name, names).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        format!("there is no rule set `{name}`; {near}rule sets: {}", names.join(", "))
    })
}

impl Checks {
    /// One set.
    pub fn of(set: RuleSet) -> Checks {
        Checks(vec![Check::Set(set)])
    }

    /// Sets by their names, apart by commas. The error says which there are.
    pub fn by_names(names: &str) -> Result<Checks, String> {
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        let checks: Vec<Check> = names.map(|name| set(name).map(Check::Set)).collect::<Result<_, _>>()?;
        if checks.is_empty() { Err("no rule set was named".to_owned()) } else { Ok(Checks(checks)) }
    }

    /// From a manifest's value; the error says what is wrong.
    pub fn from_value(value: &Value) -> Result<Checks, String> {
        let one = |item: &Value| match item {
            Value::String(name) => set(name).map(Check::Set),
            Value::Object(_) => {
                let rule =
                    serde_path_to_error::deserialize::<_, CustomRule>(item).map_err(|e| e.inner().to_string())?;
                rule.want()?;
                Ok(Check::Rule(rule))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                Err(format!("`{item}` is neither a rule set's name nor a rule"))
            }
        };
        match value {
            Value::Array(items) => items.iter().map(one).collect::<Result<_, _>>().map(Checks),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                one(value).map(|check| Checks(vec![check]))
            }
        }
    }

    /// The rules that speak of a type of guest.
    pub fn rules(&self, guest: GuestType) -> Vec<Rule> {
        let mut rules: Vec<Rule> = Vec::new();
        for check in &self.0 {
            match check {
                Check::Set(set) if set.guest() == guest => rules.extend(set.rules()),
                Check::Set(_) => {}
                Check::Rule(rule) => rules.extend(rule.rule(guest)),
            }
        }
        rules
    }

    /// What no guest of this type could ever be held against: sets for the other type, fields that it does not have, measures
    /// that are none.
    pub fn faults(&self, guest: GuestType) -> Vec<String> {
        let fault = |check: &Check| match check {
            Check::Set(set) if set.guest() != guest => Some(format!(
                "the rule set {} is for {}s, and this is a {}",
                set.name(),
                noun(set.guest()),
                noun(guest)
            )),
            Check::Set(_) => None,
            Check::Rule(rule) => rule.fault(guest),
        };
        self.0.iter().filter_map(fault).collect()
    }
}

impl<'de> Deserialize<'de> for Checks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Checks, D::Error> {
        Checks::from_value(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Checks {
    fn schema_name() -> Cow<'static, str> {
        "Checks".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let rule = generator.subschema_for::<CustomRule>();
        let names = ALL.map(RuleSet::name);
        json_schema!({
            "description": "A rule set by name, or a list of rule sets and rules of one's own.",
            "anyOf": [
                {"type": "string", "enum": names},
                {"type": "array", "items": {"anyOf": [{"type": "string", "enum": names}, rule]}},
            ],
        })
    }
}

impl CustomRule {
    /// Which of its wishes is said.
    fn want(&self) -> Result<Wish<'_>, String> {
        let CustomRule { id, field: _, equals, one_of, at_least, at_most, present, why: _, severity: _ } = self;
        let said = [
            equals.as_ref().map(Wish::Equals),
            one_of.as_ref().map(|list| Wish::OneOf(list)),
            at_least.as_ref().map(Wish::AtLeast),
            at_most.as_ref().map(Wish::AtMost),
            present.map(Wish::Present),
        ];
        let mut said = said.into_iter().flatten();
        match (said.next(), said.next()) {
            (Some(wish), None) => Ok(wish),
            (_, _) => Err(format!("the rule `{id}` says not just one of equals, oneOf, atLeast, atMost, present")),
        }
    }

    fn rule(&self, guest: GuestType) -> Option<Rule> {
        // A list of rules may be held against all guests: what only the other type has says nothing of this one.
        if !is_readable(guest, &self.field)
            && [GuestType::Qemu, GuestType::Lxc].iter().any(|g| is_readable(*g, &self.field))
        {
            return None;
        }
        let form = table::find(guest, &self.field).map(|(row, _)| row.form);
        let normal = |scalar: &Scalar| match (form, &scalar.0) {
            (Some(form), value) => form.of_manifest(value).unwrap_or_default(),
            (None, Value::Bool(on)) => u8::from(*on).to_string(),
            (None, Value::String(text)) => text.clone(),
            (None, other) => other.to_string(),
        };
        let want = match self.want().ok()? {
            Wish::Equals(value) => Want::Equals(normal(value)),
            Wish::OneOf(list) => Want::OneOf(list.iter().map(normal).collect()),
            Wish::AtLeast(value) => Want::AtLeast(normal(value)),
            Wish::AtMost(value) => Want::AtMost(normal(value)),
            Wish::Present(wanted) => Want::Present(wanted),
        };
        Some(Rule { severity: self.severity, ..Rule::new(&self.id, &self.field, want, &self.why) })
    }

    fn fault(&self, guest: GuestType) -> Option<String> {
        let CustomRule { id, field, .. } = self;
        if !is_readable(guest, field) {
            let paths = table::rows(guest).iter().map(|row| row.path);
            let near = nearest(field, paths).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return Some(format!("the rule `{id}` reads `{field}`, which a {} does not have{near}", noun(guest)));
        }
        let amounts = self.at_least.iter().chain(&self.at_most);
        let mut texts = amounts.map(|scalar| scalar.0.as_str().map_or_else(|| scalar.0.to_string(), str::to_owned));
        let odd = texts.find(|text| measure(text).is_none())?;
        Some(format!("the rule `{id}` compares with `{odd}`, which is no number and no size"))
    }
}

/// What a rule of the user's own wants.
enum Wish<'a> {
    Equals(&'a Scalar),
    OneOf(&'a [Scalar]),
    AtLeast(&'a Scalar),
    AtMost(&'a Scalar),
    Present(bool),
}
