//! The house, held against its plan: which room may use which. It reads the sources as text, paths such as
//! `crate::protocol::time` and `super::error` wherever they stand, and knows nothing of macros or re-exports. The
//! modules and files that documents name must exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file; what is more is split by subject.
const MOST_LINES: usize = 450;

/// What every room of files may use.
const BASICS: &[&str] = &[
    "transfer::names",
    "transfer::hash",
    "transfer::ranges",
    "transfer::chunks",
    "transfer::error",
    "transfer::breach",
    "transfer",
    "protocol",
];

/// Each room, and the rooms it may use beside itself and what lies within it. A file belongs to the room with the
/// longest name that its module path begins with.
const ROOMS: &[(&str, &[&[&str]])] = &[
    (
        "cli",
        &[&["app", "rendezvous", "transfer", "net", "protocol", "system"]],
    ),
    ("app", &[&["rendezvous", "transfer", "net", "protocol", "system"]]),
    ("rendezvous", &[&["protocol"]]),
    (
        "transfer::session",
        &[
            &["transfer::source", "transfer::sink", "transfer::manifest"],
            BASICS,
        ],
    ),
    (
        "transfer::sink",
        &[&["transfer::manifest", "transfer::fs"], BASICS],
    ),
    (
        "transfer::source",
        &[&["transfer::manifest", "transfer::fs", "system"], BASICS],
    ),
    (
        "transfer::manifest",
        &[&[
            "transfer::names",
            "transfer::ranges",
            "transfer::error",
            "transfer::breach",
            "transfer",
            "protocol",
        ]],
    ),
    (
        "transfer::fs",
        &[&["transfer::names", "transfer::error", "system"]],
    ),
    ("transfer::names", &[&["transfer::error"]]),
    ("transfer::hash", &[&["transfer"]]),
    ("transfer::ranges", &[]),
    ("transfer::chunks", &[&["transfer", "protocol"]]),
    (
        "transfer::error",
        &[&["transfer::breach", "transfer", "protocol"]],
    ),
    ("transfer::breach", &[]),
    // The units of the content space only: block numbers and their arithmetic.
    ("transfer", &[&["transfer::ranges"]]),
    ("system", &[]),
    ("net", &[&["protocol"]]),
    ("protocol", &[]),
];

/// A module path, such as `["transfer", "sink"]`.
type Module = Vec<String>;

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The module that a file is: `src/transfer/sink.rs` and `src/transfer/sink/mod.rs` are `transfer::sink`.
fn module_of(file: &Path) -> Module {
    let path = file
        .strip_prefix("src")
        .expect("a file of src")
        .with_extension("");
    let mut names: Module = path.iter().map(|n| n.to_string_lossy().into_owned()).collect();
    if matches!(names.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        names.pop();
    }
    names
}

/// The text without comments, string contents and what follows `#[cfg(test)]`: tests may use anything.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    text.lines()
        .map(|line| line.split("//").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The paths that a tree such as `a::{b, c::d}` names.
fn paths(tree: &str) -> Vec<String> {
    let Some((stem, rest)) = tree.split_once('{') else {
        let end = tree
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
            .unwrap_or(tree.len());
        return vec![tree[..end].trim_end_matches(':').to_owned()];
    };
    if stem.contains(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        return paths(stem);
    }
    let (mut depth, mut start, mut branches) = (0, 0, Vec::new());
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                branches.push(&rest[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(&rest[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    let inner = branches.into_iter().flat_map(|branch| paths(branch.trim()));
    inner.map(|path| format!("{stem}{path}")).collect()
}

/// The modules that `module`'s code names.
fn named_by(module: &Module, code: &str) -> BTreeSet<Module> {
    let mut named = BTreeSet::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            // The middle of a longer path: its beginning was found already.
            if code[..at].ends_with([':', '_']) || code[..at].ends_with(char::is_alphanumeric) {
                continue;
            }
            for path in paths(&code[at..]) {
                let mut names = path.split("::");
                let mut to = Module::new();
                if names.next() == Some("super") {
                    to = module[..module.len().saturating_sub(1)].to_vec();
                }
                for name in names {
                    match name {
                        "super" => drop(to.pop()),
                        name => to.push(name.to_owned()),
                    }
                }
                named.insert(to);
            }
        }
    }
    named
}

fn room_of(module: &Module) -> Option<&'static str> {
    let path = module.join("::");
    ROOMS
        .iter()
        .map(|(room, _)| *room)
        .filter(|room| path == *room || path.strip_prefix(room).is_some_and(|rest| rest.starts_with("::")))
        .max_by_key(|room| room.len())
}

/// Each module of the product with its code.
fn house() -> BTreeMap<Module, String> {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    files
        .into_iter()
        .filter(|file| !file.iter().any(|part| part == "tests" || part == "tests.rs"))
        .map(|file| {
            let text = fs::read_to_string(&file).expect("sources are text");
            (module_of(&file), code_of(&text))
        })
        .collect()
}

#[test]
fn no_room_uses_one_above_it() {
    let mut wrong = Vec::new();
    for (module, code) in house() {
        let Some(from) = room_of(&module) else { continue };
        let (_, may) = ROOMS.iter().find(|(room, _)| *room == from).expect("a room");
        for named in named_by(&module, &code) {
            let Some(to) = room_of(&named) else { continue };
            let inner = to.strip_prefix(from).is_some_and(|rest| rest.starts_with("::"));
            // A room that `from` lies in is named for what stands in its own file, any other for all that lies in it.
            let listed = may.iter().copied().flatten().any(|room| {
                let within = to.strip_prefix(room).is_some_and(|rest| rest.starts_with("::"));
                to == *room || within && !from.starts_with(room)
            });
            if to != from && !inner && !listed {
                wrong.push(format!("{} uses {}", module.join("::"), named.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "not in the plan:\n{}", wrong.join("\n"));
}

/// The source of a module of ours, such as `protocol::seal`. The last names may be those of an item in it.
fn source_of(named: &str) -> Option<String> {
    let names: Vec<&str> = named
        .split("::")
        .take_while(|name| name.starts_with(char::is_lowercase))
        .collect();
    let path = Path::new("src").join(names.join("/"));
    fs::read_to_string(path.join("mod.rs"))
        .or_else(|_| fs::read_to_string(path.with_extension("rs")))
        .ok()
}

/// Where an import stands: the standard library first, then other crates, then this one.
fn place_of_import(line: &str, modules: &BTreeSet<&str>) -> Option<u8> {
    let (_, path) = line
        .split_once("use ")
        .filter(|(before, _)| before.is_empty() || before.starts_with("pub"))?;
    let first = path.split([':', ';', ' ']).next().unwrap_or_default();
    Some(match first {
        "std" | "core" | "alloc" => 0,
        "crate" | "super" | "self" => 2,
        name if modules.contains(name) || name.starts_with(char::is_uppercase) => 2,
        _ => 1,
    })
}

#[test]
fn imports_stand_in_one_order() {
    let mut files = Vec::new();
    for root in ["src", "tests", "benches"] {
        sources(Path::new(root), &mut files);
    }
    files.retain(|file| {
        let text = fs::read_to_string(file).expect("sources are text");
        let modules = text
            .lines()
            .filter(|line| line.starts_with("mod ") || line.starts_with("pub"))
            .filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';'))
            .collect();
        let places = text.lines().filter_map(|line| place_of_import(line, &modules));
        !places.is_sorted()
    });
    assert!(files.is_empty(), "out of order: {files:#?}");
}

#[test]
fn what_the_documents_name_exists() {
    let mut documents = Vec::from(["README.md", "CONTRIBUTING.md"].map(PathBuf::from));
    let docs = fs::read_dir("docs").expect("documents");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    documents.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    let rooms: BTreeSet<&str> = ROOMS
        .iter()
        .filter_map(|(room, _)| room.split("::").next())
        .collect();
    let mut missing = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).expect("a text");
        let parts: Vec<&str> = text.split('`').collect();
        for named in parts.windows(3).skip(1).step_by(2) {
            let [module, between, item] = named else { continue };
            if between.trim() == ":" && source_of(module).is_some_and(|source| !source.contains(item)) {
                missing.push(format!("{}: {module}: {item}", document.display()));
            }
        }
        for quoted in parts.into_iter().skip(1).step_by(2) {
            let is_other = quoted.contains(|c: char| !(c.is_alphanumeric() || "_/.-".contains(c)));
            let exists = match quoted.split_once("::") {
                Some((room, _)) if rooms.contains(room) => source_of(quoted).is_some(),
                None if is_other => true,
                None => match quoted.split_once('/') {
                    Some(("src" | "tests" | "benches" | "fuzz" | "packaging" | "docs", _)) => {
                        Path::new(quoted).exists() || Path::new(&format!("{quoted}.rs")).exists()
                    }
                    Some((room, rest)) if rooms.contains(room) && rest.ends_with(".rs") => {
                        Path::new("src").join(quoted).exists()
                    }
                    _ => true,
                },
                Some(_) => true,
            };
            if !exists {
                missing.push(format!("{}: {quoted}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "there is no\n{}", missing.join("\n"));
}

#[test]
fn the_reader_of_paths_understands_what_the_sources_write() {
    let module: Module = ["transfer", "sink"].map(String::from).into();
    let code = "use super::{error::{A, B}, place}; use crate::net::Clock; let x = super::super::app::y();";
    let named = named_by(&module, code);
    for path in ["transfer::error::A", "transfer::place", "net::Clock", "app::y"] {
        let path: Module = path.split("::").map(String::from).collect();
        assert!(named.contains(&path), "{path:?} of {named:?}");
    }
}

#[test]
fn no_file_has_more_lines_than_a_reader_holds() {
    let mut files = Vec::new();
    for root in ["src", "tests", "benches", "fuzz/fuzz_targets"] {
        sources(Path::new(root), &mut files);
    }
    let lines = |file: &PathBuf| {
        fs::read_to_string(file)
            .expect("sources are text")
            .lines()
            .count()
    };
    files.retain(|file| lines(file) > MOST_LINES);
    assert!(files.is_empty(), "over {MOST_LINES} lines: {files:?}");
}
