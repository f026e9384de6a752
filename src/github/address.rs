//! Where things are: the pages that belong to an API's base, and what a job's own address says of its API.

use crate::github::place::{Place, Scope};
use url::Url;

/// The page of a scope, which runners are told to register with: `https://github.com/acme`, `https://ghes.example.com/acme/app`,
/// `https://github.com/enterprises/acme`.
///
/// ```
/// use pvectl::github::address::web;
/// use pvectl::github::place::{Auth, PUBLIC_API, Place, Scope, SecretRef};
///
/// let auth = Auth::Token(SecretRef::Env("GITHUB_TOKEN".into()));
/// let place = Place { api: PUBLIC_API.into(), scope: Scope::Organization("acme".into()), auth };
/// assert_eq!(web(&place), "https://github.com/acme");
/// ```
pub fn web(place: &Place) -> String {
    let base = base(&place.api);
    match &place.scope {
        Scope::Organization(name) | Scope::Repository(name) => format!("{base}/{name}"),
        Scope::Enterprise(name) => format!("{base}/enterprises/{name}"),
    }
}

/// Whether this is GitHub's own service, and no server of somebody's.
pub fn is_hosted(api: &str) -> bool {
    host(api).is_some_and(|host| host == "api.github.com" || host.ends_with(".ghe.com"))
}

/// GitHub's own service has its API on a host of its own, a server below a path.
fn base(api: &str) -> String {
    if is_hosted(api) {
        return api.replacen("://api.", "://", 1);
    }
    api.strip_suffix("/api/v3").unwrap_or(api).to_owned()
}

fn host(address: &str) -> Option<String> {
    Url::parse(address).ok()?.host_str().map(str::to_ascii_lowercase)
}

/// The API's base of a resource's address: `https://api.github.com` of `https://api.github.com/repos/acme/app/actions/jobs/1`.
pub(super) fn api_of(resource: &str) -> Option<&str> {
    let (api, _) = resource.split_once("/repos/")?;
    (api.starts_with("https://") || api.starts_with("http://")).then_some(api)
}

/// Whether an address that an answer names may get a token of ours: it is as safe as the one that it came from.
pub(super) fn is_safe(api: &str, named: &str) -> bool {
    let scheme = |address: &str| Url::parse(address).ok().map(|url| url.scheme().to_owned());
    let named_host = Url::parse(named).ok().and_then(|url| url.host_str().map(str::to_owned));
    named_host.is_some() && (scheme(named).as_deref() == Some("https") || scheme(named) == scheme(api))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::place::{Auth, PUBLIC_API, SecretRef};

    #[test]
    fn each_api_has_its_pages() {
        let organization = Scope::Organization("acme".into());
        let repository = Scope::Repository("acme/app".into());
        let enterprise = Scope::Enterprise("corp".into());
        for (api, scope, page) in [
            (PUBLIC_API, &organization, "https://github.com/acme"),
            (PUBLIC_API, &repository, "https://github.com/acme/app"),
            (PUBLIC_API, &enterprise, "https://github.com/enterprises/corp"),
            ("https://api.acme.ghe.com", &organization, "https://acme.ghe.com/acme"),
            ("https://git.example.com/api/v3", &repository, "https://git.example.com/acme/app"),
        ] {
            let auth = Auth::Token(SecretRef::Env("T".into()));
            assert_eq!(web(&Place { api: api.into(), scope: scope.clone(), auth }), page);
        }
        assert!(is_hosted(PUBLIC_API) && is_hosted("https://api.acme.ghe.com"));
        assert!(!is_hosted("https://api.github.com.evil.example/api/v3") && !is_hosted("https://ghe.com.example"));
    }

    #[test]
    fn an_address_says_where_it_is_of() {
        assert_eq!(api_of("https://api.github.com/repos/a/b/actions/jobs/1"), Some(PUBLIC_API));
        assert_eq!(api_of("https://h/api/v3/repos/a/b/actions/jobs/1"), Some("https://h/api/v3"));
        assert_eq!(api_of("ftp://h/repos/a"), None);
        assert!(is_safe(PUBLIC_API, "https://pipelines.actions.githubusercontent.com/x/"));
        assert!(is_safe("http://127.0.0.1:8", "http://127.0.0.1:9/x"));
        assert!(!is_safe(PUBLIC_API, "http://pipelines.example/x") && !is_safe(PUBLIC_API, "queue"));
    }
}
