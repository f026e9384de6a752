//! When two answers agree: made-up ids set aside, the same fields of the same JSON types.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

/// Fields by which the members of a list are told apart.
const KEYS: &[&str] = &[
    "id", "vmid", "upid", "storeid", "storage", "name", "node", "poolid", "roleid", "userid", "tokenid", "groupid",
    "group", "volid", "pos", "sid", "rule", "vnet", "zone", "subnet", "cidr", "iface", "n", "type", "path", "subdir",
    "key",
];
/// Fields that genuine answers hold at one time and not at another.
const SOMETIMES: &[&str] = &["idle_time_ns", "zone-type"];

/// Fields whose values are load, time or chance.
const LOAD: &[&str] = &[
    "avail",
    "cpu",
    "disk",
    "diskread",
    "diskwrite",
    "endtime",
    "free",
    "loadavg",
    "mem",
    "memhost",
    "netin",
    "netout",
    "next-run",
    "pid",
    "pstart",
    "starttime",
    "uptime",
    "used",
    "used_fraction",
    "idle",
    "wait",
];

/// Ids that servers make up: the recorded one → ours.
pub(super) type Memory = IndexMap<String, String>;

/// A matcher: how many characters it takes at the start of the text, and what stands for them.
type Volatile = fn(&[char]) -> Option<(usize, String)>;

/// The text with everything that differs between two runs set aside.
pub(super) fn norm(text: &str) -> String {
    const WORDS: &[Volatile] = &[digest, mac, uuid, epoch, pid];
    const ANYWHERE: &[Volatile] = &[upid, source, time, root_only];
    let text: Vec<char> = text.trim().chars().collect();
    let (mut out, mut at) = (String::new(), 0);
    while at < text.len() {
        let rest = &text[at..];
        let word_starts = at == 0 || !is_word(text[at - 1]);
        let words = if word_starts { WORDS } else { &[] };
        match words.iter().chain(ANYWHERE).find_map(|v| v(rest)) {
            Some((taken, shown)) => {
                out.push_str(&shown);
                at += taken;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn ends_word(text: &[char], at: usize) -> bool {
    text.get(at).is_none_or(|c| !is_word(*c))
}

fn run(text: &[char], test: impl Fn(char) -> bool) -> usize {
    text.iter().take_while(|c| test(**c)).count()
}

fn small_hex(c: char) -> bool {
    c.is_ascii_digit() || ('a'..='f').contains(&c)
}

fn starts(text: &[char], with: &str) -> bool {
    text.len() >= with.len() && with.chars().zip(text).all(|(a, b)| a == *b)
}

/// Whether the text begins like the pattern: `9` a digit, `h` a hexadecimal digit, `-` a dash or underscore, `:` a colon
/// or underscore.
fn looks_like(text: &[char], pattern: &str) -> bool {
    text.len() >= pattern.len()
        && pattern.chars().zip(text).all(|(p, c)| match p {
            '9' => c.is_ascii_digit(),
            'h' => small_hex(*c),
            '-' => *c == '-' || *c == '_',
            ':' => *c == ':' || *c == '_',
            p => p == *c,
        })
}

fn digest(text: &[char]) -> Option<(usize, String)> {
    (run(text, small_hex) == 40 && ends_word(text, 40)).then(|| (40, "<digest>".to_owned()))
}

fn mac(text: &[char]) -> Option<(usize, String)> {
    let fits = text.len() >= 17
        && (0..17).all(|i| if i % 3 == 2 { text[i] == ':' } else { text[i].is_ascii_hexdigit() })
        && ends_word(text, 17);
    fits.then(|| (17, "<mac>".to_owned()))
}

fn uuid(text: &[char]) -> Option<(usize, String)> {
    looks_like(text, "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh").then(|| (36, "<uuid>".to_owned()))
}

fn epoch(text: &[char]) -> Option<(usize, String)> {
    let fits = run(text, |c| c.is_ascii_digit()) == 10 && (starts(text, "17") || starts(text, "18"));
    (fits && ends_word(text, 10)).then(|| (10, "<epoch>".to_owned()))
}

fn pid(text: &[char]) -> Option<(usize, String)> {
    let digits = if starts(text, "pid ") { run(&text[4..], |c| c.is_ascii_digit()) } else { 0 };
    (digits > 0).then(|| (4 + digits, "pid *".to_owned()))
}

fn upid(text: &[char]) -> Option<(usize, String)> {
    if !starts(text, "UPID:") {
        return None;
    }
    let node = run(&text[5..], |c| c != ':');
    let mut at = 5 + node;
    for _ in 0..3 {
        let hex = run(text.get(at + 1..)?, |c| c.is_ascii_hexdigit());
        if text[at] != ':' || hex == 0 {
            return None;
        }
        at += 1 + hex;
    }
    let node: String = text[5..5 + node].iter().collect();
    (text.get(at) == Some(&':')).then(|| (at + 1, format!("UPID:{node}:*:")))
}

fn source(text: &[char]) -> Option<(usize, String)> {
    if !starts(text, "at ") {
        return None;
    }
    let file = 3 + run(&text[3..], |c| !c.is_whitespace());
    let name: String = text[3..file].iter().collect();
    let digits = if starts(&text[file..], " line ") { run(&text[file + 6..], |c| c.is_ascii_digit()) } else { 0 };
    (name.ends_with(".pm") && digits > 0).then(|| (file + 6 + digits, "at <source>".to_owned()))
}

fn time(text: &[char]) -> Option<(usize, String)> {
    if !looks_like(text, "9999-99-99") {
        return None;
    }
    let long = text.get(10).is_some_and(|c| "-_T ".contains(*c)) && looks_like(&text[11..], "99:99:99");
    Some((if long { 19 } else { 10 }, "<time>".to_owned()))
}

/// PVE names any one of several options, at random.
fn root_only(text: &[char]) -> Option<(usize, String)> {
    const HEAD: &str = "only root can set '";
    let word = if starts(text, HEAD) { HEAD.len() + run(&text[HEAD.len()..], is_word) } else { return None };
    starts(&text[word..], "' config").then(|| (word + 8, "only root can set … config".to_owned()))
}

/// The JSON type of a value; objects and lists of objects as field → shape.
pub(super) fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(members.iter().map(|(k, v)| (k.clone(), shape(v))).collect()),
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_object) => {
            let mut out = Map::new();
            for (key, kind) in items.iter().filter_map(Value::as_object).flatten() {
                let kind = shape(kind);
                let have = out.entry(key.clone()).or_insert_with(|| kind.clone());
                if let (Some(a), Some(b)) = (have.as_str(), kind.as_str())
                    && !a.split('|').any(|k| k == b)
                {
                    *have = format!("{a}|{b}").into();
                }
            }
            json!(["list", out])
        }
        Value::Array(items) => json!(["list", items.first().map(shape)]),
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
    }
}

/// Where two shapes differ.
pub(super) fn shape_diff(want: &Value, got: &Value, path: &str) -> Vec<String> {
    match (want, got) {
        (Value::Object(w), Value::Object(g)) => {
            let mut out = Vec::new();
            for (key, kind) in w.iter().filter(|(k, _)| !SOMETIMES.contains(&k.as_str())) {
                match g.get(key) {
                    None => out.push(format!("{path}.{key} missing")),
                    Some(ours) => out.extend(shape_diff(kind, ours, &format!("{path}.{key}"))),
                }
            }
            let extra = g.keys().filter(|k| !SOMETIMES.contains(&k.as_str()) && !w.contains_key(*k));
            out.extend(extra.map(|k| format!("{path}.{k} extra")));
            out
        }
        (Value::Array(w), Value::Array(g)) if w[1].is_null() || g[1].is_null() => {
            match w[1].is_null() == g[1].is_null() {
                true => Vec::new(),
                false => vec![format!("{path} list empty or not")],
            }
        }
        (Value::Array(w), Value::Array(g)) => shape_diff(&w[1], &g[1], &format!("{path}[]")),
        (Value::String(w), Value::String(g)) if w.split('|').any(|k| g.split('|').any(|o| o == k)) => Vec::new(),
        (w, g) if w == g => Vec::new(),
        (w, g) => {
            let name = |v: &Value| v.as_str().map_or("object", |_| "").to_owned() + v.as_str().unwrap_or_default();
            vec![format!("{path} is {}, wanted {}", name(g), name(w))]
        }
    }
}

/// Pairs made-up ids at the same place in both answers.
pub(super) fn learn(want: &Value, got: &Value, memory: &mut Memory) {
    match (want, got) {
        (Value::Object(w), Value::Object(g)) => {
            w.iter().filter_map(|(k, v)| Some((v, g.get(k)?))).for_each(|(a, b)| learn(a, b, memory));
        }
        (Value::Array(w), Value::Array(g)) => {
            let key = KEYS.iter().find(|k| !w.is_empty() && w.iter().all(|x| x.get(**k).is_some()));
            for (i, theirs) in w.iter().enumerate() {
                let same = key.and_then(|k| g.iter().rev().find(|x| x.get(*k).map(plain) == theirs.get(*k).map(plain)));
                if let Some(ours) = same.or(g.get(i)) {
                    learn(theirs, ours, memory);
                }
            }
        }
        (Value::String(w), Value::String(g)) if w != g && same_but_made_up(w, g) => {
            memory.insert(w.clone(), g.clone());
            memory.extend(made_up(w).into_iter().zip(made_up(g)).filter(|(a, b)| a.len() == b.len()));
        }
        _ => {}
    }
}

fn same_but_made_up(want: &str, got: &str) -> bool {
    norm(want) == norm(got) || (want.starts_with("UPID:") && got.starts_with("UPID:"))
}

/// The digests and MAC addresses in a text.
fn made_up(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let starts = (0..chars.len()).filter(|i| *i == 0 || !is_word(chars[i - 1]));
    starts
        .filter_map(|i| digest(&chars[i..]).or(mac(&chars[i..])).map(|(n, _)| chars[i..i + n].iter().collect()))
        .collect()
}

/// A value as text.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The text with recorded ids replaced by ours.
pub(super) fn carry(text: &str, memory: &Memory) -> String {
    let mut text = text.to_owned();
    for (theirs, ours) in memory {
        text = text.replace(theirs.as_str(), ours);
        let (theirs_quoted, ours_quoted) = (quote(theirs), quote(ours));
        if theirs_quoted != *theirs {
            text = text.replace(&theirs_quoted, &ours_quoted);
        }
    }
    text
}

/// Percent-encoding of everything that is not unreserved.
pub(super) fn quote(text: &str) -> String {
    const LEFT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    percent_encoding::utf8_percent_encode(text, LEFT).to_string()
}

/// Where values differ beyond what differs between any two runs, each with ours and theirs.
pub(super) fn value_diff(want: &Value, got: &Value, path: &str) -> Vec<String> {
    match (want, got) {
        (Value::Object(w), Value::Object(g)) => {
            let each =
                |(k, v): (&String, &Value)| value_diff(v, g.get(k).unwrap_or(&Value::Null), &format!("{path}.{k}"));
            w.iter().filter(|(k, _)| !LOAD.contains(&k.as_str())).flat_map(each).collect()
        }
        (Value::Array(w), Value::Array(g)) if w.len() != g.len() => {
            vec![format!("{path} has {} members, wanted {}", g.len(), w.len())]
        }
        (Value::Array(w), Value::Array(g)) => {
            // Perl's hashes have no order, and neither have the lists made of them.
            let key = KEYS.iter().find(|k| !w.is_empty() && w.iter().all(|x| x.get(**k).is_some()));
            let each = |(i, theirs): (usize, &Value)| {
                let same = key.and_then(|k| g.iter().find(|x| x.get(*k).map(plain) == theirs.get(*k).map(plain)));
                value_diff(theirs, same.unwrap_or(&g[i]), &format!("{path}[{i}]"))
            };
            w.iter().enumerate().flat_map(each).collect()
        }
        (w, g) => {
            let sorted = |v: &Value| -> Vec<String> {
                let text = norm(&plain(v));
                let mut parts: Vec<String> = text.split(',').map(str::to_owned).collect();
                parts.sort();
                parts
            };
            match sorted(w) == sorted(g) {
                true => Vec::new(),
                false => vec![format!("{path} is {}, wanted {}", norm(&plain(g)), norm(&plain(w)))],
            }
        }
    }
}
