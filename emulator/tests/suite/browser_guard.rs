//! Web pages, which a browser lets talk to this machine.

use crate::support::Emulator;

fn status(emulator: &Emulator, request: &str, headers: &str) -> u16 {
    let mut connection = emulator.connect();
    connection.write(format!("{request} HTTP/1.1\r\n{headers}connection: close\r\n\r\n").as_bytes()).unwrap();
    connection.receive().unwrap().status
}

#[test]
fn control_is_for_names_of_this_machine() {
    let emulator = Emulator::start_with(&["--allow-host", "emulator.internal", "--allow-host", "other"]);
    let own = emulator.address();
    for host in [own, "localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8787", "192.168.1.2:80", "emulator.internal:9", "Other"] {
        assert_eq!(status(&emulator, "GET /_emulator/health", &format!("host: {host}\r\n")), 200, "{host}");
    }
    for host in ["evil.example", "evil.example:8787", "localhost.evil.example", "127.0.0.1.evil.example", "emulator", "a b", ""] {
        assert_eq!(status(&emulator, "GET /_emulator/health", &format!("host: {host}\r\n")), 403, "{host}");
        assert_eq!(status(&emulator, "POST /_emulator/reset", &format!("host: {host}\r\n")), 403, "{host}");
    }
    assert_eq!(status(&emulator, "GET /_emulator/health", ""), 403);
    assert_eq!(status(&emulator, "GET http://evil.example/_emulator/health", "host: localhost\r\n"), 403);
}

#[test]
fn control_is_not_for_pages_from_elsewhere() {
    let emulator = Emulator::start();
    let own = emulator.address();
    for (more, expected) in [
        (format!("origin: http://{own}\r\nsec-fetch-site: same-origin\r\n"), 200),
        ("sec-fetch-site: none\r\n".to_owned(), 200),
        ("origin: http://evil.example\r\n".to_owned(), 403),
        ("origin: null\r\n".to_owned(), 403),
        // Another port is another page.
        ("origin: http://127.0.0.1:1\r\n".to_owned(), 403),
        ("sec-fetch-site: cross-site\r\n".to_owned(), 403),
        ("sec-fetch-site: same-site\r\n".to_owned(), 403),
        (format!("origin: http://{own}\r\nsec-fetch-site: cross-site\r\n"), 403),
    ] {
        for request in ["GET /_emulator/requests", "POST /_emulator/reset", "OPTIONS /_emulator/reset", "GET /_emulator/nothing"]
        {
            let found = status(&emulator, request, &format!("host: {own}\r\n{more}"));
            assert_eq!(found == 403, expected == 403, "{request} {more:?}: {found}");
        }
    }
    emulator.connect().call("GET", "/_emulator/health", &[("origin", "http://evil.example")], None).unwrap().refused(
        403,
        "permission_error",
        "",
    );
}
