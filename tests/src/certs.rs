//! Certificates generated for tests, valid and invalid.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc)] // only tests use this module, and a test may panic

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use tidegate::{Pem, TlsConfig};
use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

pub use rcgen::date_time_ymd;

/// A test CA.
pub struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Identity {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
}

impl Ca {
    /// Creates a CA with this common name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::new_with(name, |_| ())
    }

    /// Like [`Self::new`]; `change` edits the parameters first.
    #[must_use]
    pub fn new_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = params(&[]);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// The CA's certificate.
    #[must_use]
    pub fn pem(&self) -> Pem {
        Pem::bytes(self.pem.clone())
    }

    /// A root store that trusts only this CA, for tests that use rustls directly.
    #[must_use]
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        roots
    }

    /// Signs a certificate for these names, addresses and URIs.
    #[must_use]
    pub fn sign(&self, names: &[&str]) -> Identity {
        self.sign_with(names, |_| ())
    }

    /// Like [`Self::sign`]; `change` edits the parameters first.
    #[must_use]
    pub fn sign_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = params(names);
        params.distinguished_name.push(DnType::CommonName, "the common name is ignored");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    /// Writes the CA's certificate to a file.
    pub fn write(&self, dir: &Path, name: &str) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, &self.pem).unwrap();
        path
    }
}

impl Identity {
    /// A self-signed certificate.
    #[must_use]
    pub fn self_signed(names: &[&str]) -> Self {
        let mut params = params(names);
        params.distinguished_name.push(DnType::CommonName, "itself");
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// TLS settings that present this certificate.
    pub fn config(&self) -> TlsConfig {
        TlsConfig::new().identity(Pem::bytes(self.certificate.clone()), Pem::bytes(self.key.clone()))
    }

    /// Writes two files: certificate and key.
    pub fn write(&self, dir: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        fs::write(&certificate, &self.certificate).unwrap();
        fs::write(&key, &self.key).unwrap();
        (certificate, key)
    }
}

/// Parameters with rcgen's default validity period, from 1975 to 4096.
fn params(names: &[&str]) -> CertificateParams {
    let (uris, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
    let others: Vec<String> = others.into_iter().map(str::to_owned).collect();
    let mut params = CertificateParams::new(others).unwrap();
    params.subject_alt_names.extend(uris.into_iter().map(|uri| SanType::URI(uri.try_into().unwrap())));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

/// Restricts the certificate to clients, or to servers.
pub fn only_for(client: bool) -> impl FnOnce(&mut CertificateParams) {
    let purpose =
        if client { ExtendedKeyUsagePurpose::ClientAuth } else { ExtendedKeyUsagePurpose::ServerAuth };
    move |params| params.extended_key_usages = vec![purpose]
}

/// Makes the certificate expire in 2020.
pub fn expired(params: &mut CertificateParams) {
    params.not_after = date_time_ymd(2020, 1, 2);
}

/// Makes the certificate valid only from 2999 on.
pub fn not_yet(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2999, 1, 2);
}
