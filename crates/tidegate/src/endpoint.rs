//! `Endpoint`: an address to bind or connect to, and a pipeline.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use crate::transport::{Address, Custom};

/// The default port of `tcp://` and `tls://` endpoints.
pub const DEFAULT_PORT: u16 = 8433;

/// An address and a pipeline to bind or connect to.
///
/// The forms are `tcp://host:port/pipeline`, `tls://host:port/pipeline`, `unix:///path#pipeline` and
/// `mem://name#pipeline`. With a [`Transport`](crate::Transport) of the application there is also
/// `scheme://address#pipeline`, which only a builder with that transport can parse.
///
/// The default port is 8433. With port 0, which is valid only for binding, the system chooses a port. IPv6
/// addresses are in brackets; a link-local address requires its zone, as in `tcp://[fe80::5%eth0]:8433`.
/// Without a pipeline, the endpoint refers to the default pipeline, whose name is empty.
///
/// ```
/// let endpoint: tidegate::Endpoint = "tcp://[::1]:9000/thumbnails".parse().unwrap();
/// assert_eq!(endpoint.pipeline(), "thumbnails");
/// assert_eq!("tcp://example.org".parse::<tidegate::Endpoint>().unwrap().to_string(), "tcp://example.org:8433");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub(crate) address: Address,
    pub(crate) pipeline: String,
}

/// An endpoint that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("endpoint {endpoint:?}: {problem}")]
pub struct EndpointError {
    endpoint: String,
    problem: &'static str,
}

impl Endpoint {
    /// Returns the pipeline; empty for the default one.
    #[must_use]
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    pub(crate) fn at(&self, address: Address) -> Self {
        Self { address, pipeline: self.pipeline.clone() }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::parse(text, &[])
    }
}

impl Endpoint {
    /// Parses an endpoint, which may use one of these transports.
    pub(crate) fn parse(text: &str, transports: &[Custom]) -> Result<Self, EndpointError> {
        let wrong = |problem| EndpointError { endpoint: without_credentials(text), problem };
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("it has no scheme; write tcp://host:port, unix:///path or mem://name"))?;
        let (address, pipeline) = match scheme {
            "tcp" | "tls" => {
                let (place, pipeline) = rest.split_once('/').unwrap_or((rest, ""));
                let (host, port) = host_and_port(place).map_err(wrong)?;
                let address =
                    if scheme == "tls" { Address::Tls { host, port } } else { Address::Tcp { host, port } };
                (address, pipeline)
            }
            "unix" => {
                let (path, pipeline) = rest.split_once('#').unwrap_or((rest, ""));
                if path.is_empty() {
                    return Err(wrong("it has no path; write unix:///run/work.sock"));
                }
                (Address::Unix { path: path.into() }, pipeline)
            }
            "mem" => {
                let (name, pipeline) = rest.split_once('#').unwrap_or((rest, ""));
                if name.is_empty() {
                    return Err(wrong("it has no name; write mem://name"));
                }
                (Address::Mem { name: name.to_owned() }, pipeline)
            }
            "ipc" => return Err(wrong("the scheme is unknown; write unix:///path")),
            "inproc" => return Err(wrong("the scheme is unknown; write mem://name")),
            _ => {
                let known = transports.iter().find(|transport| transport.scheme() == scheme);
                let transport = known.cloned().ok_or_else(|| {
                    wrong("the scheme is unknown; use tcp, tls, unix, mem or a transport of the builder")
                })?;
                let (place, pipeline) = rest.split_once('#').unwrap_or((rest, ""));
                (Address::Custom { transport, place: place.to_owned() }, pipeline)
            }
        };
        if pipeline.len() > 256 {
            return Err(wrong("the pipeline has more than 256 bytes"));
        }
        Ok(Self { address, pipeline: pipeline.to_owned() })
    }
}

/// The text of an endpoint without credentials, for an error that may be logged.
fn without_credentials(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    match rest.split('/').next().and_then(|place| place.rsplit_once('@')) {
        Some((secret, _)) => format!("{scheme}://…{}", rest.get(secret.len()..).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Checks an IPv6 address in brackets.
fn check_v6(host: &str) -> Result<(), &'static str> {
    let (address, zone) = host.split_once('%').map_or((host, None), |(address, zone)| (address, Some(zone)));
    let address: Ipv6Addr =
        address.parse().map_err(|_| "the text in brackets is not an IPv6 address such as [::1]")?;
    match zone {
        None if address.is_unicast_link_local() => {
            Err("a link-local address needs its zone: add the zone, as in [fe80::5%eth0]")
        }
        Some("") => Err("the zone after % is missing: add the zone, as in [fe80::5%eth0]"),
        _ => Ok(()),
    }
}

fn host_and_port(place: &str) -> Result<(String, u16), &'static str> {
    if place.contains('@') {
        return Err(
            "credentials do not belong in an endpoint; tokens and certificates are separate settings",
        );
    }
    if place.contains('#') {
        return Err("the pipeline comes after a slash: tcp://host:port/pipeline");
    }
    let (host, port) = if let Some(v6) = place.strip_prefix('[') {
        let (host, rest) = v6.split_once(']').ok_or("the bracket of the IPv6 address is not closed")?;
        check_v6(host)?;
        (
            host,
            rest.strip_prefix(':')
                .or(rest.is_empty().then_some(""))
                .ok_or("only :port may follow after ]")?,
        )
    } else {
        match place.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address needs brackets: tcp://[::1]:8433");
            }
            Some((_, "")) => return Err("the port is missing after the colon"),
            Some((host, port)) => (host, port),
            None => (place, ""),
        }
    };
    if host.is_empty() {
        return Err("the host is missing; to bind on all interfaces, write 0.0.0.0 or [::]");
    }
    if host == "*" || host == "+" {
        return Err("a host cannot be a wildcard; write 0.0.0.0 or [::] for all addresses");
    }
    let port = if port.is_empty() {
        DEFAULT_PORT
    } else {
        port.parse().map_err(|_| "the port is out of range; use 0 to 65535")?
    };
    Ok((host.to_owned(), port))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if matches!(self.address, Address::Tcp { .. } | Address::Tls { .. }) { '/' } else { '#' };
        self.address.fmt(f)?;
        if self.pipeline.is_empty() { Ok(()) } else { write!(f, "{mark}{}", self.pipeline) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_read_as_they_are_written() {
        for (text, shown) in [
            ("tcp://h", "tcp://h:8433"),
            ("tcp://h:1/p/q", "tcp://h:1/p/q"),
            ("tcp://[::1]", "tcp://[::1]:8433"),
            ("tcp://[::1]:0/p", "tcp://[::1]:0/p"),
            ("tcp://[fe80::5%eth0]:1", "tcp://[fe80::5%eth0]:1"),
            ("tls://[fe80::5%3]", "tls://[fe80::5%3]:8433"),
            ("unix:///run/a@b c.sock#p", "unix:///run/a@b c.sock#p"),
            ("tls://h/p", "tls://h:8433/p"),
            ("tls://[::1]:1", "tls://[::1]:1"),
            ("unix:///run/x.sock", "unix:///run/x.sock"),
            ("unix:///run/x.sock#p", "unix:///run/x.sock#p"),
            ("mem://a#p", "mem://a#p"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn an_endpoint_error_says_what_to_write() {
        for (text, hint) in [
            ("localhost:8433", "no scheme"),
            ("http://h", "unknown"),
            ("tcp://", "host is missing"),
            ("tcp://h:", "port is missing"),
            ("tcp://h:70000", "0 to 65535"),
            ("tcp://::1", "brackets"),
            ("tcp://[::1", "not closed"),
            ("tcp://[::1]x", "after ]"),
            ("unix://", "no path"),
            ("mem://", "no name"),
            ("tcp://[fe80::5]:1", "add the zone, as in [fe80::5%eth0]"),
            ("tls://[fe80::5%]:1", "add the zone, as in [fe80::5%eth0]"),
            ("tcp://[localhost]:1", "not an IPv6 address"),
            ("tcp://*:8433", "write 0.0.0.0 or [::] for all addresses"),
            ("tls://*", "write 0.0.0.0 or [::] for all addresses"),
            ("tcp://+:1", "write 0.0.0.0"),
            ("tcp://h:1#p", "after a slash"),
            ("ipc:///run/x", "unix:///path"),
            ("inproc://x", "mem://name"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(hint) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn credentials_are_refused_and_not_shown() {
        for text in ["tcp://user:secret@host:9/p", "tls://se@cret@host", "tcp://secret@[::1]:1"] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains("credentials do not belong in an endpoint"), "{error}");
            assert!(!error.contains("cret") && error.contains('@'), "{error}");
        }
        assert_eq!("tcp://h/a@b".parse::<Endpoint>().unwrap().pipeline(), "a@b");
    }
}
