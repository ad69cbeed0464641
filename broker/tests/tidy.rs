//! Rules of the house that a program can check, over the whole workspace.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the workspace")
        .into()
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// (path from the workspace root, content) of every source file that people wrote.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    rust_files(&root, &mut found);
    found
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(&root)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(&path).unwrap();
            (name, text)
        })
        .filter(|(name, _)| !name.ends_with("generated.rs"))
        .collect()
}

/// Test modules beside the code may read the clock, for their seeds.
fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("tests.rs")
}

/// Lines of code, without comments and doc comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn dependencies_point_one_way() {
    let allowed: &[(&str, &[&str])] = &[
        ("wire", &[]),
        ("storage-engine", &["ringmq-wire"]),
        ("namesrv", &["ringmq-wire"]),
        ("client", &["ringmq-wire"]),
        ("client/cli", &["ringmq"]),
        (
            "broker",
            &["ringmq-wire", "ringmq-storage-engine", "ringmq-namesrv"],
        ),
    ];
    for (package, allowed) in allowed {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
        let ours = dependencies.lines().filter_map(|line| {
            let name = line.split(['.', ' ', '=']).next().unwrap();
            (name == "ringmq" || name.starts_with("ringmq-")).then_some(name)
        });
        for name in ours {
            assert!(
                allowed.contains(&name),
                "{package} must not depend on {name}"
            );
        }
    }
}

#[test]
fn glommio_is_named_in_few_places() {
    let allowed = |name: &str| {
        name.starts_with("storage-engine/src/disk/glommio")
            || name.starts_with("storage-engine/src/runtime/glommio")
            || name == "storage-engine/src/preflight/mod.rs"
            || name.starts_with("broker/src/runtime/")
            || name == "broker/src/session/connection.rs"
            || name.contains("/tests/")
            || name.starts_with("bench/")
    };
    for (name, text) in sources().iter().filter(|(name, _)| !allowed(name)) {
        for (number, line) in code_lines(text) {
            assert!(
                !line.contains("glommio::") || line.contains("::glommio::Glommio"),
                "{name}:{number}: {line}"
            );
        }
    }
}

/// Decisions take time and randomness as arguments, so that they can be replayed.
#[test]
fn pure_parts_have_no_clock_no_randomness_and_no_hash_order() {
    let pure = [
        "wire/src/",
        "storage-engine/src/commitlog/",
        "storage-engine/src/index/",
        "storage-engine/src/retention",
        "broker/src/state/",
        "namesrv/src/route_table",
        "namesrv/src/liveness",
    ];
    let banned = [
        "Instant::now",
        "SystemTime::now",
        "rand::",
        "std::fs",
        "std::net::Tcp",
        "thread_rng",
    ];
    for (name, text) in sources()
        .iter()
        .filter(|(name, _)| !is_test(name) && pure.iter().any(|p| name.starts_with(p)))
    {
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code_lines(code) {
            for word in banned {
                assert!(!line.contains(word), "{name}:{number} uses {word}");
            }
        }
    }
    for (name, text) in sources()
        .iter()
        .filter(|(name, _)| !is_test(name) && name.starts_with("broker/src/state/"))
    {
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code_lines(code) {
            assert!(
                !line.contains("std::collections::HashMap") && !line.contains("RandomState"),
                "{name}:{number}: hash order would differ between replicas"
            );
        }
    }
}

/// `file: test` and `test` in backticks, in the tables of what is asserted by what.
#[test]
fn tests_that_documents_name_are_there() {
    let all: String = sources().into_iter().map(|(_, text)| text).collect();
    let mut named = 0;
    for document in ["docs/durability.md", "docs/testing.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for cell in text
            .lines()
            .filter(|line| line.starts_with('|'))
            .flat_map(|line| line.split('`'))
        {
            let test = cell.rsplit(": ").next().unwrap();
            // A star stands for the variants of a test whose names are put together.
            let is_test =
                test.matches('_').count() >= 3 && !test.contains(['/', '.', ' ', '=', '*']);
            if is_test {
                let found = [format!("fn {test}("), format!("\"{test}")];
                let found = found.iter().any(|name| all.contains(name));
                assert!(found, "{document} names {test}");
                named += 1;
            }
        }
    }
    assert!(named > 20, "{named} tests are named");
}

#[test]
fn files_have_one_job() {
    for (name, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 800, "{name} has {lines} lines: split it");
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    let source_file = |name: &str| name.contains("/src/") && !is_test(name);
    for (name, text) in sources().iter().filter(|(name, _)| source_file(name)) {
        assert!(
            text.starts_with("//!"),
            "{name} has no module documentation"
        );
    }
}

#[test]
fn no_word_names_what_it_could_not() {
    for (name, _) in sources() {
        let stem = name.rsplit('/').next().unwrap().trim_end_matches(".rs");
        let vague = [
            "manager", "helper", "helpers", "util", "utils", "misc", "common",
        ];
        assert!(!vague.contains(&stem), "{name}: say what it does");
    }
}

/// Every row of the fault table in `docs/durability.md` names tests, and each of them is there.
#[test]
fn the_tests_of_the_fault_table_exist() {
    let docs = fs::read_to_string(root().join("docs/durability.md")).unwrap();
    let section = docs.split("## Faults and verdicts").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter(|l| l.starts_with("| ")).collect();
    assert!(rows.len() > 30, "{} rows were found", rows.len());
    let sources = sources();
    let mut suite = String::new();
    for row in &rows[1..] {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(cell == "the same" || !names.is_empty(), "no test: {row}");
        for name in names {
            if name.contains('/') {
                assert!(root().join(name).exists(), "{name} is not there: {row}");
                continue;
            }
            let name = match name.split_once(": ") {
                Some((found, name)) => {
                    suite = format!("/{found}");
                    name
                }
                // In the suite that was named last.
                None => name,
            };
            assert!(
                is_a_test(&sources, &suite, name),
                "no {name} in {suite}: {row}"
            );
        }
    }
}

/// `name` may end in `*`; `module::*` stands for every test of a module.
fn is_a_test(sources: &[(String, String)], suite: &str, name: &str) -> bool {
    let inside = |path: &str| {
        let stem = path.trim_end_matches(".rs");
        stem.ends_with(suite) || path.contains(&format!("{suite}/"))
    };
    let mut files = sources.iter().filter(|(path, _)| inside(path));
    if let Some(module) = name.strip_suffix("::*") {
        return files.any(|(path, _)| path.ends_with(&format!("/{module}.rs")));
    }
    let (start, end) = match name.strip_suffix('*') {
        Some(start) => (start, ""),
        None => (name, "("),
    };
    // Names of tests that are made for several file systems are put together from literals.
    let literal = start.trim_end_matches('_');
    let literal = literal.strip_suffix("_on").unwrap_or(literal);
    let forms = [format!("fn {start}{end}"), format!("\"{literal}")];
    files.any(|(_, text)| forms.iter().any(|form| text.contains(form)))
}
