//! Two directories in step with one store: edits, failures and lost responses at any moment. Hashes are the contents themselves.
//!
//! Nothing in the store is overwritten or deleted by a directory that never had it, and when all is quiet, all three hold the same.

use super::plan::{Action, Listing, Memory, Scan, SyncState};
use super::table::Access;
use crate::runtime::clock::ClockTime;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const SEEDS: u64 = 500;
const STEPS: usize = 60;
const PATHS: [&str; 4] = ["/a", "/b", "/c", "/d"];

struct Directory {
    state: SyncState,
    files: BTreeMap<String, String>,
    /// What has ever been in it.
    held: BTreeSet<(String, String)>,
}

struct World {
    rng: Rng,
    now: ClockTime,
    store: Listing,
    directories: [Directory; 2],
    made: usize,
    is_quiet: bool,
}

impl Directory {
    fn put(&mut self, path: &str, content: &str) {
        self.files.insert(path.to_owned(), content.to_owned());
        self.held.insert((path.to_owned(), content.to_owned()));
    }
}

impl World {
    fn new(seed: u64) -> World {
        let directory = || Directory { state: SyncState::new(Access::ReadWrite), files: BTreeMap::new(), held: BTreeSet::new() };
        World {
            rng: Rng::with_seed(seed),
            now: Duration::from_secs(1),
            store: Listing::new(),
            directories: [directory(), directory()],
            made: 0,
            is_quiet: false,
        }
    }

    fn fails(&mut self) -> bool {
        !self.is_quiet && self.rng.u8(..8) == 0
    }

    fn new_name(&mut self) -> String {
        self.made += 1;
        format!("{}", self.made)
    }

    /// Changes a file, as a command would.
    fn edit(&mut self, which: usize) {
        let path = PATHS[self.rng.usize(..PATHS.len())];
        let content = self.new_name();
        match self.rng.u8(..10) {
            0..6 => self.directories[which].put(path, &content),
            6..9 => drop(self.directories[which].files.remove(path)),
            _ => self.directories[which].files.clear(),
        }
    }

    fn sync(&mut self, which: usize) {
        let listing = self.store.clone();
        let directory = &mut self.directories[which];
        let scan = Scan { marker: true, files: directory.files.clone(), refused: BTreeMap::new() };
        let plan = directory.state.plan(self.now, &scan, &listing, false);
        assert_eq!(plan.distrust, None);
        for (path, action) in plan.actions {
            if !self.is_quiet && self.rng.u8(..10) == 0 {
                let other = self.rng.usize(..2);
                self.edit(other);
            }
            if self.fails() {
                continue;
            }
            self.perform(which, &path, action);
        }
    }

    fn perform(&mut self, which: usize, path: &str, action: Action) {
        match action {
            Action::Pull { id } => {
                if let Some(memory) = self.store.get(path).filter(|memory| memory.id == id).cloned() {
                    self.directories[which].put(path, &memory.sha256);
                    self.directories[which].state.agree(path, memory);
                }
            }
            Action::Create => self.create(which, path),
            Action::Update { id, expected } => match self.store.get(path).filter(|memory| memory.id == id) {
                None => self.create(which, path),
                Some(memory) if memory.sha256 == expected => {
                    self.check_held(which, path, &expected);
                    self.upload(which, path, id);
                }
                Some(_) => {}
            },
            Action::RemoveFile { sha256 } => {
                let directory = &mut self.directories[which];
                if directory.files.get(path) == Some(&sha256) {
                    directory.files.remove(path);
                    directory.state.forget(path);
                }
            }
            Action::DeleteMemory { id, expected } => {
                let is_back = self.directories[which].files.contains_key(path);
                let is_as_expected = self.store.get(path).is_some_and(|memory| memory.id == id && memory.sha256 == expected);
                if !is_back && is_as_expected {
                    self.check_held(which, path, &expected);
                    self.store.remove(path);
                    if !self.fails() {
                        self.directories[which].state.forget(path);
                    }
                }
            }
        }
    }

    fn check_held(&self, which: usize, path: &str, content: &str) {
        let known = (path.to_owned(), content.to_owned());
        assert!(self.directories[which].held.contains(&known), "{path}: {content} is lost, and was never seen");
    }

    fn create(&mut self, which: usize, path: &str) {
        if !self.store.contains_key(path) {
            let id = self.new_name();
            self.upload(which, path, id);
        }
    }

    /// Writes what the file holds now to the store. The response may be lost, and so may the request.
    fn upload(&mut self, which: usize, path: &str, id: String) {
        let Some(content) = self.directories[which].files.get(path).cloned() else { return };
        let memory = Memory { id, sha256: content.clone() };
        if self.fails() {
            if self.rng.bool() {
                self.store.insert(path.to_owned(), memory);
            }
            self.directories[which].state.doubt(path, content);
            return;
        }
        self.store.insert(path.to_owned(), memory.clone());
        self.directories[which].state.agree(path, memory);
    }

    fn contents(&self) -> BTreeMap<String, String> {
        self.store.iter().map(|(path, memory)| (path.clone(), memory.sha256.clone())).collect()
    }
}

#[test]
fn two_directories_and_their_store_agree_when_all_is_quiet() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            let which = world.rng.usize(..2);
            if world.rng.bool() {
                world.edit(which)
            } else {
                world.sync(which)
            }
            world.now += Duration::from_secs(world.rng.u64(..40));
        }
        world.is_quiet = true;
        for round in 0..12 {
            world.sync(round % 2);
            world.now += Duration::from_secs(31);
        }
        let contents = world.contents();
        for directory in &world.directories {
            assert_eq!(directory.files, contents, "seed {seed}");
        }
    }
}
