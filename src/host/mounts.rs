//! Mounts of a node: the program that looks at them and makes them, and what it says, as values. One is made by a systemd mount
//! unit that carries our marker in a comment; so it says whose it is.

use crate::host::fed::{self, program};
use crate::host::operation::Command;
use crate::host::token::Token;
use serde_json::Value;
use std::time::Duration;

const PROGRAM: &str = include_str!("program/mounts.sh");

/// A disk that sleeps takes its time.
const MOUNT_TIMEOUT: Duration = Duration::from_secs(120);
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// A node with hundreds of containers on ZFS has as many mounts.
const LOOK_BYTES_MAX: usize = 4 << 20;
const SAID_BYTES_MAX: usize = 64 << 10;

/// What comes before our marker in a unit.
const COMMENT: &str = "# ";
/// The path of a file system below this is its UUID.
const BY_UUID: &str = "/dev/disk/by-uuid/";
/// What a unit that the node cannot boot without is installed in.
const REQUIRED: &str = "RequiredBy=local-fs.target";

/// A file system that shall be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Its UUID.
    pub uuid: Token,
    /// Where: an absolute path.
    pub path: Token,
    /// Its type: `ext4`.
    pub file_system: Token,
    /// Mount options; at least one.
    pub options: Vec<Token>,
    /// The node does not boot without it.
    pub required: bool,
    /// A unit that we did not write may be written over.
    pub any: bool,
    /// Our marker: `<!-- pvectl … -->`, one line.
    pub marker: String,
}

impl Wish {
    fn options(&self) -> String {
        self.options.iter().map(Token::as_str).collect::<Vec<_>>().join(",")
    }

    /// The unit's text, as the program writes it.
    pub fn unit(&self) -> String {
        let Wish { uuid, path, file_system, options: _, required, any: _, marker } = self;
        let options = self.options();
        let install = if *required { REQUIRED } else { "WantedBy=multi-user.target" };
        format!(
            "# Written by pvectl. It is written anew when its manifest changes.\n{COMMENT}{marker}\n[Unit]\n\
             Description={path}, mounted for pvectl\nBefore=pve-guests.service\n\n[Mount]\nWhat={BY_UUID}{uuid}\nWhere={path}\nType={file_system}\n\
             Options={options}\n\n[Install]\n{install}\n"
        )
    }

    /// The command that mounts it. `None` where the marker is no line, or the options are none or too long for a word.
    pub fn command(&self) -> Option<Command> {
        if !self.marker.starts_with("<!-- pvectl ") || self.marker.contains(['\n', '\r', '\0']) {
            return None;
        }
        let need = if self.required { "required" } else { "wanted" };
        let whose = if self.any { "any" } else { "own" };
        let options = Token::argument(self.options())?;
        let words = [
            Token::own("mount"),
            self.uuid.clone(),
            self.path.clone(),
            self.file_system.clone(),
            options,
            Token::own(need),
            Token::own(whose),
        ];
        Some(program(PROGRAM, &words, std::slice::from_ref(&self.marker), MOUNT_TIMEOUT, SAID_BYTES_MAX))
    }
}

/// The command that looks at all of it.
pub fn look() -> Command {
    program(PROGRAM, &[Token::own("look")], &[], LOOK_TIMEOUT, LOOK_BYTES_MAX)
}

/// The command that looks whether a folder is there, and empty.
pub fn folder(path: &Token) -> Command {
    program(PROGRAM, &[Token::own("folder"), path.clone()], &[], LOOK_TIMEOUT, SAID_BYTES_MAX)
}

/// The command that unmounts what our unit mounted, and removes the unit.
pub fn unmount(path: &Token) -> Command {
    program(PROGRAM, &[Token::own("unmount"), path.clone()], &[], MOUNT_TIMEOUT, SAID_BYTES_MAX)
}

/// The wish of a command, by its words after `mount` and its standard input. Whether they are exactly a wish's is not said.
pub fn heard(words: &[&str], input: &str) -> Option<Wish> {
    let [uuid, path, file_system, options, need, whose] = words else { return None };
    Some(Wish {
        uuid: Token::argument(*uuid)?,
        path: Token::argument(*path)?,
        file_system: Token::argument(*file_system)?,
        options: options.split(',').map(Token::argument).collect::<Option<_>>()?,
        required: *need == "required",
        any: *whose == "any",
        marker: (*fed::list(PROGRAM, input)?.first()?).to_owned(),
    })
}

/// Something that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where.
    pub at: String,
    /// What: `/dev/sda1`, `tmpfs`.
    pub source: String,
    /// `ext4`.
    pub file_system: String,
    /// The options in effect.
    pub options: Vec<String>,
    /// Its UUID, where it has one.
    pub uuid: String,
}

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `/dev/sda1`.
    pub path: String,
    /// The UUID of what is on it; empty: nothing is.
    pub uuid: String,
    /// What is on it: `ext4`, `LVM2_member`.
    pub file_system: String,
    /// In bytes.
    pub size: u64,
    /// The file system's label.
    pub label: String,
}

/// A mount unit of an administrator, or of ours.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Unit {
    /// `mnt-usb.mount`.
    pub name: String,
    /// What `systemctl is-enabled` says.
    pub enabled: String,
    /// What `systemctl is-active` says.
    pub active: String,
    /// `What=`.
    pub what: String,
    /// `Where=`.
    pub at: String,
    /// `Type=`.
    pub file_system: String,
    /// `Options=`.
    pub options: Vec<String>,
    /// The node does not boot without it.
    pub required: bool,
    /// The comment with our marker.
    pub marker: Option<String>,
}

impl Unit {
    /// The UUID that it mounts, where it mounts by one.
    pub fn uuid(&self) -> Option<&str> {
        self.what.strip_prefix(BY_UUID).or_else(|| self.what.strip_prefix("UUID="))
    }
}

/// What is mounted on a node, and what could be.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Mounts {
    /// What is mounted.
    pub mounted: Vec<Mounted>,
    /// Block devices.
    pub devices: Vec<Device>,
    /// Lines of `/etc/fstab`: what, and where.
    pub fstab: Vec<(String, String)>,
    /// Units in `/etc/systemd/system`.
    pub units: Vec<Unit>,
}

/// Whether a folder can be mounted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folder {
    /// It is not there.
    Absent,
    /// It is empty.
    Empty,
    /// Something is in it: some of the names.
    Full(Vec<String>),
    /// It is no folder.
    NoFolder,
}

impl Folder {
    /// What the program says of one.
    pub fn read(text: &str) -> Option<Folder> {
        let mut lines = text.lines();
        Some(match lines.next()? {
            "absent" => Folder::Absent,
            "empty" => Folder::Empty,
            "full" => Folder::Full(lines.map(str::to_owned).collect()),
            "file" => Folder::NoFolder,
            _ => return None,
        })
    }

    /// The same the other way round.
    pub fn write(&self) -> String {
        match self {
            Folder::Absent => "absent\n".to_owned(),
            Folder::Empty => "empty\n".to_owned(),
            Folder::Full(names) => format!("full\n{}\n", names.join("\n")),
            Folder::NoFolder => "file\n".to_owned(),
        }
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|o| !o.is_empty()).map(str::to_owned).collect()
}

/// The rows of a tree that findmnt or lsblk prints, children after their parents.
fn rows<'a>(list: &'a Value, out: &mut Vec<&'a Value>) {
    for row in list.as_array().into_iter().flatten() {
        out.push(row);
        rows(&row["children"], out);
    }
}

fn mounted(row: &Value) -> Mounted {
    Mounted {
        at: word(&row["target"]),
        source: word(&row["source"]),
        file_system: word(&row["fstype"]),
        options: list(row["options"].as_str().unwrap_or_default()),
        uuid: word(&row["uuid"]),
    }
}

fn device(row: &Value) -> Device {
    // Old versions of lsblk write numbers as texts.
    let size = row["size"].as_u64().or_else(|| row["size"].as_str()?.parse().ok()).unwrap_or_default();
    Device {
        path: word(&row["path"]),
        uuid: word(&row["uuid"]),
        file_system: word(&row["fstype"]),
        size,
        label: word(&row["label"]),
    }
}

fn unit(name: &str, lines: &[&str]) -> Unit {
    let mut unit = Unit { name: name.to_owned(), ..Unit::default() };
    let mut section = "";
    for line in lines {
        if let Some(text) = line.strip_prefix('|') {
            let text = text.trim();
            if let Some(marker) = text.strip_prefix(COMMENT).filter(|c| c.starts_with("<!-- pvectl ")) {
                unit.marker = Some(marker.to_owned());
            } else if text.starts_with('[') {
                section = text;
            } else if let (true, Some((key, value))) = (section == "[Mount]", text.split_once('=')) {
                let value = value.trim();
                match key.trim() {
                    "What" => value.clone_into(&mut unit.what),
                    "Where" => value.clone_into(&mut unit.at),
                    "Type" => value.clone_into(&mut unit.file_system),
                    "Options" => unit.options = list(value),
                    _ => {}
                }
            }
            unit.required |= section == "[Install]" && text == REQUIRED;
        } else if let Some(value) = line.strip_prefix("enabled=") {
            value.clone_into(&mut unit.enabled);
        } else if let Some(value) = line.strip_prefix("active=") {
            value.clone_into(&mut unit.active);
        }
    }
    unit
}

impl Mounts {
    /// What the program says; why it cannot be read otherwise.
    pub fn read(text: &str) -> Result<Mounts, String> {
        let lines: Vec<&str> = text.lines().collect();
        if lines.last() != Some(&"[end]") {
            return Err("the node's list of mounts has no end".to_owned());
        }
        let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in lines {
            let head = ["[mounts]", "[devices]", "[fstab]", "[end]"].contains(&line) || line.starts_with("[unit ");
            match (head, sections.last_mut()) {
                (true, _) => sections.push((line, Vec::new())),
                (false, Some((_, lines))) => lines.push(line),
                (false, None) => return Err(format!("`{line}` is in no section")),
            }
        }
        let mut out = Mounts::default();
        for (head, lines) in &sections {
            let json = |key: &str| -> Result<Value, String> {
                let whole = lines.join("\n");
                let mut value: Value = serde_json::from_str(&whole).map_err(|e| format!("{head} is not read: {e}"))?;
                Ok(value[key].take())
            };
            let mut found = Vec::new();
            match *head {
                "[mounts]" => {
                    let value = json("filesystems")?;
                    rows(&value, &mut found);
                    out.mounted = found.into_iter().map(mounted).collect();
                }
                "[devices]" => {
                    let value = json("blockdevices")?;
                    rows(&value, &mut found);
                    out.devices = found.into_iter().map(device).collect();
                }
                "[fstab]" => {
                    let pair = |line: &&str| {
                        let mut words = line.split_whitespace();
                        Some((words.next()?.to_owned(), words.next()?.to_owned()))
                    };
                    out.fstab = lines.iter().filter_map(pair).collect();
                }
                _ => {
                    let name = head.strip_prefix("[unit ").and_then(|rest| rest.strip_suffix(']'));
                    out.units.extend(name.map(|name| unit(name, lines)));
                }
            }
        }
        Ok(out)
    }

    /// What is mounted at a path, on top.
    pub fn at(&self, path: &str) -> Option<&Mounted> {
        self.mounted.iter().rev().find(|m| m.at == path)
    }

    /// The unit of a path.
    pub fn unit(&self, path: &str) -> Option<&Unit> {
        self.units.iter().find(|u| u.at == path)
    }
}

/// The name of the unit that mounts at a path, as `systemd-escape --path --suffix=mount` says it.
pub fn unit_name(path: &str) -> String {
    let inner = path.trim_matches('/');
    if inner.is_empty() {
        return "-.mount".to_owned();
    }
    let mut out = String::new();
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if at == 0 => out.push_str("\\x2e"),
            b if b.is_ascii_alphanumeric() || b":_.".contains(&b) => out.push(char::from(b)),
            b => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out + ".mount"
}
