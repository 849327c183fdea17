//! Linux's own driver of pvpanic: its kernel panics, and the machine learns of it.

use crate::support::engines::ENGINE_NAMES;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use std::fs;
use std::sync::{Arc, Mutex};
use trimotor_cpu::model::CpuModel;
use trimotor_devices::serial::SerialBackend;
use trimotor_firmware::boot::{self, BootFile, BootRequest};
use trimotor_machine::{
    ClockSource, DeviceConfig, EngineOptions, ExitReason, HostClock, HostServices, Machine, MachineConfig,
    OnPanic,
};

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN]).each(&ENGINE_NAMES, a_panic_of_linux_ends_the_run)
}

/// Guest time counts instructions.
struct NoClock;
impl HostClock for NoClock {
    fn now_ns(&self) -> u64 {
        0
    }
}

/// What the guest said.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);
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

fn file(guest: Guest) -> BootFile {
    let name = guest.path();
    let bytes = fs::read(&name).expect("the guest can be read");
    BootFile { name, bytes }
}

/// Boots the guest that panics; returns how it ended, what it said, and after how many instructions.
fn run(engine: &str, request: &BootRequest) -> (ExitReason, String, u64) {
    let config = MachineConfig {
        memory_bytes: 256 << 20,
        engine: Some(engine.parse().expect("an engine")),
        clock: ClockSource::Instructions,
        devices: vec![DeviceConfig::new("isa-serial"), DeviceConfig::new("pvpanic")],
        on_panic: OnPanic::Exit,
        ..MachineConfig::default()
    };
    let plan = boot::load(request.clone(), &config.platform()).expect("the guest can be loaded");
    let log = Log::default();
    let services = HostServices {
        clock: Arc::new(NoClock),
        serial: vec![Box::new(log.clone())],
        debug_console: None,
        engine: EngineOptions::default(),
        output_waits: None,
    };
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).expect("a model"));
    let mut machine = Machine::new(config, model, services, Box::new(plan)).expect("a machine");
    let reason = machine.run();
    let text = String::from_utf8_lossy(&log.0.lock().expect("no thread panicked")).into_owned();
    (reason, text, machine.instructions())
}

/// Twice, and both runs are the same: a counted run is a function of its inputs.
fn a_panic_of_linux_ends_the_run(engine: &str) {
    let initrd = file(Guest::Panic);
    let mut request = BootRequest::new(file(Guest::CloudKernel));
    request.initrd = Some(initrd);
    request.command_line = "console=ttyS0 quiet".to_owned();
    let first = run(engine, &request);
    let (reason, said, _) = &first;
    assert_eq!(*reason, ExitReason::Panic, "{said}");
    assert!(said.contains("MARK-BOOTED") && said.contains("sysrq triggered crash"), "{said}");
    assert_eq!(first, run(engine, &request));
}
