//! What can be commanded, with name, help and parser in one place.
//!
//! [`DEFINITIONS`] is the one list: whoever takes commands as text (a monitor, a script) parses by it, shows its help, and
//! completes its names. Names are those that users of QEMU's monitor know.

use super::debug::DebugRequest;
use super::definition::{self, Definition, ParseError, Words};
use super::expression::Expression;
use super::format::Format;
use super::reply::Reply;
use super::trace::TraceRequest;
use crate::engines::Engine;
use std::fmt;
use trimotor_devices::vmgenid;

/// A command to the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Stops the vCPUs and guest time.
    Pause,
    /// Goes on after [`Pause`](Self::Pause).
    Resume,
    /// Presses the reset button.
    Reset,
    /// Presses the power button (an ACPI event).
    PowerButton,
    /// Raises an NMI.
    Nmi,
    /// The other end of a serial port (COM1 is 0) sends a break.
    SerialBreak(usize),
    /// So many bytes of memory are to be left for the guest: sets the balloon's size.
    Balloon(u64),
    /// Asks the guest for memory that is free, which goes back to the host.
    BalloonHint,
    /// How the balloon is doing: [`Reply::Balloon`].
    BalloonStatus,
    /// Pulls the cable out of a network card, or puts it in.
    SetLink {
        /// The card, by its name on the board, or its network.
        name: String,
        /// Whether the cable is in.
        up: bool,
    },
    /// Takes the whole machine to a value: [`Reply::Saved`].
    Save,
    /// Makes a snapshot of the machine and its disks, of this name or one of its own: [`Reply::Text`].
    SaveSnapshot(Option<String>),
    /// Goes back to a snapshot.
    LoadSnapshot(String),
    /// Deletes a snapshot.
    DeleteSnapshot(String),
    /// The snapshots of the disks: [`Reply::Text`].
    Snapshots,
    /// Which engine drives the vCPUs: [`Reply::Engine`].
    Engine,
    /// Has another engine drive them: [`Reply::Switched`].
    SwitchEngine(Engine),
    /// What each vCPU's engine counted: [`Reply::Statistics`].
    Statistics,
    /// The same, for who wants to know why the guest's code was left.
    Exits,
    /// The devices, and what each is doing: [`Reply::Devices`].
    Devices,
    /// The networks, and how each is doing: [`Reply::Networks`].
    Networks,
    /// The drives, and what is in them: [`Reply::Drives`].
    Drives,
    /// Whether the machine runs, and how far it is: [`Reply::Status`].
    Status,
    /// Registers, memory, or what else there is to look at: [`Reply::Text`].
    Look(Look),
    /// What is traced, from now on, or now: [`Reply::Text`].
    Trace(TraceRequest),
    /// What a debugger asks.
    Debug(DebugRequest),
    /// Ends the run.
    Quit,
}

/// What is looked at. Where a vCPU is not named, it is the first one, or that which [`Command::for_vcpu`] sets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Look {
    /// Memory.
    Memory {
        /// Physical addresses; otherwise linear ones.
        physical: bool,
        /// How it is shown.
        format: Format,
        /// From where on.
        at: Expression,
        /// The vCPU whose mapping and registers count.
        cpu: Option<usize>,
    },
    /// A value.
    Value {
        /// How it is shown.
        format: Format,
        /// What is computed.
        value: Expression,
        /// The vCPU whose registers count.
        cpu: Option<usize>,
    },
    /// Registers.
    Registers {
        /// Of this vCPU.
        cpu: Option<usize>,
        /// Of all of them.
        all: bool,
    },
    /// What each vCPU does.
    Vcpus,
    /// What is mapped where, neighbours joined.
    Mappings {
        /// By the page tables of this vCPU.
        cpu: Option<usize>,
    },
    /// The same, page by page.
    Translations {
        /// By the page tables of this vCPU.
        cpu: Option<usize>,
    },
    /// Which addresses and ports are whose.
    AddressMap,
    /// The devices by their buses.
    DeviceTree,
    /// PCI functions.
    Pci,
    /// What devices have to say on a topic: see [`Device::describe`](trimotor_devices::Device::describe).
    Topic(&'static str),
}

impl Look {
    /// Whether registers or memory of vCPUs are looked at, which must stand still.
    fn at_vcpus(&self) -> bool {
        match self {
            Self::Memory { .. }
            | Self::Value { .. }
            | Self::Registers { .. }
            | Self::Vcpus
            | Self::Mappings { .. }
            | Self::Translations { .. } => true,
            Self::AddressMap | Self::DeviceTree | Self::Pci | Self::Topic(_) => false,
        }
    }
}

/// A command that looks, and takes no arguments.
const fn look(
    name: &'static str,
    help: &'static str,
    parse: definition::Parse<Command>,
) -> Definition<Command> {
    Definition::plain(name, help, parse)
}

/// All commands.
pub static DEFINITIONS: &[Definition<Command>] = &[
    Definition::plain("stop", "stop the vCPUs and guest time", |_| Ok(Command::Pause)).or(&["s"]),
    Definition::plain("cont", "go on after stop", |_| Ok(Command::Resume)).or(&["c"]),
    Definition::plain("system_reset", "press the reset button", |_| Ok(Command::Reset)),
    Definition::plain("system_powerdown", "press the power button (an ACPI event)", |_| {
        Ok(Command::PowerButton)
    }),
    Definition::plain("nmi", "raise an NMI", |_| Ok(Command::Nmi)),
    Definition::new(
        "accel",
        "[ENGINE]",
        "have another engine go on with the guest: accel interp; alone: which runs, and which there are",
        &[Words::OneOf(&["interp", "jit", "kvm"])],
        accel,
    ),
    Definition::new(
        "savevm",
        "[NAME]",
        "make a snapshot of the machine and its disks, in these (qcow2); one of this name is replaced",
        &[Words::Any],
        |arguments| match arguments {
            [] => Ok(Command::SaveSnapshot(None)),
            [name] => snapshot_name(name).map(Some).map(Command::SaveSnapshot),
            [_, extra, ..] => Err(format!("{extra:?} is too much")),
        },
    ),
    Definition::new(
        "loadvm",
        "NAME",
        "go back to a snapshot, machine and disks; what the guest did since is lost",
        &[Words::Any],
        |arguments| one_snapshot(arguments).map(Command::LoadSnapshot),
    ),
    Definition::new("delvm", "NAME", "delete a snapshot", &[Words::Any], |arguments| {
        one_snapshot(arguments).map(Command::DeleteSnapshot)
    }),
    Definition::new(
        "serial_break",
        "[PORT]",
        "send a break to a serial port; COM1 is 0, and meant where no port is given",
        &[Words::OneOf(&["0", "1", "2", "3"])],
        serial_break,
    ),
    Definition::new(
        "balloon",
        "MEGABYTES",
        "leave so much memory for the guest; the rest goes into its balloon, and back to the host",
        &[Words::Any],
        balloon,
    ),
    Definition::plain("balloon_hint", "ask the guest for memory that is free, for the host", |_| {
        Ok(Command::BalloonHint)
    }),
    Definition::new(
        "set_link",
        "CARD on|off",
        "put the cable into a network card, named itself or by its network, or pull it out",
        &[Words::Network, Words::OneOf(&["on", "off"])],
        set_link,
    ),
    Definition::new(
        "x",
        "ADDRESS",
        "memory at a linear address: x/10i $rip, x/4xw $rsp+8, x/20c 0x7c00",
        &[Words::Any],
        |arguments| memory(false, arguments),
    )
    .with_format(),
    Definition::new(
        "xp",
        "ADDRESS",
        "memory at a physical address: xp/16xb 0xb8000",
        &[Words::Any],
        |arguments| memory(true, arguments),
    )
    .with_format(),
    Definition::new("print", "VALUE", "a value: print/d $rcx * 8", &[Words::Any], value)
        .with_format()
        .or(&["p"]),
    Definition::new(
        "info registers",
        "[-a]",
        "the registers of the vCPU that `cpu` chose; -a: of all",
        &[Words::OneOf(&["-a"])],
        |arguments| match arguments {
            [] => Ok(Command::Look(Look::Registers { cpu: None, all: false })),
            ["-a"] => Ok(Command::Look(Look::Registers { cpu: None, all: true })),
            _ => Err("-a for all vCPUs, or nothing; `cpu N` chooses one".to_owned()),
        },
    ),
    look("info cpus", "the vCPUs: where they are, and whether they halt", |_| Ok(Command::Look(Look::Vcpus))),
    look("info mem", "which linear addresses are mapped, with which rights", |_| {
        Ok(Command::Look(Look::Mappings { cpu: None }))
    }),
    look("info tlb", "each page that the page tables map", |_| {
        Ok(Command::Look(Look::Translations { cpu: None }))
    }),
    look("info mtree", "which physical addresses and ports are whose", |_| {
        Ok(Command::Look(Look::AddressMap))
    }),
    look("info qtree", "the devices by their buses, and what each is doing", |_| {
        Ok(Command::Look(Look::DeviceTree))
    }),
    look("info pci", "PCI functions, their registers and regions", |_| Ok(Command::Look(Look::Pci))),
    look("info block", "the drives, and what is in them", |_| Ok(Command::Drives)),
    look("info pic", "the interrupt controllers 8259A", |_| Ok(Command::Look(Look::Topic("pic")))),
    look("info irq", "the interrupt wires, and where each leads", |_| Ok(Command::Look(Look::Topic("irq")))),
    look("info ioapic", "the IOAPIC's redirection table", |_| Ok(Command::Look(Look::Topic("ioapic")))),
    look("info lapic", "the local APICs", |_| Ok(Command::Look(Look::Topic("lapic")))),
    look(
        "info vm-generation-id",
        "the GUID by which the guest knows that it was cloned or went back",
        |_| Ok(Command::Look(Look::Topic(vmgenid::TOPIC))),
    ),
    look("info balloon", "how large the memory balloon is, and the guest's figures", |_| {
        Ok(Command::BalloonStatus)
    }),
    look("info accel", "which engine runs, which there are, and why one cannot", |_| Ok(Command::Engine)),
    look("info jit", "what each vCPU's engine counted", |_| Ok(Command::Statistics)),
    look("info exits", "how often translated code, or KVM, was left, by cause", |_| Ok(Command::Exits)),
    look("info devices", "the devices, and what each is doing", |_| Ok(Command::Devices)),
    look("info network", "the networks, and how each is doing", |_| Ok(Command::Networks)),
    look("info snapshots", "the snapshots of machine and disks (savevm)", |_| Ok(Command::Snapshots)),
    Definition::new(
        "trace",
        "[KINDS[,OPTIONS] [on|off] | off]",
        "tell what vCPUs do (exc, int, io, mmio, msr, cr, insn): trace exc,io,file=t.log on; alone: what is traced",
        &[Words::Any, Words::OneOf(&["on", "off"])],
        |arguments| TraceRequest::parse(arguments).map(Command::Trace),
    ),
    look("info trace", "what is traced, and where it goes", |_| Ok(Command::Trace(TraceRequest::Tell))),
    look("info status", "whether the machine runs, and how far it is", |_| Ok(Command::Status)),
    Definition::plain("quit", "end the run", |_| Ok(Command::Quit)).or(&["q"]),
];

fn accel(arguments: &[&str]) -> Result<Command, String> {
    match arguments {
        [] => Ok(Command::Engine),
        [engine] => engine.parse().map(Command::SwitchEngine),
        [_, extra, ..] => Err(format!("{extra:?} is too much")),
    }
}

/// Bytes of a snapshot's name, at most, as images have room for.
const LONGEST_SNAPSHOT_NAME: usize = 255;

fn snapshot_name(name: &str) -> Result<String, String> {
    match name.len() {
        1..=LONGEST_SNAPSHOT_NAME => Ok(name.to_owned()),
        _ => Err(format!("a snapshot's name has 1 to {LONGEST_SNAPSHOT_NAME} bytes")),
    }
}
fn one_snapshot(arguments: &[&str]) -> Result<String, String> {
    match arguments {
        [name] => snapshot_name(name),
        _ => Err("the name of a snapshot (`info snapshots` lists them)".to_owned()),
    }
}

fn serial_break(arguments: &[&str]) -> Result<Command, String> {
    match arguments {
        [] => Ok(Command::SerialBreak(0)),
        [port] => match port.parse() {
            Ok(port) if port < 4 => Ok(Command::SerialBreak(port)),
            _ => Err(format!("{port:?} is no serial port: 0 to 3")),
        },
        [_, extra, ..] => Err(format!("{extra:?} is too much")),
    }
}

fn balloon(arguments: &[&str]) -> Result<Command, String> {
    match arguments {
        [] => Err("how many megabytes are left for the guest?".to_owned()),
        [megabytes] => match megabytes.parse::<u64>() {
            Ok(megabytes) if megabytes <= 1 << 20 => Ok(Command::Balloon(megabytes << 20)),
            _ => Err(format!("{megabytes:?} is no number of megabytes")),
        },
        [_, extra, ..] => Err(format!("{extra:?} is too much")),
    }
}

fn set_link(arguments: &[&str]) -> Result<Command, String> {
    match arguments {
        [name, state @ ("on" | "off")] => {
            Ok(Command::SetLink { name: (*name).to_owned(), up: *state == "on" })
        }
        [_, state] => Err(format!("{state:?}: the cable is on or off")),
        _ => {
            Err("a card, and on or off (`info network` has the networks, `info devices` the cards)"
                .to_owned())
        }
    }
}

fn memory(physical: bool, arguments: &[&str]) -> Result<Command, String> {
    let (format, rest) = Format::take(arguments)?;
    let at = Expression::parse(&rest.join(" "))?;
    Ok(Command::Look(Look::Memory { physical, format, at, cpu: None }))
}

fn value(arguments: &[&str]) -> Result<Command, String> {
    let (format, rest) = Format::take(arguments)?;
    if format.count != 1 || format.form == super::format::Form::Instructions {
        return Err("one value at a time, in one of the forms x d u o c".to_owned());
    }
    Ok(Command::Look(Look::Value { format, value: Expression::parse(&rest.join(" "))?, cpu: None }))
}

impl Command {
    /// Reads a command with its arguments: see [`split_words`](definition::split_words).
    ///
    /// # Errors
    /// Says what would be right.
    pub fn parse(text: &str) -> Result<Command, ParseError> {
        let words = definition::split_words(text)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let names = DEFINITIONS.iter().map(|definition| definition.summary.name);
        definition::find(DEFINITIONS, &words).unwrap_or_else(|| Err(ParseError::unknown(&words, names)))
    }
    /// The same command at this vCPU, where it concerns one and names none.
    #[must_use]
    pub fn for_vcpu(mut self, number: usize) -> Command {
        if let Command::Look(
            Look::Memory { cpu, .. }
            | Look::Value { cpu, .. }
            | Look::Registers { cpu, .. }
            | Look::Mappings { cpu }
            | Look::Translations { cpu },
        ) = &mut self
        {
            cpu.get_or_insert(number);
        }
        self
    }
    /// The name of its definition.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Pause => "stop",
            Command::Resume => "cont",
            Command::Reset => "system_reset",
            Command::PowerButton => "system_powerdown",
            Command::Nmi => "nmi",
            Command::SerialBreak(_) => "serial_break",
            Command::Balloon(_) => "balloon",
            Command::BalloonHint => "balloon_hint",
            Command::BalloonStatus => "info balloon",
            Command::SetLink { .. } => "set_link",
            Command::Save => "save",
            Command::SaveSnapshot(_) => "savevm",
            Command::LoadSnapshot(_) => "loadvm",
            Command::DeleteSnapshot(_) => "delvm",
            Command::Snapshots => "info snapshots",
            Command::Engine => "info accel",
            Command::SwitchEngine(_) => "accel",
            Command::Statistics => "info jit",
            Command::Exits => "info exits",
            Command::Devices => "info devices",
            Command::Networks => "info network",
            Command::Drives => "info block",
            Command::Status => "info status",
            Command::Look(look) => look.name(),
            Command::Trace(TraceRequest::Tell) => "info trace",
            Command::Trace(_) => "trace",
            Command::Debug(_) => "debug",
            Command::Quit => "quit",
        }
    }
    /// Whether the guest can notice it: then it is an external event.
    pub(crate) fn is_for_guest(&self) -> bool {
        matches!(
            self,
            Command::Reset
                | Command::PowerButton
                | Command::Nmi
                | Command::SerialBreak(_)
                | Command::Balloon(_)
                | Command::BalloonHint
        )
    }
    /// Whether the vCPUs must stand still while it is done.
    pub(crate) fn needs_standstill(&self) -> bool {
        match self {
            Command::Pause
            | Command::Resume
            | Command::Reset
            | Command::Save
            | Command::SaveSnapshot(_)
            | Command::LoadSnapshot(_)
            | Command::DeleteSnapshot(_)
            | Command::Snapshots
            | Command::SwitchEngine(_)
            | Command::Statistics
            | Command::Exits
            | Command::Trace(_)
            | Command::Debug(_) => true,
            Command::Look(look) => look.at_vcpus(),
            _ => false,
        }
    }
}

impl Look {
    fn name(&self) -> &'static str {
        match self {
            Look::Memory { physical: false, .. } => "x",
            Look::Memory { physical: true, .. } => "xp",
            Look::Value { .. } => "print",
            Look::Registers { .. } => "info registers",
            Look::Vcpus => "info cpus",
            Look::Mappings { .. } => "info mem",
            Look::Translations { .. } => "info tlb",
            Look::AddressMap => "info mtree",
            Look::DeviceTree => "info qtree",
            Look::Pci => "info pci",
            Look::Topic(topic) => {
                let is_it = |name: &&str| name.strip_prefix("info ") == Some(*topic);
                DEFINITIONS.iter().map(|definition| definition.summary.name).find(is_it).unwrap_or(*topic)
            }
        }
    }
}

/// As it is written, where that can be: names with blanks are quoted.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Command::SerialBreak(port) => write!(f, " {port}"),
            Command::SwitchEngine(engine) => write!(f, " {engine}"),
            Command::SaveSnapshot(Some(name))
            | Command::LoadSnapshot(name)
            | Command::DeleteSnapshot(name) => {
                write!(f, " {}", definition::quoted(name))
            }
            Command::Balloon(bytes) => write!(f, " {}", bytes >> 20),
            Command::SetLink { name, up } => {
                write!(f, " {} {}", definition::quoted(name), if *up { "on" } else { "off" })
            }
            Command::Trace(TraceRequest::On(spec)) => {
                write!(f, " {} on", definition::quoted(&spec.to_string()))
            }
            Command::Trace(TraceRequest::Off(kinds)) => write!(f, " {} off", kinds.words()),
            Command::Look(Look::Memory { format, at, .. }) => write!(f, "{format} {at}"),
            Command::Look(Look::Value { format, value, .. }) => write!(f, "{format} {value}"),
            Command::Look(Look::Registers { all: true, .. }) => f.write_str(" -a"),
            _ => Ok(()),
        }
    }
}

/// Why a command was not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// The machine has not taken the commands before it.
    #[error("{0} commands wait already: the machine does not take them")]
    TooMany(usize),
    /// There is no machine any more.
    #[error("the machine has ended")]
    Ended,
    /// The machine replays a log: nothing else may reach the guest.
    #[error("the machine replays a recording: the guest must not notice anything else")]
    Replays,
    /// The board has no such device.
    #[error("the machine has no {0}")]
    NoDevice(&'static str),
    /// No vCPU has this number.
    #[error("there is no vCPU {cpu}: there are 0 to {last}")]
    NoVcpu {
        /// The number.
        cpu: usize,
        /// The last one that there is.
        last: usize,
    },
    /// It was tried, and failed.
    #[error("{0}")]
    Failed(String),
}

/// What became of a command.
pub type Outcome = Result<Reply, CommandError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_definition_yields_its_command_and_back() {
        for definition in DEFINITIONS {
            let name = definition.summary.name;
            let arguments = match name {
                "accel" => " jit",
                "balloon" => " 64",
                "trace" => " exc,file=a,,b,cpl=0 on",
                "set_link" => " \"my card\" off",
                "savevm" | "loadvm" | "delvm" => " \"before it\"",
                "x" | "xp" => "/4dg $rsp + 8",
                "print" => "/xw 1+ 2",
                _ => "",
            };
            let command = Command::parse(&format!("{name}{arguments}")).unwrap();
            assert_eq!(command.name(), name);
            assert_eq!(Command::parse(&command.to_string()), Ok(command));
            assert!(!definition.summary.help.is_empty());
        }
        let mut names: Vec<_> = DEFINITIONS
            .iter()
            .flat_map(|definition| std::iter::once(&definition.summary.name).chain(definition.summary.short))
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn errors_say_what_would_be_right() {
        for (text, part) in [
            ("", "help lists"),
            ("info", "info lists"),
            ("inof devices", "help lists"),
            ("stop now", "stop: \"now\" is too much"),
            ("serial_break com1", "0 to 3"),
            ("serial_break 4", "0 to 3"),
            ("balloon", "how many"),
            ("balloon x", "no number"),
            ("balloon 9999999", "no number"),
            ("serial_break 1 2", "\"2\" is too much"),
            ("accel tcg", "there are interp, jit and kvm"),
            ("accel jit now", "\"now\" is too much"),
            ("set_link net0", "on or off"),
            ("set_link net0 down", "on or off"),
            ("loadvm", "info snapshots"),
            ("savevm a b", "\"b\" is too much"),
            ("delvm \"\"", "1 to 255 bytes"),
            ("x", "missing"),
            ("x/4q 0", "a format is"),
            ("print/2x 1", "one value"),
            ("info registers rax", "-a"),
        ] {
            let message = Command::parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
        assert_eq!(Command::parse(" serial_break  3 "), Ok(Command::SerialBreak(3)));
        assert_eq!(Command::parse("c"), Ok(Command::Resume));
        assert_eq!(Command::parse("p/x 1+1"), Command::parse("print/x 1+1"));
    }

    #[test]
    fn a_vcpu_is_set_where_none_is_named() {
        let command = Command::parse("x 0").unwrap().for_vcpu(2);
        let Command::Look(Look::Memory { cpu, .. }) = &command else { panic!("{command}") };
        assert_eq!(*cpu, Some(2));
        assert_eq!(command.clone().for_vcpu(3), command);
        assert_eq!(Command::Pause.for_vcpu(1), Command::Pause);
    }
}
