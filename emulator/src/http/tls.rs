//! TLS as production has it: a certificate authority made at start, whose certificate clients are to trust, a server
//! certificate signed by it, and HTTP/2 or HTTP/1.1 by ALPN.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer},
};

/// HTTP/2 as ALPN calls it.
pub const H2: &[u8] = b"h2";

/// The first byte of a connection on which TLS is spoken; no request begins with it.
pub const FIRST_BYTE: &[u8] = &[22];

/// The authority's certificate in a file: one that was named, which stays, or one that is gone when the emulator ends.
pub struct CaFile {
    path: PathBuf,
    _temporary: Option<Temporary>,
}

impl CaFile {
    fn write(named: Option<&Path>, pem: &str) -> Result<CaFile, String> {
        let failed =
            |path: &Path, error: io::Error| format!("cannot write the certificate authority's file {}: {error}", path.display());
        if let Some(path) = named {
            fs::write(path, pem).map_err(|error| failed(path, error))?;
            return Ok(CaFile { path: path.to_owned(), _temporary: None });
        }
        let (path, temporary) = Temporary::write(pem).map_err(|error| failed(&std::env::temp_dir(), error))?;
        Ok(CaFile { path, _temporary: Some(temporary) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A file in memory, which this process holds open: nothing of it is left, however the process ends.
#[cfg(target_os = "linux")]
struct Temporary {
    _file: File,
}

#[cfg(target_os = "linux")]
impl Temporary {
    fn write(text: &str) -> io::Result<(PathBuf, Temporary)> {
        use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
        use std::os::fd::AsRawFd;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create("antenv-emulator-ca.pem", flags)?);
        file.write_all(text.as_bytes())?;
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        Ok((path.into(), Temporary { _file: file }))
    }
}

/// A file that is removed when this is dropped.
#[cfg(not(target_os = "linux"))]
struct Temporary {
    path: PathBuf,
}

#[cfg(not(target_os = "linux"))]
impl Temporary {
    fn write(text: &str) -> io::Result<(PathBuf, Temporary)> {
        let path = std::env::temp_dir().join(format!("antenv-emulator-ca-{:016x}.pem", fastrand::u64(..)));
        let mut file = File::create_new(&path)?;
        let temporary = Temporary { path: path.clone() };
        file.write_all(text.as_bytes())?;
        Ok((path, temporary))
    }
}

#[cfg(not(target_os = "linux"))]
impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes the authority and the certificate for this machine's own names and for `host`, the name listened on.
pub fn acceptor(host: &str, ca_file: Option<&Path>) -> Result<(TlsAcceptor, CaFile), String> {
    let failed = |error: rcgen::Error| format!("cannot make a certificate: {error}");
    let mut authority = named("antenv-emulator's certificate authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate().map_err(failed)?;
    let authority_certificate = authority.self_signed(&authority_key).map_err(failed)?;

    let mut server = named("antenv-emulator");
    server.subject_alt_names = vec![
        SanType::DnsName("localhost".try_into().map_err(failed)?),
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    let own = match host.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(host.try_into().map_err(failed)?),
    };
    if !server.subject_alt_names.contains(&own) {
        server.subject_alt_names.push(own);
    }
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let server_key = KeyPair::generate().map_err(failed)?;
    let issuer = Issuer::from_params(&authority, &authority_key);
    let server_certificate = server.signed_by(&server_key, &issuer).map_err(failed)?;

    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            let key = PrivatePkcs8KeyDer::from(server_key.serialize_der());
            builder.with_no_client_auth().with_single_cert(vec![server_certificate.der().clone()], key.into())
        })
        .map_err(|error| format!("cannot serve TLS: {error}"))?;
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    let ca_file = CaFile::write(ca_file, &authority_certificate.pem())?;
    Ok((TlsAcceptor::from(Arc::new(config)), ca_file))
}

/// A certificate for something of this name. (What rcgen says by itself is valid from 1975 to 4096.)
fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
