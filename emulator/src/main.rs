//! The command: options in, the base URL (and the file to trust) on standard output, and a clean end on SIGTERM or SIGINT, or
//! when standard input closes.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    thread,
};

use antenv_emulator::{Auth, Config, Emulator, Tls};
use clap::{Parser, ValueEnum, error::ErrorKind};
use tokio::sync::oneshot;

/// Serves the Environments API on localhost, for development and tests.
///
/// The first line on standard output is the base URL, written once connections are accepted; with --tls, the second one is the
/// file that clients have to trust. Any non-empty API key will do; environment keys are issued by
/// `POST /_emulator/environment_keys`. SIGTERM and SIGINT end it; with --until-stdin-closes, the end of standard input as well.
#[derive(Parser)]
#[command(name = "antenv-emulator", version)]
struct Options {
    /// The name or address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,

    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8787)]
    port: u16,

    /// Serve HTTPS with HTTP/2 or HTTP/1.1 (ALPN), with a certificate of an authority made at start
    #[arg(long)]
    tls: bool,

    /// Write the authority's certificate to this file; without it, to a temporary one
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_ca: Option<PathBuf>,

    /// How many requests a client may have in flight on one HTTP/2 connection
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_streams: u32,

    /// A name by which /_emulator/ may be called, besides addresses, localhost and the host; may be given again
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,

    /// Keep the state in this SQLite file, made if it is not there; without it the state lives in memory
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,

    /// How strictly credentials are checked
    #[arg(long, value_enum, default_value_t = Auth::Strict)]
    auth: Auth,

    /// How long a heartbeat extends a lease, unless it requests another time
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    lease_ttl: u32,

    /// How a heartbeat is answered after its lease ran out, while no poll has handed the item out again
    #[arg(long, value_enum, default_value_t = LapsedLease::Refused)]
    lapsed_lease: LapsedLease,

    /// After how many milliseconds without an event a stream sends a ping
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    ping_interval_ms: u64,

    /// How many requests to keep for GET /_emulator/requests
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    request_log: usize,

    /// How many threads serve requests
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,

    /// End when standard input closes, and so with the program that holds its other end
    #[arg(long)]
    until_stdin_closes: bool,

    /// Write one line a request to standard error
    #[arg(long)]
    verbose: bool,
}

/// The answers to the heartbeat of a lapsed lease.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LapsedLease {
    /// 412
    Refused,
    /// 200 with `lease_extended: false` and the state `stopped`
    Stopped,
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => error.exit(),
        Err(error) => return fail(2, &format!("{} (--help lists the options)", one_line(&error.to_string()))),
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error.to_string()),
    }
}

fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    allow_many_connections();
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before the URL is written: its reader may send a signal.
    let signal = waiting.block_on(async { signals() })?;
    let input_closed = options.until_stdin_closes.then(stdin_closed).transpose()?;
    let emulator = Emulator::start(Config {
        host: options.host,
        port: options.port,
        allow_hosts: options.allow_host,
        tls: options.tls.then_some(Tls { ca_file: options.tls_ca }),
        max_streams: options.max_streams,
        data: options.data,
        auth: options.auth,
        lease_ttl: options.lease_ttl,
        lapsed_leases_answer_stopped: options.lapsed_lease == LapsedLease::Stopped,
        ping_interval_ms: options.ping_interval_ms,
        request_log: options.request_log,
        threads: usize::from(options.threads),
        verbose: options.verbose,
    })?;
    // A closed standard output is no reason not to serve.
    let ca_file = emulator.ca_file().map_or(String::new(), |file| format!("{}\n", file.display()));
    let _ = write!(io::stdout(), "{}\n{ca_file}", emulator.url()).and_then(|()| io::stdout().flush());
    waiting.block_on(async {
        tokio::select! {
            () = signal => {}
            Some(_) = async { Some(input_closed?.await) } => {}
        }
    });
    emulator.shutdown();
    Ok(())
}

/// Returns a channel that closes when standard input does, whatever is written there. A thread of its own reads: a runtime would wait,
/// when it ends, for a read that cannot be interrupted.
fn stdin_closed() -> io::Result<oneshot::Receiver<()>> {
    let (reading, closed) = oneshot::channel();
    thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        // An input that cannot be read is a closed one.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop::<oneshot::Sender<()>>(reading);
    })?;
    Ok(closed)
}

/// Shells often allow 1024 descriptors, for the sake of programs that use select(). Each connection takes one.
fn allow_many_connections() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource::RLIMIT_NOFILE, getrlimit, setrlimit};
        if let Ok((_, most)) = getrlimit(RLIMIT_NOFILE) {
            let _ = setrlimit(RLIMIT_NOFILE, most, most);
        }
    }
}

#[cfg(unix)]
fn signals() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(windows)]
fn signals() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}

/// Returns the message, without the usage that clap adds below it.
fn one_line(message: &str) -> String {
    let about = message.split("\n\nUsage:").next().unwrap_or(message);
    let about = about.split("\n\nFor more").next().unwrap_or(about);
    let words: Vec<&str> = about.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("antenv-emulator: {message}");
    ExitCode::from(code)
}
