//! The names in a certificate.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The names by which the holder of a certificate is known: DNS names, in lower case, and URIs of its subject alternative
/// names. Never the common name, which is free text (TL-4). The certificate must have been verified.
pub(crate) fn verified_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    let dns = parsed.valid_dns_names().map(str::to_ascii_lowercase);
    dns.chain(parsed.valid_uri_names().map(str::to_owned)).collect()
}

/// A refused certificate, in words: its names, and whether somebody signed it.
pub(super) fn describe(certificate: &CertificateDer<'_>) -> Option<(String, bool)> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let names = verified_names(certificate);
    let names = if names.is_empty() {
        "without a name".to_owned()
    } else {
        format!("for {}", names.join(", ").escape_debug())
    };
    Some((names, parsed.subject() == parsed.issuer()))
}
