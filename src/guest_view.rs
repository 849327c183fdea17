//! The running machine as the console sees it.

use crate::report;
use trimotor_console::console_port::SerialInlet;
use trimotor_console::graphics::View;
use trimotor_console::keys::{KeyCode, Layout};
use trimotor_console::session::{Guest, Status};
use trimotor_devices::display::{Damage, Surface};
use trimotor_devices::pointer::PointerEvent;
use trimotor_devices::vga::TextScreen;
use trimotor_machine::{Answer, Command, MachineControl, MachineEvent, Reply, Viewer};

/// A machine's handle, with the serial port that is on the console.
pub struct GuestView {
    /// The machine.
    pub control: MachineControl,
    /// The number of the console's serial port, from 0, and the way to it.
    pub console: Option<(usize, SerialInlet)>,
    /// The kernel's command line, where the guest has one.
    pub command_line: Option<String>,
    /// What the machine is to answer, which is shown then.
    pub report: Option<Answer>,
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

/// The guest's screen as a picture.
struct Picture(Viewer);

impl View for Picture {
    fn update(&mut self, copy: &mut Surface) -> Damage {
        self.0.update(copy)
    }
}

impl Guest for GuestView {
    fn call_on_change(&mut self, notify: Box<dyn Fn() + Send + Sync>) {
        self.control.observe(move |event| {
            if matches!(
                event,
                MachineEvent::ScreenChanged
                    | MachineEvent::Paused
                    | MachineEvent::Resumed
                    | MachineEvent::EngineSwitched(_)
            ) {
                notify();
            }
        });
    }
    fn screen(&mut self) -> Option<TextScreen> {
        self.control.screen()
    }
    fn key(&mut self, key: KeyCode, down: bool) -> bool {
        self.control.key(key, down)
    }
    fn layout(&self) -> Layout {
        self.control.layout()
    }
    fn serial_input(&mut self, bytes: &[u8]) -> usize {
        let Some((_, inlet)) = &self.console else { return bytes.len() };
        let taken = inlet.give(bytes);
        self.control.wake();
        taken
    }
    fn serial_break(&mut self) {
        if let Some((number, _)) = self.console {
            self.control.send(Command::SerialBreak(number));
        }
    }
    fn ask_report(&mut self) {
        self.report = Some(self.control.send(Command::Statistics));
    }
    fn switch_engine(&mut self) {
        let next = self.control.engine().next();
        self.report = Some(self.control.send(Command::SwitchEngine(next)));
    }
    fn report(&mut self) -> Option<Vec<String>> {
        let outcome = self.report.as_ref()?.try_take()?;
        self.report = None;
        match outcome {
            Ok(Reply::Statistics { engine, vcpus }) => Some(report::short(engine, &vcpus)),
            Ok(Reply::Switched(switched)) => Some(vec![switched.to_string()]),
            Ok(_) => None,
            Err(error) => Some(vec![error.to_string()]),
        }
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
    fn view(&mut self) -> Box<dyn View> {
        Box::new(Picture(self.control.view()))
    }
    fn pointer(&mut self, event: PointerEvent) -> bool {
        self.control.pointer(event)
    }
    fn pointer_is_absolute(&mut self) -> bool {
        self.control.pointer_is_absolute()
    }
    fn set_paused(&mut self, paused: bool) {
        // What became of it is seen on the screen.
        let _ = self.control.send(if paused { Command::Pause } else { Command::Resume });
    }
    fn status(&mut self) -> Status {
        Status {
            engine: self.control.engine().name().to_owned(),
            guest_time_ns: self.control.guest_time().ns(),
            instructions: Some(self.control.instructions()),
            paused: self.control.paused(),
        }
    }
}
