//! A rule, and what it found.

use crate::base::id::GuestType;
use crate::kinds::guest::rules::inside::Probe;
use crate::kinds::guest::rules::want::Want;
use schemars::JsonSchema;
use serde::Deserialize;

/// How much a failed rule weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize, JsonSchema)]
pub enum Severity {
    /// Good to have; told, and nothing is held up by it.
    Warning,
    /// Must be so: a template that fails it is not converted.
    #[default]
    Error,
}

impl Severity {
    /// The word that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// What a rule looks at.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    /// A field of the manifest, as the guest has it; `*` stands for every slot that is there.
    Field(String),
    /// Cores times sockets.
    Processors,
    /// Whether a container may take all processors of its node.
    ProcessorLimit,
    /// Whether the guest's own firewall is switched on.
    Firewall,
    /// Whether the guest agent answers.
    Agent,
    /// What a command says inside the guest.
    Inside(Probe),
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name, in kebab case.
    pub id: String,
    /// The rule set that it is of; `None` for a rule of the user's own.
    pub set: Option<&'static str>,
    /// What it looks at.
    pub look: Look,
    /// What it wants of it.
    pub want: Want,
    /// Why.
    pub why: String,
    /// How much it weighs.
    pub severity: Severity,
    /// What to do, where the wish itself does not say what to write in the manifest.
    pub remedy: Option<String>,
    /// It fails where there is not one such slot.
    pub needs_one: bool,
    /// It holds for guests with this tag alone.
    pub tagged: Option<&'static str>,
    /// What its own manifest asks for is no finding: the exception is written down, reviewed, and has an owner.
    pub unless_asked: bool,
}

impl Rule {
    /// A rule about a field, which must be so.
    pub fn new(id: &str, field: &str, want: Want, why: &str) -> Rule {
        Rule {
            id: id.to_owned(),
            set: None,
            look: Look::Field(field.to_owned()),
            want,
            why: why.to_owned(),
            severity: Severity::Error,
            remedy: None,
            needs_one: false,
            tagged: None,
            unless_asked: false,
        }
    }

    /// The same about something that is no field, with what to do.
    pub fn looking(self, look: Look, remedy: &str) -> Rule {
        Rule { look, ..self.remedy(remedy) }
    }

    /// The same with its own advice.
    pub fn remedy(self, remedy: &str) -> Rule {
        Rule { remedy: Some(remedy.to_owned()), ..self }
    }

    /// The same, good to have.
    pub fn advice(self) -> Rule {
        Rule { severity: Severity::Warning, ..self }
    }

    /// The same, and at least one such slot must be there.
    pub fn needed(self) -> Rule {
        Rule { needs_one: true, ..self }
    }

    /// The same for guests with a tag alone.
    pub fn tagged(self, tag: &'static str) -> Rule {
        Rule { tagged: Some(tag), ..self }
    }

    /// The same, unless the guest's own manifest asks for it.
    pub fn unless_asked(self) -> Rule {
        Rule { unless_asked: true, ..self }
    }

    /// The field that it is about, in the manifest's words.
    pub fn subject(&self) -> &str {
        match &self.look {
            Look::Field(path) => path,
            Look::Processors | Look::ProcessorLimit => "hardware.cores",
            Look::Firewall => "firewall",
            Look::Agent => "guest agent",
            Look::Inside(probe) => probe.subject(),
        }
    }
}

/// What came of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is as it should be.
    Pass,
    /// It is not.
    Fail,
    /// It could not be told; what was read says why.
    NotKnown,
}

impl Verdict {
    /// The word that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::NotKnown => "not-known",
        }
    }
}

/// A rule and what came of it on one guest.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// What came of it.
    pub verdict: Verdict,
    /// What was read, or why nothing could be.
    pub read: String,
    /// What the rule wants, in words.
    pub wanted: String,
    /// What to write in the manifest, or to do.
    pub remedy: String,
}

/// What a type of guest is called in messages.
pub fn noun(guest: GuestType) -> &'static str {
    match guest {
        GuestType::Qemu => "virtual machine",
        GuestType::Lxc => "container",
    }
}
