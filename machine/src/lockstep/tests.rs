//! Lockstep finds what is planted, and nothing where nothing is.

use super::{Outcome, Outside, Plan, Progress, run};
use crate::events::{ExternalEvent, MemoryLog, TakenEvent};
use crate::{
    ClockSource, DeviceConfig, Engine, ExitReason, HostServices, Machine, MachineConfig, MachineError,
};
use std::cell::RefCell;
use std::sync::Arc;
use trimotor_bus::{CpuBus, PhysAddr};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::trace::VcpuTrace;
use trimotor_cpu::{ArchState, DebugPoints, DebugStop, Vcpu, VcpuExit};
use trimotor_devices::i8042::KeyCode;
use trimotor_firmware::boot::{self, BootFile, BootRequest, KernelKind};
use trimotor_test_needs::skip;

/// Counts to 1000 with the timer's interrupts off, asks for a random number, stores it, counts again,
/// and ends by the debug exit.
const CODE: [u8; 39] = [
    0xB9, 0xE8, 0x03, // mov cx, 1000
    0x40, // inc ax
    0xE2, 0xFD, // loop -3
    0x0F, 0xC7, 0xF3, // rdrand bx
    0x89, 0x1E, 0x00, 0x60, // mov [6000h], bx
    0x31, 0xDB, // xor bx, bx
    0xF8, // clc
    0xB9, 0xE8, 0x03, // mov cx, 1000
    0x40, // inc ax
    0xE2, 0xFD, // loop -3
    0xBA, 0xFB, 0x03, 0xB0, 0x03, 0xEE, // 8 bits: mov dx, 3FBh; mov al, 3; out dx, al
    0xBA, 0xF8, 0x03, // mov dx, 3F8h
    0xB0, b'x', 0xEE, // mov al, 'x'; out dx, al
    0xB0, 0x15, 0xE6, 0xF4, // mov al, 15h; out F4h, al
    0xF4, // hlt
];
/// What runs before RDRAND.
const BEFORE_RDRAND: u64 = 1 + 2 * 1000;

/// Machines whose random numbers come from these seeds.
fn with_seeds(seeds: [u64; 2]) -> impl FnMut(usize, HostServices, Outside) -> Result<Machine, MachineError> {
    move |side, services, _| {
        let config = MachineConfig { random_seed: seeds[side], ..config(Engine::Interp) };
        machine(config, services, Some(KernelKind::Flat), CODE.to_vec())
    }
}

fn config(engine: Engine) -> MachineConfig {
    MachineConfig {
        memory_bytes: 4 << 20,
        engine: Some(engine),
        clock: ClockSource::Instructions,
        devices: vec![DeviceConfig::new("isa-serial"), DeviceConfig::new("isa-debug-exit")],
        ..MachineConfig::default()
    }
}

/// A machine that boots `image`.
fn machine_with(
    config: MachineConfig,
    services: HostServices,
    kind: Option<KernelKind>,
    image: Vec<u8>,
    outside: Outside,
) -> Result<Machine, MachineError> {
    let platform = config.platform();
    let mut request = BootRequest::new(BootFile { name: "test".into(), bytes: image });
    request.kind = kind;
    let plan = Box::new(boot::load(request, &platform).unwrap());
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    match outside {
        Outside::Host => Machine::new(config, model, services, plan),
        Outside::Replayed(events) => Machine::replaying(config, model, services, plan, events),
    }
}

/// The same on its own.
fn machine(
    config: MachineConfig,
    services: HostServices,
    kind: Option<KernelKind>,
    image: Vec<u8>,
) -> Result<Machine, MachineError> {
    machine_with(config, services, kind, image, Outside::Host)
}

fn lockstep(seeds: [u64; 2], every: u64, memory_every: u64) -> (Outcome, Vec<u8>) {
    let plan = Plan { from: 0, every, memory_every, until: 1_000_000, until_text: &[], events: None };
    let mut output = Vec::new();
    let mut progress = |progress: Progress<'_>| {
        if let Progress::Same(_, new) = progress {
            output.extend_from_slice(new);
        }
    };
    let outcome = run(plan, &mut with_seeds(seeds), &mut progress).unwrap();
    (outcome, output)
}

#[test]
fn a_text_of_the_guest_s_ends_the_comparison() {
    let texts = ["y".to_owned(), "x".to_owned()];
    let plan =
        Plan { from: 0, every: 1, memory_every: 1000, until: 1_000_000, until_text: &texts, events: None };
    let outcome = run(plan, &mut with_seeds([5, 5]), &mut |_| ()).unwrap();
    // The OUT that writes it is the third before the end.
    let Outcome::Same(instructions, None) = outcome else { panic!("{outcome:?}") };
    assert_eq!(instructions, BEFORE_RDRAND + 4 + 2001 + 6);
}

#[test]
fn equal_machines_are_the_same_however_they_are_cut() {
    for every in [1, 7, 1000, 1_000_000] {
        let (outcome, output) = lockstep([5, 5], every, 10);
        let Outcome::Same(instructions, Some(ExitReason::DebugExit(0x15))) = outcome else {
            panic!("{every}: {outcome:?}");
        };
        assert_eq!(instructions, BEFORE_RDRAND + 4 + 2001 + 8, "{every}");
        assert_eq!(output, b"x");
    }
}

#[test]
fn the_instruction_that_differs_is_found() {
    for (every, memory_every) in [(1, 1), (300, 1), (1_000_000, 1), (100, 50)] {
        let (outcome, _) = lockstep([5, 6], every, memory_every);
        let Outcome::Different(difference) = outcome else { panic!("{every}: {outcome:?}") };
        assert_eq!(difference.instructions, BEFORE_RDRAND + 1, "{every}");
        let last = difference.executed.last().unwrap();
        assert_eq!(last.text, "rdrand bx", "{every}");
        assert!(difference.lines[0].starts_with("vCPU 0 RBX: 0x"), "{:?}", difference.lines);
        assert!(difference.to_string().contains("loop"), "{difference}");
    }
}

/// Counts EBX down from 100 in 32-bit code, and ends by the debug exit: mov ebx, 100; mov eax, ebx; dec ebx; jnz back;
/// mov al, 15h; out 0F4h, al.
const COUNTS: &[u8] = &[0xBB, 0x64, 0, 0, 0, 0x89, 0xD8, 0x4B, 0x75, 0xFB, 0xB0, 0x15, 0xE6, 0xF4, 0xF4];
/// Where it is loaded: 1 MiB and a header.
const COUNTS_AT: u64 = 0x10_0020;

/// A Multiboot 1 image (Multiboot Specification, "The address fields of Multiboot header") of that code.
fn image(code: &[u8]) -> Vec<u8> {
    const MAGIC: u32 = 0x1BAD_B002;
    const HAS_ADDRESSES: u32 = 1 << 16;
    const LOAD: u32 = 0x10_0000;
    let end = LOAD + 32 + code.len() as u32;
    let checksum = 0u32.wrapping_sub(MAGIC).wrapping_sub(HAS_ADDRESSES);
    let header = [MAGIC, HAS_ADDRESSES, checksum, LOAD, LOAD, end, end, COUNTS_AT as u32];
    header.iter().flat_map(|field| field.to_le_bytes()).chain(code.iter().copied()).collect()
}

/// A vCPU with a bug: EDX is wrong after so many instructions, and it is hidden where they are run one at a time
/// if `hides`, as bugs of translated blocks are.
struct Wrong {
    inner: Box<dyn Vcpu>,
    after: u64,
    hides: bool,
}

impl Vcpu for Wrong {
    fn run(&mut self, bus: &mut dyn CpuBus, budget: u64) -> VcpuExit {
        let left = self.after.wrapping_sub(self.retired());
        if left == 0 || left > budget || self.hides && budget == 1 {
            return self.inner.run(bus, budget);
        }
        let exit = self.inner.run(bus, left);
        if left == budget || exit != VcpuExit::Budget {
            self.spoil();
            return exit;
        }
        self.spoil();
        self.inner.run(bus, budget - left)
    }
    fn set_exact_budget(&mut self, exact: bool) {
        self.inner.set_exact_budget(exact);
    }
    fn open_signals(&self) -> u32 {
        self.inner.open_signals()
    }
    fn state(&self) -> ArchState {
        self.inner.state()
    }
    fn set_state(&mut self, state: &ArchState) {
        self.inner.set_state(state);
    }
    fn inject_interrupt(&mut self, vector: u8) {
        self.inner.inject_interrupt(vector);
    }
    fn retired(&self) -> u64 {
        self.inner.retired()
    }
    fn reset(&mut self) {
        self.inner.reset();
    }
    fn set_a20(&mut self, open: bool) {
        self.inner.set_a20(open);
    }
    fn read_linear(&mut self, addr: u64, into: &mut [u8]) -> usize {
        self.inner.read_linear(addr, into)
    }
    fn physical(&mut self, linear: u64) -> Option<PhysAddr> {
        self.inner.physical(linear)
    }
    fn set_debug_points(&mut self, points: Option<&DebugPoints>) {
        self.inner.set_debug_points(points);
    }
    fn set_stepping(&mut self, stepping: bool) {
        self.inner.set_stepping(stepping);
    }
    fn take_debug_stop(&mut self) -> Option<DebugStop> {
        self.inner.take_debug_stop()
    }
    fn set_trace(&mut self, trace: Option<Box<VcpuTrace>>) -> Option<Box<VcpuTrace>> {
        self.inner.set_trace(trace)
    }
    fn trace(&self) -> Option<&VcpuTrace> {
        self.inner.trace()
    }
    fn host_code(&mut self, linear: u64) -> Option<String> {
        self.inner.host_code(linear)
    }
    fn statistics(&self) -> Vec<(String, u64)> {
        self.inner.statistics()
    }
}

impl Wrong {
    fn spoil(&mut self) {
        let mut state = self.inner.state();
        state.gpr[2] ^= 0x1000;
        self.inner.set_state(&state);
    }
}

/// Counts in EBX until a key is pressed, and ends by the debug exit: xor ebx, ebx; inc ebx; in al, 64h; test al, 1; jz back;
/// in al, 60h; mov al, 15h; out 0F4h, al.
const WAITS: &[u8] =
    &[0x31, 0xDB, 0x43, 0xE4, 0x64, 0xA8, 0x01, 0x74, 0xF9, 0xE4, 0x60, 0xB0, 0x15, 0xE6, 0xF4, 0xF4];

/// Two machines that wait for a key, which is pressed once both have run a while; the second one is wrong after so many instructions.
fn waits_for_key(log: &MemoryLog, wrong_after: Option<u64>) -> Outcome {
    let keyboard = RefCell::new(None);
    let mut make = |side: usize, services: HostServices, outside: Outside| {
        let mut machine = machine_with(config(Engine::Interp), services, None, image(WAITS), outside)?;
        if side == 0 {
            *keyboard.borrow_mut() = Some(machine.control());
        }
        if let (1, Some(after)) = (side, wrong_after) {
            let slot = machine.vcpus.pop().unwrap();
            let vcpu = Box::new(Wrong { inner: slot.vcpu, after, hides: false });
            machine.vcpus.push(crate::machine::VcpuSlot { vcpu, ..slot });
        }
        Ok(machine)
    };
    let mut progress = |progress: Progress<'_>| {
        if log.events().len() == 1 && matches!(progress, Progress::Same(1000, _)) {
            assert!(keyboard.borrow().as_ref().unwrap().key(KeyCode::A, true));
        }
    };
    let events = Some(log);
    let plan = Plan { from: 0, every: 1000, memory_every: 10, until: 1 << 30, until_text: &[], events };
    run(plan, &mut make, &mut progress).unwrap()
}

#[test]
fn what_comes_to_the_first_machine_comes_to_the_second_and_comes_again() {
    let log = MemoryLog::default();
    let outcome = waits_for_key(&log, None);
    let Outcome::Same(instructions, Some(ExitReason::DebugExit(0x15))) = outcome else {
        panic!("{outcome:?}")
    };
    let key = |taken: &&TakenEvent| matches!(taken.event, ExternalEvent::Key(..));
    let events = log.events();
    let taken = events.iter().find(key).unwrap().at.instructions;
    assert!((1000..instructions).contains(&taken), "{taken} of {instructions}");
    // Both replay it, and the second one is wrong at the last instruction but one.
    match waits_for_key(&log, Some(instructions - 1)) {
        Outcome::Different(difference) => {
            assert_eq!(difference.instructions, instructions - 1);
            assert!(difference.lines[0].starts_with("vCPU 0 RDX: 0x"), "{:?}", difference.lines);
        }
        same => panic!("{same:?}"),
    }
    assert!(log.events() == events, "nothing is added where it is replayed");
}

/// The report of the interpreter against a wrong translator; `None` where there is no translator.
fn report_of_wrong(after: u64, hides: bool) -> Option<String> {
    if skip(Engine::Jit.start().map(drop)) {
        return None;
    }
    let mut make = |side: usize, services: HostServices, _: Outside| {
        let config = config([Engine::Interp, Engine::Jit][side]);
        let mut machine = machine(config, services, None, image(COUNTS))?;
        if side == 1 {
            let slot = machine.vcpus.pop().unwrap();
            let vcpu = Box::new(Wrong { inner: slot.vcpu, after, hides });
            machine.vcpus.push(crate::machine::VcpuSlot { vcpu, ..slot });
        }
        Ok(machine)
    };
    let plan =
        Plan { from: 0, every: 1000, memory_every: 1, until: 1_000_000, until_text: &[], events: None };
    match run(plan, &mut make, &mut |_| ()).unwrap() {
        Outcome::Different(difference) => Some(difference.to_string()),
        same => panic!("{same:?}"),
    }
}

#[track_caller]
fn has(report: &str, wanted: &[&str]) {
    for words in wanted {
        assert!(report.contains(words), "no {words:?} in\n{report}");
    }
}

#[test]
fn the_report_shows_what_each_side_changed() {
    // The second round's MOV.
    let Some(report) = report_of_wrong(1 + 3 + 1, false) else { return };
    has(
        &report,
        &[
            "difference after 5 instructions",
            "0000000000100025: 89d8             mov eax,ebx                      RAX 0x64 -> 0x63 | RAX 0x64 -> 0x63, RDX",
            "0000000000100027: 4b               dec ebx                          RBX 0x64 -> 0x63",
            "vCPU 0 RDX: 0x",
        ],
    );
}

#[test]
fn a_difference_of_whole_blocks_is_reported_with_their_host_code() {
    let Some(report) = report_of_wrong(200, true) else { return };
    has(
        &report,
        &[
            "mov eax,ebx                      RAX 0x",
            "(not stopped here)",
            "host code, second engine, vCPU 0, block at 0000000000100025: ",
            "025  mov     eax, ebx\n",
            "027  dec     ebx\n",
            "        sub     qword ptr [rsp+budget], 3",
            "cold, of ",
        ],
    );
    assert!(!report.contains("first engine"), "{report}");
}
