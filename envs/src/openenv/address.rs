//! Address of a server, as a person writes it.

use std::fmt;

/// Address of the WebSocket of a server.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Address {
    /// True if it is reached by TLS.
    pub is_secure: bool,
    pub host: String,
    pub port: u16,
    pub path: String,
}

impl Address {
    /// Parses the base address of a server: `http://host:port/path` or `ws://`, and with TLS `https://` or `wss://`. The
    /// error says what would be right.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = |reason: &str| format!("`{url}` {reason}; write an address such as \"http://127.0.0.1:8000\"");
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let is_secure = match scheme {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(wrong(&format!("has the scheme `{scheme}`, which is not supported"))),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong("has a port that is none"))?),
            None => (authority, if is_secure { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
        let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
        if host.is_empty() || !is_plain(&host) || !is_plain(path) {
            return Err(wrong("has no host, or a character that no address has"));
        }
        let path = path.trim_end_matches('/');
        let path = if path.is_empty() { "/ws".to_string() } else { format!("/{path}/ws") };
        Ok(Self { is_secure, host, port, path })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_a_port_and_a_path() {
        let parsed = |url: &str| Address::parse(url).map(|address| address.to_string());
        for (url, told) in [
            ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/ws"),
            ("ws://games.example/echo/", "ws://games.example:80/echo/ws"),
            ("http://[::1]:81", "ws://::1:81/ws"),
            ("https://games.example", "wss://games.example:443/ws"),
            ("wss://games.example:8443/a", "wss://games.example:8443/a/ws"),
        ] {
            assert_eq!(parsed(url).unwrap(), told);
        }
        for (url, reason) in [
            ("127.0.0.1:8000", "has no scheme"),
            ("ftp://a.example", "has the scheme `ftp`, which is not supported"),
            ("http://a:b", "has a port that is none"),
            ("http://a b", "has no host"),
            ("http://a/\r\nX: y", "a character that no address has"),
        ] {
            assert!(parsed(url).unwrap_err().contains(reason), "{url}");
        }
    }
}
