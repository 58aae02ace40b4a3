//! Holds docs/threat-model.md against the tests: every attack has a defence and a test, and every test named exists.

use std::fs;
use std::path::Path;

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a text file of ours")
}

/// All Rust sources below `dir`, as one text.
fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).expect("a directory of ours") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&read(&path));
        }
    }
}

/// What stands between back-ticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_attack_has_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    sources(&root.join("src"), &mut text);
    sources(&root.join("tests"), &mut text);
    let document = read(&root.join("docs/threat-model.md"));
    let table = document
        .split("## Attack, defence, test")
        .nth(1)
        .expect("the table of attacks");
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let mut problems = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" |").map(str::trim).collect();
        // A heading between the rows stands alone.
        if cells[0].starts_with("**") {
            continue;
        }
        let [attack, defence, tests] = cells[..] else {
            problems.push(format!("not three cells: {row}"));
            continue;
        };
        if defence.is_empty() || tests.is_empty() {
            problems.push(format!("an empty cell: {attack}"));
        }
        for name in quoted(tests).filter(|name| name.contains('_')) {
            if !text.contains(&format!("fn {name}(")) {
                problems.push(format!("{attack}: there is no test {name}"));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}
