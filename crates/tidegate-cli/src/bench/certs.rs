//! A CA for one run, so that TLS can be measured without preparation.

use std::path::Path;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tidegate::{Pem, Tls, TlsConfig};

const CA: &str = "ca.crt";
const CERTIFICATE: &str = "side.crt";
const KEY: &str = "side.key";

/// Creates a CA, and a certificate for 127.0.0.1, in a directory that is removed after the run.
///
/// # Errors
/// If the system provides no random bytes, or the files cannot be written.
pub(super) fn make() -> anyhow::Result<TempDir> {
    let dir = tempfile::Builder::new().prefix("tidegate-bench-").tempdir()?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, "tidegate bench");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca_key = KeyPair::generate()?;
    let ca = params.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?.pem();
    for (name, pem) in [(CA, ca), (CERTIFICATE, certificate), (KEY, key.serialize_pem())] {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.path().join(name));
        file.and_then(|mut file| file.write_all(pem.as_bytes()))
            .with_context(|| format!("cannot write {name}"))?;
    }
    Ok(dir)
}

/// The TLS settings for a side, from that directory.
pub(super) fn load(dir: &Path) -> anyhow::Result<Tls> {
    let file = |name| Pem::file(dir.join(name));
    Ok(Tls::load(TlsConfig::new().ca(file(CA)).identity(file(CERTIFICATE), file(KEY)))?)
}
