//! Manifests from the web: `-f https://…`. One GET without credentials, over TLS with the roots of the machine.

use crate::base::cause::whole;
use crate::cli::exit;
use crate::cli::run::{Failure, block_on};
use crate::config::roots;
use crate::manifest::read::FILE_BYTES_MAX;
use std::path::Path;
use std::time::Duration;
use url::Url;

const PATIENCE: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: usize = 5;

/// The address that was meant, if it is one. What would be sent in the clear is refused: a manifest decides what runs.
pub fn address(file: &Path) -> Result<Option<Url>, Failure> {
    let Some(url) = file.to_str().filter(|t| t.contains("://")).map(Url::parse) else { return Ok(None) };
    let wrong = |why: String| Failure::new(exit::USAGE, format!("{} cannot be fetched: {why}", file.display()));
    match url {
        Ok(url) if url.scheme() == "https" => Ok(Some(url)),
        Ok(url) => {
            Err(wrong(format!("`{}` is not https", url.scheme()))
                .hint("save it in a file, look at it, and name the file"))
        }
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// The text at an address, at most as long as a manifest may be.
pub fn fetch(url: &Url) -> Result<Vec<u8>, Failure> {
    block_on(body(url))?.map_err(|why| Failure::new(exit::USAGE, format!("{url} cannot be fetched: {why}")))
}

async fn body(url: &Url) -> Result<Vec<u8>, String> {
    let tls = roots::client().map_err(|e| e.to_string())?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX))
        .build()
        .map_err(|e| whole(&e))?;
    let mut response = client.get(url.clone()).send().await.map_err(|e| whole(&e))?;
    if !response.status().is_success() {
        return Err(format!("the answer is {}", response.status()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| whole(&e))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > FILE_BYTES_MAX {
            return Err(format!("it is longer than {FILE_BYTES_MAX} bytes"));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_no_addresses_and_plain_http_is_refused() {
        assert!(address(Path::new("manifests/homelab")).is_ok_and(|a| a.is_none()));
        assert!(address(Path::new("https://example.org/a.yaml")).is_ok_and(|a| a.is_some()));
        for text in ["http://example.org/a.yaml", "file:///etc/passwd", "https://"] {
            assert!(address(Path::new(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_that_nobody_serves_says_so() {
        let url = Url::parse("https://127.0.0.1:9/a.yaml").expect("is an address");
        let failure = fetch(&url).expect_err("nobody listens there");
        assert!(failure.code == exit::USAGE && failure.message.contains("refused"), "{}", failure.message);
    }
}
