//! Options about keyboard and mouse.

use super::spec::{KeysSpec, TypeSpec};
use clap::{ArgAction, Args};
use trimotor_devices::i8042::Layout;

/// What is typed, and on which keyboard.
#[derive(Args, Debug)]
pub struct InputArgs {
    /// Types text at an instant of guest time, or once a text came: `'root\n@2.5'`, `'root\n@text:"login: "'` (from COM1),
    /// `'1@screen:"Choose"'` (on the text screen). Repeatable, in order; \n, \t, \e, \b and \\ are keys
    #[arg(long = "type", value_name = "TEXT@WHEN", action = ArgAction::Append, allow_hyphen_values = true, help_heading = "Input")]
    pub text: Vec<TypeSpec>,
    /// Presses keys together at such a moment: `ctrl-alt-delete@5`; others after a blank: `"down down ret@2"`. Repeatable,
    /// in order
    #[arg(long, value_name = "KEYS@WHEN", action = ArgAction::Append, help_heading = "Input")]
    pub keys: Vec<KeysSpec>,
    /// The keyboard layout that the guest is set to, for text that is typed here: us, uk, de, de-ch, fr, fr-ch, fr-be, nl,
    /// es, it, pt, br, se, fi, no, dk, pl, cz, hu or jp
    #[arg(long, value_name = "LAYOUT", default_value_t = Layout::US, help_heading = "Input")]
    pub keymap: Layout,
    /// Leaves out a device that every machine has: vmmouse, by which a guest gets positions of the pointer. Repeatable
    #[arg(long, value_name = "DEVICE", action = ArgAction::Append, value_parser = removable, help_heading = "Devices")]
    pub without: Vec<String>,
}

fn removable(name: &str) -> Result<String, String> {
    let kind = trimotor_machine::devices::removable_kind(name).map_err(|error| error.to_string())?;
    Ok(kind.name.to_owned())
}
