//! Sizes and spans of time as people write them (`4Gi`, `20G`, `30s`).

use std::fmt;

/// A number of bytes.
///
/// Manifests write Kubernetes' binary suffixes (`512Mi`, `4Gi`); PVE's own `4G`, `512M` mean the same powers of two
/// (`PVE::JSONSchema::parse_size`), so both are read as binary. A bare number is bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 5] = [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10), ("", 1)];

impl Bytes {
    /// Reads `20Gi`, `20G`, `512Mi`, `1.5T`, `1048576`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Bytes> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.strip_suffix('i').filter(|u| !u.is_empty()).or_else(|| unit.strip_suffix("iB")).unwrap_or(unit);
        let factor = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1;
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Bytes);
        }
        let number: f64 = number.parse().ok()?;
        let bytes = number * factor as f64;
        (0.0..9e18).contains(&bytes).then_some(Bytes(bytes as u64))
    }

    /// Whole MiB, rounded down.
    pub fn mib(self) -> u64 {
        self.0 >> 20
    }

    /// Whole KiB, rounded down.
    pub fn kib(self) -> u64 {
        self.0 >> 10
    }

    /// As PVE writes a disk's size: the largest unit that divides it (`PVE::JSONSchema::format_size`).
    pub fn to_pve(self) -> String {
        self.in_units("")
    }

    fn in_units(self, suffix: &str) -> String {
        let (name, factor) =
            UNITS.iter().find(|(_, f)| self.0 >= *f && self.0.is_multiple_of(*f)).copied().unwrap_or(("", 1));
        let suffix = if name.is_empty() { "" } else { suffix };
        format!("{}{name}{suffix}", self.0 / factor)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_units("i"))
    }
}

/// So many of a thing: `1 step`, `2 steps`.
pub fn counted(n: usize, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

/// Seconds from `90`, `30s`, `5m`, `36h`, `7d`, `1h30m`; `None` for anything else.
pub fn parse_seconds(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut number: Option<u64> = None;
    for c in text.trim().chars() {
        if let Some(digit) = c.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(u64::from(digit))?);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    match number {
        Some(rest) if total == 0 => Some(rest),
        Some(_) => None,
        None => (!text.trim().is_empty()).then_some(total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_in_binary_units() {
        for (text, bytes) in [
            ("4Gi", 4 << 30),
            ("20G", 20 << 30),
            ("512Mi", 512 << 20),
            ("512MiB", 512 << 20),
            ("7", 7),
            ("1.5G", 3 << 29),
        ] {
            assert_eq!(Bytes::parse(text), Some(Bytes(bytes)), "{text}");
        }
        for text in ["", "G", "4Q", "4 Gi x", "-1G", "99999999999999T", "1.2.3G", "i"] {
            assert_eq!(Bytes::parse(text), None, "{text}");
        }
        assert_eq!(Bytes(20 << 30).to_pve(), "20G");
        assert_eq!(Bytes(528 << 10).to_pve(), "528K");
        assert_eq!(Bytes(0).to_pve(), "0");
        assert_eq!(Bytes(4 << 30).to_string(), "4Gi");
    }

    #[test]
    fn spans_of_time_are_read() {
        for (text, seconds) in [("90", 90), ("30s", 30), ("1h30m", 5400), ("36h", 129_600), ("7d", 604_800)] {
            assert_eq!(parse_seconds(text), Some(seconds), "{text}");
        }
        for text in ["", "x", "1h30", "5w", "m"] {
            assert_eq!(parse_seconds(text), None, "{text}");
        }
    }
}
