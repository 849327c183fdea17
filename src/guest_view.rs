//! The running machine as the console sees it.

use crate::report;
use trimotor_console::console_port::SerialInlet;
use trimotor_console::keys::KeyCode;
use trimotor_console::session::{Guest, Status};
use trimotor_devices::vga_text::TextScreen;
use trimotor_machine::{Engine, MachineControl};

/// A machine's handle, with the serial port that is on the console.
pub struct GuestView {
    /// The machine.
    pub control: MachineControl,
    /// The number of the console's serial port, from 0, and the way to it.
    pub console: Option<(usize, SerialInlet)>,
    /// The engine.
    pub engine: Engine,
    /// The kernel's command line, where the guest has one.
    pub command_line: Option<String>,
}

/// How much of the guest's screen a message quotes, in characters.
const QUOTED: usize = 60;

impl GuestView {
    /// What a kernel can be told, so that it writes to the serial port.
    fn serial_console(&self) -> &'static str {
        match &self.command_line {
            Some(line) if line.contains("console=ttyS") || line.contains("console=com") => {
                "its command line names one, so it may not be that far yet"
            }
            Some(_) => "Linux needs --append \"console=ttyS0\"",
            None => "Ctrl-A x leaves",
        }
    }
}

impl Guest for GuestView {
    fn screen(&mut self) -> Option<TextScreen> {
        self.control.screen()
    }
    fn key(&mut self, key: KeyCode, down: bool) -> bool {
        self.control.key(key, down)
    }
    fn serial_input(&mut self, bytes: &[u8]) -> usize {
        let Some((_, inlet)) = &self.console else { return bytes.len() };
        let taken = inlet.give(bytes);
        self.control.wake();
        taken
    }
    fn serial_break(&mut self) {
        if let Some((number, _)) = self.console {
            self.control.serial_break(number);
        }
    }
    fn ask_report(&mut self) {
        self.control.ask_statistics();
    }
    fn report(&mut self) -> Option<Vec<String>> {
        self.control.take_statistics().map(|vcpus| report::short(self.engine, &vcpus))
    }
    fn advice_on_silence(&mut self, seconds: u64, screen: Option<&TextScreen>) -> Option<String> {
        // Without a port on the console nothing can come from it.
        self.console.as_ref()?;
        let silent = format!("nothing came from the serial port for {seconds} s");
        let console = self.serial_console();
        let last = screen.and_then(|screen| {
            (0..screen.rows).rev().map(|row| screen.row_text(row)).find(|text| !text.trim().is_empty())
        });
        Some(match last {
            Some(text) => {
                let text: String = text.trim().chars().take(QUOTED).collect();
                format!(
                    "{silent}, but the guest writes to its VGA screen (\"{text}\"): to see it, leave --nographic \
                     out or use --display lines; for the serial port, {console}"
                )
            }
            None => format!("{silent}, and the VGA screen is blank; {console}"),
        })
    }
    fn status(&mut self) -> Status {
        Status {
            engine: self.engine.name().to_owned(),
            guest_time_ns: self.control.guest_time().ns(),
            instructions: Some(self.control.instructions()),
            paused: self.control.paused(),
        }
    }
}
