//! What a plain scalar means: YAML 1.2's core schema, and nothing of YAML 1.1. `yes` is text, `0600` is text, `1_000` is
//! text; [`boolean_hint`] and [`number_hint`] say what was meant.

use crate::manifest::tree::{NodeValue, Style};

/// Why a plain scalar cannot be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadNumber {
    /// A whole number that fits neither `i64` nor `u64`.
    TooLarge,
    /// Infinity, not-a-number, or a number too large for 64-bit floating point.
    NotFinite,
}

/// The value of a plain scalar.
pub fn resolve(text: &str) -> Result<NodeValue, BadNumber> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(NodeValue::Null),
        "true" | "True" | "TRUE" => return Ok(NodeValue::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(NodeValue::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(BadNumber::NotFinite);
    }
    let plain = || Ok(NodeValue::String(text.to_owned(), Style::Plain));
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|c| c.is_digit(radix))
        {
            return u64::from_str_radix(digits, radix)
                .map(|n| NodeValue::Integer(n.into()))
                .map_err(|_| BadNumber::TooLarge);
        }
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return plain();
    }
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        if unsigned.len() > 1 && unsigned.starts_with('0') {
            return plain();
        }
        let number = text.parse::<i128>().map_err(|_| BadNumber::TooLarge)?;
        let fits = i64::try_from(number).is_ok() || u64::try_from(number).is_ok();
        return if fits { Ok(NodeValue::Integer(number)) } else { Err(BadNumber::TooLarge) };
    }
    if !is_float(unsigned) {
        return plain();
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(NodeValue::Float(number)),
        Ok(_) => Err(BadNumber::NotFinite),
        Err(_) => plain(),
    }
}

/// Whether text without its sign is `digits[.digits][e±digits]` or `.digits…`.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    digits(whole)
        && digits(fraction)
        && !leading_zero
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|e| {
            let e = e.strip_prefix(['-', '+']).unwrap_or(e);
            !e.is_empty() && digits(e)
        })
}

/// What the writer of plain text may have meant where a boolean was wanted.
pub fn boolean_hint(text: &str) -> Option<String> {
    let meant = match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "y" | "true" => true,
        "no" | "off" | "n" | "false" => false,
        _ => return None,
    };
    Some(format!("YAML 1.2 reads `{text}` as text: write `{meant}`"))
}

/// What the writer of plain text may have meant where a number was wanted.
pub fn number_hint(text: &str) -> Option<String> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if unsigned.len() > 1 && unsigned.starts_with('0') && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let decimal = unsigned.trim_start_matches('0');
        let decimal = if decimal.is_empty() { "0" } else { decimal };
        let octal = u64::from_str_radix(unsigned, 8).ok();
        let octal = octal.map(|n| format!(", or `0o{decimal}` for octal ({n})")).unwrap_or_default();
        return Some(format!("a number with a leading zero is ambiguous: write `{decimal}`{octal}"));
    }
    if unsigned.contains('_') && unsigned.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
        return Some(format!("YAML 1.2 has no `_` in numbers: write `{}`", text.replace('_', "")));
    }
    if unsigned.contains(':') && unsigned.bytes().all(|b| b.is_ascii_digit() || b == b':') {
        return Some("YAML 1.2 has no base-60 numbers: write the number of units out".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(t: &str) -> Result<NodeValue, BadNumber> {
        Ok(NodeValue::String(t.to_owned(), Style::Plain))
    }

    #[test]
    fn yes_no_on_off_stay_text() {
        for t in ["yes", "no", "on", "off", "y", "n", "Yes", "OFF", "tRue"] {
            assert_eq!(resolve(t), text(t));
        }
        assert_eq!(boolean_hint("no").as_deref(), Some("YAML 1.2 reads `no` as text: write `false`"));
        assert_eq!(boolean_hint("maybe"), None);
    }

    #[test]
    fn octal_underscore_and_base_sixty_stay_text() {
        for t in
            ["0600", "00", "1_000", "1:30", "12:30:45", "0600.5", "2026-11-21", "1.2.3", "4Gi", "0x", "0o9", "+", "."]
        {
            assert_eq!(resolve(t), text(t), "{t}");
        }
        assert_eq!(
            number_hint("0600").as_deref(),
            Some("a number with a leading zero is ambiguous: write `600`, or `0o600` for octal (384)")
        );
        assert_eq!(number_hint("1_000").as_deref(), Some("YAML 1.2 has no `_` in numbers: write `1000`"));
        assert!(number_hint("1:30").is_some() && number_hint("two").is_none() && number_hint("4Gi").is_none());
    }

    #[test]
    fn numbers_are_the_core_schemas() {
        for (t, n) in [("0", 0), ("-0", 0), ("+5", 5), ("0o600", 384), ("0xFF", 255), ("-7", -7)] {
            assert_eq!(resolve(t), Ok(NodeValue::Integer(n)), "{t}");
        }
        assert_eq!(resolve("18446744073709551615"), Ok(NodeValue::Integer(u64::MAX.into())));
        assert_eq!(resolve("18446744073709551616"), Err(BadNumber::TooLarge));
        assert_eq!(resolve("-9223372036854775809"), Err(BadNumber::TooLarge));
        for (t, n) in [("1.50", 1.5), (".5", 0.5), ("2.", 2.0), ("1e3", 1000.0), ("-1.5E-3", -0.0015)] {
            assert_eq!(resolve(t), Ok(NodeValue::Float(n)), "{t}");
        }
        for t in [".inf", "-.INF", ".nan", "1e999"] {
            assert_eq!(resolve(t), Err(BadNumber::NotFinite), "{t}");
        }
    }
}
