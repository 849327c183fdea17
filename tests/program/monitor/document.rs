//! The chapter on the monitor names each command.

use crate::support::needs::Tests;
use std::path::Path;
use trimotor_monitor::commands::summaries;

pub fn tests() -> Tests {
    Tests::new().test(the_chapter_has_a_row_for_each_command)
}

/// The rows of the chapter's tables, as the definitions have them.
fn rows() -> Vec<String> {
    let row = |summary: trimotor_machine::control::Summary| {
        let short: Vec<_> = summary.short.iter().map(|name| format!(", `{name}`")).collect();
        format!("| `{}`{} | {} |", summary.usage().replace('|', "\\|"), short.concat(), summary.help)
    };
    summaries().into_iter().map(row).collect()
}

fn the_chapter_has_a_row_for_each_command() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitor.md");
    let text = std::fs::read_to_string(file).unwrap();
    let (_, tables) = text.split_once("## Commands").unwrap();
    let there: Vec<&str> = tables.lines().filter(|line| line.starts_with("| `")).collect();
    let missing: Vec<String> = rows().into_iter().filter(|row| !there.contains(&row.as_str())).collect();
    assert!(missing.is_empty(), "docs/monitor.md lacks:\n{}", missing.join("\n"));
    let more: Vec<&&str> = there.iter().filter(|row| !rows().contains(&(**row).to_owned())).collect();
    assert!(more.is_empty(), "docs/monitor.md has what is not there: {more:?}");
}
