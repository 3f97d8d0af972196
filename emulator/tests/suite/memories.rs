use serde_json::{Value, json};

use crate::support::{Answer, Client, Emulator, Scratch, VERSION, decode};

const MAX_CONTENT: usize = 102_400;

/// The hash of an empty content.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A memory store and a client that reaches it.
struct Store {
    client: Client,
    path: String,
}

impl Store {
    fn with(emulator: &Emulator, memories: Value) -> Store {
        let made = emulator.post("/_emulator/memory_stores", json!({"name": "Notes", "memories": memories})).ok();
        Store { client: emulator.with("an-api-key"), path: format!("/v1/memory_stores/{}/memories", made.string("id")) }
    }

    fn create(&self, path: &str, content: &str) -> Answer {
        self.client.post(&self.path, json!({"path": path, "content": content}))
    }

    fn list(&self, query: &str) -> Answer {
        self.client.get(&format!("{}{query}", self.path))
    }

    /// The paths of a list.
    fn paths(&self, query: &str) -> Vec<String> {
        let list = self.list(query).ok();
        list["data"].as_array().unwrap().iter().map(|item| item["path"].as_str().unwrap().to_owned()).collect()
    }

    fn update(&self, id: &str, body: Value) -> Answer {
        self.client.post(&format!("{}/{id}", self.path), body)
    }

    fn get(&self, id: &str, query: &str) -> Answer {
        self.client.get(&format!("{}/{id}{query}", self.path))
    }

    fn delete(&self, id: &str, query: &str) -> Answer {
        self.client.delete(&format!("{}/{id}{query}", self.path))
    }
}

#[test]
fn a_store_is_made_with_its_first_memories() {
    let emulator = Emulator::start();
    let body = json!({
        "id": "memstore_mine", "name": "Notes", "description": "d", "metadata": {"a": "1"},
        "memories": {"/b": "two", "/a": ""},
    });
    let made = emulator.post("/_emulator/memory_stores", body.clone()).ok();
    let expected = json!({
        "id": "memstore_mine", "type": "memory_store", "name": "Notes", "description": "d", "metadata": {"a": "1"},
        "created_at": made["created_at"], "updated_at": made["created_at"], "archived_at": null,
    });
    assert_eq!(made.body, expected);
    assert_eq!(emulator.get("/v1/memory_stores/memstore_mine").ok().body, expected);
    let list = emulator.get("/v1/memory_stores/memstore_mine/memories?view=full").ok();
    let shown: Vec<(&Value, &Value)> = list["data"].as_array().unwrap().iter().map(|m| (&m["path"], &m["content"])).collect();
    assert_eq!(shown, [(&json!("/a"), &json!("")), (&json!("/b"), &json!("two"))]);

    emulator.post("/_emulator/memory_stores", body).refused(409, "conflict_error", "");
    let fresh = emulator.post("/_emulator/memory_stores", json!({"name": "n"})).ok();
    assert!(fresh.string("id").starts_with("memstore_01"));
    assert_eq!((&fresh["description"], &fresh["metadata"]), (&json!(""), &json!({})));
    for wrong in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "a\n"}),
        json!({"name": "n".repeat(256)}),
        json!({"name": "n", "description": "d".repeat(1025)}),
        json!({"name": "n", "metadata": {"a": 1}}),
        json!({"name": "n", "memories": ["/a"]}),
        json!({"name": "n", "memories": {"/a": null}}),
        json!({"name": "n", "memories": {"a": ""}}),
        json!({"name": "n", "memories": {"/a": "x".repeat(MAX_CONTENT + 1)}}),
    ] {
        emulator.post("/_emulator/memory_stores", wrong).refused(400, "invalid_request_error", "");
    }
}

#[test]
fn a_memory_is_created_retrieved_changed_and_deleted() {
    let emulator = Emulator::start();
    let store = Store::with(&emulator, json!({}));
    let made = store.create("/notes/a.md", "caf\u{e9}\0").ok();
    let id = made.string("id");
    assert!(id.starts_with("mem_01") && made.string("memory_version_id").starts_with("memver_01"));
    let mut expected = json!({
        "id": id, "type": "memory", "path": "/notes/a.md", "content": null, "content_size_bytes": 6,
        "content_sha256": "425a4cd602ffdf3b30994188ab4f3c8dbe3572f0861ab667ea0fab4de427f481",
        "memory_store_id": store.path.split('/').nth(3), "memory_version_id": made["memory_version_id"],
        "created_at": made["created_at"], "updated_at": made["created_at"],
    });
    assert_eq!(made.body, expected);
    assert_eq!(store.get(&id, "?view=basic").ok().body, expected);
    expected["content"] = json!("caf\u{e9}\0");
    assert_eq!(store.get(&id, "").ok().body, expected);
    assert_eq!(store.get(&id, "?view=full").ok().body, expected);

    emulator.advance(1000);
    let moved = store.update(&id, json!({"path": "/b.md"})).ok();
    assert_eq!((&moved["id"], &moved["path"], &moved["content"]), (&json!(id), &json!("/b.md"), &json!(null)));
    assert_eq!(moved["content_sha256"], made["content_sha256"]);
    assert_ne!(moved["memory_version_id"], made["memory_version_id"]);
    assert!(moved.string("updated_at") > made.string("updated_at"));
    let emptied = store.client.post(&format!("{}/{id}?view=full", store.path), json!({"content": "", "path": null})).ok();
    assert_eq!((&emptied["path"], &emptied["content"]), (&json!("/b.md"), &json!("")));
    assert_eq!((&emptied["content_sha256"], &emptied["content_size_bytes"]), (&json!(EMPTY), &json!(0)));
    for unchanged in [json!({}), json!({"content": "", "path": "/b.md"}), json!({"content": null})] {
        assert_eq!(store.update(&id, unchanged).ok()["memory_version_id"], emptied["memory_version_id"]);
    }

    assert_eq!(store.delete(&id, "").ok().body, json!({"id": id, "type": "memory_deleted"}));
    for gone in [store.get(&id, ""), store.update(&id, json!({"content": "x"})), store.delete(&id, "")] {
        gone.refused(404, "not_found_error", "");
    }
    assert_eq!(store.list("").ok().body, json!({"data": [], "next_page": null}));
    store.create("/b.md", "the path is free again").ok();
}

#[test]
fn a_path_belongs_to_one_memory_of_a_store() {
    let emulator = Emulator::start();
    let store = Store::with(&emulator, json!({"/a": "1", "/b": "2"}));
    store.create("/a", "3").refused(409, "memory_path_conflict_error", "");
    let id = store.list("").ok()["data"][1]["id"].as_str().unwrap().to_owned();
    store.update(&id, json!({"path": "/a", "content": "4"})).refused(409, "memory_path_conflict_error", "");
    assert_eq!(store.get(&id, "").ok()["content"], "2", "nothing of a refused update is done");
    store.create("/A", "paths are case-sensitive").ok();
    Store::with(&emulator, json!({})).create("/a", "of another store").ok();
}

#[test]
fn an_update_or_a_deletion_may_depend_on_the_content() {
    let emulator = Emulator::start();
    let store = Store::with(&emulator, json!({"/a": ""}));
    let id = store.list("").ok()["data"][0]["id"].as_str().unwrap().to_owned();
    let condition = |hash: &str| json!({"type": "content_sha256", "content_sha256": hash});
    let other = "0".repeat(64);

    let refused = store.update(&id, json!({"content": "x", "precondition": condition(&other)}));
    refused.refused(409, "memory_precondition_failed_error", "");
    let refused = store.delete(&id, &format!("?expected_content_sha256={other}"));
    refused.refused(409, "memory_precondition_failed_error", "");
    let changed = store.update(&id, json!({"content": "x", "path": "/b", "precondition": condition(EMPTY)})).ok();
    // A lost response: the same update again finds another content.
    let again = store.update(&id, json!({"content": "x", "precondition": condition(EMPTY)}));
    again.refused(409, "memory_precondition_failed_error", "");
    store.update(&id, json!({"content": "y", "precondition": null})).ok();
    let stale = store.delete(&id, &format!("?expected_content_sha256={}", changed.string("content_sha256")));
    stale.refused(409, "memory_precondition_failed_error", "");

    for wrong in [
        json!("x"),
        json!({}),
        json!({"type": "content_sha256"}),
        json!({"type": "etag", "content_sha256": EMPTY}),
        condition(&EMPTY.to_uppercase()),
        condition(&EMPTY[1..]),
    ] {
        store.update(&id, json!({"content": "z", "precondition": wrong})).refused(400, "invalid_request_error", "");
    }
    store.delete(&id, "?expected_content_sha256=abc").refused(400, "invalid_request_error", "");
    let current = store.get(&id, "").ok().string("content_sha256");
    store.delete(&id, &format!("?expected_content_sha256={current}")).ok();
}

#[test]
fn paths_and_contents_are_checked() {
    let emulator = Emulator::start();
    let store = Store::with(&emulator, json!({}));
    for path in [json!("a"), json!("/"), json!("/a/../b"), json!("/e\u{301}"), json!("/a\n"), json!(1), json!(null)] {
        store.client.post(&store.path, json!({"path": path, "content": ""})).refused(400, "invalid_request_error", "");
    }
    store.client.post(&store.path, json!({"path": "/a"})).refused(400, "invalid_request_error", "");
    store.client.post(&store.path, json!({"content": "a"})).refused(400, "invalid_request_error", "");
    store.create("/a", &"x".repeat(MAX_CONTENT + 1)).refused(400, "invalid_request_error", "");
    // The limit counts bytes, not characters.
    store.create("/a", &"\u{e9}".repeat(MAX_CONTENT / 2 + 1)).refused(400, "invalid_request_error", "");
    for not_text in [&b"{\"path\":\"/a\",\"content\":\"\xff\"}"[..], br#"{"path":"/a","content":"\ud800"}"#] {
        store.client.call("POST", &store.path, Some(not_text)).refused(400, "invalid_request_error", "");
    }
    let id = store.create("/a", &"x".repeat(MAX_CONTENT)).ok().string("id");
    for wrong in [json!({"content": "x".repeat(MAX_CONTENT + 1)}), json!({"path": "b"}), json!({"content": 1})] {
        store.update(&id, wrong).refused(400, "invalid_request_error", "");
    }
    // A required field that may be null.
    assert_eq!(store.client.post(&store.path, json!({"path": "/n", "content": null})).ok()["content_size_bytes"], 0);
    for wrong in ["?view=all", "?view="] {
        store.get(&id, wrong).refused(400, "invalid_request_error", "");
        store.list(wrong).refused(400, "invalid_request_error", "");
    }
}

#[test]
fn a_store_holds_two_thousand_memories() {
    let emulator = Emulator::start();
    let memories: serde_json::Map<String, Value> = (0..2000).map(|number| (format!("/{number}"), json!(""))).collect();
    let store = Store::with(&emulator, memories.into());
    store.create("/more", "").refused(400, "invalid_request_error", "");
    let id = store.list("?limit=1").ok()["data"][0]["id"].as_str().unwrap().to_owned();
    store.update(&id, json!({"path": "/more"})).ok();
    store.delete(&id, "").ok();
    store.create("/more", "").ok();
}

#[test]
fn a_list_is_in_the_order_of_paths_and_comes_in_pages() {
    let emulator = Emulator::start();
    let memories: serde_json::Map<String, Value> =
        (0..45).rev().map(|number| (format!("/{number:02}"), json!(number.to_string()))).collect();
    let store = Store::with(&emulator, memories.into());
    let expected: Vec<String> = (0..45).map(|number| format!("/{number:02}")).collect();
    for (query, sizes) in [
        ("", vec![20, 20, 5]),
        ("limit=15", vec![15, 15, 15]),
        ("limit=100", vec![45]),
        ("view=basic&limit=30", vec![30, 15]),
        ("view=full", vec![20, 20, 5]),
        ("view=full&limit=100", vec![20, 20, 5]),
        ("view=full&limit=7", vec![7, 7, 7, 7, 7, 7, 3]),
    ] {
        let (mut paths, mut found, mut page) = (Vec::new(), Vec::new(), String::new());
        loop {
            let list = store.list(&format!("?{query}{page}")).ok();
            let items = list["data"].as_array().unwrap();
            found.push(items.len());
            for item in items {
                let content = query.contains("full").then(|| paths.len().to_string());
                assert_eq!(item["content"], json!(content));
                paths.push(item["path"].as_str().unwrap().to_owned());
            }
            let Some(next) = list["next_page"].as_str() else { break };
            page = format!("&page={}", next.replace('+', "%2B").replace('/', "%2F"));
        }
        assert_eq!((&paths, found), (&expected, sizes), "{query}");
    }
    for wrong in [
        "limit=0",
        "limit=101",
        "limit=x",
        "depth=2",
        "depth=-1",
        "page=page_x",
        "page=page_dzE%3D",
        "path_prefix=a/",
        "path_prefix=/a",
    ] {
        store.list(&format!("?{wrong}")).refused(400, "invalid_request_error", "");
    }
}

#[test]
fn a_cursor_stays_valid_when_memories_come_and_go() {
    let emulator = Emulator::start();
    let store = Store::with(&emulator, json!({"/a": "", "/b": "", "/c": "", "/d": ""}));
    let first = store.list("?limit=2").ok();
    let last = first["data"][1]["id"].as_str().unwrap().to_owned();
    store.delete(&last, "").ok();
    store.create("/aa", "").ok();
    store.create("/bb", "").ok();
    let page = first.string("next_page").replace('+', "%2B").replace('/', "%2F");
    assert_eq!(store.paths(&format!("?page={page}")), ["/bb", "/c", "/d"]);
}

#[test]
fn a_list_may_be_of_one_directory_and_roll_up_those_below_it() {
    let emulator = Emulator::start();
    let store = Store::with(
        &emulator,
        json!({"/a": "", "/notes/x": "", "/notes/deep/y": "", "/notes/deep/er/z": "", "/notes-old/w": "", "/z": ""}),
    );
    for (query, expected) in [
        ("", &["/a", "/notes-old/w", "/notes/deep/er/z", "/notes/deep/y", "/notes/x", "/z"][..]),
        ("?depth=0&path_prefix=/", &["/a", "/notes-old/w", "/notes/deep/er/z", "/notes/deep/y", "/notes/x", "/z"]),
        ("?path_prefix=/notes/", &["/notes/deep/er/z", "/notes/deep/y", "/notes/x"]),
        ("?path_prefix=/note/", &[]),
        ("?depth=1", &["/a", "/notes-old/", "/notes/", "/z"]),
        ("?depth=1&path_prefix=%2Fnotes%2F", &["/notes/deep/", "/notes/x"]),
        ("?depth=1&path_prefix=/notes/deep/", &["/notes/deep/er/", "/notes/deep/y"]),
    ] {
        assert_eq!(store.paths(query), expected, "{query}");
    }
    let list = store.list("?depth=1&limit=3").ok();
    assert_eq!(list["data"][2], json!({"path": "/notes/", "type": "memory_prefix"}));
    let page = list.string("next_page").replace('+', "%2B").replace('/', "%2F");
    assert_eq!(store.paths(&format!("?depth=1&limit=3&page={page}")), ["/z"], "a directory is not repeated");
}

#[test]
fn a_store_or_memory_that_is_not_there_is_a_404() {
    let emulator = Emulator::start();
    let store = Store::with(&emulator, json!({"/a": ""}));
    let id = store.list("").ok()["data"][0]["id"].as_str().unwrap().to_owned();
    let other = Store::with(&emulator, json!({}));
    for gone in [other.get(&id, ""), other.update(&id, json!({})), other.delete(&id, ""), other.get("mem_nothing", "")] {
        gone.refused(404, "not_found_error", "");
    }
    let nowhere = Store { path: "/v1/memory_stores/memstore_nothing/memories".to_owned(), ..other };
    for gone in [nowhere.list(""), nowhere.create("/a", ""), nowhere.get(&id, ""), nowhere.delete(&id, "")] {
        gone.refused(404, "not_found_error", "");
    }
    emulator.get("/v1/memory_stores/memstore_nothing").refused(404, "not_found_error", "");
}

#[test]
fn an_environment_key_is_refused_and_an_items_token_accepted() {
    let emulator = Emulator::start();
    let mut store = Store::with(&emulator, json!({}));
    let queue = emulator.queue();
    queue.enqueue();
    let token = decode(&queue.poll("").ok().string("secret"))["sessions_token"].as_str().unwrap().to_owned();
    store.client = emulator.with(&token);
    let id = store.create("/a", "").ok().string("id");
    store.list("").ok();
    store.get(&id, "").ok();
    store.update(&id, json!({"content": "x"})).ok();
    store.client = queue.worker.clone();
    let answers =
        [store.create("/b", ""), store.list(""), store.get(&id, ""), store.update(&id, json!({})), store.delete(&id, "")];
    for refused in answers {
        refused.refused(403, "permission_error", "");
    }
    store.client = emulator.with(&token);
    store.delete(&id, "").ok();
}

#[test]
fn either_of_two_betas_will_do() {
    let emulator = Emulator::start();
    let store = Store::with(&emulator, json!({}));
    for (beta, status) in [
        ("agent-memory-2026-07-22", 200),
        ("managed-agents-2026-04-01", 200),
        ("other-2026-01-01, agent-memory-2026-07-22", 200),
        ("other-2026-01-01", 400),
    ] {
        let headers = [VERSION, ("x-api-key", "k"), ("anthropic-beta", beta)];
        assert_eq!(emulator.connect().call("GET", &store.path, &headers, None).unwrap().status, status, "{beta}");
    }
    let without = emulator.connect().call("GET", &store.path, &[VERSION, ("x-api-key", "k")], None).unwrap();
    without.refused(400, "invalid_request_error", "");
    let elsewhere = [VERSION, ("x-api-key", "k"), ("anthropic-beta", "agent-memory-2026-07-22")];
    let elsewhere = emulator.connect().call("GET", "/v1/environments", &elsewhere, None).unwrap();
    elsewhere.refused(400, "invalid_request_error", "");
}

#[test]
fn faults_and_the_request_log_know_the_operations_on_memories() {
    let emulator = Emulator::start();
    let store = Store::with(&emulator, json!({"/a": ""}));
    emulator.fault(json!({"operation": "memory_stores.memories.list", "status": 529}));
    emulator.fault(json!({"operation": "memory_stores.memories.update", "when": "after", "drop": true}));
    store.list("").refused(529, "overloaded_error", "");
    let id = store.list("").ok()["data"][0]["id"].as_str().unwrap().to_owned();
    let body = json!({"content": "arrived"}).to_string();
    let lost = store.client.try_call("POST", &format!("{}/{id}", store.path), Some(body.as_bytes()));
    assert!(lost.is_err(), "the response is lost");
    assert_eq!(store.get(&id, "").ok()["content"], "arrived");
    store.create("/b", "").ok();
    store.delete(&id, "").ok();
    let operations: Vec<Value> = emulator.requests().iter().map(|request| request["operation"].clone()).collect();
    let expected = ["list", "list", "update", "retrieve", "create", "delete"];
    assert_eq!(operations, expected.map(|name| format!("memory_stores.memories.{name}")));
}

#[test]
fn memories_survive_a_restart_and_not_a_reset() {
    let directory = Scratch::new("memories");
    let file = directory.0.join("state.db");
    let options = ["--data", file.to_str().unwrap()];
    let emulator = Emulator::start_with(&options);
    let path = Store::with(&emulator, json!({"/a": "kept", "/b": ""})).path;
    let before = emulator.get(&format!("{path}?view=full")).ok().body;
    drop(emulator);

    let emulator = Emulator::start_with(&options);
    assert_eq!(emulator.get(&format!("{path}?view=full")).ok().body, before);
    emulator.poke("/_emulator/reset").ok();
    emulator.get(&path).refused(404, "not_found_error", "");
}
