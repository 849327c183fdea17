//! The serial ports' and the debug port's other ends, as the command line names them.

use crate::args::MachineArgs;
use crate::error::Failure;
use crate::note::note;
use std::sync::Arc;
use trimotor_console::console_port::{ConsolePort, SerialInlet};
use trimotor_console::outlet::SerialOutlet;
use trimotor_console::serial::SerialSpec;
use trimotor_devices::debug_port::DebugSink;
use trimotor_devices::serial::SerialBackend;

/// Serial ports that a PC has.
const MOST_PORTS: usize = 4;

/// The other ends.
pub struct Ports {
    /// Of COM1 and on.
    pub serial: Vec<Box<dyn SerialBackend>>,
    /// The serial port on the console, from 0, and the way to it.
    pub console: Option<(usize, SerialInlet)>,
    /// Of the debug port E9h.
    pub debug: Option<Box<dyn DebugSink>>,
}

/// Called from other threads when input has come for a serial port.
pub type Kick = Arc<dyn Fn() + Send + Sync>;

/// Opens all ends.
///
/// # Errors
/// [`Failure::BadInput`] that names flag and end and says what would work.
pub fn open(args: &MachineArgs, outlet: &SerialOutlet, kick: &Kick) -> Result<Ports, Failure> {
    let default = ["stdio".to_owned()];
    let specs = if args.serial.is_empty() { &default[..] } else { &args.serial[..] };
    if specs.len() > MOST_PORTS {
        return Err(Failure::bad(format!(
            "--serial: {} ports are given, but a PC has 4 at most",
            specs.len()
        )));
    }
    let mut ports = Ports { serial: Vec::new(), console: None, debug: None };
    for (number, text) in specs.iter().enumerate() {
        let spec = parse("--serial", text)?;
        if spec != SerialSpec::Stdio {
            let kick = kick.clone();
            ports.serial.push(open_one("--serial", &spec, Box::new(move || kick()))?);
        } else if ports.console.is_some() {
            return Err(Failure::bad(
                "--serial stdio: given twice; the terminal can be one port's other end only",
            ));
        } else {
            let (backend, inlet) = ConsolePort::new(outlet.clone());
            ports.serial.push(Box::new(backend));
            ports.console = Some((number, inlet));
        }
    }
    ports.debug = args.debugcon.as_deref().map(|text| debug_sink(text, outlet)).transpose()?;
    Ok(ports)
}

fn parse(flag: &str, text: &str) -> Result<SerialSpec, Failure> {
    text.parse().map_err(|error| Failure::bad(format!("{flag}: {error}")))
}

fn open_one(
    flag: &str,
    spec: &SerialSpec,
    kick: Box<dyn Fn() + Send + Sync>,
) -> Result<Box<dyn SerialBackend>, Failure> {
    let opened = spec.open(flag, kick).map_err(Failure::bad)?;
    if let Some(place) = opened.place {
        note(format_args!("trimotor: {flag} {spec}: {place}"));
    }
    Ok(opened.backend)
}

fn debug_sink(text: &str, outlet: &SerialOutlet) -> Result<Box<dyn DebugSink>, Failure> {
    let spec = parse("--debugcon", text)?;
    if spec == SerialSpec::Stdio {
        return Ok(Box::new(ToOutlet(outlet.clone())));
    }
    Ok(Box::new(ToBackend(open_one("--debugcon", &spec, Box::new(|| ()))?)))
}

/// The debug port beside the console's serial port.
struct ToOutlet(SerialOutlet);

impl DebugSink for ToOutlet {
    fn byte(&mut self, byte: u8) {
        self.0.send(&[byte]);
    }
}

/// The debug port at an end of its own, which must not wait for the next byte to show a line.
struct ToBackend(Box<dyn SerialBackend>);

impl DebugSink for ToBackend {
    fn byte(&mut self, byte: u8) {
        self.0.write(&[byte]);
        if byte == b'\n' {
            self.0.flush();
        }
    }
}
