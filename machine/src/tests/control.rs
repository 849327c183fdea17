//! The control plane under load: machines with several vCPUs, on threads and in turn, are paused, resumed, reset, saved
//! and looked at while all of them run.

use super::cards::{IDT, Ticking, card_config, driver, leave};
use super::chips::engines;
use super::replay::Far;
use super::*;
use iced_x86::code_asm::*;
use std::sync::atomic::AtomicUsize;
use trimotor_bus::{GuestMemory, PhysAddr};

/// Each vCPU counts up without end in a dword of its own: the boot processor in the first one.
const COUNTERS: u32 = 0x600;
/// How many application processors came so far.
const ARRIVED: u32 = 0x500;
const NMIS: u32 = 0x508;
/// Where application processors start, and their handler of NMIs.
const AP_CODE: u32 = 0x7000;
const AP_NMI: u32 = 0x7040;
/// Waits that are longer are bugs.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

fn out(a: &mut CodeAssembler, port: u32, value: u32) {
    a.mov(dx, port).unwrap();
    a.mov(al, value).unwrap();
    a.out(dx, al).unwrap();
}
fn copy(a: &mut CodeAssembler, to: u32, bytes: &[u8]) {
    for (at, byte) in (to..).zip(bytes) {
        a.mov(byte_ptr(at), u32::from(*byte)).unwrap();
    }
}
/// What application processors run, in real mode.
fn ap_code() -> Vec<u8> {
    let mut a = CodeAssembler::new(16).unwrap();
    let mut again = a.create_label();
    a.xor(ax, ax).unwrap();
    a.mov(ds, ax).unwrap();
    a.mov(ax, 1u32).unwrap();
    a.lock().xadd(word_ptr(ARRIVED), ax).unwrap();
    a.shl(ax, 2u32).unwrap();
    a.mov(bx, ax).unwrap();
    a.set_label(&mut again).unwrap();
    a.inc(dword_ptr(bx + (COUNTERS + 4))).unwrap();
    a.jmp(again).unwrap();
    a.assemble(AP_CODE.into()).unwrap()
}

/// Starts all processors, says 'S', and then counts. Says 'N' for NMIs and 'P' for the power button; obeys 'r' (reset)
/// and 'q' (leave) from the serial port.
fn busy(a: &mut CodeAssembler) {
    let (mut nmi, mut start, mut again) = (a.create_label(), a.create_label(), a.create_label());
    let (mut no_nmi, mut no_button, mut no_byte) = (a.create_label(), a.create_label(), a.create_label());
    let mut not_reset = a.create_label();
    a.call(start).unwrap();
    a.set_label(&mut nmi).unwrap();
    a.lock().inc(word_ptr(NMIS)).unwrap();
    a.iretd().unwrap();
    a.set_label(&mut start).unwrap();
    a.pop(eax).unwrap();
    a.mov(edi, IDT + 2 * 8).unwrap();
    a.mov(word_ptr(edi), ax).unwrap();
    a.mov(word_ptr(edi + 2), cs).unwrap();
    a.mov(word_ptr(edi + 4), 0x8E00u32).unwrap();
    a.shr(eax, 16u32).unwrap();
    a.mov(word_ptr(edi + 6), ax).unwrap();
    a.sub(esp, 8).unwrap();
    a.mov(word_ptr(esp), 0x7FFu32).unwrap();
    a.mov(dword_ptr(esp + 2), IDT).unwrap();
    a.lidt(ptr(esp)).unwrap();
    // lock inc word [508h]; iret
    copy(a, AP_NMI, &[0xF0, 0xFF, 0x06, 0x08, 0x05, 0xCF]);
    copy(a, AP_CODE, &ap_code());
    a.mov(dword_ptr(2 * 4), AP_NMI).unwrap();
    for at in [ARRIVED, NMIS, COUNTERS, COUNTERS + 4, COUNTERS + 8, COUNTERS + 12] {
        a.mov(dword_ptr(at), 0u32).unwrap();
    }
    out(a, 0x3FB, 3);
    a.mov(dword_ptr(0xFEE0_00F0u32), 0x1FFu32).unwrap();
    a.mov(dword_ptr(0xFEE0_0300u32), 0xC_4500u32).unwrap();
    a.mov(dword_ptr(0xFEE0_0300u32), 0xC_4607u32).unwrap();
    out(a, 0x3F8, b'S'.into());
    a.xor(ebx, ebx).unwrap();
    a.set_label(&mut again).unwrap();
    a.inc(dword_ptr(COUNTERS)).unwrap();
    a.cmp(dword_ptr(NMIS), ebx).unwrap();
    a.je(no_nmi).unwrap();
    a.mov(ebx, dword_ptr(NMIS)).unwrap();
    out(a, 0x3F8, b'N'.into());
    a.set_label(&mut no_nmi).unwrap();
    a.mov(dx, u32::from(trimotor_bus::board::PM1A_EVENT.0)).unwrap();
    a.in_(ax, dx).unwrap();
    a.test(ax, 0x100u32).unwrap();
    a.je(no_button).unwrap();
    a.mov(ax, 0x100u32).unwrap();
    a.out(dx, ax).unwrap();
    out(a, 0x3F8, b'P'.into());
    a.set_label(&mut no_button).unwrap();
    a.mov(dx, 0x3FDu32).unwrap();
    a.in_(al, dx).unwrap();
    a.test(al, 1u32).unwrap();
    a.je(no_byte).unwrap();
    a.mov(dx, 0x3F8u32).unwrap();
    a.in_(al, dx).unwrap();
    a.cmp(al, u32::from(b'r')).unwrap();
    a.jne(not_reset).unwrap();
    out(a, 0xCF9, 6);
    a.set_label(&mut not_reset).unwrap();
    a.cmp(al, u32::from(b'q')).unwrap();
    a.jne(no_byte).unwrap();
    leave(a, 1);
    a.set_label(&mut no_byte).unwrap();
    a.jmp(again).unwrap();
}

fn made(config: &MachineConfig, far: &Far, state: Option<crate::save::MachineStateV1>) -> Machine {
    let request = BootRequest::new(BootFile { name: "test".into(), bytes: driver(busy) });
    let plan = Box::new(boot::load(request, &config.platform()).unwrap());
    let services = HostServices {
        serial: vec![Box::new(far.clone())],
        ..HostServices::new(Arc::new(Ticking::default()))
    };
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    match state {
        None => Machine::new(config.clone(), model, services, plan),
        Some(state) => Machine::restored(state, config.engine, model, services, plan),
    }
    .unwrap()
}

/// A machine that runs on a thread of its own, and what the tests see of it.
struct Running {
    what: String,
    control: MachineControl,
    memory: Arc<GuestMemory>,
    far: Far,
    /// What it has said that was waited for.
    heard: usize,
    cpus: u8,
    resets: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<ExitReason>,
}

impl Running {
    fn start(config: &MachineConfig) -> Running {
        let far = Far::default();
        let mut running = Running::run(made(config, &far, None), far, config);
        running.hear(b'S');
        running
    }
    fn run(mut machine: Machine, far: Far, config: &MachineConfig) -> Running {
        let (control, memory) = (machine.control(), machine.memory().clone());
        let resets = Arc::new(AtomicUsize::new(0));
        let count = resets.clone();
        control.observe(move |event| _ = count.fetch_add((*event == MachineEvent::Reset).into(), SeqCst));
        let thread = std::thread::spawn(move || machine.run());
        let what = format!("{}, {} vCPUs, {:?}", config.engine.unwrap(), config.cpus, config.clock);
        Running { what, control, memory, far, heard: 0, cpus: config.cpus, resets, thread }
    }
    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let start = std::time::Instant::now();
        while !done() {
            assert!(start.elapsed() < PATIENCE, "{}: {what}", self.what);
            std::thread::yield_now();
        }
    }
    /// Waits until the guest says this next.
    fn hear(&mut self, byte: u8) {
        let at = self.heard;
        self.wait(&format!("{:?} is not said", byte as char), || self.far.output().len() > at);
        assert_eq!(self.far.output()[at] as char, byte as char, "{}: {:?}", self.what, self.far.output());
        self.heard += 1;
    }
    fn obeys(&self, command: Command) -> Reply {
        let outcome = self.control.send(command.clone()).wait_for(PATIENCE);
        outcome.unwrap_or_else(|| panic!("{}: no answer to {command}", self.what)).unwrap()
    }
    fn counters(&self) -> Vec<u32> {
        let cpus = u64::from(self.cpus);
        (0..cpus).map(|cpu| self.memory.read_u32(PhysAddr(u64::from(COUNTERS) + 4 * cpu))).collect()
    }
    /// Waits until each vCPU has gone on.
    fn all_run(&self) {
        let before = self.counters();
        self.wait("a vCPU stands still", || {
            self.counters().iter().zip(&before).all(|(now, then)| now != then)
        });
    }
    /// Nothing goes on, however long somebody waits.
    fn all_stand_still(&self) {
        let before = self.counters();
        assert!(self.control.paused(), "{}", self.what);
        // Commands that need no vCPU are obeyed all the same.
        let times: Vec<_> = (0..20)
            .map(|_| match self.obeys(Command::Status) {
                Reply::Status(status) if status.paused => status.time,
                other => panic!("{}: {other:?}", self.what),
            })
            .collect();
        assert!(times.iter().all(|time| *time == times[0]), "{}: {times:?}", self.what);
        assert_eq!(self.counters(), before, "{}", self.what);
    }
    fn end(self) {
        self.far.send(b'q', &self.control);
        assert_eq!(self.thread.join().unwrap(), ExitReason::DebugExit(1), "{}", self.what);
        let outcome = self.control.send(Command::Status).wait();
        assert!(matches!(outcome, Err(CommandError::Ended)), "{outcome:?}");
    }
}

/// vCPUs on threads and in turn, with the host's clock and a counted one.
fn kinds() -> Vec<MachineConfig> {
    let mut kinds = Vec::new();
    for engine in engines() {
        let cpus = if engine == Engine::Jit { 4 } else { 2 };
        kinds.push(card_config(engine, cpus, ClockSource::Host));
        kinds.push(card_config(engine, 2, ClockSource::Instructions));
    }
    for kind in &mut kinds {
        kind.on_reset = OnReset::Reset;
    }
    kinds
}

#[test]
fn a_busy_machine_is_paused_and_goes_on() {
    for kind in kinds() {
        let running = Running::start(&kind);
        running.all_run();
        for _ in 0..20 {
            running.obeys(Command::Pause);
            running.all_stand_still();
            running.obeys(Command::Resume);
            running.all_run();
        }
        // Twice is once.
        running.obeys(Command::Pause);
        running.obeys(Command::Pause);
        running.all_stand_still();
        running.obeys(Command::Resume);
        running.obeys(Command::Resume);
        running.all_run();
        running.end();
    }
}

#[test]
fn buttons_reach_a_busy_machine_and_one_that_was_paused() {
    for kind in kinds() {
        let mut running = Running::start(&kind);
        for paused in [false, true] {
            for (command, says) in [(Command::Nmi, b'N'), (Command::PowerButton, b'P')] {
                if paused {
                    running.obeys(Command::Pause);
                }
                running.obeys(command);
                if paused {
                    running.all_stand_still();
                    assert_eq!(running.far.output().len(), running.heard, "{}", running.what);
                    running.obeys(Command::Resume);
                }
                running.hear(says);
                running.all_run();
            }
        }
        running.end();
    }
}

#[test]
fn resets_from_within_and_without_start_all_vcpus_again() {
    for kind in kinds() {
        let mut running = Running::start(&kind);
        for round in 1..=6 {
            running.all_run();
            match round % 3 {
                0 => running.far.send(b'r', &running.control),
                1 => drop(running.obeys(Command::Reset)),
                _ => {
                    running.obeys(Command::Pause);
                    running.obeys(Command::Reset);
                    assert!(running.control.paused());
                    running.obeys(Command::Resume);
                }
            }
            running.hear(b'S');
            running.all_run();
            assert_eq!(running.resets.load(SeqCst), round, "{}", running.what);
        }
        running.end();
    }
}

#[test]
fn a_busy_machine_is_saved_looked_at_and_goes_on_twice() {
    for kind in kinds() {
        let running = Running::start(&kind);
        running.all_run();
        let Reply::Devices(devices) = running.obeys(Command::Devices) else { panic!() };
        assert!(devices.iter().any(|(name, line)| name == "com1" && line.contains("0x3f8")), "{devices:?}");
        let Reply::Statistics { vcpus: counts, .. } = running.obeys(Command::Statistics) else { panic!() };
        assert_eq!(counts.len(), usize::from(kind.cpus));
        let Reply::Saved(state) = running.obeys(Command::Save) else { panic!() };
        running.all_run();
        running.end();

        let far = Far::default();
        let copy = Running::run(made(&kind, &far, Some(*state)), far, &kind);
        copy.all_run();
        copy.end();
    }
}

#[test]
fn a_busy_machine_changes_its_engine_and_goes_on() {
    for kind in kinds().into_iter().filter(|_| engines().len() > 1) {
        let mut running = Running::start(&kind);
        for round in 0..20 {
            let to = [Engine::Interp, Engine::Jit][round % 2];
            let paused = round % 5 == 4;
            if paused {
                running.obeys(Command::Pause);
            }
            let Reply::Switched(switched) = running.obeys(Command::SwitchEngine(to)) else { panic!() };
            assert_eq!((switched.to, running.control.engine()), (to, to), "{}", running.what);
            if paused {
                running.all_stand_still();
                running.obeys(Command::Resume);
            }
            running.all_run();
            if round % 4 == 3 {
                running.obeys(Command::Nmi);
                running.hear(b'N');
            }
        }
        running.end();
    }
}
