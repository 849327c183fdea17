//! The box of help over the screen.

use crate::render::Picture;

/// White on blue.
const COLOURS: (usize, usize) = (15, 1);

/// The lines of help for the keys, for the escape prefix `prefix` ("Ctrl-A").
pub fn key_help(prefix: Option<&str>) -> Vec<String> {
    let Some(prefix) = prefix else {
        return vec!["The escape key is turned off: all keys go to the guest.".to_owned()];
    };
    let keys = [
        ("x", "leave Trimotor"),
        ("h", "these keys"),
        ("s", "show the screen or the serial port"),
        ("c", "the monitor, or back to the guest"),
        ("t", "status line on or off"),
        ("m", "mouse to the guest, or back to the terminal"),
        ("z", "zoom into a picture, or show all of it"),
        ("p", "pause, or go on"),
        ("b", "send a break on the serial port"),
        ("d", "strike Ctrl-Alt-Delete"),
        ("i", "what the engine counted"),
        ("e", "another engine goes on"),
        ("l", "draw the screen anew"),
        (prefix, &format!("send {prefix} itself")),
    ];
    let mut lines = vec![format!("{prefix}, then:")];
    lines.extend(keys.iter().map(|(key, what)| format!("  {key:<7} {what}")));
    lines
}

/// Draws `lines` in a box in the middle of `picture`.
pub fn draw(picture: &mut Picture, lines: &[String]) {
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let left = picture.columns().saturating_sub(width + 4) / 2;
    let top = picture.rows().saturating_sub(lines.len() + 2) / 2;
    let edge = "═".repeat(width + 2);
    picture.put_text(left, top, &format!("╔{edge}╗"), COLOURS);
    for (index, line) in lines.iter().enumerate() {
        picture.put_text(left, top + 1 + index, &format!("║ {line:<width$} ║"), COLOURS);
    }
    picture.put_text(left, top + 1 + lines.len(), &format!("╚{edge}╝"), COLOURS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_larger_than_the_picture_is_cut() {
        draw(&mut Picture::new(5, 2), &key_help(Some("Ctrl-A")));
        let mut picture = Picture::new(80, 25);
        let blank = picture.clone();
        draw(&mut picture, &key_help(None));
        assert_ne!(picture, blank);
    }

    #[test]
    fn help_names_the_prefix_that_is_in_use() {
        let lines = key_help(Some("Ctrl-B"));
        assert!(lines[0].starts_with("Ctrl-B"));
        assert!(lines.iter().any(|line| line.contains("leave")));
    }
}
