//! The connection pool: reqwest, set up once per client with TLS roots, timeouts and keep-alive.

use crate::config::{Connection, Http2};
use crate::error::{Error, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower_layer::Layer;
use tower_service::Service;

/// Builds the pool for a configuration.
pub fn build(connection: &Connection) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(connection)?)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        // Retries are the client's business, with its deadline; here they would cost a copy of each request.
        .retry(reqwest::retry::never())
        .connect_timeout(connection.connect_timeout)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(60))
        .tcp_keepalive_interval(Duration::from_secs(60))
        .tcp_keepalive_retries(5)
        .pool_max_idle_per_host(100)
        .pool_idle_timeout(Duration::from_secs(90))
        .connector_layer(NoteDials);
    builder = match connection.http2 {
        Http2::Auto => builder,
        Http2::Never => builder.http1_only(),
        Http2::Always => builder.http2_prior_knowledge(),
    };
    match &connection.proxy {
        Some(url) if !url.expose().is_empty() => {
            let proxy =
                reqwest::Proxy::all(url.expose()).map_err(|_| Error::config("proxy", "is not a proxy that can be used"))?;
            builder = builder.proxy(proxy);
        }
        Some(_) => builder = builder.no_proxy(),
        // A credential sent in plain text to this machine must not take a way over another.
        None if connection.loopback => builder = builder.no_proxy(),
        None => {}
    }
    builder
        .build()
        .map_err(|e| Error::config("config_json", format_args!("does not make a client: {}", causes(&e.without_url()))))
}

/// TLS with ring, the bundled roots, and those that the configuration and the environment add.
fn tls(connection: &Connection) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = &connection.ca_file {
        let found = certificates(path).map_err(|e| Error::config("ca_file", format_args!("cannot be read: {e}")))?;
        if found.is_empty() {
            return Err(Error::config("ca_file", "holds no certificate in PEM form"));
        }
        for certificate in found {
            roots.add(certificate).map_err(|e| Error::config("ca_file", format_args!("holds an unusable certificate: {e}")))?;
        }
    }
    // Reading hundreds of files for a plain connection would be a waste.
    if connection.base_url.scheme() == "https" || connection.proxy.is_some() {
        for path in environment_roots() {
            roots.add_parsable_certificates(CertificateDer::pem_file_iter(path).into_iter().flatten().flatten());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::config("config_json", format_args!("does not make a TLS client: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let protocols: &[&[u8]] = match connection.http2 {
        Http2::Auto => &[b"h2", b"http/1.1"],
        Http2::Never => &[b"http/1.1"],
        Http2::Always => &[b"h2"],
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// The files that SSL_CERT_FILE and SSL_CERT_DIR name. They only add to the bundled roots, and belong to the machine rather than to
/// the caller: what is unreadable there is passed over.
fn environment_roots() -> impl Iterator<Item = PathBuf> {
    let file = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let folders = std::env::var_os("SSL_CERT_DIR").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&folders).filter_map(|folder| folder.read_dir().ok()).collect();
    file.into_iter().chain(folders.into_iter().flatten().flatten().map(|entry| entry.path()))
}

fn certificates(path: &Path) -> std::result::Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_file_iter(path)?.collect()
}

/// What went wrong below HTTP: the causes of an error without the two topmost, which only say that a request failed.
pub fn causes(error: &dyn std::error::Error) -> String {
    let all: Vec<String> = std::iter::successors(Some(error), |error| error.source()).map(|error| error.to_string()).collect();
    let mut said: Vec<&str> = Vec::new();
    for cause in &all[all.len().saturating_sub(1).min(2)..] {
        // Some errors repeat their cause in their own text.
        if !said.iter().any(|earlier| earlier.contains(cause.as_str())) {
            said.push(cause);
        }
    }
    said.join(": ")
}

tokio::task_local! {
    static DIALLED: Cell<bool>;
}

/// Runs one attempt such that [`dialled`] tells, within it, whether it has opened a connection of its own.
pub fn noting_dials<F: Future>(attempt: F) -> impl Future<Output = F::Output> {
    DIALLED.scope(Cell::new(false), attempt)
}

/// Whether the attempt under way has opened a connection: if not, it met one that was kept.
pub fn dialled() -> bool {
    DIALLED.with(Cell::get)
}

/// Wraps the connector so that [`noting_dials`] learns of each use. A request that the pool hands a kept connection never gets here.
#[derive(Clone)]
struct NoteDials;

#[derive(Clone)]
struct Noting<S>(S);

impl<S> Layer<S> for NoteDials {
    type Service = Noting<S>;

    fn layer(&self, connector: S) -> Noting<S> {
        Noting(connector)
    }
}

impl<S: Service<R>, R> Service<R> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        let _ = DIALLED.try_with(|dialled| dialled.set(true));
        self.0.call(request)
    }
}
