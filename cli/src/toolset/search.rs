//! The tools glob and grep, on ripgrep's crates. The walk follows no symbolic link, and each file is opened below its root by cap-std.

use super::error::{ToolError, ToolResult};
use super::files::open_for_reading;
use super::roots::{Location, Roots};
use super::server::{Cancel, Content};
use globset::GlobBuilder;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, MmapChoice, Searcher, SearcherBuilder, sinks};
use ignore::{DirEntry, WalkBuilder, WalkState};
use serde::Deserialize;
use std::cmp::Reverse;
use std::io::{self, BufReader, Read};
use std::path::{Component, Path};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many entries glob looks at, and how many paths it gives.
pub const MAX_GLOB_ENTRIES: usize = 50_000;
pub const MAX_GLOB_MATCHES: usize = 200;
/// How much text grep gives, and how much of one line (in characters).
pub const MAX_GREP_BYTES: usize = 100 << 10;
pub const MAX_LINE_CHARS: usize = 2_000;
const MAX_TIME: Duration = Duration::from_secs(60);
const MAX_THREADS: usize = 8;
/// How much of a file is read at first. The searcher asks for three bytes, which would take a system call of their own.
const FIRST_READ: usize = 16 << 10;
/// How much memory a line may take, and a regular expression when it is compiled.
const MAX_LINE_MEMORY: usize = 8 << 20;
const MAX_REGEX_MEMORY: usize = 16 << 20;
const NO_MATCHES: &str = "no matches";

#[derive(Deserialize)]
pub struct GlobInput {
    pattern: String,
    path: Option<String>,
}

#[derive(Deserialize)]
pub struct GrepInput {
    pattern: String,
    path: Option<String>,
}

/// Lists the files whose path below `path` matches a pattern, the newest first.
pub fn glob(roots: &Roots, input: &GlobInput, cancel: &Cancel) -> ToolResult<Content> {
    let pattern = Path::new(&input.pattern);
    if pattern.is_absolute() || pattern.components().any(|component| component == Component::ParentDir) {
        return Err(ToolError::new("the pattern must be relative, without `..`"));
    }
    let problem = |error: globset::Error| ToolError::new(format!("the pattern is not valid: {}", error.kind()));
    let pattern = input.pattern.strip_prefix("./").unwrap_or(&input.pattern);
    let matcher = GlobBuilder::new(pattern).literal_separator(true).build().map_err(problem)?.compile_matcher();
    let base = roots.locate(input.path.as_deref().unwrap_or("."))?;
    let top = base.absolute();
    let mut walk = WalkBuilder::new(&top);
    walk.standard_filters(false).follow_links(false);
    let mut found = Vec::new();
    let mut looked_at = 0;
    let mut cut = false;
    let deadline = Instant::now() + MAX_TIME;
    for entry in walk.build().filter_map(Result::ok).filter(|entry| entry.depth() > 0) {
        looked_at += 1;
        if looked_at > MAX_GLOB_ENTRIES || Instant::now() > deadline {
            cut = true;
            break;
        }
        cancel.check()?;
        let relative = entry.path().strip_prefix(&top).unwrap_or(entry.path());
        if entry.file_type().is_some_and(|kind| kind.is_dir()) || !matcher.is_match(relative) {
            continue;
        }
        // Looked up below the root once more: what the walk saw may have been outside, if a folder was swapped for a link.
        let Ok(metadata) = base.root.dir.symlink_metadata(base.relative.join(relative)) else { continue };
        found.push((metadata.modified().ok(), display(roots, entry.path())));
    }
    found.sort_by_key(|(modified, path)| (Reverse(*modified), path.clone()));
    let mut lines: Vec<String> = found.iter().take(MAX_GLOB_MATCHES).map(|(_, path)| path.clone()).collect();
    if lines.is_empty() {
        lines.push(NO_MATCHES.to_owned());
    }
    if found.len() > MAX_GLOB_MATCHES {
        lines.push(format!("[{} more]", found.len() - MAX_GLOB_MATCHES));
    }
    if cut {
        lines.push(format!("[stopped after {} entries]", looked_at - 1));
    }
    Ok(Content::text(lines.join("\n")))
}

/// Lists the lines that match a regular expression (`path:line:text`), in files that are not ignored, hidden or binary.
pub fn grep(roots: &Roots, input: &GrepInput, cancel: &Cancel) -> ToolResult<Content> {
    let problem = |error: grep_regex::Error| ToolError::new(format!("the pattern is not valid: {error}"));
    let mut builder = RegexMatcherBuilder::new();
    builder.size_limit(MAX_REGEX_MEMORY).dfa_size_limit(MAX_REGEX_MEMORY).line_terminator(Some(b'\n'));
    let matcher = builder.build(&input.pattern).map_err(problem)?;
    let given = input.path.as_deref().unwrap_or(".");
    let base = roots.locate(given)?;
    let metadata = base.root.dir.metadata(&base.relative).map_err(|error| ToolError::io(given, &error))?;
    let search = Search {
        roots,
        base: &base,
        matcher,
        cancel,
        deadline: Instant::now() + MAX_TIME,
        found: Mutex::default(),
        bytes: AtomicUsize::new(0),
        cut: AtomicBool::new(false),
        timed_out: AtomicBool::new(false),
    };
    if metadata.is_dir() {
        search.walk();
    } else {
        super::files::open_regular(&base, given)?;
        search.file(&mut searcher(), &base.absolute(), &base.relative);
    }
    cancel.check()?;
    Ok(Content::text(search.into_text()))
}

/// One search, shared by the threads that walk.
struct Search<'a> {
    roots: &'a Roots,
    base: &'a Location<'a>,
    matcher: RegexMatcher,
    cancel: &'a Cancel,
    deadline: Instant,
    found: Mutex<Vec<(String, String)>>,
    bytes: AtomicUsize,
    cut: AtomicBool,
    timed_out: AtomicBool,
}

impl Search<'_> {
    /// Searches the files below the place, as ripgrep does, on several threads.
    fn walk(&self) {
        let top = self.base.absolute();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let mut walk = WalkBuilder::new(&top);
        // No file of ignored patterns that lies outside, such as the one of the user's.
        walk.parents(false).git_global(false).follow_links(false).threads(threads);
        walk.build_parallel().run(|| {
            let mut searcher = searcher();
            let top = &top;
            Box::new(move |entry| {
                if let Ok(entry) = entry.as_ref()
                    && entry.file_type().is_some_and(|kind| kind.is_file())
                {
                    self.entry(&mut searcher, top, entry);
                }
                if self.stopped() { WalkState::Quit } else { WalkState::Continue }
            })
        });
    }

    fn entry(&self, searcher: &mut Searcher, top: &Path, entry: &DirEntry) {
        let relative = entry.path().strip_prefix(top).unwrap_or(entry.path());
        self.file(searcher, entry.path(), &self.base.relative.join(relative));
    }

    /// Searches one file. One that cannot be read has no matches; one that is no regular file any more is not waited for.
    fn file(&self, searcher: &mut Searcher, path: &Path, relative: &Path) {
        let Ok(file) = open_for_reading(&self.base.root.dir, relative) else { return };
        let mut text = String::new();
        let reader = BufReader::with_capacity(FIRST_READ, Interruptible { file, search: self });
        let mut name = None;
        let sink = sinks::Lossy(|number, line| {
            let name = name.get_or_insert_with(|| display(self.roots, path));
            let line = line.trim_end_matches(['\n', '\r']);
            let before = text.len();
            match line.char_indices().nth(MAX_LINE_CHARS) {
                None => text.push_str(&format!("{name}:{number}:{line}\n")),
                Some((end, _)) => text.push_str(&format!("{name}:{number}:{} [line truncated]\n", &line[..end])),
            }
            let all = self.bytes.fetch_add(text.len() - before, Ordering::Relaxed) + text.len() - before;
            if all > MAX_GREP_BYTES {
                self.cut.store(true, Ordering::Relaxed);
            }
            Ok(!self.stopped())
        });
        // A failure within the file leaves the matches before it.
        let _ = searcher.search_reader(&self.matcher, reader, sink);
        if !text.is_empty() {
            self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((display(self.roots, path), text));
        }
    }

    fn stopped(&self) -> bool {
        if Instant::now() > self.deadline {
            self.timed_out.store(true, Ordering::Relaxed);
        }
        self.cut.load(Ordering::Relaxed) || self.timed_out.load(Ordering::Relaxed) || self.cancel.is_cancelled()
    }

    /// Returns what was found, by path.
    fn into_text(self) -> String {
        let mut found = self.found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        found.sort();
        let mut text: String = found.into_iter().map(|(_, text)| text).collect();
        let cut = text.len() > MAX_GREP_BYTES;
        if cut {
            let end = text.as_bytes()[..MAX_GREP_BYTES].iter().rposition(|byte| *byte == b'\n');
            text.truncate(end.map_or(0, |at| at + 1));
            text.push_str("[output truncated]\n");
        }
        if self.timed_out.into_inner() {
            text.push_str(&format!("[stopped after {} s]\n", MAX_TIME.as_secs()));
        }
        if text.is_empty() { NO_MATCHES.to_owned() } else { text.trim_end().to_owned() }
    }
}

/// A file whose reading ends with the search.
struct Interruptible<'a> {
    file: cap_std::fs::File,
    search: &'a Search<'a>,
}

impl Read for Interruptible<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.search.stopped() {
            return Err(io::Error::other("the search has ended"));
        }
        self.file.read(buffer)
    }
}

fn searcher() -> Searcher {
    SearcherBuilder::new()
        .binary_detection(BinaryDetection::quit(0))
        .memory_map(MmapChoice::never())
        .heap_limit(Some(MAX_LINE_MEMORY))
        .line_number(true)
        .build()
}

/// Returns a path as the agent knows it: relative to the working directory if it lies there.
fn display(roots: &Roots, path: &Path) -> String {
    path.strip_prefix(&roots.workdir().path).unwrap_or(path).to_string_lossy().into_owned()
}
