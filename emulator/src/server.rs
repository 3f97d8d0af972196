//! Sockets: listening, one task a connection, and an end that comes promptly.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpStream, task::JoinSet, time};

use crate::{
    App,
    line::{Line, LineIo},
    poll::Counted,
    service,
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
pub fn url(listener: &TcpListener) -> io::Result<String> {
    let mut address = listener.local_addr()?;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    Ok(format!("http://{address}"))
}

/// Serves until the app is told to stop.
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
    let _open = Counted::new(&app.connections_open);
    let number = app.connections_total.fetch_add(1, Ordering::SeqCst) + 1;
    let _ = stream.set_nodelay(true);
    let line = Line::new(number, stream);

    let handler = service_fn(|request| {
        let (app, line) = (app.clone(), line.clone());
        async move { service::serve(&app, &line, request).await }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(LineIo(line.clone())), handler));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = line.taken_over() => return,
        () = app.stopped() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = line.taken_over() => {}
    }
}
