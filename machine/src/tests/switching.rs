//! Machines whose engine changes while they run.

use super::cards::{all_requests, card_config, card_machine, driver};
use super::chips::{assemble, engines};
use super::random::Random;
use super::replay::{record, replay_while};
use super::*;
use crate::control::debug::{DebugAction, DebugRequest};
use iced_x86::code_asm::*;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use trimotor_bus::GuestTime;
use trimotor_cpu::{ArchState, DebugPoints, DebugStop, SegReg};

/// Where the guest counts the timer's interrupts, and how many it waits for.
const TICKS: u32 = 0x500;
const ENOUGH: u32 = 40;

/// The engines of this host where there are two to switch between.
fn pair() -> Option<[Engine; 2]> {
    engines().try_into().ok()
}

/// Real mode: halts for interrupts of the timer, and between them copies by a string instruction and loads SS.
fn ticking(a: &mut CodeAssembler) {
    let (mut start, mut again) = (a.create_label(), a.create_label());
    a.call(start).unwrap();
    // The handler of vector 8.
    a.push(ax).unwrap();
    a.inc(word_ptr(TICKS)).unwrap();
    a.mov(al, 0x20u32).unwrap();
    a.out(0x20, al).unwrap();
    a.pop(ax).unwrap();
    a.iret().unwrap();
    a.set_label(&mut start).unwrap();
    a.pop(bx).unwrap();
    a.xor(ax, ax).unwrap();
    a.mov(ds, ax).unwrap();
    a.mov(es, ax).unwrap();
    a.mov(word_ptr(8 * 4), bx).unwrap();
    a.mov(word_ptr(8 * 4 + 2), ax).unwrap();
    a.mov(word_ptr(TICKS), ax).unwrap();
    // The PIC's vectors from 8 on, and none but the timer's; the timer every 40 microseconds.
    for (port, value) in
        [(0x20, 0x11u32), (0x21, 8), (0x21, 4), (0x21, 1), (0x21, 0xFE), (0x43, 0x34), (0x40, 48), (0x40, 0)]
    {
        a.mov(al, value).unwrap();
        a.out(port, al).unwrap();
    }
    a.set_label(&mut again).unwrap();
    a.sti().unwrap();
    a.hlt().unwrap();
    a.mov(si, 0x1000u32).unwrap();
    a.mov(di, 0x2001u32).unwrap();
    a.mov(cx, 300u32).unwrap();
    a.rep().movsb().unwrap();
    a.mov(word_ptr(0x1000), cx).unwrap();
    a.inc(word_ptr(0x1100)).unwrap();
    a.xor(ax, ax).unwrap();
    a.mov(ss, ax).unwrap();
    a.mov(sp, 0x7000u32).unwrap();
    a.cmp(word_ptr(TICKS), ENOUGH).unwrap();
    a.jb(again).unwrap();
    a.mov(al, 1u32).unwrap();
    a.out(0xF4, al).unwrap();
}

/// The guests that switches are tried with, on this engine.
pub(super) fn guests(engine: Engine) -> Vec<(&'static str, Machine, Log)> {
    let real = MachineConfig { engine: Some(engine), ..config() };
    let (real, real_log) = machine(real, &assemble(ticking));
    let card =
        |cpus| card_machine(card_config(engine, cpus, ClockSource::Instructions), &driver(all_requests));
    let ((one, one_log), (two, two_log)) = (card(1), card(2));
    vec![("real mode", real, real_log), ("a card", one, one_log), ("a card, two vCPUs", two, two_log)]
}

fn states(machine: &Machine) -> Vec<ArchState> {
    (0..machine.vcpus()).map(|cpu| machine.vcpu_state(cpu).unwrap()).collect()
}

/// The end of a run is that of one without switches.
pub(super) fn check_same(
    what: &str,
    (whole, log): (&mut Machine, &Log),
    (other, other_log): (&mut Machine, &Log),
) {
    assert_eq!(states(other), states(whole), "{what}");
    assert_eq!(other.board.clock.now(), whole.board.clock.now(), "{what}");
    assert_eq!(*other_log.0.lock().unwrap(), *log.0.lock().unwrap(), "{what}");
    assert!(other.memory().differing_pages(whole.memory()).is_empty(), "{what}: memory differs");
}

/// About so many switches are spread over a run, and so many are made in a row in its middle.
const SPREAD: u64 = 200;
const IN_A_ROW: u64 = 150;

#[test]
fn a_counted_run_with_switches_is_the_run_without() {
    let Some([first, second]) = pair() else { return };
    let mut random = Random(7);
    for ((name, mut whole, log), (_, mut switched, switched_log)) in
        guests(first).into_iter().zip(guests(second))
    {
        assert_eq!(whole.run(), ExitReason::DebugExit(1), "{name}");
        let end = whole.instructions();
        let row = end / 2..end / 2 + IN_A_ROW;
        let mut switches = 0;
        let reason = loop {
            let at = switched.instructions();
            let steps =
                if row.contains(&at) { 1 } else { 1 + random.below((2 * end / SPREAD) as usize) as u64 };
            if let Some(reason) = switched.run_until(at + steps) {
                break reason;
            }
            let to = if switched.engine() == first { second } else { first };
            switched.switch_engine(to).unwrap();
            switches += 1;
        };
        let what = format!("{name}, {switches} switches");
        assert_eq!(reason, ExitReason::DebugExit(1), "{what}");
        assert!(switches > IN_A_ROW, "{what}");
        check_same(&what, (&mut whole, &log), (&mut switched, &switched_log));
    }
}

/// Switches that come from outside find vCPUs amid string instructions and behind faults, where no exact run ends.
#[test]
fn a_replay_with_switches_at_any_moment_is_the_recorded_run() {
    let Some([first, second]) = pair() else { return };
    let (recorded, events) = record(first, |far, control| far.send(b'q', control));
    for from in [first, second] {
        let made = Arc::new(AtomicUsize::new(0));
        // On a busy host a replay may be over before many switches come.
        for _ in 0..1000 {
            let count = made.clone();
            let switch = move |control: MachineControl| switch_on(&control, [second, first], count);
            let (replayed, again) = replay_while(from, &events, switch);
            assert_eq!(replayed, recorded, "{from}");
            assert_eq!(again, events, "{from}");
            if made.load(SeqCst) > 10 {
                break;
            }
        }
        assert!(made.load(SeqCst) > 10, "{} switches", made.load(SeqCst));
    }
}

/// Switches between two engines, and counts it, until the machine ends, or has had many: between them it hardly runs.
fn switch_on(control: &MachineControl, engines: [Engine; 2], made: Arc<AtomicUsize>) {
    control.observe(move |event| {
        _ = made.fetch_add(matches!(event, MachineEvent::EngineSwitched(_)).into(), SeqCst);
    });
    for to in engines.into_iter().cycle().take(400) {
        match control.send(Command::SwitchEngine(to)).wait() {
            Ok(Reply::Switched(switched)) => assert_eq!(switched.to, to),
            Err(CommandError::Ended) => break,
            other => panic!("{other:?}"),
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

#[test]
fn planned_switches_come_at_their_instruction_and_change_nothing() {
    let Some([first, second]) = pair() else { return };
    let planned = |when, engine| PlannedSwitch { when, engine };
    for ((name, mut whole, log), (_, mut switched, switched_log)) in
        guests(first).into_iter().zip(guests(first))
    {
        assert_eq!(whole.run(), ExitReason::DebugExit(1), "{name}");
        let made = Arc::new(Mutex::new(Vec::new()));
        let list = made.clone();
        switched.control().observe(move |event| {
            if let MachineEvent::EngineSwitched(switched) = event {
                list.lock().unwrap().push(*switched);
            }
        });
        switched.plan_switches([
            planned(SwitchTime::Instructions(123), second),
            planned(SwitchTime::Time(GuestTime(150)), first),
            planned(SwitchTime::Instructions(222), second),
            planned(SwitchTime::Instructions(u64::MAX), first),
        ]);
        assert_eq!(switched.run(), ExitReason::DebugExit(1), "{name}");
        let places: Vec<_> = made.lock().unwrap().iter().map(|made| (made.to, made.instructions)).collect();
        let to = |engine| places.iter().filter(move |(to, _)| *to == engine).map(|(_, count)| *count);
        assert!(to(second).eq([123, 222]), "{name}: {places:?}");
        // Counted time leaps while all vCPUs halt.
        assert!(to(first).count() == 1 && to(first).all(|count| count <= 150), "{name}: {places:?}");
        assert_eq!(switched.engine(), second, "{name}");
        check_same(name, (&mut whole, &log), (&mut switched, &switched_log));
    }
}

/// A debugger lets the guest go on, and another engine takes it over before anything has stopped.
#[test]
fn what_a_debugger_asked_for_holds_on_the_next_engine() {
    let Some([first, second]) = pair() else { return };
    for (from, to) in [(first, second), (second, first)] {
        let new = || machine(MachineConfig { engine: Some(from), ..config() }, &assemble(ticking)).0;
        let mut other = new();
        assert_eq!(other.run_until(400), None);
        let state = other.vcpu_state(0).unwrap();
        let later = state.segments[SegReg::Cs as usize].base + state.rip;
        let breakpoint = DebugPoints { breakpoints: vec![later], ..DebugPoints::default() };
        for (points, action, expected) in [
            (breakpoint, DebugAction::Continue, DebugStop::Breakpoint),
            (DebugPoints::default(), DebugAction::Step, DebugStop::Step),
        ] {
            let mut machine = new();
            assert_eq!(machine.run_until(100), None);
            let (stops, control) = (Arc::new(Mutex::new(Vec::new())), machine.control());
            let (list, debugger) = (stops.clone(), control.clone());
            control.observe(move |event| {
                if let MachineEvent::Stopped { stop, .. } = event {
                    list.lock().unwrap().push(*stop);
                    debugger.send(Command::Debug(DebugRequest::Detach { resume: true }));
                }
            });
            control.send(Command::Debug(DebugRequest::Resume { points, actions: vec![action] }));
            control.send(Command::SwitchEngine(to));
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{from}: {expected:?}");
            assert_eq!(*stops.lock().unwrap(), [expected], "{from}");
            assert_eq!(machine.engine(), to);
        }
    }
}

#[test]
fn an_engine_that_is_not_there_is_refused_and_the_guest_goes_on() {
    for engine in engines() {
        let (mut machine, _) =
            machine(MachineConfig { engine: Some(engine), ..config() }, &assemble(ticking));
        let control = machine.control();
        let refused = control.send(Command::SwitchEngine(Engine::Kvm));
        let same = control.send(Command::SwitchEngine(engine));
        assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}");
        let Err(CommandError::Failed(why)) = refused.wait() else { panic!("{engine}: not refused") };
        // The clock of this machine counts instructions, which KVM does not; or there is no KVM.
        assert!(why.starts_with("--accel kvm: ") || why.starts_with("kvm"), "{why}");
        assert!(Engine::Kvm.can_start().is_err() || why.contains("counts no instructions"), "{why}");
        let Ok(Reply::Switched(same)) = same.wait() else { panic!("{engine}") };
        assert_eq!(same.to_string(), format!("the guest runs on {engine} already"));
        assert_eq!((machine.engine(), control.engine()), (engine, engine));
        assert!(machine.switch_engine(Engine::Kvm).is_err());
    }
}

/// What `--check-tlb` finds is summed up over the engines of a run.
#[test]
fn counts_of_checks_are_kept() {
    use crate::engines::TLB_HITS;
    let Some([first, second]) = pair() else { return };
    let config = MachineConfig { engine: Some(first), check_tlb: true, ..config() };
    let (mut machine, _) = machine(config, &assemble(ticking));
    let hits = |machine: &Machine| {
        let counts = &machine.statistics()[0];
        counts.iter().find(|(name, _)| name == TLB_HITS).unwrap().1
    };
    let mut last = 0;
    for (round, engine) in [second, first, second].into_iter().enumerate() {
        assert_eq!(machine.run_until((round as u64 + 1) * 100), None);
        assert!(hits(&machine) > last, "{engine}");
        last = hits(&machine);
        machine.switch_engine(engine).unwrap();
        assert_eq!(hits(&machine), last, "{engine}");
    }
}
