//! The table of docs/testing.md: file systems down, acts across.

use std::fmt::Write;

use super::acts::ACTS;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/testing.md");
const BEGIN: &str = "<!-- What tests/integration/disks finds. DISKS_TABLE=new writes it anew. -->\n";
const END: &str = "<!-- The end of it. -->\n";

/// One file system as one or both users met it.
pub struct Row {
    pub name: String,
    /// An act that passed has no sentence.
    pub cells: Vec<Option<String>>,
    pub told: Vec<String>,
}

/// The table, and below it what its numbers stand for.
pub fn render(rows: &[Row]) -> String {
    let mut notes: Vec<&str> = Vec::new();
    let mut number = |text| {
        let known = notes.iter().position(|note| *note == text);
        known.unwrap_or_else(|| {
            notes.push(text);
            notes.len() - 1
        }) + 1
    };
    let acts: Vec<&str> = ACTS.iter().map(|(name, _)| *name).collect();
    let mut table = format!("| file system | {} | told |\n", acts.join(" | "));
    table += &format!("|{}\n", "---|".repeat(acts.len() + 2));
    for row in rows {
        let cells = row.cells.iter().map(|cell| match cell {
            None => "passed".to_owned(),
            Some(sentence) => format!("({})", number(sentence)),
        });
        let cells: Vec<String> = cells.collect();
        let told: Vec<String> = row
            .told
            .iter()
            .map(|text| format!("({})", number(text)))
            .collect();
        let told = if told.is_empty() {
            "-".to_owned()
        } else {
            told.join(" ")
        };
        let _ = writeln!(table, "| {} | {} | {told} |", row.name, cells.join(" | "));
    }
    for (i, note) in notes.iter().enumerate() {
        let _ = write!(table, "\n{}. {note}", i + 1);
    }
    table + "\n"
}

/// Compares it with the document, or writes it there.
pub fn check(table: &str) {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = document.split_once(BEGIN).expect("the table has a place");
    let (written, after) = rest.split_once(END).expect("the table has an end");
    if std::env::var_os("DISKS_TABLE").is_some() {
        std::fs::write(DOCUMENT, format!("{before}{BEGIN}\n{table}\n{END}{after}")).unwrap();
    } else {
        assert!(
            written.trim() == table.trim(),
            "docs/testing.md has another table; DISKS_TABLE=new writes this one:\n{table}"
        );
    }
}
