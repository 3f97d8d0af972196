//! Sockets: listening, one task a connection, what is spoken on it, and an end that comes promptly.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    App,
    http::{
        PREFACE,
        connection::{Connection, ConnectionIo, Ending},
        count::CountGuard,
        http1, http2, tls,
    },
};

/// Thousands of workers may connect in the same moment; a short backlog would make them wait seconds for a second attempt.
const BACKLOG: i32 = 4096;

/// How long requests may take to finish once the emulator is to end.
const GRACE: Duration = Duration::from_secs(1);

/// Listens on the first address of the host that can be had.
pub fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match listen_on(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // On Windows the option would let two emulators share a port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The base URL under which a client on this machine reaches the listener.
pub fn url(listener: &TcpListener, scheme: &str) -> io::Result<String> {
    let mut address = listener.local_addr()?;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    Ok(format!("{scheme}://{address}"))
}

/// Serves until the app is stopped.
pub async fn run(app: Arc<App>, listener: tokio::net::TcpListener) {
    let mut connections = JoinSet::new();
    let mut stopped = pin!(app.stopped());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(app.clone(), stream));
                }
                // Out of file descriptors, most likely: others will be closed.
                Err(_) => time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
            () = stopped.as_mut() => break,
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    let _ = time::timeout(GRACE, finished).await;
    connections.shutdown().await;
}

async fn serve_connection(app: Arc<App>, stream: TcpStream) {
    let silence = app.silence.subscribe();
    let _open = CountGuard::new(&app.connections_open);
    let number = app.connections_total.fetch_add(1, Ordering::SeqCst) + 1;
    let _ = stream.set_nodelay(true);
    let connection = Connection::new(number, stream);

    let ending = tokio::select! {
        ending = speak(&app, &connection) => ending,
        () = silenced(silence, number) => Ending::Silence,
    };
    match ending {
        Ending::Close => {}
        Ending::Reset => connection.end_with_reset(),
        Ending::Silence => {
            let _silent = CountGuard::new(&app.connections_silent);
            tokio::select! {
                () = connection.discard_input() => {}
                () = app.stopped() => {}
            }
        }
    }
}

/// Returns when this connection is to fall silent. The connection that requested it does not.
async fn silenced(mut silence: watch::Receiver<u64>, number: u64) {
    while silence.changed().await.is_ok() {
        if *silence.borrow_and_update() != number {
            return;
        }
    }
}

/// Serves a connection in the protocol that its peer begins with; how it is to end.
async fn speak(app: &Arc<App>, connection: &Arc<Connection>) -> Ending {
    let mut io = ConnectionIo::new(connection.clone());
    let is_tls = async { Ok(app.tls.is_some() && io.begins_with(tls::FIRST_BYTE).await?) };
    match (unless_stopped(app, is_tls).await, &app.tls) {
        (Some(true), Some(acceptor)) => speak_tls(app, connection, io, acceptor).await,
        (Some(_), _) => match unless_stopped(app, io.begins_with(PREFACE)).await {
            Some(is_http2) => serve(app, connection, io, is_http2).await,
            None => Ending::Close,
        },
        (None, _) => Ending::Close,
    }
}

async fn speak_tls(app: &Arc<App>, connection: &Arc<Connection>, io: ConnectionIo, acceptor: &TlsAcceptor) -> Ending {
    connection.set_tls();
    match unless_stopped(app, acceptor.accept(io)).await {
        Some(io) => {
            let is_http2 = io.get_ref().1.alpn_protocol() == Some(tls::H2);
            serve(app, connection, io, is_http2).await
        }
        None => Ending::Close,
    }
}

async fn serve<IO: AsyncRead + AsyncWrite + Unpin>(
    app: &Arc<App>,
    connection: &Arc<Connection>,
    io: IO,
    is_http2: bool,
) -> Ending {
    match is_http2 {
        true => http2::serve(app, connection, io).await,
        false => http1::serve(app, connection, io).await,
    }
}

/// Awaits a connection's handshake; returns nothing when it fails or the emulator ends first.
async fn unless_stopped<T>(app: &App, beginning: impl Future<Output = io::Result<T>>) -> Option<T> {
    tokio::select! {
        begun = beginning => begun.ok(),
        () = app.stopped() => None,
    }
}
