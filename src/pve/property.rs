//! Property strings: several values packed into one option, such as `virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=20`.
//! A part without a key belongs to the option's default key, which the caller names. Unknown parts are kept as they are.

/// A property string in its order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PropertyString {
    parts: Vec<(String, String)>,
}

impl PropertyString {
    /// Takes a property string apart. `default_key` is the key of a part that has none (`file` of a disk, `model` of …).
    pub fn parse(text: &str, default_key: &str) -> PropertyString {
        let parts = text.split(',').filter(|p| !p.trim().is_empty()).map(|part| match part.split_once('=') {
            Some((key, value)) => (key.trim().to_owned(), value.to_owned()),
            None => (default_key.to_owned(), part.trim().to_owned()),
        });
        PropertyString { parts: parts.collect() }
    }

    /// A value by its key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.parts.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Sets a value in its place, or at the end.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        match self.parts.iter_mut().find(|(k, _)| k == key) {
            Some((_, v)) => *v = value.into(),
            None => self.parts.push((key.to_owned(), value.into())),
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        let at = self.parts.iter().position(|(k, _)| k == key)?;
        Some(self.parts.remove(at).1)
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parts.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Back to text; the default key's value stands first and bare.
    pub fn to_text(&self, default_key: &str) -> String {
        let bare = self.parts.iter().filter(|(k, _)| k == default_key).map(|(_, v)| v.clone());
        let rest = self.parts.iter().filter(|(k, _)| k != default_key).map(|(k, v)| format!("{k}={v}"));
        bare.chain(rest).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_parts_survive_an_edit() {
        let mut disk = PropertyString::parse("local-lvm:vm-100-disk-0,iothread=1,future=x,size=20G", "file");
        disk.set("ssd", "1");
        disk.set("size", "40G");
        assert_eq!(disk.remove("iothread").as_deref(), Some("1"));
        assert_eq!(disk.to_text("file"), "local-lvm:vm-100-disk-0,future=x,size=40G,ssd=1");
        assert_eq!(disk.get("file"), Some("local-lvm:vm-100-disk-0"));
    }
}
