//! Machines that boot guests in this process, with guest time from a count of instructions: tests look at how a run ends,
//! after how many instructions, and save it in between.

use crate::support::guests::Guest;
use std::fs;
use std::io::Cursor;
use std::sync::{Arc, Mutex};
use trimotor_cpu::model::CpuModel;
use trimotor_devices::serial::SerialBackend;
use trimotor_firmware::boot::{self, BootFile, BootPlan, BootRequest};
use trimotor_machine::save::file::SavedMachine;
use trimotor_machine::{BootSource, ClockSource, Engine, HostClock, HostServices, Machine, MachineConfig};

/// Guest time counts instructions.
struct NoClock;
impl HostClock for NoClock {
    fn now_ns(&self) -> u64 {
        0
    }
}

/// What the guest said on COM1.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);
impl SerialBackend for Log {
    fn write(&mut self, bytes: &[u8]) -> usize {
        self.0.lock().expect("no thread panicked").extend_from_slice(bytes);
        bytes.len()
    }
    fn flush(&mut self) {}
    fn read(&mut self, _into: &mut [u8]) -> usize {
        0
    }
    fn connected(&self) -> bool {
        true
    }
}
impl Log {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no thread panicked")).into_owned()
    }
}

fn file(guest: Guest) -> BootFile {
    let name = guest.path();
    let bytes = fs::read(&name).expect("the guest can be read");
    BootFile { name, bytes }
}
fn services(log: &Log) -> HostServices {
    HostServices { serial: vec![Box::new(log.clone())], ..HostServices::new(Arc::new(NoClock)) }
}
fn model() -> Arc<CpuModel> {
    Arc::new(CpuModel::parse("max", 1_000_000_000).expect("a model"))
}

/// A machine that boots `kernel` with `initrd` on COM1, changed by `configure`.
pub fn boot(
    engine: Engine,
    kernel: Guest,
    initrd: Guest,
    configure: impl FnOnce(&mut MachineConfig),
) -> (Machine, Log) {
    boot_with(engine, kernel, initrd, "", configure)
}
/// The same with more on the kernel's command line.
pub fn boot_with(
    engine: Engine,
    kernel: Guest,
    initrd: Guest,
    append: &str,
    configure: impl FnOnce(&mut MachineConfig),
) -> (Machine, Log) {
    let mut config = MachineConfig {
        memory_bytes: 256 << 20,
        engine: Some(engine),
        clock: ClockSource::Instructions,
        ..MachineConfig::default()
    };
    configure(&mut config);
    let mut request = BootRequest::new(file(kernel));
    request.initrd = Some(file(initrd));
    request.command_line = format!("console=ttyS0 quiet {append}");
    let plan = boot::load(request, &config.platform()).expect("the guest can be loaded");
    let log = Log::default();
    (Machine::new(config, model(), services(&log), Box::new(plan)).expect("a machine"), log)
}

/// Saves a machine as a file and lets another one go on from there, on `engine`.
pub fn go_on(machine: &mut Machine, engine: Engine, log: &Log) -> Machine {
    struct NoBoot;
    impl BootSource for NoBoot {
        fn plan(&mut self) -> Result<BootPlan, String> {
            Err("nothing is booted again".to_owned())
        }
    }
    let state = machine.save().expect("it can be saved");
    let file = state.write_to(Vec::new()).expect("there is room");
    let saved = SavedMachine::read(Cursor::new(file)).expect("it is a saved machine");
    saved.restore(Some(engine), model(), services(log), Box::new(NoBoot)).expect("it can be restored")
}
