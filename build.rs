//! Generates the header and names the shared library as the system wants it.

use std::env::var;

fn main() {
    for path in ["src/ffi", "src/error.rs", "cbindgen.toml", "build.rs", "include/antenv.h"] {
        println!("cargo:rerun-if-changed={path}");
    }
    header();
    match var("CARGO_CFG_TARGET_OS").as_deref() {
        // nodelete: dlclose must not unmap code that the library's thread is running. Hiding all but the exported functions is
        // done by rustc itself, which passes a version script of its own.
        Ok("linux" | "android" | "freebsd" | "netbsd" | "openbsd") => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libantenv.so.0");
            println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
        }
        Ok("macos") => println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libantenv.0.dylib"),
        _ => {}
    }
}

/// Writes include/antenv.h from src/ffi, if that changes it. In a folder that cannot be written (a package being built from its
/// sources) the committed one stands.
fn header() {
    let root = var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let config = cbindgen::Config::from_file("cbindgen.toml").expect("cbindgen.toml is valid");
    let mut text = Vec::new();
    cbindgen::generate_with_config(&root, config).expect("src/ffi can be read").write(&mut text);
    // cbindgen puts the type's name before each constant (ANTENV_STATUS_OK); the ABI's constants have the library's (ANTENV_OK).
    let text = String::from_utf8(text).expect("UTF-8").replace("ANTENV_STATUS_", "ANTENV_");
    // Examples stand between fences for rustdoc, and are indented for those who read the header.
    let lines: Vec<String> = text.lines().filter(|line| !line.contains("```")).map(in_strict_c89).collect();
    let text = lines.join("\n").replace(",\n}", "\n}") + "\n"; // no comma behind the last constant of an enumeration
    let text = with_sections(&text);
    let path = std::path::Path::new(&root).join("include/antenv.h");
    if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
        let _ = std::fs::create_dir_all(path.with_file_name(""));
        let _ = std::fs::write(&path, text);
    }
}

/// A line without what strict C89 and C++98 refuse: comments that begin with `//`, and enumerations whose size is given. `-Wundef` finds
/// nothing either.
fn in_strict_c89(line: &str) -> String {
    if line.trim_start().starts_with("* ") {
        return line.replace("/* ", "(").replace(" */", ")"); // a comment within an example, which would end the comment around it
    }
    if line.starts_with(['#', '}'])
        && let Some((code, _)) = line.split_once("//")
    {
        return code.trim_end().to_owned();
    }
    line.replace("__STDC_VERSION__ >=", "defined(__STDC_VERSION__) && __STDC_VERSION__ >=")
        .replace("defined(__cplusplus) ||", "defined(__cplusplus) && __cplusplus >= 201103L ||")
}

/// The header with a comment of its own for each section's title, which cbindgen has no means for: in src/ffi it stands in front of the
/// section's first function, and a line `----` ends it.
fn with_sections(text: &str) -> String {
    let mut sections = text.split("/**\n * ----");
    let mut whole = sections.next().unwrap_or_default().to_owned();
    for section in sections {
        let (title, rest) = section.split_once("\n * ----\n").expect("a section's title ends with a line `----`");
        let end = if title.contains('\n') { "\n */" } else { " */" };
        whole += &format!("/* ----{title}{end}\n\n/**\n{rest}");
    }
    whole
}
