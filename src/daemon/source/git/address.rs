//! Addresses of repositories as texts: shown without what is secret in them, and compared although one says https and the
//! other ssh. Pure.

/// What stands in the place of a secret.
const MASK: &str = "***";

/// The parts of an address with a scheme.
struct Parts<'a> {
    scheme: &'a str,
    /// User, and password after a colon.
    user: Option<&'a str>,
    /// The host, and port after a colon.
    host: &'a str,
    /// From the first slash, without the query.
    path: &'a str,
    query: Option<&'a str>,
}

fn parts(url: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let mut end = rest.find('/').unwrap_or(rest.len());
    // A password with a raw slash: everything up to the last `@` is its, since no port has letters.
    let odd_port = |at: &str| at.split_once(':').is_some_and(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit()));
    if !rest[..end].contains('@')
        && odd_port(&rest[..end])
        && let Some(at) = rest.rfind('@')
    {
        end = rest[at..].find('/').map_or(rest.len(), |slash| at + slash);
    }
    let (authority, path) = rest.split_at(end);
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    Some(Parts { scheme, user, host, path, query })
}

/// The user of ssh is no secret; that of https may be a token.
fn user_is_open(scheme: &str) -> bool {
    matches!(scheme.to_ascii_lowercase().as_str(), "ssh" | "git+ssh" | "ssh+git")
}

/// An address for people, without password, token and query.
pub fn shown(url: &str) -> String {
    let Some(Parts { scheme, user, host, path, query }) = parts(url) else { return url.to_owned() };
    let user = match user.map(|user| (user, user.split_once(':'))) {
        None => String::new(),
        Some((user, None)) if user_is_open(scheme) => format!("{user}@"),
        Some((_, Some((user, _)))) if user_is_open(scheme) => format!("{user}:{MASK}@"),
        Some(_) => format!("{MASK}@"),
    };
    let query = if query.is_some() { format!("?{MASK}") } else { String::new() };
    format!("{scheme}://{user}{host}{path}{query}")
}

/// A text of git's without what is secret in `url`, nor in any other address that it may name.
pub fn scrubbed(text: &str, url: &str) -> String {
    let mut text = text.replace(url, &shown(url));
    for secret in secrets(url) {
        text = text.replace(&secret, MASK);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("://") {
        let begin = rest[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && c != '+').map_or(0, |before| before + 1);
        let ends = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`' | '<' | '>' | '\0');
        let end = rest[at..].find(ends).map_or(rest.len(), |after| at + after);
        // The place may be in the middle of a letter of more bytes than one.
        let begin = (begin..=at).find(|place| rest.is_char_boundary(*place)).unwrap_or(at);
        out.push_str(&rest[..begin]);
        out.push_str(&shown(&rest[begin..end]));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// What of an address must not be seen, as it stands and as it is meant, the longest first.
fn secrets(url: &str) -> Vec<String> {
    let Some(Parts { scheme, user, query, .. }) = parts(url) else { return Vec::new() };
    let hidden = match user.map(|user| (user, user.split_once(':'))) {
        Some((_, Some((_, password)))) => Some(password),
        Some((token, None)) if !user_is_open(scheme) => Some(token),
        Some((_, None)) | None => None,
    };
    let mut secrets = Vec::new();
    for text in hidden.into_iter().chain(query).filter(|text| !text.is_empty()) {
        secrets.push(percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned());
        secrets.push(text.to_owned());
    }
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
}

/// One form for all addresses of a repository: host and path. Scheme, user, port, `.git`, slashes at the end and the case of
/// letters do not count: to take one repository for another costs a look at it, to miss a push costs minutes.
pub fn normal(url: &str) -> String {
    let url = url.trim();
    let (host, path) = match parts(url) {
        Some(Parts { scheme, path, .. }) if scheme.eq_ignore_ascii_case("file") => ("", path),
        Some(Parts { host, path, .. }) => (host, path),
        None => match url.split_once(':') {
            // git's own rule: a colon before the first slash makes it an address of ssh.
            Some((host, path)) if !host.contains('/') => (host.rsplit('@').next().unwrap_or(host), path),
            Some(_) | None => ("", url),
        },
    };
    let port = |(_, port): &(&str, &str)| port.bytes().all(|b| b.is_ascii_digit());
    let host = host.rsplit_once(':').filter(port).map_or(host, |(host, _)| host);
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path).trim_matches('/');
    format!("{host}/{path}").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_are_masked() {
        for (url, says) in [
            ("https://github.com/acme/lab.git", "https://github.com/acme/lab.git"),
            ("https://me:s3cret@host/acme/lab", "https://***@host/acme/lab"),
            ("https://ghp_s3cret@github.com/acme/lab", "https://***@github.com/acme/lab"),
            ("https://me:s3c@ret@host:8443/x", "https://***@host:8443/x"),
            ("https://me:s3/cret@host/x", "https://***@host/x"),
            ("https://host:8443/@scope/x", "https://host:8443/@scope/x"),
            ("https://host/x?private_token=s3cret", "https://host/x?***"),
            ("ssh://git@host:2222/x.git", "ssh://git@host:2222/x.git"),
            ("ssh://git:s3cret@host/x.git", "ssh://git:***@host/x.git"),
            ("git@github.com:acme/lab.git", "git@github.com:acme/lab.git"),
            ("/srv/git/lab.git", "/srv/git/lab.git"),
        ] {
            assert_eq!(shown(url), says, "{url}");
        }
    }

    #[test]
    fn what_git_says_is_masked() {
        let url = "https://me:s3cr%2Ft@host/x";
        let said = "fatal: unable to access 'https://me:s3cr%2Ft@host/x/': no (s3cr/t, s3cr%2Ft) https://t0ken@other/y?a=b ü://ö";
        let shown = scrubbed(said, url);
        assert_eq!(shown, "fatal: unable to access 'https://***@host/x/': no (***, ***) https://***@other/y?*** ü://ö");
        assert_eq!(scrubbed("Cloning git@host:x failed", "git@host:x"), "Cloning git@host:x failed");
    }

    #[test]
    fn one_repository_has_many_addresses() {
        let ours = normal("https://github.com/Acme/lab");
        for same in [
            "https://github.com/acme/lab.git",
            "https://GitHub.com/acme/lab/",
            "https://token@github.com:443/acme/lab.git/",
            "git@github.com:acme/lab.git",
            "github.com:acme/lab",
            "ssh://git@github.com:22/acme/lab.git",
            "git://github.com/acme/lab.git",
        ] {
            assert_eq!(normal(same), ours, "{same}");
        }
        for other in ["https://github.com/acme/lab2", "https://gitlab.com/acme/lab", "/acme/lab", ""] {
            assert_ne!(normal(other), ours, "{other}");
        }
        assert_eq!(normal("file:///srv/git/lab.git"), normal("/srv/git/lab"));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_no_password_is_seen(
            text in any::<String>(), secret in "[A-Z]{8}", before in "\\PC{0,12}", after in "\\PC{0,12}"
        ) {
            let _ = (shown(&text), normal(&text), scrubbed(&text, &text));
            for url in [format!("https://me:{secret}@host/x"), format!("https://{secret}@host/x"), format!("ssh://git:{secret}@host/x")] {
                let said = scrubbed(&format!("{before}{url}{after} {secret}"), &url);
                prop_assert!(!said.contains(&secret), "{said}");
            }
        }
    }
}
