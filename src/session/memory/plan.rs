//! The plan of a sync: what the directory holds and what the store holds come in, actions go out. Pure: no clock, no files, no requests.
//!
//! [`SyncState`] is what is remembered between syncs: what both sides agreed on, which files are missing since when, which contents the
//! server refused, and uploads whose response was lost. The driver reports what its actions did.
//!
//! Deletions are what cannot be undone, so they take care: a file has to be missing in two syncs with [`MIN_MISSING`] between, only some are
//! deleted at a time, and a directory that has lost its marker, or all its files at once, deletes nothing.

use super::table::{Access, Local, Verdict, decide};
use crate::runtime::clock::ClockTime;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a file has to be missing until its memory is deleted.
pub const MIN_MISSING: Duration = Duration::from_secs(30);
/// How many memories are deleted in one sync: a quarter of those known, but not fewer or more than these.
const MIN_DELETES: usize = 8;
const MAX_DELETES: usize = 50;

/// What a directory holds, as the helper reports it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
pub struct Scan {
    /// Whether the marker is there, and names the store.
    pub marker: bool,
    /// The hash of each file by its path.
    pub files: BTreeMap<String, String>,
    /// Why what has the path of a memory is none.
    #[serde(default)]
    pub refused: BTreeMap<String, String>,
}

/// A memory: its id, and the hash of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    pub id: String,
    pub sha256: String,
}

/// What a store holds, by path.
pub type Listing = BTreeMap<String, Memory>;

/// What to do with one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Pull {
        id: String,
    },
    /// Create a memory with the content of the file.
    Create,
    /// Update a memory if its content still has the hash `expected`; create it if it is gone.
    Update {
        id: String,
        expected: String,
    },
    /// Remove the file if its content still has this hash.
    RemoveFile {
        sha256: String,
    },
    /// Delete a memory if its content still has the hash `expected`, and the file and the marker are as they were.
    DeleteMemory {
        id: String,
        expected: String,
    },
}

/// What a sync does.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub actions: Vec<(String, Action)>,
    /// The marker is to be written first.
    pub write_marker: bool,
    /// Why nothing may be done with the directory.
    pub distrust: Option<&'static str>,
    /// Paths whose changes in the directory are lost.
    pub overwritten: Vec<String>,
    /// How many deletions wait for a later sync.
    pub held_deletes: usize,
}

/// What is remembered between syncs.
#[derive(Debug)]
pub struct SyncState {
    access: Access,
    /// What both sides had last.
    agreed: Listing,
    /// Since when files are missing.
    missing: BTreeMap<String, ClockTime>,
    /// The hashes of contents that the server refused permanently.
    rejected: BTreeMap<String, String>,
    /// The hashes of contents that were sent, and may have arrived.
    uncertain: BTreeMap<String, String>,
}

impl SyncState {
    pub fn new(access: Access) -> SyncState {
        SyncState {
            access,
            agreed: Listing::new(),
            missing: BTreeMap::new(),
            rejected: BTreeMap::new(),
            uncertain: BTreeMap::new(),
        }
    }

    /// Plans a sync. `is_last`: there is no later one, so files that are missing are missing long enough.
    pub fn plan(&mut self, now: ClockTime, scan: &Scan, listing: &Listing, is_last: bool) -> Plan {
        let is_empty = scan.files.is_empty() && scan.refused.is_empty();
        if !scan.marker && !is_empty {
            return Plan { distrust: Some("the marker is gone or was changed"), ..Plan::default() };
        }
        self.resolve_uncertain(listing);
        if !scan.marker || (is_empty && self.count_newly_missing(listing) >= 2) {
            return self.restore(listing);
        }
        let mut plan = Plan::default();
        let mut deletes = Vec::new();
        let mut still_missing = BTreeMap::new();
        for path in paths(&[&scan.files, &scan.refused], &[listing, &self.agreed]) {
            let (local, remote, agreed) = (local(scan, &path), listing.get(&path), self.agreed.get(&path));
            let hash = |memory: Option<&Memory>| memory.map(|memory| memory.sha256.clone());
            let verdict = decide(self.access, local, hash(remote).as_deref(), hash(agreed).as_deref());
            let is_rejected = matches!(local, Local::File(hash) if self.rejected.get(&path).is_some_and(|known| known == hash));
            match (verdict, local, remote) {
                (Verdict::Agree, _, Some(memory)) => drop(self.agreed.insert(path, memory.clone())),
                (Verdict::Forget, ..) => drop(self.agreed.remove(&path)),
                (Verdict::Pull, _, Some(memory)) => plan.add(path, Action::Pull { id: memory.id.clone() }),
                (Verdict::Overwrite, _, Some(memory)) => {
                    plan.overwritten.push(path.clone());
                    plan.add(path, Action::Pull { id: memory.id.clone() });
                }
                (Verdict::Create, ..) if !is_rejected => plan.add(path, Action::Create),
                (Verdict::Update, _, Some(memory)) if !is_rejected => {
                    plan.add(path, Action::Update { id: memory.id.clone(), expected: memory.sha256.clone() });
                }
                (Verdict::RemoveFile | Verdict::RemoveChanged, Local::File(hash), _) => {
                    if verdict == Verdict::RemoveChanged {
                        plan.overwritten.push(path.clone());
                    }
                    plan.add(path, Action::RemoveFile { sha256: hash.to_owned() });
                }
                (Verdict::DeleteMemory, _, Some(memory)) => {
                    let known = self.missing.get(&path).copied();
                    let is_due = known.is_some_and(|since| now.saturating_sub(since) >= MIN_MISSING);
                    let action = Action::DeleteMemory { id: memory.id.clone(), expected: memory.sha256.clone() };
                    still_missing.insert(path.clone(), known.unwrap_or(now));
                    deletes.push((is_due || is_last, path, action));
                }
                _ => {}
            }
        }
        self.missing = still_missing;
        let most = (self.agreed.len() / 4).clamp(MIN_DELETES, MAX_DELETES);
        let due = deletes.iter().filter(|(is_due, ..)| *is_due).count().min(most);
        plan.held_deletes = deletes.len() - due;
        plan.actions
            .extend(deletes.into_iter().filter(|(is_due, ..)| *is_due).take(most).map(|(_, path, action)| (path, action)));
        plan
    }

    /// Plans what is only uploaded, without knowing what the store holds now: what was changed since both sides agreed.
    pub fn plan_flush(&self, scan: &Scan) -> Plan {
        let mut plan = Plan::default();
        if !scan.marker {
            plan.distrust = Some("the marker is gone or was changed");
            return plan;
        }
        for (path, hash) in scan.files.iter().filter(|_| self.access == Access::ReadWrite) {
            if self.rejected.get(path) == Some(hash) {
                continue;
            }
            match self.agreed.get(path) {
                Some(memory) if memory.sha256 == *hash => {}
                Some(Memory { id, sha256 }) => {
                    plan.add(path.clone(), Action::Update { id: id.clone(), expected: sha256.clone() })
                }
                None => plan.add(path.clone(), Action::Create),
            }
        }
        plan
    }

    /// Both sides have this memory now.
    pub fn agree(&mut self, path: &str, memory: Memory) {
        self.missing.remove(path);
        self.rejected.remove(path);
        self.uncertain.remove(path);
        self.agreed.insert(path.to_owned(), memory);
    }

    /// Neither side has it any more.
    pub fn forget(&mut self, path: &str) {
        self.missing.remove(path);
        self.agreed.remove(path);
    }

    /// The server refused this content; it is not sent again.
    pub fn reject(&mut self, path: &str, sha256: String) {
        self.rejected.insert(path.to_owned(), sha256);
    }

    /// This content is being sent; until both sides agree, it may have arrived or not.
    pub fn doubt(&mut self, path: &str, sha256: String) {
        self.uncertain.insert(path.to_owned(), sha256);
    }

    /// Agrees on what was sent and has arrived, whatever the file holds now.
    fn resolve_uncertain(&mut self, listing: &Listing) {
        for (path, sent) in std::mem::take(&mut self.uncertain) {
            if let Some(memory) = listing.get(&path).filter(|memory| memory.sha256 == sent) {
                self.agreed.insert(path, memory.clone());
            }
        }
    }

    /// Counts the files that were there at the last sync, and whose memories are still there.
    fn count_newly_missing(&self, listing: &Listing) -> usize {
        self.agreed.keys().filter(|path| listing.contains_key(*path) && !self.missing.contains_key(*path)).count()
    }

    /// Plans to write everything anew from the store.
    fn restore(&mut self, listing: &Listing) -> Plan {
        (self.agreed, self.missing) = (Listing::new(), BTreeMap::new());
        let pull = |(path, memory): (&String, &Memory)| (path.clone(), Action::Pull { id: memory.id.clone() });
        Plan { actions: listing.iter().map(pull).collect(), write_marker: true, ..Plan::default() }
    }
}

impl Plan {
    fn add(&mut self, path: String, action: Action) {
        self.actions.push((path, action));
    }
}

fn local<'a>(scan: &'a Scan, path: &str) -> Local<'a> {
    match scan.files.get(path) {
        Some(hash) => Local::File(hash),
        // A file where a folder should be, or the other way round, is in the way of what is below.
        None if scan.refused.contains_key(path) => Local::Refused,
        None => Local::Absent,
    }
}

fn paths(local: &[&BTreeMap<String, String>], remote: &[&Listing]) -> BTreeSet<String> {
    let local = local.iter().flat_map(|map| map.keys());
    local.chain(remote.iter().flat_map(|map| map.keys())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: ClockTime = Duration::from_secs(1_000);

    fn scan(files: &[(&str, &str)]) -> Scan {
        let files = files.iter().map(|(path, hash)| ((*path).to_owned(), (*hash).to_owned())).collect();
        Scan { marker: true, files, refused: BTreeMap::new() }
    }

    fn listing(memories: &[(&str, &str)]) -> Listing {
        memories.iter().map(|(path, hash)| ((*path).to_owned(), memory(path, hash))).collect()
    }

    fn memory(path: &str, hash: &str) -> Memory {
        Memory { id: format!("id of {path}"), sha256: hash.to_owned() }
    }

    /// A state in which both sides agree on these.
    fn agreed(memories: &[(&str, &str)]) -> SyncState {
        let mut state = SyncState::new(Access::ReadWrite);
        let plan = state.plan(START, &scan(memories), &listing(memories), false);
        assert_eq!(plan, Plan::default());
        state
    }

    fn delete(path: &str, hash: &str) -> (String, Action) {
        (path.to_owned(), Action::DeleteMemory { id: format!("id of {path}"), expected: hash.to_owned() })
    }

    #[test]
    fn the_actions_of_a_sync_name_what_they_expect() {
        let both = [("/same", "s"), ("/theirs", "1"), ("/mine", "1"), ("/both", "1"), ("/gone", "1"), ("/renewed", "1")];
        let mut state = agreed(&both);
        let local =
            [("/same", "s"), ("/theirs", "1"), ("/mine", "2"), ("/both", "2"), ("/gone", "1"), ("/renewed", "2"), ("/new", "n")];
        let remote = [("/same", "s"), ("/theirs", "2"), ("/mine", "1"), ("/both", "3"), ("/added", "a")];
        let plan = state.plan(START, &scan(&local), &listing(&remote), false);
        let pull = |path: &str| (path.to_owned(), Action::Pull { id: format!("id of {path}") });
        assert_eq!(
            plan.actions,
            [
                pull("/added"),
                pull("/both"),
                ("/gone".to_owned(), Action::RemoveFile { sha256: "1".to_owned() }),
                ("/mine".to_owned(), Action::Update { id: "id of /mine".to_owned(), expected: "1".to_owned() }),
                ("/new".to_owned(), Action::Create),
                ("/renewed".to_owned(), Action::Create),
                pull("/theirs"),
            ]
        );
        assert_eq!((plan.overwritten, plan.held_deletes), (vec!["/both".to_owned()], 0));
    }

    #[test]
    fn a_memory_is_deleted_when_its_file_is_missing_for_30_seconds_over_two_syncs() {
        let (both, one) = ([("/a", "1"), ("/b", "1")], [("/a", "1")]);
        let mut state = agreed(&both);
        for (seconds, expected) in [(0, vec![]), (15, vec![]), (29, vec![]), (30, vec![delete("/b", "1")])] {
            let plan = state.plan(START + Duration::from_secs(seconds), &scan(&one), &listing(&both), false);
            assert_eq!((plan.held_deletes, plan.actions), (1 - expected.len(), expected), "{seconds} s");
        }
        // One long pause is one look, and a file that comes back begins anew.
        let mut state = agreed(&both);
        let late = START + Duration::from_secs(3_600);
        assert_eq!(state.plan(late, &scan(&one), &listing(&both), false).actions, []);
        assert_eq!(state.plan(late, &scan(&both), &listing(&both), false).actions, []);
        assert_eq!(state.plan(late + MIN_MISSING, &scan(&one), &listing(&both), false).actions, []);
        // The last sync does not wait.
        assert_eq!(agreed(&both).plan(START, &scan(&one), &listing(&both), true).actions, [delete("/b", "1")]);
    }

    #[test]
    fn a_sync_deletes_a_quarter_of_the_memories_but_8_to_50() {
        for (known, deleted) in [(9, 8), (40, 10), (100, 25), (400, 50)] {
            let names: Vec<String> = (0..known).map(|number| format!("/{number:03}")).collect();
            let both: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
            let mut state = agreed(&both);
            let plan = state.plan(START, &scan(&both[known - 1..]), &listing(&both), true);
            assert_eq!((plan.actions.len(), plan.held_deletes), (deleted, known - 1 - deleted), "{known} memories");
        }
    }

    #[test]
    fn files_that_are_all_gone_at_once_are_written_anew() {
        let both = [("/a", "1"), ("/b", "1")];
        for is_last in [false, true] {
            let plan = agreed(&both).plan(START, &scan(&[]), &listing(&both), is_last);
            assert!(plan.write_marker && plan.actions.iter().all(|(_, action)| matches!(action, Action::Pull { .. })));
            assert_eq!(plan.actions.len(), 2);
        }
        // One after the other they are deleted.
        let mut state = agreed(&both);
        assert_eq!(state.plan(START, &scan(&both[..1]), &listing(&both), false).held_deletes, 1);
        let plan = state.plan(START + MIN_MISSING, &scan(&[]), &listing(&both), false);
        assert_eq!((plan.actions, plan.held_deletes), (vec![delete("/b", "1")], 1));
        // A single one is as good as any.
        let plan = agreed(&both[..1]).plan(START, &scan(&[]), &listing(&both[..1]), true);
        assert_eq!(plan.actions, [delete("/a", "1")]);
    }

    #[test]
    fn a_directory_without_its_marker_is_left_alone_or_written_anew() {
        let both = [("/a", "1"), ("/b", "1")];
        let mut state = agreed(&both);
        let lost = Scan { marker: false, ..scan(&[("/a", "2")]) };
        let plan = state.plan(START, &lost, &listing(&both), true);
        assert_eq!((plan.actions.len(), plan.distrust.is_some()), (0, true));
        assert!(state.plan_flush(&lost).distrust.is_some());
        let refused = Scan { marker: false, refused: BTreeMap::from([("/l".to_owned(), "a link".to_owned())]), ..scan(&[]) };
        assert!(state.plan(START, &refused, &listing(&both), true).distrust.is_some());
        let empty = Scan { marker: false, ..scan(&[]) };
        let plan = state.plan(START, &empty, &listing(&both), false);
        assert_eq!((plan.actions.len(), plan.write_marker), (2, true));
    }

    #[test]
    fn refused_content_is_sent_again_only_when_it_changes() {
        let mut state = agreed(&[("/a", "1")]);
        let changed = [("/a", "2"), ("/b", "1")];
        assert_eq!(state.plan(START, &scan(&changed), &listing(&[("/a", "1")]), false).actions.len(), 2);
        state.reject("/a", "2".to_owned());
        state.reject("/b", "1".to_owned());
        assert_eq!(state.plan(START, &scan(&changed), &listing(&[("/a", "1")]), false).actions, []);
        assert_eq!(state.plan_flush(&scan(&changed)).actions, []);
        let again = [("/a", "3"), ("/b", "2")];
        assert_eq!(state.plan(START, &scan(&again), &listing(&[("/a", "1")]), false).actions.len(), 2);
        // What can be no memory is neither uploaded nor taken for deleted.
        let refused = Scan { refused: BTreeMap::from([("/a".to_owned(), "too large".to_owned())]), ..scan(&[]) };
        let plan = state.plan(START, &refused, &listing(&[("/a", "1")]), true);
        assert_eq!((plan.actions, plan.held_deletes), (vec![], 0));
    }

    #[test]
    fn an_upload_whose_response_was_lost_is_no_change_by_others() {
        let mut state = agreed(&[("/a", "1")]);
        state.doubt("/a", "2".to_owned());
        // It arrived, and the file has changed since: that is a change of ours.
        let plan = state.plan(START, &scan(&[("/a", "3")]), &listing(&[("/a", "2")]), false);
        let update = Action::Update { id: "id of /a".to_owned(), expected: "2".to_owned() };
        assert_eq!((plan.actions, plan.overwritten), (vec![("/a".to_owned(), update)], vec![]));
        // It did not arrive, or another one came after it.
        let mut state = agreed(&[("/a", "1")]);
        state.doubt("/a", "2".to_owned());
        let plan = state.plan(START, &scan(&[("/a", "3")]), &listing(&[("/a", "4")]), false);
        assert_eq!(plan.overwritten, ["/a"]);
        // It is remembered until the next list, not longer.
        let plan = state.plan(START, &scan(&[("/a", "3")]), &listing(&[("/a", "2")]), false);
        assert_eq!(plan.overwritten, ["/a"]);
    }

    #[test]
    fn a_flush_uploads_what_has_changed_and_nothing_else() {
        let mut state = agreed(&[("/a", "1"), ("/b", "1"), ("/c", "1")]);
        let plan = state.plan_flush(&scan(&[("/a", "2"), ("/b", "1"), ("/new", "1")]));
        let update = Action::Update { id: "id of /a".to_owned(), expected: "1".to_owned() };
        assert_eq!(plan.actions, [("/a".to_owned(), update), ("/new".to_owned(), Action::Create)]);
        state.agree("/a", memory("/a", "2"));
        state.forget("/b");
        assert_eq!(state.plan_flush(&scan(&[("/a", "2")])).actions, []);
    }

    #[test]
    fn a_read_only_store_is_only_pulled() {
        let mut state = SyncState::new(Access::ReadOnly);
        let both = [("/a", "1"), ("/b", "1"), ("/c", "1")];
        state.plan(START, &scan(&both), &listing(&both), false);
        let local = scan(&[("/a", "2"), ("/c", "2"), ("/own", "1")]);
        let plan = state.plan(START, &local, &listing(&both[..2]), true);
        let pull = |path: &str| (path.to_owned(), Action::Pull { id: format!("id of {path}") });
        let remove = ("/c".to_owned(), Action::RemoveFile { sha256: "2".to_owned() });
        assert_eq!((plan.actions, plan.overwritten.len()), (vec![pull("/a"), pull("/b"), remove], 2));
        assert_eq!(state.plan_flush(&local).actions, []);
    }
}
