//! A rule as PVE keeps it.

use serde_json::Value;

/// Text of a member that PVE may send as text, number or flag; empty for what is not there.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(on) => u8::from(*on).to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

/// Which packets a rule looks at, from the guest's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To the guest.
    In,
    /// From it.
    Out,
}

impl Direction {
    /// PVE's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
        }
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It passes.
    Accept,
    /// It goes, and nobody is told.
    Drop,
    /// It goes, and the sender is told.
    Reject,
}

impl Verdict {
    /// From PVE's word.
    pub fn parse(text: &str) -> Option<Verdict> {
        match text {
            "ACCEPT" => Some(Verdict::Accept),
            "DROP" => Some(Verdict::Drop),
            "REJECT" => Some(Verdict::Reject),
            _ => None,
        }
    }

    /// PVE's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Accept => "ACCEPT",
            Verdict::Drop => "DROP",
            Verdict::Reject => "REJECT",
        }
    }
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Decides about packets of a direction.
    Decide(Direction, Verdict),
    /// Asks a security group.
    Group(String),
}

/// A rule. Texts are as PVE keeps them; an empty one asks nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub deed: Deed,
    /// Whether it counts.
    pub enabled: bool,
    /// The interface that it is for (`net0`); any where empty.
    pub interface: String,
    /// A macro, such as `SSH`.
    pub macro_name: String,
    /// Source addresses.
    pub source: String,
    /// Destination addresses.
    pub dest: String,
    /// Protocol.
    pub proto: String,
    /// Source ports.
    pub source_ports: String,
    /// Destination ports (and ICMP types, as old rules have them).
    pub dest_ports: String,
    /// ICMP type.
    pub icmp_type: String,
    /// Free text.
    pub comment: String,
}

impl Rule {
    /// A rule that asks nothing.
    pub fn new(deed: Deed) -> Rule {
        Rule {
            deed,
            enabled: true,
            interface: String::new(),
            macro_name: String::new(),
            source: String::new(),
            dest: String::new(),
            proto: String::new(),
            source_ports: String::new(),
            dest_ports: String::new(),
            icmp_type: String::new(),
            comment: String::new(),
        }
    }

    /// Reads a row of `GET …/rules`; `None` for what is no rule of a guest or a group (`forward`, say).
    pub fn decode(row: &Value) -> Option<Rule> {
        let text = |key: &str| text(&row[key]);
        let verdict = || Verdict::parse(&text("action"));
        let deed = match text("type").as_str() {
            "in" => Deed::Decide(Direction::In, verdict()?),
            "out" => Deed::Decide(Direction::Out, verdict()?),
            "group" => Deed::Group(text("action")),
            _ => return None,
        };
        Some(Rule {
            deed,
            // Absent means off (facts.md, Firewall).
            enabled: !matches!(text("enable").as_str(), "" | "0"),
            interface: text("iface"),
            macro_name: text("macro"),
            source: text("source"),
            dest: text("dest"),
            proto: text("proto"),
            source_ports: text("sport"),
            dest_ports: text("dport"),
            icmp_type: text("icmp-type"),
            comment: text("comment"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_of_pve() {
        let rule = Rule::decode(&json!({"pos": 0, "type": "out", "action": "ACCEPT", "enable": 1, "dest": "+dc/web",
            "proto": "tcp", "dport": "443", "iface": "net0"}))
        .expect("a rule");
        assert_eq!(rule.deed, Deed::Decide(Direction::Out, Verdict::Accept));
        assert!(rule.enabled && rule.dest == "+dc/web" && rule.dest_ports == "443" && rule.interface == "net0");
        let group = Rule::decode(&json!({"type": "group", "action": "web", "pos": "1"})).expect("a rule");
        assert_eq!((group.deed, group.enabled), (Deed::Group("web".into()), false));
        assert_eq!(Rule::decode(&json!({"type": "forward", "action": "DROP"})), None);
    }
}
