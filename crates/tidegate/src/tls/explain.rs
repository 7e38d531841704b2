//! Explains TLS errors between two peers: the text names the certificate, the problem and the remedy.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use tidegate_proto::Rule;

use super::verify::take_refused;

/// The side of the connection that this process is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsSide {
    Connector,
    Acceptor,
}

impl TlsSide {
    fn peer(self) -> &'static str {
        match self {
            Self::Connector => "server",
            Self::Acceptor => "client",
        }
    }
}

/// Returns the text for an error of rustls. Call it directly after the call that returned the error.
pub(crate) fn explain(side: TlsSide, error: &Error) -> String {
    let refused = take_refused();
    match error {
        Error::InvalidCertificate(problem) => certificate(side, problem, refused),
        Error::NoCertificatesPresented => {
            format!("the {} presented no certificate, but one is required", side.peer())
        }
        Error::AlertReceived(alert) => self::alert(side, *alert),
        Error::PeerIncompatible(problem) => incompatible(side, problem),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            not_tls(side, "something else").to_owned()
        }
        Error::NoApplicationProtocol => {
            format!("the {} asks for another protocol than tidegate/1 ({})", side.peer(), Rule::Tl3)
        }
        other => format!("the handshake failed: {other}"),
    }
}

/// The peer does not use TLS.
pub(crate) fn not_tls(side: TlsSide, looks_like: &str) -> String {
    match side {
        TlsSide::Connector => {
            "the server does not speak TLS at this port; if it is meant to be unencrypted, use tcp://"
                .to_owned()
        }
        TlsSide::Acceptor => format!(
            "{}: this port speaks TLS, but the stream begins with no TLS hello: it looks like {looks_like}; \
             use tls://",
            Rule::Tl7
        ),
    }
}

fn certificate(side: TlsSide, problem: &CertificateError, refused: Option<(String, bool)>) -> String {
    let (names, self_signed) = refused.unwrap_or_default();
    let names = if names.is_empty() { names } else { format!(" {names}") };
    let whose = format!("the {}'s certificate{names}", side.peer());
    match problem {
        CertificateError::Expired => format!("{whose} has expired"),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("{whose} has expired: it was valid until {}", utc(not_after.as_secs()))
        }
        CertificateError::NotValidYet => format!("{whose} is not valid yet"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("{whose} is not valid yet: it becomes valid at {}", utc(not_before.as_secs()))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let wanted = match problem {
                CertificateError::NotValidForNameContext { expected, .. } => {
                    format!(", not for {:?}", expected.to_str())
                }
                _ => ", not for the name of the server".to_owned(),
            };
            let names = if names.is_empty() { " for another name" } else { names.as_str() };
            format!("the {}'s certificate is{names}{wanted}", side.peer())
        }
        CertificateError::UnknownIssuer if self_signed => {
            format!(
                "{whose} is self-signed and not trusted; add it to the trusted certificates, or have a CA sign it"
            )
        }
        CertificateError::UnknownIssuer => format!("{whose} is signed by an unknown CA"),
        CertificateError::BadSignature => {
            format!(
                "{whose} has an invalid signature for its CA; perhaps another CA of the same name signed it"
            )
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!(
                "{whose} was issued for another purpose: its extended key usage does not include that of a {}",
                side.peer()
            )
        }
        CertificateError::BadEncoding => format!("{whose} is damaged"),
        CertificateError::Other(other) => match other.0.downcast_ref() {
            Some(webpki::Error::CaUsedAsEndEntity) => format!(
                "{whose} is a CA certificate (CA:TRUE), which may only sign others; use a certificate that it signed"
            ),
            _ => format!("{whose} is not accepted: {other}"),
        },
        other => format!("{whose} is not accepted: {other}"),
    }
}

/// The peer refuses this side. In TLS 1.3 it sends nothing but one of these alerts.
fn alert(side: TlsSide, alert: AlertDescription) -> String {
    let peer = side.peer();
    match alert {
        AlertDescription::CertificateRequired => {
            format!("the {peer} requires a client certificate, but this side has none (certificate_required)")
        }
        AlertDescription::UnknownCA => {
            format!("the {peer} does not trust the CA of our certificate (unknown_ca)")
        }
        AlertDescription::CertificateExpired => {
            format!(
                "the {peer} reports that our certificate has expired or is not valid yet (certificate_expired)"
            )
        }
        AlertDescription::BadCertificate => format!(
            "the {peer} does not accept our certificate: it is for another name, or damaged (bad_certificate)"
        ),
        AlertDescription::UnsupportedCertificate => {
            format!(
                "the {peer} reports that our certificate was issued for another purpose (unsupported_certificate)"
            )
        }
        AlertDescription::CertificateRevoked => {
            format!("the {peer} reports that our certificate was revoked (certificate_revoked)")
        }
        AlertDescription::CertificateUnknown | AlertDescription::AccessDenied => {
            format!("the {peer} does not accept our certificate ({alert:?})")
        }
        AlertDescription::ProtocolVersion => {
            format!("the {peer} does not support TLS 1.3, which is required (protocol_version)")
        }
        AlertDescription::NoApplicationProtocol => {
            format!("the {peer} serves another protocol than tidegate/1 (no_application_protocol)")
        }
        AlertDescription::HandshakeFailure => {
            format!("the {peer} has no key exchange or cipher in common with this side (handshake_failure)")
        }
        other => format!("the {peer} ended the TLS handshake: {other:?}"),
    }
}

fn incompatible(side: TlsSide, problem: &PeerIncompatible) -> String {
    let peer = side.peer();
    match problem {
        PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls13RequiredForQuic
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
            format!("the {peer} supports only TLS 1.2 or older, but TLS 1.3 is required ({})", Rule::Tl1)
        }
        other => format!("the {peer} is incompatible with this side: {other:?}"),
    }
}

/// Converts seconds since 1970 to a date, by the usual days-to-civil algorithm with eras of 400 years.
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_200, "2024-03-01 00:00:00 UTC"),
            (4_102_444_799, "2099-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(seconds), date);
        }
    }
}
