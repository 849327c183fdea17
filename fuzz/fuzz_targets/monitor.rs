//! What peers of a monitor send: the line editor, the words, the commands, values, what Tab offers.

#![no_main]

#[path = "../src/nobody.rs"]
mod nobody;

use libfuzzer_sys::fuzz_target;
use nobody::Nobody;
use trimotor_cpu::CpuState;
use trimotor_machine::control::definition::split_words;
use trimotor_machine::control::expression::Expression;
use trimotor_machine::control::format::Format;
use trimotor_machine::control::Look;
use trimotor_machine::Command;
use trimotor_monitor::commands::{Order, Own, parse};
use trimotor_monitor::complete::complete;
use trimotor_monitor::editor::{Edited, LONGEST_LINE, LineEditor};
use trimotor_monitor::text::{for_terminal, help_on};

fn line(line: &str) {
    match parse(line) {
        Ok(Some(Order::Machine(command))) => {
            // A command that was read is written so that it is read as the same.
            assert_eq!(Command::parse(&command.to_string()).as_ref(), Ok(&command), "{line:?}");
            let state = CpuState::at_reset(0).to_arch();
            if let Command::Look(Look::Value { format, value, .. }) = &command
                && let Ok(value) = value.value(&state)
            {
                format.value(value, format.size.unwrap_or(8));
            }
        }
        Ok(Some(Order::Own(Own::Help(Some(name))))) => _ = help_on(&name),
        Ok(_) => {}
        Err(error) => assert!(error.to_string().len() < 1000, "{error}"),
    }
    // Expressions without a command before them.
    if let Ok(words) = split_words(line) {
        for word in words {
            _ = Expression::parse(&word);
            _ = Format::parse(&word);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let (mut editor, mut shown) = (LineEditor::new("> "), Vec::new());
    for byte in data {
        match editor.push(*byte, &mut shown) {
            Some(Edited::Line(text)) => {
                assert!(text.chars().count() <= LONGEST_LINE);
                line(&text);
            }
            Some(Edited::Complete(text)) => {
                let completion = complete(&text, &Nobody);
                editor.insert_text(&completion.insert, &mut shown);
            }
            _ => {}
        }
        // What the terminal gets has no control characters but those of the editor's own.
        assert!(shown.len() < 64 << 10, "{} bytes for one", shown.len());
        shown.clear();
    }
    let text = String::from_utf8_lossy(data);
    line(&text);
    let text = for_terminal(&text);
    assert!(text.chars().all(|character| !character.is_control() || "\r\n\t".contains(character)));
});
