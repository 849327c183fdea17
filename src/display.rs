//! `--display`: where the guest is shown.

use crate::args::{DisplayArg, MachineArgs};
use crate::error::Failure;
use crate::note::note;
use std::io::{self, IsTerminal};
use trimotor_console::escape::Escape;
use trimotor_console::session::Display;
use trimotor_console::terminal;

/// Says on a terminal how to leave, for people who have no status line.
pub fn tell_keys(escape: &Escape) {
    if on_terminal()
        && let Some(prefix) = escape.name()
    {
        note(format_args!("trimotor: serial port on this terminal; {prefix} x leaves, {prefix} h: keys"));
    }
}

/// Whether a person sits at standard input and output.
fn on_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Where the guest is shown.
///
/// # Errors
/// [`Failure::BadInput`]: what is asked for is not to be had here.
pub fn choose(args: &MachineArgs) -> Result<Display, Failure> {
    let refuse =
        |why: &str| Err(Failure::bad(format!("--display terminal: {why}; use --display lines or none")));
    match args.display {
        _ if args.nographic => Ok(Display::Serial),
        Some(DisplayArg::Terminal) if !on_terminal() => refuse("standard input and output are no terminal"),
        Some(DisplayArg::Terminal) if !terminal::can_be_drawn_on() => {
            refuse("the terminal cannot be drawn on (TERM is dumb or not set)")
        }
        Some(DisplayArg::Terminal) => Ok(Display::Screen),
        Some(DisplayArg::Lines) => Ok(Display::Lines),
        Some(DisplayArg::None) => Ok(Display::Serial),
        None if on_terminal() && terminal::can_be_drawn_on() => Ok(Display::Screen),
        None if on_terminal() => Ok(Display::Lines),
        None => Ok(Display::Serial),
    }
}
