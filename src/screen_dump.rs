//! `--screen-dump`: the last text screen in a file.

use crate::error::Failure;
use anyhow::Context;
use std::path::Path;
use trimotor_console::svg;
use trimotor_devices::vga_text::TextScreen;

/// Makes sure that the file can be written, before the guest runs for an hour.
///
/// # Errors
/// [`Failure::BadInput`] that names the file.
pub fn check(path: &Path) -> Result<(), Failure> {
    std::fs::write(path, "")
        .map_err(|error| Failure::bad(format!("{}: {error}; name a file that can be written", flag(path))))
}

/// Flag and file, as messages name them.
fn flag(path: &Path) -> String {
    format!("--screen-dump {}", path.display())
}

/// Writes the screen: as a picture where the file's name ends in `.svg`, as text otherwise.
///
/// # Errors
/// The host cannot write the file.
pub fn write(path: &Path, screen: Option<&TextScreen>) -> Result<(), Failure> {
    let is_picture = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"));
    let contents = match screen {
        Some(screen) if is_picture => svg::draw(screen),
        Some(screen) => screen.text(),
        None => String::new(),
    };
    std::fs::write(path, contents).with_context(|| flag(path))?;
    Ok(())
}
