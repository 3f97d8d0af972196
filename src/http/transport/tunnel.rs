//! Why reqwest got no tunnel from a proxy. It does not report the reason, so the request is repeated to get the proxy's response.

use super::connector::{Target, causes, chain};
use super::names::Names;
use super::relay;
use crate::http::proxy::Proxy;
use reqwest::dns::Resolve;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

/// How much of the proxy's response is read to find its first line.
const MAX_STATUS_LINE: usize = 512;
const TIMEOUT: Duration = Duration::from_secs(2);

/// Returns whether the proxy refused to open a tunnel.
pub fn was_refused(error: &(dyn StdError + 'static)) -> bool {
    // The error's type is not public.
    chain(error)
        .map(ToString::to_string)
        .any(|text| text.starts_with("tunnel error: ") && !text.ends_with("underlying connection"))
}

/// The proxy's response when the tunnel was requested once more.
pub struct Refusal {
    /// The response in words.
    pub message: String,
    /// Whether the response is one of those that open a tunnel and that reqwest does not accept.
    pub opens_tunnel: bool,
}

/// Requests the tunnel once more and reads the proxy's response.
pub async fn why_refused(proxy: &Proxy, target: &Target) -> Refusal {
    let response = timeout(TIMEOUT, send_connect(proxy, target)).await;
    let opens_tunnel = response.as_ref().is_ok_and(|line| line.as_ref().is_ok_and(|line| relay::opens_tunnel(line)));
    let answer = match response {
        Ok(Ok(line)) if line.starts_with("HTTP/1.") && line.get(9..).is_some_and(|status| !status.is_empty()) => {
            format!("answered CONNECT with {}", &line[9..])
        }
        Ok(Ok(line)) if line.is_empty() => "closed the connection instead of answering CONNECT".to_owned(),
        Ok(Ok(_)) => "answered CONNECT with something other than HTTP".to_owned(),
        Ok(Err(e)) => format!("opened no tunnel ({})", causes(&e)),
        Err(_) => "opened no tunnel".to_owned(),
    };
    let hint = if answer.contains(" 407") { " (give its user name and password in the proxy's URL)" } else { "" };
    Refusal { message: format!("the proxy {} {answer}{hint}", proxy.address), opens_tunnel }
}

/// Returns the first line of the proxy's response to CONNECT.
async fn send_connect(proxy: &Proxy, target: &Target) -> io::Result<String> {
    let url: Url = proxy.url.expose().parse().map_err(io::Error::other)?;
    let to = format!("{}:{}", target.url.host_str().unwrap_or_default(), target.url.port_or_known_default().unwrap_or(443));
    let authorization = proxy.authorization.as_ref().map(|value| format!("Proxy-Authorization: {}\r\n", value.expose()));
    let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{}\r\n", authorization.unwrap_or_default());
    first_line(connect(&url, &target.tls).await?, &request).await
}

async fn first_line(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    while answer.len() < MAX_STATUS_LINE && !answer.contains(&b'\n') && stream.read_buf(&mut answer).await? > 0 {}
    let text = String::from_utf8_lossy(&answer);
    let line = text.lines().next().unwrap_or_default();
    Ok(line.trim_end().chars().filter(|c| !c.is_control()).take(200).collect())
}

/// A connection to a proxy.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens a connection to an HTTP proxy, over TLS if its URL says so.
pub async fn connect(url: &Url, tls: &ClientConfig) -> io::Result<Box<dyn Stream>> {
    let port = url.port_or_known_default().unwrap_or(80);
    let addresses = match url.host() {
        Some(Host::Ipv4(address)) => vec![(address, port).into()],
        Some(Host::Ipv6(address)) => vec![(address, port).into()],
        Some(Host::Domain(name)) => {
            let name = name.parse().map_err(|_| io::Error::other("the proxy's name is not valid"))?;
            let found = Names.resolve(name).await.map_err(io::Error::other)?;
            found.map(|address| (address.ip(), port).into()).collect()
        }
        None => Vec::new(),
    };
    let stream = TcpStream::connect(&*addresses).await?;
    stream.set_nodelay(true)?;
    if url.scheme() == "http" {
        return Ok(Box::new(stream));
    }
    let mut tls = tls.clone();
    tls.alpn_protocols.clear();
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(Arc::new(tls)).connect(name, stream).await?))
}
