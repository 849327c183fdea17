//! One peer of a monitor: a stream of bytes with somebody at its other end.

use crate::complete::complete;
use crate::editor::{Edited, LineEditor};
use crate::obey::Monitor;
use crate::text::for_terminal;
use std::io::{self, Read, Write};

/// What stands before each line.
pub const PROMPT: &str = "(trimotor) ";
/// Bytes that are read at a time.
const READ_BYTES: usize = 4096;
/// Names in a line of what Tab offers.
const CHOICE_COLUMNS: usize = 80;
/// Names that Tab offers at a time.
const MOST_CHOICES: usize = 200;

/// A peer: what it has typed, and which vCPU it looks at.
pub struct Session {
    monitor: Monitor,
    editor: LineEditor,
    cpu: usize,
}

impl Session {
    /// A peer that has just come.
    pub fn new(monitor: Monitor) -> Self {
        Self { monitor, editor: LineEditor::new(PROMPT), cpu: 0 }
    }
    /// Serves a peer until it goes. Reads and writes wait as long as the peer likes.
    ///
    /// # Errors
    /// The stream's.
    pub fn serve(mut self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        stream.write_all(self.greeting().as_bytes())?;
        stream.flush()?;
        let mut bytes = [0; READ_BYTES];
        loop {
            let count = match stream.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let goes_on = self.push(&bytes[..count], stream)?;
            stream.flush()?;
            if !goes_on {
                return Ok(());
            }
        }
    }
    /// What a peer sees first.
    pub fn greeting(&self) -> String {
        format!("{} monitor - type 'help' for more information\r\n{PROMPT}", self.monitor.host().version())
    }
    /// Takes bytes that the peer sent, and carries out the lines in them; what it is shown goes into `out`. Returns whether the
    /// peer goes on.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut impl Write) -> io::Result<bool> {
        let mut shown = Vec::new();
        for byte in bytes {
            match self.editor.push(*byte, &mut shown) {
                None => {}
                Some(Edited::Line(line)) => {
                    // What was typed is seen before it takes its time.
                    out.write_all(&std::mem::take(&mut shown))?;
                    out.flush()?;
                    self.obey(&line, &mut shown);
                    self.editor.show(&mut shown);
                }
                Some(Edited::Complete(line)) => self.complete(&line, &mut shown),
                Some(Edited::Cancelled) => self.editor.show(&mut shown),
                Some(Edited::End) => {
                    shown.extend(b"\r\n");
                    out.write_all(&shown)?;
                    return Ok(false);
                }
            }
        }
        out.write_all(&shown)?;
        Ok(true)
    }
    fn obey(&mut self, line: &str, shown: &mut Vec<u8>) {
        let text = self.monitor.obey(line, &mut self.cpu).unwrap_or_else(|error| format!("Error: {error}"));
        if !text.is_empty() {
            shown.extend(for_terminal(text.trim_end_matches('\n')).bytes());
            shown.extend(b"\r\n");
        }
    }
    fn complete(&mut self, line: &str, shown: &mut Vec<u8>) {
        let completion = complete(line, self.monitor.host());
        if !completion.insert.is_empty() {
            return self.editor.insert_text(&completion.insert, shown);
        }
        if completion.choices.is_empty() {
            return;
        }
        shown.extend(b"\r\n");
        let longest = completion.choices.iter().map(|choice| choice.chars().count()).max().unwrap_or(0);
        let columns = (CHOICE_COLUMNS / (longest + 2)).max(1);
        for row in completion.choices[..completion.choices.len().min(MOST_CHOICES)].chunks(columns) {
            let cells: Vec<_> = row.iter().map(|choice| format!("{choice:<longest$}")).collect();
            shown.extend(for_terminal(cells.join("  ").trim_end()).bytes());
            shown.extend(b"\r\n");
        }
        if completion.choices.len() > MOST_CHOICES {
            shown.extend(format!("... and {} more\r\n", completion.choices.len() - MOST_CHOICES).bytes());
        }
        self.editor.show(shown);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::host::{Host, Opening, PictureFormat};
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use trimotor_machine::control::Counts;
    use trimotor_machine::save::MachineStateV1;
    use trimotor_machine::{Engine, MachineControl, Medium, Shot};

    /// A program that has two drives and a network, and counts how often it was left.
    #[derive(Default)]
    pub(crate) struct TestHost {
        left: AtomicUsize,
    }
    impl Host for TestHost {
        fn leave(&self) {
            self.left.fetch_add(1, Ordering::Relaxed);
        }
        fn version(&self) -> String {
            "Test 1".to_owned()
        }
        fn vcpus(&self) -> usize {
            2
        }
        fn removable_drives(&self) -> Vec<String> {
            vec!["cd0".to_owned(), "floppy0".to_owned()]
        }
        fn networks(&self) -> Vec<String> {
            vec!["net0".to_owned()]
        }
        fn file_in(&self, _drive: &str) -> Option<String> {
            None
        }
        fn open_medium(&self, drive: &str, opening: &Opening<'_>) -> Result<Medium, String> {
            Err(format!("{drive} cannot have {}", opening.file.display()))
        }
        fn medium_changed(&self, _drive: &str, _file: Option<&Path>) {}
        fn write_picture(&self, _: &Shot, _: &Path, _: PictureFormat) -> Result<(), String> {
            Ok(())
        }
        fn save(
            &self,
            file: &Path,
            _mapped: bool,
            _: &mut dyn FnMut() -> Result<Box<MachineStateV1>, String>,
        ) -> Result<(), String> {
            Err(format!("{} cannot be written", file.display()))
        }
        fn commit(&self, drive: Option<&str>) -> Result<String, String> {
            Err(format!("{drive:?} stands on nothing"))
        }
        fn add_forward(&self, network: Option<&str>, forward: &str) -> Result<String, String> {
            Ok(format!("{network:?} {forward}"))
        }
        fn remove_forward(&self, _: Option<&str>, place: &str) -> Result<String, String> {
            Err(format!("no {place}"))
        }
        fn user_networks(&self) -> Vec<(String, String)> {
            Vec::new()
        }
        fn servers(&self) -> Vec<String> {
            Vec::new()
        }
        fn engine_report(&self, engine: Engine, counts: &[Counts], _exits: bool) -> String {
            format!("{engine}: {counts:?}")
        }
        fn files(&self, _start: &str) -> Vec<String> {
            vec!["/images/".to_owned(), "other".to_owned()]
        }
    }

    struct Peer {
        session: Session,
        host: Arc<TestHost>,
        control: MachineControl,
    }
    impl Peer {
        fn new() -> Self {
            let (host, control) = (Arc::new(TestHost::default()), MachineControl::default());
            let session = Session::new(Monitor::new(control.clone(), host.clone()));
            Self { session, host, control }
        }
        fn types(&mut self, text: &str) -> String {
            let mut out = Vec::new();
            assert!(self.session.push(text.as_bytes(), &mut out).unwrap());
            String::from_utf8(out).unwrap()
        }
    }

    #[test]
    fn lines_are_echoed_carried_out_and_answered() {
        let mut peer = Peer::new();
        assert_eq!(
            peer.session.greeting(),
            "Test 1 monitor - type 'help' for more information\r\n(trimotor) "
        );
        assert_eq!(peer.types("info ver"), "info ver");
        assert_eq!(peer.types("sion\r"), "sion\r\nTest 1\r\n\r(trimotor) \x1b[K");
        assert_eq!(peer.types("\r\n"), "\r\n\r(trimotor) \x1b[K");
        let shown = peer.types("hostfwd_add tcp::1-:2\nhostfwd_remove tcp::1\n");
        assert!(shown.contains("None tcp::1-:2\r\n") && shown.contains("Error: no tcp::1\r\n"), "{shown}");
        assert!(peer.types("stpo\n").contains("Error: unknown command: \"stpo\"; did you mean stop?"));
        assert!(peer.types("change cd0 \"a b\"\n").contains("Error: cd0 cannot have a b"));
        assert!(peer.types("save m\n").contains("Error: m cannot be written"));
        assert!(peer.types("cpu 2\n").contains("there are 0 to 1"));
        peer.types("cpu 1\n");
        assert_eq!(peer.session.cpu, 1);
        assert!(peer.types("sendkey a\nmouse_move 1 1 1\nmouse_button 1\n").ends_with("(trimotor) \x1b[K"));
    }

    #[test]
    fn tab_completes_and_offers() {
        let mut peer = Peer::new();
        assert_eq!(peer.types("scr\t"), "screendump ");
        let shown = peer.types("\x15ej\t\t");
        assert!(shown.contains("eject ") && shown.contains("\r\ncd0      floppy0\r\n"), "{shown:?}");
        assert_eq!(peer.types("c\t\x03"), "cd0 ^C\r\n\r(trimotor) \x1b[K");
    }

    #[test]
    fn quit_is_the_program_s_business_and_the_end_the_peer_s() {
        let mut peer = Peer::new();
        peer.types("quit\n");
        assert_eq!(peer.host.left.load(Ordering::Relaxed), 1);
        let mut out = Vec::new();
        assert!(!peer.session.push(b"\x04stop\n", &mut out).unwrap());
        assert_eq!(out, b"\r\n");
    }

    #[test]
    fn whatever_comes_is_answered_with_text() {
        let mut peer = Peer::new();
        // There is no machine that answers: what asks it would wait.
        let line = "zz\u{fffd} \u{9b}\n";
        let mut bytes: Vec<u8> = (0..=u8::MAX).filter(|byte| *byte != 4).cycle().take(20_000).collect();
        bytes.extend(line.bytes());
        let mut out = Vec::new();
        assert!(peer.session.push(&bytes, &mut out).unwrap());
        assert!(!String::from_utf8_lossy(&out).contains('\u{9b}'));
        assert!(peer.control.screen().is_none());
    }
}
