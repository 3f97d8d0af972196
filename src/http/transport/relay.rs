//! Tunnels through a proxy that opens them with another status than 200. Any 2xx does (RFC 9110), but reqwest accepts 200 alone, and its
//! connections cannot be replaced. Such a proxy is reached through this relay on loopback, which writes 200 in place of that status and
//! passes all other bytes on. It adds no credential, so other programs of this machine gain nothing from it: there is none where it would
//! have to show a client certificate.

use super::tunnel;
use crate::credentials::Secret;
use crate::http::proxy::Proxy;
use rustls::ClientConfig;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use url::Url;

/// The most bytes of a request or a response before its end; reqwest accepts no more either.
const MAX_HEAD: usize = 8192;
/// The pause after a connection could not be accepted, for lack of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A relay to one proxy. Dropping it closes its connections.
#[derive(Debug)]
pub struct Relay {
    url: Secret,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts a relay on the runtime. `tls` is for a proxy that is reached over TLS.
    pub async fn start(proxy: &Proxy, tls: &ClientConfig) -> io::Result<Relay> {
        let proxy: Url = proxy.url.expose().parse().map_err(io::Error::other)?;
        if proxy.scheme() == "https" && tls.client_auth_cert_resolver.has_certs() {
            return Err(io::Error::other("the relay would show the client certificate for every program of this machine"));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut url = proxy.clone();
        let is_http = url.set_scheme("http").is_ok() && url.set_ip_host(Ipv4Addr::LOCALHOST.into()).is_ok();
        if !is_http || url.set_port(Some(listener.local_addr()?.port())).is_err() {
            return Err(io::Error::other("the proxy's URL has no host"));
        }
        let shared = Arc::new((proxy, tls.clone()));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                match listener.accept().await {
                    Ok((client, _)) => {
                        let shared = shared.clone();
                        // If it fails, both sides are closed, which reqwest reports.
                        connections.spawn(async move { pass_on(client, &shared.0, &shared.1).await });
                    }
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Relay { url: Secret::new(url.into()), task })
    }

    /// Returns the proxy's URL with the relay's address. It may contain a password.
    pub fn url(&self) -> &str {
        self.url.expose()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes on CONNECT and everything behind it, with 200 in place of another 2xx.
async fn pass_on(mut client: TcpStream, proxy: &Url, tls: &ClientConfig) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut upstream = tunnel::connect(proxy, tls).await?;
    let (request, _) = read_head(&mut client).await?;
    upstream.write_all(&request).await?;
    upstream.flush().await?;
    let (response, end) = read_head(&mut upstream).await?;
    if opens_tunnel(&String::from_utf8_lossy(&response)) {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        client.write_all(&response[end..]).await?;
    } else {
        client.write_all(&response).await?;
    }
    copy_bidirectional(&mut client, &mut upstream).await.map(drop)
}

/// Returns whether a response to CONNECT opens the tunnel.
pub fn opens_tunnel(response: &str) -> bool {
    let status = response.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    status.and_then(|status| status.parse::<u16>().ok()).is_some_and(|status| (200..300).contains(&status))
}

/// Reads up to the empty line at least. Returns the bytes, and the position behind that line.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Vec<u8>, usize)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok((bytes, at + 4));
        }
        if bytes.len() >= MAX_HEAD || stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_2xx_opens_a_tunnel() {
        for (response, opens) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.0 204\r\n\r\n", true),
            ("HTTP/1.1 299 Odd", true),
            ("HTTP/1.1 199 Odd", false),
            ("HTTP/1.1 300 Odd", false),
            ("HTTP/1.1 20", false),
            ("HTTP/2 200 OK", false),
            ("SSH-2.0-200", false),
            ("", false),
        ] {
            assert_eq!(opens_tunnel(response), opens, "{response}");
        }
    }
}
