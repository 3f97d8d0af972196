//! TLS: trusted roots, client certificates, and explanations of failed handshakes.

use crate::config::{ConnectionSettings, Http2, Roots};
use crate::error::{Error, Result};
use rustls::client::Resumption;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The TLS configuration. It is read once per client, because its files may be inaccessible later.
pub struct Tls(ClientConfig);

impl Tls {
    /// Reads the trusted roots and the client's certificate. Uses rustls with ring.
    pub fn new(connection: &ConnectionSettings) -> Result<Tls> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::config("config_json", format_args!("is not valid for a TLS client: {e}")))?
            .with_root_certificates(roots(connection)?);
        let Some(file) = &connection.client_cert_file else { return Ok(Tls(builder.with_no_client_auth())) };
        let chain = certificates("client_cert_file", file)?;
        let (key, key_file) = match &connection.client_key_file {
            Some(file) => ("client_key_file", file),
            // The certificate and the key may be in one file.
            None => ("client_cert_file", file),
        };
        let private_key = check_regular_file(key, key_file)
            .and_then(|()| PrivateKeyDer::from_pem_file(key_file).map_err(|e| unreadable(key, "private key", &e)))?;
        builder
            .with_client_auth_cert(chain, private_key)
            .map(Tls)
            .map_err(|e| Error::config(key, format_args!("does not match the certificate in `client_cert_file`: {e}")))
    }

    /// Returns a configuration for one pool, with its own session cache.
    pub fn for_pool(&self, http2: Http2) -> ClientConfig {
        let mut config = self.0.clone();
        config.resumption = Resumption::in_memory_sessions(256);
        let protocols: &[&[u8]] = match http2 {
            Http2::Auto => &[b"h2", b"http/1.1"],
            Http2::Never => &[b"http/1.1"],
            Http2::Always => &[b"h2"],
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config
    }
}

fn roots(connection: &ConnectionSettings) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &connection.ca_file {
        for certificate in certificates("ca_file", path)? {
            roots
                .add(certificate)
                .map_err(|e| Error::config("ca_file", format_args!("contains an unusable certificate: {e}")))?;
        }
    }
    // For a plain connection, reading hundreds of files would be a waste.
    let is_used = connection.base_url.scheme() == "https" || connection.proxy.is_some();
    match connection.roots {
        Roots::OnlyCaFile => {}
        Roots::Bundled => {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            for path in env_certificate_files().filter(|path| is_used && path.is_file()) {
                roots.add_parsable_certificates(CertificateDer::pem_file_iter(path).into_iter().flatten().flatten());
            }
        }
        Roots::System if is_used => {
            // This also reads SSL_CERT_FILE and SSL_CERT_DIR, if they are set.
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                let why = found.errors.first().map_or("no certificate store was found".to_owned(), ToString::to_string);
                return Err(Error::config("roots", format_args!("is \"system\", but the system has no roots: {why}")));
            }
        }
        Roots::System => {}
    }
    Ok(roots)
}

/// Returns the files in SSL_CERT_FILE and SSL_CERT_DIR. They only add to the bundled roots, and belong to the machine rather than to the
/// caller, so unreadable ones are ignored.
fn env_certificate_files() -> impl Iterator<Item = PathBuf> {
    let file = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let folders = std::env::var_os("SSL_CERT_DIR").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&folders).filter_map(|folder| folder.read_dir().ok()).collect();
    file.into_iter().chain(folders.into_iter().flatten().flatten().map(|entry| entry.path()))
}

/// Reads the certificates in a file that the configuration names.
fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    check_regular_file(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found = found.map_err(|e| unreadable(key, "certificate", &e))?;
    if found.is_empty() { Err(unreadable(key, "certificate", &pem::Error::NoItemsFound)) } else { Ok(found) }
}

/// Rejects a path that is not a regular file: opening a FIFO would wait for a writer.
fn check_regular_file(key: &str, path: &Path) -> Result<()> {
    match path.metadata() {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(Error::config(key, "is not a regular file")),
        Err(e) => Err(Error::config(key, format_args!("cannot be read: {e}"))),
    }
}

fn unreadable(key: &str, what: &str, error: &pem::Error) -> Error {
    match error {
        pem::Error::Io(e) => Error::config(key, format_args!("cannot be read: {e}")),
        pem::Error::NoItemsFound => Error::config(key, format_args!("contains no {what} in PEM form")),
        // These repeat a line of the file as a list of numbers.
        pem::Error::MissingSectionEnd { .. } => {
            Error::config(key, format_args!("does not contain a {what} in valid PEM form: it is cut short"))
        }
        pem::Error::IllegalSectionStart { .. } => Error::config(
            key,
            format_args!("does not contain a {what} in valid PEM form: a line begins with ----- but no section does"),
        ),
        e => Error::config(key, format_args!("does not contain a {what} in valid PEM form: {e}")),
    }
}

/// Explains a TLS error and how to fix it.
pub fn explain(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(problem) => {
            format!("the server's certificate is not accepted: {}", explain_certificate(problem))
        }
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => format!(
            "the server does not accept this client's certificate, or requires one: give `client_cert_file` and `client_key_file` ({error})"
        ),
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            format!("the server does not speak the version of HTTP that `http2` requires: set it to \"auto\" ({error})")
        }
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => format!(
            "the server and this library have no TLS version, cipher or key type in common (P-521 is not supported) ({error})"
        ),
        rustls::Error::AlertReceived(_) => format!("the server rejected the TLS handshake ({error})"),
        rustls::Error::InvalidMessage(_) => format!("the server does not speak TLS on this port ({error})"),
        _ => format!("TLS failed: {error}"),
    }
}

fn explain_certificate(problem: &CertificateError) -> String {
    match problem {
        CertificateError::UnknownIssuer => {
            "its issuer is not trusted here: give the issuer's certificate (PEM) in `ca_file`, or in the environment variable \
            SSL_CERT_FILE (an incomplete chain looks the same: then the server must send its intermediate certificates)"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("it has expired, or this machine's clock is wrong; renew it on the server ({problem})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("it is not valid yet, or this machine's clock is wrong ({problem})")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("it is for another host than the one in `base_url` ({problem})")
        }
        CertificateError::Revoked => "it was revoked; replace it on the server".to_owned(),
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "it is the certificate of a certificate authority (CA:TRUE, as `openssl req -x509` makes it) used as a server's. Giving it \
            in `ca_file` does not change that: make a server certificate (basicConstraints CA:FALSE) that it signs, or recreate it \
            with `-addext basicConstraints=CA:FALSE`, and give that in `ca_file`"
                .to_owned()
        }
        problem if is_unsupported(problem) => {
            format!(
                "it is signed in a way that this library cannot check (such as P-521 and RSA keys below 2048 bits): use P-256, P-384, \
                Ed25519 or RSA from 2048 bits on, on the server and in the certificates of `ca_file` ({problem})"
            )
        }
        problem => format!("{problem}. The certificates in `ca_file` and SSL_CERT_FILE are trusted, besides those that `roots` names"),
    }
}

fn is_unsupported(problem: &CertificateError) -> bool {
    let text = format!("{problem:?}");
    text.contains("UnsupportedSignatureAlgorithm") || text.contains("UnsupportedPublicKey")
}
