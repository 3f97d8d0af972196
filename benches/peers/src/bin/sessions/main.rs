//! A service with sessions whose agents call a tool again and again, as fast as one thread can: it measures how long a call takes, from
//! its event's write to the stream until its result has been received.
//!
//!     sessions CA_FILE SESSIONS
//!
//! Writes the certificate of its CA to the file, and prints its URL. Its work queue has an item for each session. When all of them are
//! served it prints `ready`. Each line of standard input, `CALLS PAUSE_MS`, then lets each agent make so many calls, one after the
//! other, with a pause after each; the figures follow as a line of JSON. It ends when its input does.

mod api;
mod http1;
mod http2;
mod session;

use antenv_bench_peers::{Result, certificate};
use api::Api;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::{BufRead, stdin};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [ca_file, sessions] = &arguments[..] else { return Err("usage: sessions CA_FILE SESSIONS".into()) };
    let (_, most_files) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most_files, most_files)?;
    let acceptor = TlsAcceptor::from(Arc::new(certificate::tls(ca_file)?));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("https://localhost:{}", listener.local_addr()?.port());
    let api = Arc::new(Api::new(sessions.parse()?));
    tokio::spawn(listen(listener, acceptor, api.clone()));
    api.all_served().await;
    println!("ready");
    let mut lines = read_lines();
    while let Some(line) = lines.recv().await {
        let (calls, pause) = line.split_once(' ').ok_or("a line is CALLS PAUSE_MS")?;
        println!("{}", api.play(calls.parse()?, Duration::from_millis(pause.parse()?)).await);
    }
    Ok(())
}

/// Reads standard input in a thread of its own.
fn read_lines() -> mpsc::UnboundedReceiver<String> {
    let (lines, received) = mpsc::unbounded_channel();
    std::thread::spawn(move || stdin().lock().lines().map_while(|line| line.ok()).try_for_each(|line| lines.send(line)));
    received
}

/// Serves what connects. A connection that fails is its client's loss.
async fn listen(listener: TcpListener, acceptor: TlsAcceptor, api: Arc<Api>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, api) = (acceptor.clone(), api.clone());
        tokio::spawn(async move { serve(stream, acceptor, api).await.ok() });
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, api: Arc<Api>) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2::serve(stream, api).await
    } else {
        http1::serve(stream, api).await
    }
}
