//! Addresses `host:port`, of `tcp://` and `tls://`.

use std::{io, net::Ipv6Addr};

/// The default port of `tcp://` and `tls://` endpoints.
pub const DEFAULT_PORT: u16 = 8433;

/// Checks an address of an endpoint, and writes it with its port.
pub(super) fn complete(address: &str) -> Result<String, &'static str> {
    let (host, port) = host_and_port(address)?;
    Ok(join(host, port))
}

/// Writes a host and a port as one address.
pub(super) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Splits a complete address.
pub(super) fn split(address: &str) -> io::Result<(&str, u16)> {
    host_and_port(address).map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem))
}

/// Whether the system chooses the port when this address is bound.
pub(super) fn has_open_port(address: &str) -> bool {
    !matches!(host_and_port(address), Ok((_, 1..)))
}

/// The host of a complete address.
pub(super) fn of(address: &str) -> Option<&str> {
    host_and_port(address).ok().map(|(host, _)| host)
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

fn host_and_port(place: &str) -> Result<(&str, u16), &'static str> {
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
    Ok((host, port))
}
