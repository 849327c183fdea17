//! Connecting to an X server.

use super::super::NoWindow;
use x11rb::errors::ConnectError;
use x11rb::rust_connection::RustConnection;

/// Connects; with the number of the screen.
///
/// # Errors
/// The text says what would help.
pub fn connect(display: &str) -> Result<(RustConnection, usize), NoWindow> {
    RustConnection::connect(Some(display)).map_err(|error| NoWindow(reason(display, &error)))
}

fn reason(display: &str, error: &ConnectError) -> String {
    let said = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.chars().filter(|character| !character.is_control()).collect::<String>().trim().to_owned()
    };
    let refused = |reason: &[u8]| {
        format!(
            "the X server at DISPLAY={display} lets Trimotor not in ({}): XAUTHORITY, or ~/.Xauthority, must be the file with \
             the server's cookie; as another user than the desktop's, ask that one for it (xauth)",
            said(reason)
        )
    };
    match error {
        ConnectError::DisplayParsingError(_) => {
            format!("DISPLAY={display} is no name of an X server; write it as DISPLAY=:0")
        }
        ConnectError::IoError(error) => format!("no X server answers at DISPLAY={display}: {error}"),
        ConnectError::InvalidScreen => {
            format!("the X server at DISPLAY={display} has no screen of that number")
        }
        ConnectError::SetupFailed(failed) => refused(&failed.reason),
        ConnectError::SetupAuthenticate(failed) => refused(&failed.reason),
        other => format!("the X server at DISPLAY={display}: {other}"),
    }
}
