//! Runs are recorded and replayed: keys, serial input, an NMI, the room for output, and results of I/O.

use super::cards::{COUNT, DESTINATION, IDT, REGISTERS, SOURCE, card_config, driver, leave, set};
use super::chips::engines;
use super::switching::{check_same, guests};
use super::*;
use crate::events::{ExternalEvent, MemoryLog, TakenEvent};
use iced_x86::code_asm::*;
use std::sync::atomic::AtomicBool;
use trimotor_cpu::ArchState;
use trimotor_devices::i8042::KeyCode;

const BUFFER: u32 = 0x30_0000;

/// Writes AL and the low byte of the time-stamp counter to COM1: where something comes an instruction later, the output
/// is another one.
fn say(a: &mut CodeAssembler) {
    a.push(edx).unwrap();
    a.mov(ecx, eax).unwrap();
    a.rdtsc().unwrap();
    a.mov(dx, 0x3F8u32).unwrap();
    a.xchg(eax, ecx).unwrap();
    a.out(dx, al).unwrap();
    a.mov(al, cl).unwrap();
    a.out(dx, al).unwrap();
    a.pop(edx).unwrap();
}

/// Begins requests of the card, then polls keyboard, serial port and card for ever and says what comes. Between two looks it
/// runs a long string instruction and an invalid one. A 'q' from the serial port ends it, after the count of faults and NMIs.
fn listener(a: &mut CodeAssembler) {
    let (mut handler, mut nmi, mut start, mut again) =
        (a.create_label(), a.create_label(), a.create_label(), a.create_label());
    let (mut no_key, mut no_byte, mut no_request) = (a.create_label(), a.create_label(), a.create_label());
    a.call(start).unwrap();
    a.set_label(&mut handler).unwrap();
    // UD2 has two bytes.
    a.add(dword_ptr(esp), 2).unwrap();
    a.iretd().unwrap();
    a.set_label(&mut nmi).unwrap();
    a.push(eax).unwrap();
    a.push(ecx).unwrap();
    a.mov(al, u32::from(b'N')).unwrap();
    say(a);
    a.pop(ecx).unwrap();
    a.pop(eax).unwrap();
    a.iretd().unwrap();
    a.set_label(&mut start).unwrap();
    a.pop(eax).unwrap();
    // The handler of UD2 is five bytes long.
    for (vector, offset) in [(6, 0), (2, 5)] {
        a.lea(ebx, dword_ptr(eax + offset)).unwrap();
        a.mov(edi, IDT + vector * 8).unwrap();
        a.mov(word_ptr(edi), bx).unwrap();
        a.mov(word_ptr(edi + 2), cs).unwrap();
        a.mov(word_ptr(edi + 4), 0x8E00u32).unwrap();
        a.shr(ebx, 16u32).unwrap();
        a.mov(word_ptr(edi + 6), bx).unwrap();
    }
    a.sub(esp, 8).unwrap();
    a.mov(word_ptr(esp), 0x7FFu32).unwrap();
    a.mov(dword_ptr(esp + 2), IDT).unwrap();
    a.lidt(ptr(esp)).unwrap();
    // Eight data bits, FIFOs on.
    for (port, value) in [(0x3FBu32, 3u32), (0x3FA, 1)] {
        a.mov(dx, port).unwrap();
        a.mov(al, value).unwrap();
        a.out(dx, al).unwrap();
    }
    set(a, 0x10, SOURCE);
    set(a, 0x20, 64);
    for number in 0..16 {
        set(a, 0x18, DESTINATION + number * 0x100);
        set(a, 0x28, number);
    }
    a.mov(dword_ptr(COUNT), 0u32).unwrap();
    a.set_label(&mut again).unwrap();
    a.in_(al, 0x64).unwrap();
    a.test(al, 1u32).unwrap();
    a.je(no_key).unwrap();
    a.in_(al, 0x60).unwrap();
    say(a);
    a.set_label(&mut no_key).unwrap();
    a.mov(dx, 0x3FDu32).unwrap();
    a.in_(al, dx).unwrap();
    a.test(al, 1u32).unwrap();
    a.je(no_byte).unwrap();
    a.mov(dx, 0x3F8u32).unwrap();
    a.in_(al, dx).unwrap();
    a.mov(bl, al).unwrap();
    say(a);
    a.cmp(bl, u32::from(b'q')).unwrap();
    a.jne(no_byte).unwrap();
    leave(a, 1);
    a.set_label(&mut no_byte).unwrap();
    a.mov(eax, dword_ptr(REGISTERS + 0x30)).unwrap();
    a.cmp(eax, dword_ptr(COUNT)).unwrap();
    a.je(no_request).unwrap();
    a.mov(dword_ptr(COUNT), eax).unwrap();
    say(a);
    a.set_label(&mut no_request).unwrap();
    a.ud2().unwrap();
    a.mov(edi, BUFFER).unwrap();
    a.mov(ecx, 0x8000u32).unwrap();
    a.rep().stosb().unwrap();
    a.jmp(again).unwrap();
}

/// The far end of the serial cable, whose reader may stop.
#[derive(Clone, Default)]
pub(super) struct Far(Arc<Mutex<Ends>>);
#[derive(Default)]
struct Ends {
    output: Vec<u8>,
    input: Vec<u8>,
    full: bool,
}
impl SerialBackend for Far {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut ends = self.0.lock().unwrap();
        if ends.full {
            return 0;
        }
        ends.output.extend_from_slice(bytes);
        bytes.len()
    }
    fn flush(&mut self) {}
    fn read(&mut self, into: &mut [u8]) -> usize {
        let mut ends = self.0.lock().unwrap();
        let length = ends.input.len().min(into.len());
        into[..length].copy_from_slice(&ends.input[..length]);
        ends.input.drain(..length);
        length
    }
    fn connected(&self) -> bool {
        true
    }
}
impl Far {
    pub(super) fn output(&self) -> Vec<u8> {
        self.0.lock().unwrap().output.clone()
    }
    /// Waits until the guest has said more than `before`.
    fn wait(&self, before: usize) {
        while self.0.lock().unwrap().output.len() <= before {
            std::thread::yield_now();
        }
    }
    pub(super) fn send(&self, byte: u8, control: &MachineControl) {
        self.0.lock().unwrap().input.push(byte);
        control.wake();
    }
}

/// How a run ended.
#[derive(PartialEq, Debug)]
pub(super) struct End {
    reason: ExitReason,
    output: Vec<u8>,
    instructions: u64,
    state: ArchState,
    time: trimotor_bus::GuestTime,
}
fn end(reason: ExitReason, machine: &Machine, far: &Far) -> End {
    End {
        reason,
        output: far.output(),
        instructions: machine.instructions(),
        state: machine.vcpu_state(0).unwrap(),
        time: machine.control().guest_time(),
    }
}

fn parts(config: &MachineConfig, far: &Far) -> (Arc<CpuModel>, HostServices, Box<BootPlan>) {
    let request = BootRequest::new(BootFile { name: "test".into(), bytes: driver(listener) });
    let plan = boot::load(request, &config.platform()).unwrap();
    let services =
        HostServices { serial: vec![Box::new(far.clone())], ..HostServices::new(Arc::new(NoClock)) };
    (Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap()), services, Box::new(plan))
}
fn counted(engine: Engine) -> MachineConfig {
    card_config(engine, 1, ClockSource::Instructions)
}

/// Plays the host: after each thing that the guest says another one comes, at instants that nobody knows.
fn play(far: &Far, control: &MachineControl, last: impl FnOnce(&Far, &MachineControl)) {
    let mut said = 0;
    far.wait(said);
    for round in 0..24u8 {
        said = far.output().len();
        match round % 6 {
            0 => assert!(control.key(KeyCode::A, round % 12 == 0)),
            1 => assert!(control.type_text("hi")),
            2 => drop(control.send(Command::Nmi)),
            3 => {
                // Nobody reads for a while.
                far.0.lock().unwrap().full = true;
                far.send(round, control);
                assert!(matches!(control.send(Command::Status).wait(), Ok(Reply::Status(_))));
                far.0.lock().unwrap().full = false;
                control.wake();
            }
            _ => far.send(round, control),
        }
        far.wait(said);
    }
    last(far, control);
}

pub(super) fn record(engine: Engine, last: impl FnOnce(&Far, &MachineControl)) -> (End, Vec<TakenEvent>) {
    let (config, far, log) = (counted(engine), Far::default(), MemoryLog::default());
    let (model, services, boot) = parts(&config, &far);
    let mut machine = Machine::new(config, model, services, boot).unwrap();
    machine.log_events(Box::new(log.clone()));
    let control = machine.control();
    let thread = std::thread::spawn(move || (machine.run(), machine));
    play(&far, &control, last);
    let (reason, machine) = thread.join().unwrap();
    (end(reason, &machine, &far), log.events())
}

fn replay(engine: Engine, events: &[TakenEvent]) -> (End, Vec<TakenEvent>) {
    replay_while(engine, events, |_| ())
}
/// Replays, on `engine` at first, while `others` do something with the machine on another thread.
pub(super) fn replay_while(
    engine: Engine,
    events: &[TakenEvent],
    others: impl FnOnce(MachineControl) + Send + 'static,
) -> (End, Vec<TakenEvent>) {
    // The host is another one: input of its own must not reach the guest.
    let (config, far, log) = (counted(engine), Far::default(), MemoryLog::default());
    far.0.lock().unwrap().input = b"qqq".to_vec();
    let config = MachineConfig { random_seed: 77, rtc_seconds: 99, ..config };
    let (model, services, boot) = parts(&config, &far);
    let mut machine = Machine::replaying(config, model, services, boot, events.to_vec()).unwrap();
    machine.log_events(Box::new(log.clone()));
    let control = machine.control();
    assert!(control.type_text("qqq"));
    let refused = control.send(Command::Nmi);
    let others = std::thread::spawn(move || others(control));
    let reason = machine.run();
    assert!(matches!(refused.try_take(), Some(Err(CommandError::Replays))));
    assert_eq!(machine.divergence(), None);
    let end = end(reason, &machine, &far);
    drop(machine);
    others.join().unwrap();
    (end, log.events())
}

#[test]
fn a_recorded_run_is_replayed_from_its_log_alone_on_each_engine() {
    type Last = fn(&Far, &MachineControl);
    let ends: [(Last, ExitReason); 2] = [
        (|far, control| far.send(b'q', control), ExitReason::DebugExit(1)),
        (|_, control| control.quit(), ExitReason::Quit),
    ];
    for (last, reason) in ends {
        for from in engines() {
            let (recorded, events) = record(from, last);
            assert_eq!(recorded.reason, reason, "{from}");
            let count = |kind: fn(&ExternalEvent) -> bool| events.iter().filter(|e| kind(&e.event)).count();
            assert_eq!(count(|e| matches!(e, ExternalEvent::PowerOn(_))), 1);
            // Some of each. Bytes that come close together are one event, and the last ones may still be on their way at the end.
            assert!(count(|e| matches!(e, ExternalEvent::Completion { .. })) >= 4);
            assert!(count(|e| matches!(e, ExternalEvent::Key(..))) >= 2);
            assert!(count(|e| matches!(e, ExternalEvent::Nmi)) >= 2);
            assert!(count(|e| matches!(e, ExternalEvent::Text(..))) >= 2);
            assert!(count(|e| matches!(e, ExternalEvent::SerialInput { .. })) >= 2);
            assert!(events.windows(2).all(|pair| pair[0].at <= pair[1].at), "positions never go back");
            for to in engines() {
                let (replayed, again) = replay(to, &events);
                assert_eq!(replayed, recorded, "{from} to {to}");
                assert_eq!(again, events, "{from} to {to}");
            }
        }
    }
}

/// The same from the middle of a run: from a saved machine, with the rest of the log.
#[test]
fn a_replay_may_begin_at_a_saved_machine() {
    let engine = engines()[0];
    let (recorded, events) = record(engine, |far, control| far.send(b'q', control));
    let far = Far::default();
    let (model, services, boot) = parts(&counted(engine), &far);
    let mut first = Machine::replaying(counted(engine), model, services, boot, events.clone()).unwrap();
    let middle = events[events.len() / 2].at.instructions + 1;
    assert_eq!(first.run_until(middle), None);
    let state = first.save().unwrap();
    let rest: Vec<_> = events.into_iter().filter(|event| event.at.instructions >= middle).collect();
    for to in engines() {
        let after = Far::default();
        let (model, services, boot) = parts(&counted(to), &after);
        let mut second = Machine::restored(state.clone(), Some(to), model, services, boot).unwrap();
        second.replay(rest.clone());
        let reason = second.run();
        assert_eq!(second.divergence(), None, "{to}");
        let mut replayed = end(reason, &second, &after);
        replayed.output = [far.output(), after.output()].concat();
        assert_eq!(replayed, recorded, "{to}");
    }
}

/// A log of another run is noticed, and ends the replay.
#[test]
fn a_replay_that_leaves_its_log_ends() {
    let engine = engines()[0];
    let (_, mut events) = record(engine, |_, control| control.quit());
    let completion = events.iter().position(|e| matches!(e.event, ExternalEvent::Completion { .. })).unwrap();
    events.remove(completion);
    let far = Far::default();
    let (model, services, boot) = parts(&counted(engine), &far);
    let mut machine = Machine::replaying(counted(engine), model, services, boot, events).unwrap();
    assert_eq!(machine.run(), ExitReason::Diverged);
    let told = machine.divergence().unwrap().to_string();
    assert!(told.contains("demo-card@00:03.0"), "{told}");
}

/// Whoever looks at a machine ends its vCPUs' runs, anywhere. Counted time must know nothing of it, nor may the steps that positions count.
#[test]
fn kicks_change_nothing() {
    for engine in engines() {
        for round in 0..20 {
            for ((name, mut whole, log), (_, mut kicked, kicked_log)) in
                guests(engine).into_iter().zip(guests(engine))
            {
                assert_eq!(whole.run(), ExitReason::DebugExit(1), "{name}");
                let (control, ended) = (kicked.control(), AtomicBool::new(false));
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        while !ended.load(SeqCst) {
                            control.wake();
                            (0..round * 10).for_each(|_| std::hint::spin_loop());
                        }
                    });
                    assert_eq!(kicked.run(), ExitReason::DebugExit(1), "{engine}, {name}");
                    ended.store(true, SeqCst);
                });
                let what = format!("{engine}, {name}, round {round}");
                check_same(&what, (&mut whole, &log), (&mut kicked, &kicked_log));
                assert_eq!(kicked.intake.step(), whole.intake.step(), "{what}");
            }
        }
    }
}
