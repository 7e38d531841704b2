//! Reads certificates and keys.

use std::{borrow::Cow, fs::File, io::Read as _, sync::Arc};

use rustls::{
    Error, InconsistentKeys, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _, SectionKind},
    },
    sign::CertifiedKey,
};

use super::{
    config::Pem,
    error::{TlsError, TlsPart},
};

/// The largest file: far larger than the CA bundle of any system, and small enough to read by mistake.
const MAX_FILE: u64 = 4 << 20;

pub(super) fn identity(chain: &Pem, key: &Pem, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let (chain_part, key_part) = (part("certificate", chain), part("private key", key));
    let chain = certificates(chain, &chain_part)?;
    let key = private_key(key, &key_part)?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::KeyMismatch { key: key_part, certificate: chain_part }
        }
        Error::InvalidCertificate(problem) => {
            TlsError::Damaged { part: chain_part, problem: format!("it is no X.509 certificate: {problem}") }
        }
        other => TlsError::Key { part: key_part, problem: other.to_string() },
    })
}

pub(super) fn roots(ca: &Pem) -> Result<RootCertStore, TlsError> {
    let part = part("CA certificate", ca);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, &part)? {
        roots.add(certificate).map_err(|error| TlsError::Damaged {
            part: part.clone(),
            problem: format!("it is no X.509 certificate of a CA: {error}"),
        })?;
    }
    Ok(roots)
}

pub(super) fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Certificates that cannot be parsed are skipped.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(TlsError::SystemRoots(why));
    }
    Ok(roots)
}

fn certificates(from: &Pem, part: &TlsPart) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = bytes(from, part)?;
    let all = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| damaged(&error, part))?;
    if all.is_empty() {
        let wanted = if kinds(&bytes).is_empty() {
            "PEM at all; it must contain -----BEGIN CERTIFICATE-----"
        } else {
            "certificate, but other PEM; it must contain -----BEGIN CERTIFICATE-----"
        };
        return Err(TlsError::NoPem { part: part.clone(), wanted });
    }
    Ok(all)
}

fn private_key(from: &Pem, part: &TlsPart) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = bytes(from, part)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            let kinds = kinds(&bytes);
            let wanted = if bytes.windows(21).any(|w| w == b"ENCRYPTED PRIVATE KEY") {
                "unencrypted private key: it is encrypted; decrypt it with `openssl pkey`"
            } else if kinds.is_empty() {
                "PEM at all; it must contain -----BEGIN PRIVATE KEY-----"
            } else {
                "private key, but other PEM; it must contain -----BEGIN PRIVATE KEY-----"
            };
            TlsError::NoPem { part: part.clone(), wanted }
        }
        other => damaged(&other, part),
    })
}

/// The kinds of PEM sections in the data.
fn kinds(bytes: &[u8]) -> Vec<SectionKind> {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes);
    sections.filter_map(Result::ok).map(|(kind, _)| kind).collect()
}

/// The text never quotes input, which may be part of a key.
fn damaged(error: &pem::Error, part: &TlsPart) -> TlsError {
    let problem = match error {
        pem::Error::MissingSectionEnd { .. } => "the -----END line is missing".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a -----BEGIN line is not well-formed".to_owned(),
        pem::Error::Base64Decode(_) => "it is not valid base64".to_owned(),
        other => other.to_string(),
    };
    TlsError::Damaged { part: part.clone(), problem }
}

fn part(what: &'static str, from: &Pem) -> TlsPart {
    let file = match from {
        Pem::File(path) => Some(path.clone()),
        Pem::Bytes(_) => None,
    };
    TlsPart { what, file }
}

fn bytes<'a>(from: &'a Pem, part: &TlsPart) -> Result<Cow<'a, [u8]>, TlsError> {
    let path = match from {
        Pem::Bytes(bytes) => return Ok(Cow::Borrowed(bytes)),
        Pem::File(path) => path,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| TlsError::Read { part: part.clone(), source: Arc::new(error) })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(TlsError::TooLarge { part: part.clone(), limit: MAX_FILE });
    }
    Ok(Cow::Owned(bytes))
}
