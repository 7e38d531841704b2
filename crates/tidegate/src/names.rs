//! The names by which peers are known (TL-4, TL-5): DNS names and URIs, which are never compared with each
//! other.

use std::net::IpAddr;

/// Converts a name from a certificate or a list of allowed names to the form in which names are compared.
///
/// Two names are the same if these forms are equal. A URI has a scheme and therefore a colon, which no DNS name
/// can contain. DNS names are compared without regard to case and to a final dot, URIs byte for byte.
///
/// # Errors
/// No certificate can contain this name. The text says why, and which names are possible.
pub(crate) fn comparable(name: &str) -> Result<String, &'static str> {
    if name.parse::<IpAddr>().is_ok() {
        return Err(ADDRESS);
    }
    if name.contains(':') {
        return if is_uri(name) { Ok(name.to_owned()) } else { Err(NO_URI) };
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let labels = name.strip_prefix("*.").unwrap_or(name);
    if !labels.is_empty() && labels.split('.').all(|label| !label.is_empty() && label.bytes().all(is_digit)) {
        return Err(ADDRESS);
    }
    if name.len() > 253 || !labels.split('.').all(is_label) {
        return Err(NO_NAME);
    }
    Ok(name.to_ascii_lowercase())
}

const NO_NAME: &str = "it is neither a DNS name (letters, digits, `-`, `_` and dots; other letters in their xn-- \
                       form) nor a URI with a scheme, so no certificate can contain it";
const NO_URI: &str = "it contains a colon but is no URI: a URI begins with a scheme, as in \
                      spiffe://example/worker, and has no spaces";
const ADDRESS: &str = "it is a number or an IP address, but a peer is known by DNS names and URIs; issue its \
                       certificate with one of these";

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether this is a URI as RFC 5280 requires it in a certificate: a scheme and a non-empty rest, in the characters of
/// RFC 3986. Anything else is no name. Without a scheme it could be mistaken for a DNS name, and a space could forge
/// a list of names in a log.
pub(crate) fn is_uri(name: &str) -> bool {
    let Some((scheme, rest)) = name.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && !rest.is_empty()
        && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_names_and_uris_never_look_alike() {
        // TL-4, TL-5
        for name in
            ["worker-1", "worker-1.example", "10.0.0.7", "*.example", "", "worker:", ":worker", "1a:b"]
        {
            assert!(!is_uri(name), "{name}");
        }
        for name in ["spiffe://example/worker-1", "urn:uuid:1", "worker-1:x", "a+b.c-d:?"] {
            assert!(is_uri(name), "{name}");
            assert_eq!(comparable(name).unwrap(), name);
        }
        for name in ["x:a, worker-1", "x:\u{202e}", "x:a\nb", "x:a\0", "x:<>", "x:\u{e9}"] {
            assert!(!is_uri(name), "{name}");
            assert_eq!(comparable(name), Err(NO_URI));
        }
    }

    #[test]
    fn a_name_that_no_certificate_can_contain_is_refused_with_a_reason() {
        // TL-5
        for name in
            ["", ".", "worker 1", "w\u{f6}rker", "-worker", "worker-", "a..b", "*", "w*.example", "a.*.b"]
        {
            assert_eq!(comparable(name), Err(NO_NAME), "{name}");
        }
        for name in ["10.0.0.7", "10.0.0.7.", "7", "*.7", "::1", "fd00::7"] {
            assert_eq!(comparable(name), Err(ADDRESS), "{name}");
        }
        assert_eq!(comparable("Worker-1.Example.").unwrap(), "worker-1.example");
        assert_eq!(comparable("*.Example").unwrap(), "*.example");
    }
}
