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
    fn status(&mut self) -> Status {
        Status {
            engine: self.engine.name().to_owned(),
            guest_time_ns: self.control.guest_time().ns(),
            instructions: Some(self.control.instructions()),
        }
    }
}
