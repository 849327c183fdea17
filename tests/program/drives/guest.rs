//! A Linux guest in this process that types commands into its own shell.

use crate::support::guests::Guest;
use crate::support::needs::Need;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::PathBuf;
use std::process::Command as HostCommand;
use std::sync::{Arc, Mutex};
use trimotor_cpu::model::CpuModel;
use trimotor_devices::serial::SerialBackend;
use trimotor_firmware::boot::{self, BootFile, BootPlan, BootRequest};
use trimotor_machine::{
    BootSource, ClockSource, Command, DeviceConfig, DriveConfig, DrivePlace, Engine, ExitReason, HostClock,
    HostServices, Machine, MachineConfig, MachineEvent, Media, Medium, MediumError,
};
use trimotor_storage::MemoryDisk;
use trimotor_test_support::needs::program;

/// Programs that look at what the guest left on a disk.
pub const DISK_TOOLS: Need = Need {
    name: "disk tools",
    check: || {
        program("sfdisk", "fdisk")?;
        program("e2fsck", "e2fsprogs")?;
        program("debugfs", "e2fsprogs")
    },
};
/// The program that makes CD images.
pub const XORRISO: Need = Need { name: "xorriso", check: || program("xorriso", "xorriso") };
/// Programs that read and write FAT file systems.
pub const MTOOLS: Need = Need { name: "mtools", check: || program("mcopy", "mtools") };

/// Instructions between two looks at what the guest has said.
const LOOK: u64 = 20_000_000;
/// No guest of these tests takes so many instructions: the guard against hanging.
const MOST: u64 = 60_000_000_000;

struct NoClock;
impl HostClock for NoClock {
    fn now_ns(&self) -> u64 {
        0
    }
}

/// The other end of COM1, or of another port: keeps what the guest says, and types.
#[derive(Clone, Default)]
pub struct Terminal(Arc<Mutex<(Vec<u8>, VecDeque<u8>)>>);
impl Terminal {
    /// What the guest has said.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap().0).into_owned()
    }
    pub fn type_in(&self, text: &str) {
        self.0.lock().unwrap().1.extend(text.bytes());
    }
}
impl SerialBackend for Terminal {
    fn write(&mut self, bytes: &[u8]) -> usize {
        self.0.lock().unwrap().0.extend_from_slice(bytes);
        bytes.len()
    }
    fn flush(&mut self) {}
    fn read(&mut self, into: &mut [u8]) -> usize {
        let typed = &mut self.0.lock().unwrap().1;
        let some = typed.len().min(into.len());
        into.iter_mut().zip(typed.drain(..some)).for_each(|(to, from)| *to = from);
        some
    }
    fn connected(&self) -> bool {
        true
    }
}

/// What a guest has.
pub struct Setup<'a> {
    /// The file system, which says when its drivers are loaded.
    pub initrd: Guest,
    /// More on the command line.
    pub append: &'a str,
    pub drives: Vec<(DriveConfig, Option<Medium>)>,
    /// As `--device` has them.
    pub devices: Vec<&'a str>,
    /// By id.
    pub chardevs: BTreeMap<String, Box<dyn SerialBackend>>,
}
impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            initrd: Guest::Drives,
            append: "",
            drives: Vec::new(),
            devices: Vec::new(),
            chardevs: BTreeMap::new(),
        }
    }
}

/// A guest with drives, and a shell at its prompt.
pub struct Shell {
    machine: Machine,
    terminal: Terminal,
    media: BTreeMap<String, Medium>,
    seen: usize,
}

impl Shell {
    /// Boots Debian's kernel with these drives, with guest time from a count of instructions.
    pub fn start(engine: Engine, drives: Vec<(DriveConfig, Option<Medium>)>) -> Self {
        Self::start_with(engine, Guest::Drives, "", drives)
    }
    /// Boots it with another file system that says when its drivers are loaded, and more on the command line.
    pub fn start_with(
        engine: Engine,
        initrd: Guest,
        append: &str,
        drives: Vec<(DriveConfig, Option<Medium>)>,
    ) -> Self {
        Self::start_as(engine, Setup { initrd, append, drives, ..Setup::default() })
    }
    /// Boots it as a setup has it.
    pub fn start_as(engine: Engine, setup: Setup<'_>) -> Self {
        let Setup { initrd, append, drives, devices, chardevs } = setup;
        let mut media = BTreeMap::new();
        let mut configs = Vec::new();
        for (config, medium) in drives {
            media.extend(medium.map(|medium| (config.id.clone(), medium)));
            configs.push(config);
        }
        let config = MachineConfig {
            memory_bytes: 256 << 20,
            engine: Some(engine),
            clock: ClockSource::Instructions,
            drives: configs,
            devices: devices
                .iter()
                .map(|text| text.parse().expect("a device"))
                .chain([DeviceConfig::new("isa-serial")])
                .collect(),
            ..MachineConfig::default()
        };
        let file = |guest: Guest| {
            let name = guest.path();
            let bytes = fs::read(&name).expect("the guest can be read");
            BootFile { name, bytes }
        };
        // The file system first: where it is fetched, the kernel that it is for comes with it.
        let initrd = file(initrd);
        let mut request = BootRequest::new(file(Guest::FullKernel));
        request.initrd = Some(initrd);
        request.command_line = format!("console=ttyS0 quiet tsc=reliable {append}");
        let plan = boot::load(request, &config.platform()).expect("the guest can be loaded");
        let terminal = Terminal::default();
        let services = HostServices {
            serial: vec![Box::new(terminal.clone())],
            drives: media.clone(),
            chardevs,
            ..HostServices::new(Arc::new(NoClock))
        };
        let machine = Machine::new(config, model(), services, Box::new(plan)).expect("a machine");
        let mut shell = Self { machine, terminal, media, seen: 0 };
        let booted = shell.wait_for("MARK-DRIVERS");
        assert!(!booted.contains("MARK-NO-MODULE"), "{booted}");
        shell.wait_for("# ");
        shell
    }
    /// The machine is saved, and another one goes on, on this engine.
    pub fn go_on(&mut self, engine: Engine) {
        struct NoBoot;
        impl BootSource for NoBoot {
            fn plan(&mut self) -> Result<BootPlan, String> {
                Err("nothing is booted again".to_owned())
            }
        }
        let state = self.machine.save().expect("it can be saved");
        let services = HostServices {
            serial: vec![Box::new(self.terminal.clone())],
            drives: self.media.clone(),
            ..HostServices::new(Arc::new(NoClock))
        };
        self.machine = Machine::restored(state, Some(engine), model(), services, Box::new(NoBoot))
            .expect("it can be restored");
    }
    /// All that the guest has said.
    pub fn text(&self) -> String {
        self.terminal.said()
    }
    /// The machine, which does not run now.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }
    /// The guest runs for so many instructions.
    pub fn pass(&mut self, instructions: u64) {
        let until = self.machine.instructions() + instructions;
        assert_eq!(self.machine.run_until(until), None, "{}", self.text());
    }
    /// Instructions so far.
    pub fn instructions(&self) -> u64 {
        self.machine.instructions()
    }
    pub fn wait_for(&mut self, wanted: &str) -> String {
        loop {
            let text = self.text();
            if let Some(at) = text[self.seen..].find(wanted) {
                let from = self.seen;
                self.seen += at + wanted.len();
                return text[from..self.seen].to_owned();
            }
            let until = self.machine.instructions() + LOOK;
            assert!(until < MOST, "no {wanted:?} in time: {text}");
            if let Some(reason) = self.machine.run_until(until) {
                panic!("the guest ended with {reason:?}, without {wanted:?}: {}", self.text());
            }
        }
    }
    pub fn type_in(&mut self, text: &str) {
        self.terminal.type_in(text);
    }
    /// Runs a command; returns what it printed.
    pub fn run(&mut self, command: &str) -> String {
        // The marks are put together by the shell, so that the echo of the line does not have them.
        self.type_in(&format!("echo BE''GIN; {command}; echo DO''NE\n"));
        self.wait_for("BEGIN");
        let printed = self.wait_for("DONE");
        self.wait_for("# ");
        printed.trim_end_matches("DONE").replace("\r\n", "\n").trim().to_owned()
    }
    /// Changes what is in a drive.
    pub fn change(&mut self, drive: &str, medium: Option<Medium>) -> Result<(), MediumError> {
        let told = Arc::new(Mutex::new(None));
        let tell = told.clone();
        let answer = Box::new(move |result| *tell.lock().unwrap() = Some(result));
        let control = self.machine.control();
        match medium {
            Some(medium) => control.change(drive, medium, false, answer),
            None => control.eject(drive, false, answer),
        }
        let until = self.machine.instructions() + LOOK;
        assert_eq!(self.machine.run_until(until), None);
        let result = told.lock().unwrap().take();
        result.expect("the machine takes the change")
    }
    /// Does something whenever the machine pauses, and has it go on.
    pub fn on_pause(&mut self, act: impl Fn() + Send + Sync + 'static) {
        let control = self.machine.control();
        let resumes = control.clone();
        control.observe(move |event| {
            if matches!(event, MachineEvent::Paused) {
                act();
                drop(resumes.send(Command::Resume));
            }
        });
    }
    /// Ends the guest.
    pub fn power_off(mut self) -> (String, u64) {
        self.type_in("poweroff -f\n");
        let end = self.machine.run_until(MOST);
        assert_eq!(end, Some(ExitReason::PowerOff), "{}", self.text());
        (self.text(), self.instructions())
    }
}

fn model() -> Arc<CpuModel> {
    Arc::new(CpuModel::parse("max", 1_000_000_000).expect("a model"))
}
/// A drive at the IDE controller.
pub fn ide(id: &str, channel: u8, media: Media) -> DriveConfig {
    DriveConfig::new(id, DrivePlace::Ide { channel, unit: 0 }, media)
}
/// A medium of so many bytes.
pub fn blank(bytes: usize) -> Arc<MemoryDisk> {
    Arc::new(MemoryDisk::new(vec![0; bytes]))
}

/// A folder for a test's files, gone with the test.
pub struct Folder(pub PathBuf);
impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("trimotor-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).expect("a temporary file");
        path.to_string_lossy().into_owned()
    }
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}
impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
/// Runs a program of the host's; returns what it printed.
pub fn host(program: &str, arguments: &[&str]) -> String {
    let output = HostCommand::new(program).args(arguments).output().expect("the program runs");
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {out}{errors}");
    out.into_owned()
}
