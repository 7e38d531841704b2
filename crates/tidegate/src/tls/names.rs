//! The names in a certificate.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::names::{comparable, is_uri};

/// The names by which the holder of a certificate is known: DNS names, in lower case and without a dot at their end, and URIs of its
/// subject alternative names. Never the common name, which is free text (TL-4), nor a "URI" without a scheme, which could be taken for
/// a DNS name although a name constraint for DNS names says nothing of it. The certificate must have been verified.
pub(crate) fn verified_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    let dns = parsed.valid_dns_names().filter_map(|name| comparable(name).ok());
    dns.chain(parsed.valid_uri_names().filter(|name| is_uri(name)).map(str::to_owned)).collect()
}

/// A refused certificate, in words: its names, and whether somebody signed it.
pub(super) fn describe(certificate: &CertificateDer<'_>) -> Option<(String, bool)> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let names = verified_names(certificate);
    let names =
        if names.is_empty() { "without a name".to_owned() } else { format!("for {}", names.join(", ")) };
    Some((names, parsed.subject() == parsed.issuer()))
}
