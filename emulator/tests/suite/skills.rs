use std::io::{Cursor, Read};

use serde_json::{Value, json};

use crate::support::{Answer, Client, Emulator, Scratch, VERSION, decode};

/// Uploads a version with one file.
fn upload(emulator: &Emulator, id: &str, version: &str, text: &str) -> Answer {
    let body = json!({
        "id": id, "version": version, "name": "pdf", "description": "Reads PDF", "files": {"SKILL.md": text},
    });
    emulator.post("/_emulator/skills", body).ok()
}

fn content(client: &Client, version: &Value) -> Answer {
    let (skill, version) = (version["skill_id"].as_str().unwrap(), version["id"].as_str().unwrap());
    client.get(&format!("/v1/skills/{skill}/versions/{version}/content"))
}

/// Path, permissions and content of each file in a zip file.
fn unzip(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut files = Vec::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        files.push((file.name().unwrap().into_owned(), file.unix_mode().unwrap() & 0o777, content));
    }
    files
}

/// The same of a tar file in gzip.
fn untar(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    let read = |entry: std::io::Result<tar::Entry<_>>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), entry.header().mode().unwrap(), content)
    };
    archive.entries().unwrap().map(read).collect()
}

#[test]
fn a_version_is_retrieved_by_its_id_and_the_newest_one_as_latest() {
    let emulator = Emulator::start();
    let made = emulator.post("/_emulator/skills", json!({"name": "pdf", "files": {"SKILL.md": "# PDF"}})).ok();
    let (skill, version) = (made.string("skill_id"), made.string("id"));
    assert!(skill.starts_with("skill_01") && version.starts_with("skillver_01"), "{skill} {version}");
    let expected = json!({
        "id": version, "type": "skill_version", "skill_id": skill, "name": "pdf", "description": "",
        "created_at": made["created_at"],
    });
    assert_eq!(made.body, expected);
    assert!(made["created_at"].is_string());
    for name in [version.as_str(), "latest"] {
        assert_eq!(emulator.get(&format!("/v1/skills/{skill}/versions/{name}")).ok().body, expected);
    }

    upload(&emulator, &skill, "2", "# Newer");
    upload(&emulator, "another", "3", "# Another");
    let latest = emulator.get(&format!("/v1/skills/{skill}/versions/latest")).ok();
    assert_eq!((&latest["id"], &latest["description"]), (&json!("2"), &json!("Reads PDF")));
    assert_eq!(emulator.get(&format!("/v1/skills/{skill}/versions/{version}")).ok().body, expected);
    assert_eq!(unzip(&content(&emulator, &latest.body).ok().bytes)[0].2, b"# Newer");
    assert_eq!(unzip(&content(&emulator, &expected).ok().bytes)[0].2, b"# PDF");
}

#[test]
fn an_archive_is_made_in_either_format_with_the_modes_of_its_files() {
    let emulator = Emulator::start();
    let long = format!("{}/end.txt", "a-long-folder/".repeat(12));
    let body = |format: Value| {
        json!({
            "name": "pdf", "format": format,
            "files": {
                "SKILL.md": "# \u{e9}",
                "scripts/run.sh": {"text": "#!/bin/sh\n", "executable": true},
                "data.bin": {"base64": "AP/+", "executable": false},
                "empty": "",
                long.replace("//", "/"): "deep",
            },
        })
    };
    let expected: Vec<(String, u32, Vec<u8>)> = vec![
        ("pdf/SKILL.md".to_owned(), 0o644, "# \u{e9}".into()),
        ("pdf/scripts/run.sh".to_owned(), 0o755, "#!/bin/sh\n".into()),
        ("pdf/data.bin".to_owned(), 0o644, vec![0, 0xff, 0xfe]),
        ("pdf/empty".to_owned(), 0o644, vec![]),
        (format!("pdf/{}", long.replace("//", "/")), 0o644, "deep".into()),
    ];
    type Unpack = fn(&[u8]) -> Vec<(String, u32, Vec<u8>)>;
    let cases: [(Value, &str, Unpack); 3] = [
        (json!(null), "application/zip", unzip),
        (json!("zip"), "application/zip", unzip),
        (json!("tar.gz"), "application/gzip", untar),
    ];
    for (format, content_type, unpack) in cases {
        let version = emulator.post("/_emulator/skills", body(format)).ok();
        let archive = content(&emulator, &version.body).ok();
        assert_eq!(archive.header("content-type"), Some(content_type));
        assert_eq!(archive.header("content-length"), Some(archive.bytes.len().to_string().as_str()));
        let sorted = |mut files: Vec<_>| {
            files.sort();
            files
        };
        assert_eq!(sorted(unpack(&archive.bytes)), sorted(expected.clone()));
    }
}

#[test]
fn a_ready_archive_comes_back_byte_for_byte() {
    let emulator = Emulator::start();
    for (base64, bytes, content_type) in [
        ("AAECA/8=", &b"\x00\x01\x02\x03\xff"[..], "application/octet-stream"),
        ("UEsFBg==", b"PK\x05\x06", "application/zip"),
        ("H4sIAA==", b"\x1f\x8b\x08\x00", "application/gzip"),
        ("", b"", "application/octet-stream"),
    ] {
        let version = emulator.post("/_emulator/skills", json!({"name": "x", "archive": base64})).ok();
        let archive = content(&emulator, &version.body).ok();
        assert_eq!((archive.bytes.as_slice(), archive.header("content-type")), (bytes, Some(content_type)));
    }
}

#[test]
fn an_upload_that_makes_no_sense_is_refused() {
    let emulator = Emulator::start();
    let files = json!({"SKILL.md": ""});
    for body in [
        json!({"files": files}),
        json!({"name": "x"}),
        json!({"name": 1, "files": files}),
        json!({"name": "x", "files": files, "archive": ""}),
        json!({"name": "x", "format": "zip", "archive": ""}),
        json!({"name": "x", "archive": "?"}),
        json!({"name": "x", "files": files, "format": "rar"}),
        json!({"name": "x", "files": files, "version": "latest"}),
        json!({"name": "x", "files": ["SKILL.md"]}),
        json!({"name": "x", "files": {"../up": ""}}),
        json!({"name": "x", "files": {"/root": ""}}),
        json!({"name": "x", "files": {"a//b": ""}}),
        json!({"name": "x", "files": {"folder/": ""}}),
        json!({"name": "x", "files": {"a": 1}}),
        json!({"name": "x", "files": {"a": {}}}),
        json!({"name": "x", "files": {"a": {"text": "", "base64": ""}}}),
        json!({"name": "x", "files": {"a": {"text": "", "executable": 1}}}),
        json!({"name": "x", "files": {"a": {"base64": "?"}}}),
    ] {
        emulator.post("/_emulator/skills", body).refused(400, "invalid_request_error", "");
    }
    upload(&emulator, "s", "1", "");
    let again = json!({"id": "s", "version": "1", "name": "x", "files": files});
    emulator.post("/_emulator/skills", again).refused(409, "conflict_error", "");
    emulator.get("/_emulator/skills").refused(405, "invalid_request_error", "");
}

#[test]
fn a_skill_or_version_that_is_not_there_is_a_404() {
    let emulator = Emulator::start();
    upload(&emulator, "s", "1", "");
    upload(&emulator, "t", "2", "");
    for path in ["s/versions/2", "s/versions/2/content", "u/versions/latest", "s/versions/latest/content", "s/versions/LATEST"] {
        emulator.get(&format!("/v1/skills/{path}")).refused(404, "not_found_error", "");
    }
    emulator.delete("/v1/skills/s/versions/1").refused(405, "invalid_request_error", "");
}

#[test]
fn every_credential_may_read_skills_and_no_beta_is_needed() {
    let emulator = Emulator::start();
    upload(&emulator, "s", "1", "");
    let queue = emulator.queue();
    queue.enqueue();
    let token = decode(&queue.poll("").ok().string("secret"))["sessions_token"].as_str().unwrap().to_owned();
    for credential in ["an-api-key", &queue.worker.credential, &token] {
        for path in ["/v1/skills/s/versions/latest", "/v1/skills/s/versions/1/content"] {
            emulator.with(credential).get(path).ok();
            let headers = [VERSION, ("x-api-key", credential)];
            assert_eq!(emulator.connect().call("GET", path, &headers, None).unwrap().status, 200);
        }
    }
    let path = "/v1/skills/s/versions/1";
    emulator.with("sk-ant-oat01-nobody").get(path).refused(401, "authentication_error", "");
    let bare = emulator.connect().call("GET", path, &[("x-api-key", "k")], None).unwrap();
    bare.refused(400, "invalid_request_error", "");
}

#[test]
fn faults_and_the_request_log_know_the_operations_on_skills() {
    let emulator = Emulator::start();
    let version = upload(&emulator, "s", "1", &"text ".repeat(1000));
    emulator.fault(json!({"operation": "skills.versions.retrieve", "status": 503}));
    emulator.fault(json!({"operation": "skills.versions.download", "cut": 10}));
    emulator.get("/v1/skills/s/versions/latest").refused(503, "api_error", "");
    let path = "/v1/skills/s/versions/1/content";
    assert!(emulator.try_call("GET", path, None).is_err(), "the archive is cut short");
    content(&emulator, &version.body).ok();
    let operations: Vec<Value> = emulator.requests().iter().map(|request| request["operation"].clone()).collect();
    assert_eq!(operations, ["skills.versions.retrieve", "skills.versions.download", "skills.versions.download"]);
}

#[test]
fn skills_survive_a_restart_and_not_a_reset() {
    let directory = Scratch::new("skills");
    let file = directory.0.join("state.db");
    let options = ["--data", file.to_str().unwrap()];
    let emulator = Emulator::start_with(&options);
    let version = upload(&emulator, "s", "1", "# Kept");
    let archive = content(&emulator, &version.body).ok().bytes;
    drop(emulator);

    let emulator = Emulator::start_with(&options);
    assert_eq!(emulator.get("/v1/skills/s/versions/latest").ok().body, version.body);
    assert_eq!(content(&emulator, &version.body).ok().bytes, archive);
    emulator.poke("/_emulator/reset").ok();
    emulator.get("/v1/skills/s/versions/latest").refused(404, "not_found_error", "");
}
