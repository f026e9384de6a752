//! Words that mean nothing to any shell, so that a command line made of them is the same to `execve` and to the shell that
//! OpenSSH's server starts.

use std::fmt;

/// As many characters as a token may have.
pub const TOKEN_CHARACTERS_MAX: usize = 512;

/// A word of a command line: letters, digits and `._:/@=,+-`, not empty. No shell expands, splits or quotes any of these; `=`
/// cannot come first nor stand in the first word of a command line, where it would be an assignment. Versions of packages have
/// `~` and `^` too: a shell leaves these alone inside of a word, but not at its beginning, and `~` not after `=` and `:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(String);

impl Token {
    /// The word; `None` if it is empty, too long, begins with `=`, or has a character that is not plain.
    pub fn new(text: impl Into<String>) -> Option<Token> {
        let text = text.into();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:/@=,+-".contains(c);
        let inside = |before: Option<char>| before.is_some_and(|c| c.is_ascii_alphanumeric() || "._+-~^".contains(c));
        let fits = !text.is_empty() && text.len() <= TOKEN_CHARACTERS_MAX && !text.starts_with('=');
        let befores = std::iter::once(None).chain(text.chars().map(Some));
        let well = text.chars().zip(befores).all(|(c, before)| plain(c) || (matches!(c, '~' | '^') && inside(before)));
        (fits && well).then_some(Token(text))
    }

    /// The same for something from outside, which must not be taken for an option: it does not begin with `-` either.
    pub fn argument(text: impl Into<String>) -> Option<Token> {
        Token::new(text).filter(|token| !token.0.starts_with('-'))
    }

    /// A word of ours, which is plain.
    ///
    /// # Panics
    /// If it is not.
    pub fn own(text: &'static str) -> Token {
        Token::new(text).expect("our own words are plain")
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_shell_would_read_is_no_token() {
        for bad in [
            "", "a b", "a;b", "$x", "`x`", "a'b", "a\"b", "a\\b", "a\nb", "*", "?", "[a]", "~", "#a", "!a", "=a", "ä",
            "a|b", "<a", "~root", "^a", "a=~root", "a:~root", "a/~root", "a,~root", "a@~",
        ] {
            assert_eq!(Token::new(bad), None, "{bad:?}");
        }
        assert!(Token::new("-y").is_some());
        assert_eq!(Token::argument("-oProxyCommand=x"), None);
        assert!(Token::argument("linux-image-6.1.0-28-amd64=6.1.119-1+b1:2").is_some());
        assert!(Token::argument("3.0.17-1~deb12u2").is_some());
        assert!(Token::argument("1.0~~rc1^git20260101").is_some());
    }

    proptest! {
        #[test]
        fn any_text_is_plain_or_refused(text in "\\PC{0,40}") {
            if let Some(token) = Token::new(text) {
                prop_assert!(token.as_str().chars().all(|c| c.is_ascii_alphanumeric() || "._:/@=,+-~^".contains(c)));
            }
        }
    }
}
