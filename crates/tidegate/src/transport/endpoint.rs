//! `Endpoint`: an address to bind or connect to, and a pipeline.

use std::{borrow::Cow, fmt, str::FromStr};

use super::{Address, Registry};

const NO_SCHEME: &str = "it has no scheme; write tcp://host:port, unix:///path or mem://name";

/// An address and a pipeline to bind or connect to.
///
/// The forms are `tcp://host:port/pipeline`, `tls://host:port/pipeline`, `unix:///path#pipeline` and
/// `mem://name#pipeline`. With a [`Transport`](super::Transport) of the application there is also
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
    problem: Cow<'static, str>,
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
        Self::parse(text, &Registry::default())
    }
}

impl Endpoint {
    /// Parses an endpoint of one of these transports.
    pub(crate) fn parse(text: &str, transports: &Registry) -> Result<Self, EndpointError> {
        let wrong =
            |problem: Cow<'static, str>| EndpointError { endpoint: without_credentials(text), problem };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong(NO_SCHEME.into()))?;
        let scheme = transports.find(scheme).map_err(|problem| wrong(problem.into()))?;
        let (place, pipeline) = rest.split_once(scheme.profile.mark()).unwrap_or((rest, ""));
        let address = Address::new(scheme.clone(), place).map_err(|problem| wrong(problem.into()))?;
        if pipeline.len() > 256 {
            return Err(wrong("the pipeline has more than 256 bytes".into()));
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

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        if self.pipeline.is_empty() { Ok(()) } else { write!(f, "{}{}", self.address.mark(), self.pipeline) }
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
    fn a_path_that_is_written_in_another_way_is_the_same_endpoint() {
        let endpoint: Endpoint = "unix:///run/x.sock#p".parse().unwrap();
        for text in ["unix:////run//x.sock#p", "unix:///run/./x.sock#p"] {
            assert_eq!(text.parse::<Endpoint>().unwrap(), endpoint);
        }
        assert_ne!("unix:///run/../x.sock#p".parse::<Endpoint>().unwrap(), endpoint);
        assert_ne!("unix://run/x.sock#p".parse::<Endpoint>().unwrap(), endpoint, "a relative path");
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
