//! The proxy for a server: the configured one, else the one in the environment variables. Pure.

use crate::config::{EnvVars, parse_url};
use crate::credentials::Secret;
use crate::error::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use std::net::IpAddr;
use url::{Host, Url};

/// The schemes of proxies. With `socks5h` and `socks4a` the proxy resolves the host name, with `socks5` and `socks4` the library does.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// A proxy.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// The whole URL, which may contain a password.
    pub url: Secret,
    /// The host and port, for messages.
    pub address: String,
    /// Whether it speaks HTTP, and opens tunnels for CONNECT. Otherwise it speaks SOCKS.
    pub is_http: bool,
    /// The `Proxy-Authorization` header of an HTTP proxy, made of the user name and password.
    pub authorization: Option<Secret>,
    /// The password.
    pub password: Option<Secret>,
}

impl Proxy {
    /// Parses a proxy's URL, which comes from the key or environment variable `source`. The default scheme is `http://`.
    pub fn parse(source: &str, text: &str) -> Result<Proxy> {
        let invalid = || {
            Error::config(
                source,
                "is not a valid proxy: it must be a URL such as http://proxy.example:3128, with one of the schemes \
                http, https, socks4, socks4a, socks5 and socks5h",
            )
        };
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = parse_url(&text).ok_or_else(invalid)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
        if !SCHEMES.contains(&url.scheme()) {
            return Err(invalid());
        }
        let is_http = url.scheme().starts_with("http");
        let port = url.port_or_known_default().unwrap_or(1080);
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let password = url.password().map(decoded);
        let user = decoded(url.username());
        let credentials = Some(format!("{user}:{}", password.as_deref().unwrap_or_default())).filter(|both| both != ":");
        Ok(Proxy {
            address: format!("{host}:{port}"),
            is_http,
            authorization: credentials.filter(|_| is_http).map(|both| Secret::new(format!("Basic {}", STANDARD.encode(both)))),
            password: password.map(Secret::new),
            url: Secret::new(url.into()),
        })
    }

    /// Returns the proxy that the environment variables name for this URL, unless NO_PROXY exempts its host.
    pub fn from_env(base_url: &Url, env: EnvVars) -> Result<Option<Proxy>> {
        let names: &[&str] = match base_url.scheme() {
            "https" => &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
            // Under CGI a client can set HTTP_PROXY by sending a header named `Proxy`.
            _ if env("REQUEST_METHOD").is_some() => &["http_proxy", "ALL_PROXY", "all_proxy"],
            _ => &["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
        };
        let Some((name, text)) = names.iter().find_map(|name| Some((name, env(name)?))) else { return Ok(None) };
        let exempt = env("NO_PROXY").or_else(|| env("no_proxy")).unwrap_or_default();
        if is_exempt(base_url, &exempt) { Ok(None) } else { Proxy::parse(name, text.trim()).map(Some) }
    }
}

/// Returns whether a list such as `localhost, .example.com, 10.0.0.0/8` contains the host of this URL. `*` matches every host.
fn is_exempt(base_url: &Url, list: &str) -> bool {
    let (Some(host), port) = (base_url.host(), base_url.port_or_known_default()) else { return false };
    let entries = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
    entries.into_iter().any(|entry| {
        if entry == "*" {
            return true;
        }
        let address = match host {
            Host::Domain(name) => {
                let (entry, entry_port) = entry.rsplit_once(':').unwrap_or((entry, ""));
                let entry = entry.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
                let name = name.trim_end_matches('.');
                let is_below = || name.strip_suffix(&entry).is_some_and(|rest| rest.ends_with('.'));
                let fits_port = entry_port.is_empty() || entry_port.parse().ok() == port;
                return fits_port && !entry.is_empty() && (name == entry || is_below());
            }
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
        };
        let (network, length) = entry.split_once('/').map_or((entry, None), |(network, length)| (network, Some(length)));
        let network: Result<IpAddr, _> = network.trim_matches(['[', ']']).parse();
        match (network, length.map(str::parse)) {
            (Ok(network), None) => network == address,
            (Ok(network), Some(Ok(length))) => is_within(address, network, length),
            // An address with a port, such as 10.0.0.1:8080.
            (Err(_), None) => entry.parse::<std::net::SocketAddr>().is_ok_and(|at| at.ip() == address && Some(at.port()) == port),
            _ => false,
        }
    })
}

/// Returns whether the first `length` bits of both addresses are the same.
fn is_within(address: IpAddr, network: IpAddr, length: u32) -> bool {
    let (address, network, bits) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => (u32::from(address).into(), u32::from(network).into(), 32),
        (IpAddr::V6(address), IpAddr::V6(network)) => (u128::from(address), u128::from(network), 128),
        _ => return false,
    };
    length <= bits && (address ^ network).checked_shr(bits - length).is_none_or(|difference| difference == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(url: &str, variables: &[(&str, &str)]) -> Result<Option<String>> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Ok(Proxy::from_env(&url.parse().unwrap(), &find)?.map(|proxy| proxy.address))
    }

    #[test]
    fn the_variable_for_the_scheme_comes_before_the_one_for_all() {
        let variables = [("HTTPS_PROXY", "http://a:1"), ("http_proxy", "b"), ("ALL_PROXY", "socks5h://c"), ("all_proxy", "d:4")];
        assert_eq!(chosen("https://x", &variables).unwrap().as_deref(), Some("a:1"));
        assert_eq!(chosen("http://x", &variables).unwrap().as_deref(), Some("b:80"));
        assert_eq!(chosen("https://x", &variables[1..]).unwrap().as_deref(), Some("c:1080"));
        assert_eq!(chosen("https://x", &variables[3..]).unwrap().as_deref(), Some("d:4"));
        assert_eq!(chosen("https://x", &variables[1..2]).unwrap(), None);
        assert_eq!(chosen("http://x", &[("HTTP_PROXY", "evil:1"), ("REQUEST_METHOD", "GET")]).unwrap(), None);
    }

    #[test]
    fn an_invalid_variable_is_named_and_its_password_is_not() {
        for text in ["ftp://proxy", "http://", "socks6://p:1", "http://proxy:port", "http://u:hidden-pass@:1", "\u{fffd}://x"] {
            let error = chosen("https://x", &[("ALL_PROXY", text)]).unwrap_err();
            assert_eq!(error.parameter(), Some("ALL_PROXY"), "{text}");
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
        // It is read only where it would be used.
        assert_eq!(chosen("http://x", &[("HTTPS_PROXY", "nonsense://")]).unwrap(), None);
        assert_eq!(chosen("https://x", &[("HTTPS_PROXY", "nonsense://"), ("NO_PROXY", "x")]).unwrap(), None);
    }

    #[test]
    fn exempt_hosts_are_reached_directly() {
        for (url, list, is_exempt) in [
            ("https://api.example.com", "example.com", true),
            ("https://api.example.com", ".example.com", true),
            ("https://api.example.com", "*.EXAMPLE.com", true),
            ("https://example.com", "foo, example.com:443", true),
            ("https://example.com", "example.com:8443", false),
            ("https://notexample.com", "example.com", false),
            ("https://example.com", ".", false),
            ("https://example.com", "*", true),
            ("https://10.1.2.3", "*", true),
            ("https://[fd00::1]", " * ", true),
            ("https://10.1.2.3", "10.0.0.0/8", true),
            ("https://10.1.2.3", "10.1.2.3/0", true),
            ("https://10.1.2.3", "10.1.2.3", true),
            ("https://10.1.2.3:8443", "10.1.2.3:8443", true),
            ("https://10.1.2.3", "10.1.2.3:8443", false),
            ("https://10.1.2.3", "10.1.3.0/24, 11.0.0.0/8, 10.0.0.0/33, x", false),
            ("https://[fd00::1]", "fd00::/8", true),
            ("https://[fd00::1]", "[fd00::1]", true),
            ("https://[fe80::1]", "fd00::/8", false),
            ("https://example.com", "", false),
        ] {
            let found = chosen(url, &[("ALL_PROXY", "p:1"), ("no_proxy", list)]).unwrap();
            assert_eq!(found.is_none(), is_exempt, "{url} {list}");
        }
    }

    #[test]
    fn credentials_are_decoded_and_hidden() {
        let proxy = Proxy::parse("proxy", "http://user:p%40ss%3Aword@host:8080").unwrap();
        assert_eq!(proxy.authorization.as_ref().unwrap().expose(), "Basic dXNlcjpwQHNzOndvcmQ=");
        assert_eq!(proxy.password.as_ref().unwrap().expose(), "p@ss:word");
        assert!(!format!("{proxy:?}").contains("word\""), "{proxy:?}");
        assert!(Proxy::parse("proxy", "socks5://user:pass@host").unwrap().authorization.is_none());
    }
}
