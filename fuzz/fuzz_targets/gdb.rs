//! What debuggers send: packets, good and bad ones, to a stub with a machine behind it.
//!
//! The input is the peer's bytes, as they are; a packet that lacks its checksum has it added, so that the fuzzer need not find
//! it: `$` begins one, and a line end ends it.

#![no_main]

#[path = "../src/nobody.rs"]
mod nobody;

use libfuzzer_sys::fuzz_target;
use nobody::Nobody;
use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};
use trimotor_cpu::model::CpuModel;
use trimotor_firmware::boot::{self, BootFile, BootRequest, KernelKind};
use trimotor_gdb::{Happening, Session};
use trimotor_machine::{
    ClockSource, Command, Engine, HostClock, HostServices, Machine, MachineConfig, MachineEvent,
};
use trimotor_monitor::Monitor;

/// With a counted clock nobody asks it.
struct NoClock;
impl HostClock for NoClock {
    fn now_ns(&self) -> u64 {
        0
    }
}

/// In real mode at 7C00h: counts in AX and at 600h, calls, and goes on; the first interrupt would be its end.
const CODE: [u8; 16] = [
    0xFA, 0x31, 0xC0, 0x8E, 0xD8, // cli; xor ax, ax; mov ds, ax
    0x40, // inc ax
    0xFF, 0x06, 0x00, 0x06, // inc word [600h]
    0xE8, 0x02, 0x00, // call to the ret
    0xEB, 0xF6, // jmp to the inc
    0xC3,
];

struct Guest {
    monitor: Monitor,
    events: Mutex<Receiver<MachineEvent>>,
}

fn machine() -> Machine {
    let config = MachineConfig {
        memory_bytes: 2 << 20,
        cpus: 2,
        engine: Some(Engine::Interp),
        clock: ClockSource::Instructions,
        ..MachineConfig::default()
    };
    let mut request = BootRequest::new(BootFile { name: "code".into(), bytes: CODE.to_vec() });
    request.kind = Some(KernelKind::Flat);
    let plan = boot::load(request, &config.platform()).expect("a plan");
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).expect("a model"));
    let services = HostServices::new(Arc::new(NoClock));
    Machine::new(config, model, services, Box::new(plan)).expect("a machine")
}

fn guest() -> &'static Guest {
    static GUEST: OnceLock<Guest> = OnceLock::new();
    GUEST.get_or_init(|| {
        let (sender, events) = channel();
        let (ready, control) = channel();
        let run = move || {
            let mut machine = machine();
            machine.pause();
            ready.send(machine.control()).expect("it is waited for");
            loop {
                machine.run();
                machine.reset().expect("a reset");
            }
        };
        std::thread::spawn(run);
        let control = control.recv().expect("a machine");
        control.observe(move |event| {
            if !matches!(event, MachineEvent::ScreenChanged) {
                _ = sender.send(event.clone());
            }
        });
        Guest { monitor: Monitor::new(control, Arc::new(Nobody)), events: Mutex::new(events) }
    })
}

/// The bytes of a peer, with the checksums that are lacking.
fn bytes_of(line: &[u8]) -> Vec<u8> {
    let mut bytes = line.to_vec();
    if let Some(start) = line.iter().position(|byte| *byte == b'$')
        && !line[start..].contains(&b'#')
    {
        let sum = line[start + 1..].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        bytes.extend(format!("#{sum:02x}").bytes());
    }
    bytes
}

fuzz_target!(|data: &[u8]| {
    let guest = guest();
    let control = guest.monitor.control();
    for command in [Command::Pause, Command::Reset] {
        control.send(command).wait().expect("the machine obeys");
    }
    let events = guest.events.lock().expect("nobody panicked with it");
    events.try_iter().for_each(drop);
    let mut session = Session::begin(&guest.monitor, None).expect("a session");
    let mut out = io::sink();
    let mut lines = data.split(|byte| *byte == b'\n').map(|line| Happening::Received(bytes_of(line)));
    loop {
        let told = events.try_recv().ok().map(Happening::Machine);
        let Some(happening) = told.or_else(|| lines.next()) else { break };
        if session.happened(happening, &mut out).expect("a sink takes all").is_some() {
            break;
        }
    }
});
