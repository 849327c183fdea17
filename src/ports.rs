//! The serial ports' and the debug port's other ends, as the command line names them.

use crate::args::MachineArgs;
use crate::chardevs::Chardev;
use crate::error::Failure;
use crate::note::note;
use std::collections::BTreeMap;
use std::sync::Arc;
use trimotor_console::background_writer::BackgroundWriter;
use trimotor_console::console_port::{ConsolePort, SerialInlet};
use trimotor_console::outlet::{SerialOutlet, WhenFull};
use trimotor_console::serial::SerialSpec;
use trimotor_devices::debug_port::DebugSink;
use trimotor_devices::serial::SerialBackend;

/// Serial ports that a PC has.
const MOST_PORTS: usize = 4;

/// The number of the console's port where it is none of the serial ports.
const CHARDEV_CONSOLE: usize = usize::MAX;

/// The other ends.
pub struct Ports {
    /// Of COM1 and on.
    pub serial: Vec<Box<dyn SerialBackend>>,
    /// Of ports that devices name, by their ids.
    pub chardevs: BTreeMap<String, Box<dyn SerialBackend>>,
    /// The serial port on the console, from 0, and the way to it.
    pub console: Option<(usize, SerialInlet)>,
    /// Of the debug port E9h.
    pub debug: Option<Box<dyn DebugSink>>,
    /// Whether too much output waits for the host, where that must not reach the guest.
    pub output_waits: Box<dyn Fn() -> bool + Send>,
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
    // A run with a counted clock is the same however slow the reader of its output is.
    let when_full = if args.icount { WhenFull::TakeAll } else { WhenFull::Refuse };
    let mut opener = Opener { when_full, writers: Vec::new() };
    let (mut serial, mut console): (Vec<Box<dyn SerialBackend>>, _) = (Vec::new(), None);
    for (number, text) in specs.iter().enumerate() {
        let spec = parse("--serial", text)?;
        if spec != SerialSpec::Stdio {
            let kick = kick.clone();
            serial.push(opener.open("--serial", &spec, Box::new(move || kick()))?);
        } else if console.is_some() {
            return Err(Failure::bad(
                "--serial stdio: given twice; the terminal can be one port's other end only",
            ));
        } else {
            let (backend, inlet) = ConsolePort::new(outlet.clone(), when_full);
            serial.push(Box::new(backend));
            console = Some((number, inlet));
        }
    }
    let mut chardevs: BTreeMap<String, Box<dyn SerialBackend>> = BTreeMap::new();
    for Chardev { id, spec } in &args.chardev {
        let backend: Box<dyn SerialBackend> = if *spec != SerialSpec::Stdio {
            let kick = kick.clone();
            opener.open("--chardev", spec, Box::new(move || kick()))?
        } else if console.is_some() {
            return Err(Failure::bad(
                "--chardev stdio: the terminal is a serial port's other end already; add --serial null",
            ));
        } else {
            let (backend, inlet) = ConsolePort::new(outlet.clone(), when_full);
            console = Some((CHARDEV_CONSOLE, inlet));
            Box::new(backend)
        };
        if chardevs.insert(id.clone(), backend).is_some() {
            return Err(Failure::bad(format!("--chardev {spec}: another one has the id {id:?}")));
        }
    }
    let debug = args.debugcon.as_deref().map(|text| debug_sink(text, outlet, &mut opener)).transpose()?;
    let (outlet, writers) = (outlet.clone(), opener.writers);
    let output_waits = Box::new(move || {
        when_full == WhenFull::TakeAll
            && (outlet.is_full() || writers.iter().any(|writer| writer.room() == 0))
    });
    Ok(Ports { serial, chardevs, console, debug, output_waits })
}

fn parse(flag: &str, text: &str) -> Result<SerialSpec, Failure> {
    text.parse().map_err(|error| Failure::bad(format!("{flag}: {error}")))
}

/// Opens ends, and keeps the writers of those that write to files.
struct Opener {
    when_full: WhenFull,
    writers: Vec<BackgroundWriter>,
}

impl Opener {
    fn open(
        &mut self,
        flag: &str,
        spec: &SerialSpec,
        kick: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Box<dyn SerialBackend>, Failure> {
        let opened = spec.open(flag, kick, self.when_full).map_err(Failure::bad)?;
        self.writers.extend(opened.writer);
        if let Some(place) = opened.place {
            note(format_args!("trimotor: {flag} {spec}: {place}"));
        }
        Ok(opened.backend)
    }
}

fn debug_sink(text: &str, outlet: &SerialOutlet, opener: &mut Opener) -> Result<Box<dyn DebugSink>, Failure> {
    let spec = parse("--debugcon", text)?;
    if spec == SerialSpec::Stdio {
        return Ok(Box::new(ToOutlet { outlet: outlet.clone(), losing: false }));
    }
    let backend = opener.open("--debugcon", &spec, Box::new(|| ()))?;
    Ok(Box::new(ToBackend { backend, losing: false }))
}

/// Tells once of each stretch of output of the debug port that is lost: the port cannot make the guest wait.
fn note_loss(losing: &mut bool, taken: usize) {
    if taken == 0 && !*losing {
        log::warn!("--debugcon: output is lost, as nobody reads it");
    }
    *losing = taken == 0;
}

/// The debug port beside the console's serial port.
struct ToOutlet {
    outlet: SerialOutlet,
    losing: bool,
}

impl DebugSink for ToOutlet {
    fn byte(&mut self, byte: u8) {
        let taken = self.outlet.send(&[byte], WhenFull::TakeAll);
        note_loss(&mut self.losing, taken);
    }
}

/// The debug port at an end of its own, which must not wait for the next byte to show a line.
struct ToBackend {
    backend: Box<dyn SerialBackend>,
    losing: bool,
}

impl DebugSink for ToBackend {
    fn byte(&mut self, byte: u8) {
        let taken = self.backend.write(&[byte]);
        note_loss(&mut self.losing, taken);
        if byte == b'\n' {
            self.backend.flush();
        }
    }
}
