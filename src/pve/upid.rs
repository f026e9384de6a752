//! Task ids: `UPID:node:pid:pstart:starttime:type:id:user:` (`PVE::UPID`/`PVE::Tools::upid_decode`; pid, pstart and
//! starttime in upper-case hexadecimal digits).

use std::fmt;

/// A task's id, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Upid {
    /// The node that runs the task, and where its status is asked.
    pub node: String,
    /// Seconds since the epoch.
    pub start_time: u64,
    /// `qmcreate`, `vzstart`, …
    pub task_type: String,
    /// What it works on, mostly a VMID; may be empty.
    pub id: String,
    /// Who started it: `user@realm` or `user@realm!token`.
    pub user: String,
    text: String,
}

impl Upid {
    /// Takes a task id apart; `None` where it is none.
    pub fn parse(text: &str) -> Option<Upid> {
        let fields: Vec<&str> = text.strip_prefix("UPID:")?.splitn(7, ':').collect();
        let [node, _pid, _pstart, start, task_type, id, user] = fields[..] else { return None };
        if node.is_empty() || task_type.is_empty() {
            return None;
        }
        Some(Upid {
            node: node.to_owned(),
            start_time: u64::from_str_radix(start, 16).ok()?,
            task_type: task_type.to_owned(),
            id: id.to_owned(),
            user: user.strip_suffix(':')?.to_owned(),
            text: text.to_owned(),
        })
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_ids_are_taken_apart() {
        let upid = Upid::parse("UPID:pve1:0000C0DE:00A1B2C3:6920A5F0:qmcreate:100:root@pam!test:").expect("a task id");
        assert_eq!(
            (upid.node.as_str(), upid.task_type.as_str(), upid.id.as_str(), upid.user.as_str()),
            ("pve1", "qmcreate", "100", "root@pam!test")
        );
        for text in ["", "UPID:", "UPID:a:b:c:d:e:f:g", "UPID:pve1:1:1:zz:t:1:u:"] {
            assert_eq!(Upid::parse(text), None, "{text}");
        }
    }
}
