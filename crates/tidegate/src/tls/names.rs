//! The names in a certificate.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::names::{comparable, is_uri};

/// The names of a verified certificate: the DNS names, in lower case and without a final dot, and the URIs of
/// its subject alternative names.
///
/// The common name is not among them, because it is free text (TL-4). Neither is a "URI" without a scheme: it
/// could be mistaken for a DNS name, although a name constraint for DNS names does not cover it.
pub(crate) fn verified_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    let dns = parsed.valid_dns_names().filter_map(|name| comparable(name).ok());
    dns.chain(parsed.valid_uri_names().filter(|name| is_uri(name)).map(str::to_owned)).collect()
}

/// Describes a refused certificate: its names, and whether it is self-signed.
pub(super) fn describe(certificate: &CertificateDer<'_>) -> Option<(String, bool)> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let names = verified_names(certificate);
    let names =
        if names.is_empty() { "without a name".to_owned() } else { format!("for {}", names.join(", ")) };
    Some((names, parsed.subject() == parsed.issuer()))
}
