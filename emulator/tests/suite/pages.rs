use serde_json::Value;

use crate::support::{Client, Emulator};

fn ids(page: &Value) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|object| object["id"].as_str().unwrap().to_owned()).collect()
}

/// Walks a list to its end, doing something between pages.
fn walk(client: &Client, path: &str, limit: usize, mut between: impl FnMut()) -> Vec<String> {
    let mut found = Vec::new();
    let mut page = client.get(&format!("{path}?limit={limit}")).ok();
    loop {
        let here = ids(&page.body);
        assert!(here.len() <= limit);
        found.extend(here);
        let Some(cursor) = page["next_page"].as_str() else {
            assert_eq!(page["next_page"], Value::Null);
            return found;
        };
        between();
        let cursor = cursor.replace('=', "%3D");
        page = client.get(&format!("{path}?limit={limit}&page={cursor}")).ok();
    }
}

#[test]
fn lists_come_newest_first_whatever_the_size_of_the_pages() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let mut environments = vec![queue.environment.clone()];
    let mut work = Vec::new();
    for _ in 0..22 {
        environments.push(emulator.hosted());
        work.push(queue.enqueue());
    }
    environments.reverse();
    work.reverse();
    for (client, path, expected) in [(&*emulator, "/v1/environments", environments), (&queue.worker, &queue.path, work)] {
        for limit in [1, 7, expected.len(), 100] {
            assert_eq!(walk(client, path, limit, || ()), expected, "{path} by {limit}");
        }
        let first = client.get(path).ok();
        assert_eq!(ids(&first.body), expected[..20], "20 by default");
        assert!(first.string("next_page").starts_with("page_"));
        assert!(first.text().starts_with(r#"{"data":["#));
    }
}

#[test]
fn an_empty_list_is_one_empty_page() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    assert_eq!(queue.worker.get(&queue.path).ok().text(), r#"{"data":[],"next_page":null}"#);
}

#[test]
fn what_is_created_and_deleted_meanwhile_shifts_no_page() {
    let emulator = Emulator::start();
    let mut expected: Vec<String> = (0..9).map(|_| emulator.hosted()).collect();
    expected.reverse();
    let seen = expected.clone();
    let found = walk(&emulator, "/v1/environments", 2, || {
        emulator.hosted();
        // Deleting what was already seen, the cursor's own row included.
        emulator.delete(&format!("/v1/environments/{}", expected.remove(0))).ok();
    });
    assert_eq!(found, seen);
}

#[test]
fn a_limit_or_cursor_that_makes_no_sense_is_refused() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    emulator.hosted();
    queue.enqueue_many(2);
    let foreign = queue.worker.get(&format!("{}?limit=1", queue.path)).ok().string("next_page");
    let bad = [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=1.5",
        "limit=99999999999999999999",
        "page=",
        "page=x",
        "page=page_x",
    ];
    for query in bad.into_iter().map(str::to_owned).chain([format!("page={}", foreign.replace('=', "%3D"))]) {
        emulator.get(&format!("/v1/environments?{query}")).refused(400, "invalid_request_error", "");
        if !query.contains(&foreign[..8]) {
            queue.worker.get(&format!("{}?{query}", queue.path)).refused(400, "invalid_request_error", "");
        }
    }
    for valid in ["limit=1", "limit=100", "beta=true", "unknown=1&limit=5", ""] {
        let page = emulator.get(&format!("/v1/environments?{valid}")).ok();
        assert!(page["data"].is_array());
    }
    assert_eq!(emulator.get("/v1/environments?limit=1").ok()["data"].as_array().unwrap().len(), 1);
}
