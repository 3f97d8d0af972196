//! Serving the session of an item to its end: what `antenv worker run` does for each item, and `antenv worker handle` for one.
//!
//! ```text
//! item ─► working directory ─► session: calls ─► it is over ─────────────► stop the item ─► remove the directory
//!              │ cannot be         │ calls of custom tools: the command
//!              ▼ made              │ hurry: end it now ────────────────►
//!         leave the item to the work queue, and give up
//! ```

use super::command::{self, Item};
use super::host::{Host, finish};
use super::log::{self, Progress};
use super::seconds;
use super::tool::OnTool;
use super::workdir::{Workdir, Workdirs};
use crate::output::Failure;
use antenv::error::Result as ApiResult;
use antenv::session::Next;
use antenv::telemetry::log::Level;
use antenv::{Lease, Session, Status};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::ops::Add;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::interval;

/// How often the progress on a terminal is written anew.
const PROGRESS: Duration = Duration::from_millis(500);

/// How sessions are served.
#[derive(Args)]
pub struct ServeOptions {
    /// The directory that the tools work in, for all items the same
    #[arg(long, value_name = "DIR", conflicts_with = "workdir_root", required_unless_present_any = ["workdir_root", "no_toolset"])]
    workdir: Option<PathBuf>,

    /// The directory in which each item gets a working directory of its own, which is removed when its session is over
    #[arg(long, value_name = "DIR")]
    workdir_root: Option<PathBuf>,

    /// auto confines the toolset as far as the system can, required serves nothing if something is missing, off confines nothing
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = ["auto", "required", "off"])]
    sandbox: String,

    /// Let the commands of the toolset use the network
    #[arg(long)]
    network: bool,

    /// An environment variable that the commands of the toolset get from this process, besides PATH, LANG and the like
    #[arg(long, value_name = "NAME")]
    env: Vec<String>,

    /// Serve no tools but those of --on-tool
    #[arg(long, requires = "on_tool", conflicts_with_all = ["network", "env"])]
    no_toolset: bool,

    /// The command that answers the calls of the tools that --tools names, and its arguments: all that follows. No shell is involved
    #[arg(long, value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true, requires = "tools", display_order = 100)]
    on_tool: Vec<OsString>,

    /// The names of the tools that --on-tool serves
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1, requires = "on_tool")]
    tools: Vec<String>,

    /// How long a session may be idle after its turn until it is over; 0: without a limit. Up to 86400, such as 60 or 0.5s
    #[arg(long, value_name = "SECONDS", value_parser = seconds::parse, allow_negative_numbers = true)]
    max_idle: Option<Duration>,

    /// How long the call of a tool may take; 0: without a limit
    #[arg(long, value_name = "SECONDS", value_parser = seconds::parse, allow_negative_numbers = true)]
    tool_timeout: Option<Duration>,
}

impl ServeOptions {
    /// Checks what is only known at run time: that the command and the directories are there. Returns the directories.
    pub fn check(&self) -> Result<Workdirs, Failure> {
        if !self.on_tool.is_empty() {
            command::check(&self.on_tool)?;
        }
        Workdirs::new(self.workdir.as_deref(), self.workdir_root.as_deref())
    }

    /// Returns the configuration of a session.
    fn config(&self, workdir: Option<&Path>) -> String {
        let mut config = json!({"tools": self.tools});
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                config[key] = value;
            }
        };
        set("max_idle_ms", self.max_idle.map(|time| seconds::in_ms(time).into()));
        set("tool_timeout_ms", self.tool_timeout.map(|time| seconds::in_ms(time).into()));
        if !self.no_toolset {
            set("toolset", Some(json!({"network": self.network, "env": self.env})));
            set("sandbox", Some(self.sandbox.as_str().into()));
            set("workdir", workdir.map(|path| path.to_string_lossy().into()));
            // This program is the toolset, too.
            #[cfg(target_os = "linux")]
            set("toolset_path", Some(crate::toolset::OWN_EXECUTABLE.into()));
        }
        config.to_string()
    }
}

/// What has been done. The counts of calls are those of `antenv_session_stats`.
#[derive(Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Tally {
    #[serde(skip)]
    sessions: u64,
    posted: u64,
    void: u64,
}

impl Tally {
    /// Counts a session.
    fn of(session: &Session) -> Tally {
        let stats = session.stats().ok().and_then(|stats| serde_json::from_str(&stats).ok());
        Tally { sessions: 1, ..stats.unwrap_or_default() }
    }
}

impl Add for Tally {
    type Output = Tally;

    fn add(self, more: Tally) -> Tally {
        Tally { sessions: self.sessions + more.sessions, posted: self.posted + more.posted, void: self.void + more.void }
    }
}

/// Serves sessions.
pub struct Server {
    host: Rc<Host>,
    options: ServeOptions,
    workdirs: Workdirs,
    on_tool: Rc<[OsString]>,
    /// The sessions that are being served.
    sessions: RefCell<Vec<Rc<Session>>>,
    /// Of the sessions that are over.
    done: Cell<Tally>,
}

impl Server {
    /// Makes what serves the sessions of a host's items.
    pub fn new(host: Rc<Host>, options: ServeOptions, workdirs: Workdirs) -> Rc<Server> {
        let on_tool = options.on_tool.clone().into();
        Rc::new(Server { host, options, workdirs, on_tool, sessions: RefCell::default(), done: Cell::default() })
    }

    /// Serves the session of an item to its end. Returns whether nothing went wrong.
    pub async fn serve_item(self: Rc<Server>, lease: Arc<Lease>, json: String) -> bool {
        let item = Item::parse(&json);
        let workdir = self.workdirs.make(&item.id).map_err(|error| Failure::io("working directory", error));
        let begun = workdir.and_then(|workdir| match self.begin(&lease, &workdir) {
            Ok(session) => Ok((workdir, Rc::new(session))),
            Err(error) => {
                workdir.remove(&item.id);
                Err(error.into())
            }
        });
        let (workdir, session) = match begun {
            Ok(begun) => begun,
            Err(failure) => {
                // The next item would fail, too.
                self.host.give_up(failure);
                lease.abandon();
                return false;
            }
        };
        let work_id = item.id.clone();
        log::info(Some(&work_id), &format!("begun: {}", item.session_id()));
        self.sessions.borrow_mut().push(session.clone());
        let served = self.serve(item, &workdir, &session).await;
        self.sessions.borrow_mut().retain(|each| !Rc::ptr_eq(each, &session));
        self.done.set(self.done.get() + Tally::of(&session));
        let is_well = match served {
            Ok(()) => finish(&lease, &work_id).await,
            // The toolset cannot start, and could not for the next item.
            Err(error) if error.status() == Status::Config => {
                self.host.give_up(error.into());
                lease.abandon();
                false
            }
            Err(_) => {
                finish(&lease, &work_id).await;
                false
            }
        };
        let _ = spawn_blocking(move || workdir.remove(&work_id)).await;
        is_well
    }

    fn begin(&self, lease: &Arc<Lease>, workdir: &Workdir) -> ApiResult<Session> {
        Session::new(lease, Some(&self.options.config(workdir.path())))
    }

    /// Serves the calls of a session until it is over, or has to end. Errors: why it could not be served.
    async fn serve(&self, item: Item, workdir: &Workdir, session: &Session) -> ApiResult<()> {
        let work_id = item.id.clone();
        let workdir = workdir.path().map(Path::to_owned);
        let on_tool = Rc::new(OnTool { host: self.host.clone(), command: self.on_tool.clone(), item, workdir });
        let mut notices = self.host.subscribe(|queue, tag| session.attach(Some(queue), tag));
        let mut calls = JoinSet::new();
        let end = loop {
            tokio::select! {
                notice = notices.next() => match (session.next(Some(Duration::ZERO)), notice) {
                    (Ok(Next::Call(call)), _) => drop(calls.spawn_local(on_tool.clone().answer(call))),
                    (Ok(Next::End(end)), _) => break Ok(reason(&end)),
                    // The call is void already.
                    (Err(error), Some(Ok(_))) if error.status() == Status::Timeout => {}
                    (Err(error), _) => break Err(error),
                },
                Some(_) = calls.join_next() => {}
                () = self.host.hurries() => break Ok("a signal".to_owned()),
            }
        };
        let (level, why) = match &end {
            Ok(why) => (Level::Info, why.clone()),
            Err(error) => (Level::Warn, format!("{}: {error}", error.status().name())),
        };
        log::record(level, Some(&work_id), &format!("the session is over: {why}"));
        // The calls that still run become void.
        session.close();
        while calls.join_next().await.is_some() {}
        end.map(drop)
    }

    /// Shows the progress, as long as it is polled.
    pub async fn show_progress(self: Rc<Server>, progress: Option<Progress>) {
        let Some(progress) = progress else { return };
        let mut ticks = interval(PROGRESS);
        loop {
            ticks.tick().await;
            let sessions = self.sessions.borrow();
            let now = sessions.iter().map(|session| Tally::of(session)).fold(Tally::default(), Tally::add);
            let (done, total) = (self.done.get(), self.done.get() + now);
            progress.show(format!("{} sessions over, {} go on; {} calls answered", done.sessions, now.sessions, total.posted));
        }
    }

    /// Returns in words what has been done.
    pub fn summary(&self) -> String {
        let Tally { sessions, posted, void } = self.done.get();
        format!("sessions served: {sessions}; calls answered: {posted}, void: {void}")
    }
}

/// Returns why a session is over.
fn reason(json: &str) -> String {
    #[derive(Deserialize)]
    struct End {
        reason: String,
    }
    serde_json::from_str(json).map_or_else(|_| json.to_owned(), |end: End| end.reason)
}
