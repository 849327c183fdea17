//! The network card as a guest's driver uses it, on every engine, on a network that sends back what it gets; and its hostile
//! twin.

use super::cards::{Ticking, configure_slot, leave, multiboot, restored};
use super::chips::engines;
use super::networks::Loopback;
use super::random::Random;
use super::*;
use crate::events::{ExternalEvent, MemoryLog, TakenEvent};
use iced_x86::code_asm::*;
use std::collections::BTreeMap;
use trimotor_cpu::ArchState;
use trimotor_devices::e1000::registers::{
    CTRL, ICR, IMS, ITR, MDIC, RCTL, RDBAL, RDH, RDLEN, RDT, STATUS, TCTL, TDBAL, TDH, TDLEN, TDT, ctrl,
    rctl, status, tctl, tx,
};
use trimotor_net::{NetBackend, Offloads};

/// Where the driver puts the registers, its rings of eight descriptors, its buffers, and what it sends.
const REGISTERS: u32 = 0xD000_0000;
const RX: u32 = 0x20_0000;
const TX: u32 = 0x20_1000;
const BUFFERS: u32 = 0x21_0000;
const PACKET: u32 = 0x22_0000;
const STACK: u32 = 0x20_F000;
/// Frames that it sends and gets back.
const FRAMES: u32 = 48;
/// Those that are on the way at the same time.
const BURST: u32 = 4;
const FRAME_BYTES: u32 = 200;
/// Random operations of the hostile twin, and twins.
const OPERATIONS: u32 = 1200;
const TWINS: u64 = 6;

fn set(a: &mut CodeAssembler, register: u64, value: u32) {
    a.mov(dword_ptr(REGISTERS + register as u32), value as i32).unwrap();
}
/// Places the card's registers and gives it rings, of which so many `buffers` are for frames; the PHY has its link at once, without negotiation.
fn begin(a: &mut CodeAssembler, buffers: u32) {
    a.mov(esp, STACK).unwrap();
    // COM1: eight data bits.
    a.mov(dx, 0x3FBu32).unwrap();
    a.mov(al, 3u32).unwrap();
    a.out(dx, al).unwrap();
    configure_slot(a, 3, 0x10, REGISTERS);
    configure_slot(a, 3, 0x04, 6);
    set(a, MDIC, 1 << 26 | 1 << 21 | 0x0140);
    for n in 0..8 {
        a.mov(dword_ptr(RX + 16 * n), (BUFFERS + 0x800 * n) as i32).unwrap();
        a.mov(dword_ptr(TX + 16 * n), PACKET as i32).unwrap();
        let command = tx::EOP | tx::IFCS | tx::RS | FRAME_BYTES;
        a.mov(dword_ptr(TX + 16 * n + 8), command as i32).unwrap();
    }
    for (register, value) in [
        (CTRL, ctrl::SLU | ctrl::FD),
        (RDBAL, RX),
        (RDLEN, 128),
        (RDT, buffers),
        (RCTL, rctl::EN | rctl::UPE | rctl::MPE | rctl::BAM | rctl::SECRC),
        (TDBAL, TX),
        (TDLEN, 128),
        (TCTL, tctl::EN | tctl::PSP),
    ] {
        set(a, register, value);
    }
}
/// Writes AL and the low byte of the time-stamp counter to COM1.
fn say(a: &mut CodeAssembler) {
    a.mov(ecx, eax).unwrap();
    a.rdtsc().unwrap();
    a.mov(dx, 0x3F8u32).unwrap();
    a.xchg(eax, ecx).unwrap();
    a.out(dx, al).unwrap();
    a.mov(al, cl).unwrap();
    a.out(dx, al).unwrap();
}

/// Sends frames, takes each as it comes back, looks at its number, and gives the buffer back.
fn sender(a: &mut CodeAssembler) {
    let (mut burst, mut next, mut wait, mut wrong) =
        (a.create_label(), a.create_label(), a.create_label(), a.create_label());
    begin(a, 7);
    // ESI: frames sent; EDI: frames that came back. Frames go one after the other, as they are all the same packet.
    a.xor(esi, esi).unwrap();
    a.xor(edi, edi).unwrap();
    a.set_label(&mut burst).unwrap();
    a.mov(ebx, BURST).unwrap();
    a.set_label(&mut next).unwrap();
    a.mov(dword_ptr(PACKET + 100), esi).unwrap();
    a.inc(esi).unwrap();
    a.mov(eax, esi).unwrap();
    a.and(eax, 7).unwrap();
    a.mov(dword_ptr(REGISTERS + TDT as u32), eax).unwrap();
    // With vCPUs on threads the doorbell is answered a moment later, and the packet is written anew.
    let mut sent = a.create_label();
    a.set_label(&mut sent).unwrap();
    a.cmp(eax, dword_ptr(REGISTERS + TDH as u32)).unwrap();
    a.jne(sent).unwrap();
    a.dec(ebx).unwrap();
    a.jne(next).unwrap();
    a.set_label(&mut wait).unwrap();
    // The descriptor is done; the frame has the number that it should.
    a.mov(ebx, edi).unwrap();
    a.and(ebx, 7).unwrap();
    a.shl(ebx, 4).unwrap();
    let mut not_yet = a.create_label();
    a.set_label(&mut not_yet).unwrap();
    a.test(byte_ptr(ebx + (RX + 12)), 1).unwrap();
    a.je(not_yet).unwrap();
    a.mov(byte_ptr(ebx + (RX + 12)), 0).unwrap();
    a.mov(eax, dword_ptr(ebx + RX)).unwrap();
    a.cmp(dword_ptr(eax + 100), edi).unwrap();
    a.jne(wrong).unwrap();
    a.mov(eax, edi).unwrap();
    say(a);
    a.mov(eax, edi).unwrap();
    a.and(eax, 7).unwrap();
    a.mov(dword_ptr(REGISTERS + RDT as u32), eax).unwrap();
    a.inc(edi).unwrap();
    a.cmp(edi, esi).unwrap();
    a.jne(wait).unwrap();
    a.cmp(edi, FRAMES).unwrap();
    a.jne(burst).unwrap();
    leave(a, 1);
    a.set_label(&mut wrong).unwrap();
    leave(a, 2);
}

fn config(engine: Engine, cpus: u8, clock: ClockSource) -> MachineConfig {
    let devices = vec![
        DeviceConfig::new("isa-serial"),
        DeviceConfig::new("isa-debug-exit"),
        DeviceConfig::new("e1000").with("netdev", "net0"),
    ];
    MachineConfig { engine: Some(engine), cpus, clock, devices, ..super::config() }
}
type Parts = (Arc<CpuModel>, HostServices, Box<BootPlan>);
/// What a machine is made of, with a network of this id if there is one.
fn parts(config: &MachineConfig, image: &[u8], network: Option<Arc<Loopback>>) -> (Parts, Log) {
    let log = Log::default();
    let given = network.map(|network| ("net0".to_owned(), network as Arc<dyn NetBackend>));
    let services = HostServices {
        serial: vec![Box::new(log.clone())],
        networks: given.into_iter().collect::<BTreeMap<_, _>>(),
        ..HostServices::new(Arc::new(Ticking::default()))
    };
    let request = BootRequest::new(BootFile { name: "test".into(), bytes: image.to_vec() });
    let plan = boot::load(request, &config.platform()).unwrap();
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    ((model, services, Box::new(plan)), log)
}
fn machine(config: MachineConfig, image: &[u8], network: Option<Arc<Loopback>>) -> (Machine, Log) {
    let ((model, services, boot), log) = parts(&config, image, network);
    (Machine::new(config, model, services, boot).unwrap(), log)
}

#[test]
fn frames_come_back_on_every_engine() {
    let image = multiboot(sender);
    for engine in engines() {
        for (cpus, clock) in [(1, ClockSource::Instructions), (1, ClockSource::Host), (4, ClockSource::Host)]
        {
            let network = Loopback::new(Offloads::default());
            let (mut machine, log) = machine(config(engine, cpus, clock), &image, Some(network));
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "{engine}, {cpus} vCPUs, {clock:?}");
            let said: Vec<u8> = log.0.lock().unwrap().iter().step_by(2).copied().collect();
            assert_eq!(said, (0..FRAMES as u8).collect::<Vec<_>>(), "{engine}, {cpus} vCPUs, {clock:?}");
        }
    }
}

#[test]
fn a_card_without_its_network_is_refused() {
    let image = multiboot(sender);
    let config = config(engines()[0], 1, ClockSource::Instructions);
    let ((model, services, boot), _) = parts(&config, &image, None);
    let error = Machine::new(config, model, services, boot).err().unwrap().to_string();
    assert_eq!(
        error,
        "--device e1000,netdev=net0: netdev=net0: there is no network with this id (--netdev user,id=net0 makes one); \
         without a card: none"
    );
}

/// How a run ended.
#[derive(PartialEq, Debug)]
struct End {
    reason: ExitReason,
    output: Vec<u8>,
    instructions: u64,
    state: ArchState,
}
fn end(reason: ExitReason, machine: &Machine, output: Vec<u8>) -> End {
    let (instructions, state) = (machine.instructions(), machine.vcpu_state(0).unwrap());
    End { reason, output, instructions, state }
}
fn output(log: &Log) -> Vec<u8> {
    log.0.lock().unwrap().clone()
}
fn record(engine: Engine, image: &[u8]) -> (End, Vec<TakenEvent>) {
    let events = MemoryLog::default();
    let network = Loopback::new(Offloads::default());
    let config = config(engine, 1, ClockSource::Instructions);
    let (mut machine, log) = machine(config, image, Some(network));
    machine.log_events(Box::new(events.clone()));
    let reason = machine.run();
    (end(reason, &machine, output(&log)), events.events())
}

/// A recorded run is replayed without its network, on each engine; also from a machine that was saved on the way.
#[test]
fn frames_are_replayed_from_the_log_alone() {
    let image = multiboot(sender);
    for from in engines() {
        let (recorded, events) = record(from, &image);
        assert_eq!(recorded.reason, ExitReason::DebugExit(1));
        let frames = events.iter().filter(|e| matches!(e.event, ExternalEvent::Frame { .. })).count();
        assert_eq!(frames, FRAMES as usize);
        for to in engines() {
            let config = config(to, 1, ClockSource::Instructions);
            let ((model, services, boot), log) = parts(&config, &image, None);
            let mut replaying = Machine::replaying(config, model, services, boot, events.clone()).unwrap();
            let reason = replaying.run();
            assert_eq!(replaying.divergence(), None);
            assert_eq!(end(reason, &replaying, output(&log)), recorded, "{from} to {to}");
        }
        let middle = events[events.len() / 2].at.instructions + 1;
        let config = config(from, 1, ClockSource::Instructions);
        let ((model, services, boot), before) = parts(&config, &image, None);
        let mut first = Machine::replaying(config, model, services, boot, events.clone()).unwrap();
        assert_eq!(first.run_until(middle), None);
        let state = first.save().unwrap();
        let rest: Vec<_> = events.into_iter().filter(|event| event.at.instructions >= middle).collect();
        for to in engines() {
            let network = Loopback::new(Offloads::default());
            let ((model, services, boot), after) = parts(&state.config, &image, Some(network));
            let mut second = Machine::restored(state.clone(), Some(to), model, services, boot).unwrap();
            second.replay(rest.clone());
            let reason = second.run();
            assert_eq!(second.divergence(), None);
            let said = [output(&before), output(&after)].concat();
            assert_eq!(end(reason, &second, said), recorded, "{from} to {to} from the middle");
        }
    }
}

/// Says D when the link is down, and U when it is up again.
fn link_watcher(a: &mut CodeAssembler) {
    begin(a, 7);
    for (said, up) in [(b'0', true), (b'D', false), (b'U', true)] {
        let mut wait = a.create_label();
        a.set_label(&mut wait).unwrap();
        a.mov(eax, dword_ptr(REGISTERS + STATUS as u32)).unwrap();
        a.test(eax, status::LU as i32).unwrap();
        if up {
            a.je(wait).unwrap();
        } else {
            a.jne(wait).unwrap();
        }
        a.mov(al, u32::from(said)).unwrap();
        say(a);
    }
    leave(a, 1);
}

/// The cable is pulled out and put in by commands: the card hears of it, frames are lost meanwhile, and the log has it.
#[test]
fn a_cable_that_is_pulled_is_in_the_log() {
    let image = multiboot(link_watcher);
    for from in engines() {
        let events = MemoryLog::default();
        let network = Loopback::new(Offloads::default());
        let config = config(from, 1, ClockSource::Instructions);
        let (mut machine, log) = machine(config.clone(), &image, Some(network.clone()));
        machine.log_events(Box::new(events.clone()));
        let control = machine.control();
        let said = |log: &Log| output(log).iter().step_by(2).copied().collect::<Vec<u8>>();
        let run_until_said = |machine: &mut Machine, wanted: &[u8]| {
            let mut until = machine.instructions();
            while said(&log) != wanted {
                until += 10_000;
                assert!(until < 100_000_000, "{:?}", said(&log));
                assert_eq!(machine.run_until(until), None);
            }
        };
        run_until_said(&mut machine, b"0");
        let refused = control.send(Command::SetLink { name: "net1".to_owned(), up: false });
        let pulled = control.send(Command::SetLink { name: "net0".to_owned(), up: false });
        run_until_said(&mut machine, b"0D");
        let refused = refused.try_take().unwrap().unwrap_err().to_string();
        assert!(refused.contains("e1000@00:03.0 (network net0)"), "{refused}");
        assert!(matches!(pulled.try_take(), Some(Ok(Reply::Done))));
        network.inject(&[9; 60]);
        assert_eq!(machine.run_until(machine.instructions() + 10_000_000), None);
        assert!(network.is_empty(), "what comes meanwhile is lost");
        let _ = control.send(Command::SetLink { name: "e1000@00:03.0".to_owned(), up: true });
        let recorded = end(machine.run(), &machine, output(&log));
        assert_eq!((said(&log), &recorded.reason), (b"0DU".to_vec(), &ExitReason::DebugExit(1)));
        let events = events.events();
        assert!(!events.iter().any(|e| matches!(e.event, ExternalEvent::Frame { .. })));
        for to in engines() {
            let config = MachineConfig { engine: Some(to), ..config.clone() };
            let ((model, services, boot), log) = parts(&config, &image, None);
            let mut replaying = Machine::replaying(config, model, services, boot, events.clone()).unwrap();
            let reason = replaying.run();
            assert_eq!(replaying.divergence(), None);
            assert_eq!(end(reason, &replaying, output(&log)), recorded, "{from} to {to}");
        }
    }
}

/// A log that has a frame where the card has no room is not this machine's.
#[test]
fn a_frame_too_many_in_a_log_is_noticed() {
    let image = multiboot(sender);
    let engine = engines()[0];
    let (_, mut events) = record(engine, &image);
    let at = events.iter().position(|e| matches!(e.event, ExternalEvent::Frame { .. })).unwrap();
    for _ in 0..9 {
        events.insert(at, events[at].clone());
    }
    let config = config(engine, 1, ClockSource::Instructions);
    let ((model, services, boot), _) = parts(&config, &image, None);
    let mut machine = Machine::replaying(config, model, services, boot, events).unwrap();
    assert_eq!(machine.run(), ExitReason::Diverged);
    let told = machine.divergence().unwrap().to_string();
    assert!(told.contains("a frame for e1000@00:03.0, which has no room for it"), "{told}");
}

/// Frames for which there is no buffer wait for one, and come when the driver gives it, in order.
#[test]
fn frames_wait_for_buffers() {
    let image = multiboot(|a| {
        // One buffer at a time: says which frame came, and gives the next.
        begin(a, 1);
        a.xor(edi, edi).unwrap();
        let (mut wait, mut not_yet) = (a.create_label(), a.create_label());
        a.set_label(&mut wait).unwrap();
        a.mov(ebx, edi).unwrap();
        a.and(ebx, 7).unwrap();
        a.shl(ebx, 4).unwrap();
        a.set_label(&mut not_yet).unwrap();
        a.test(byte_ptr(ebx + (RX + 12)), 1).unwrap();
        a.je(not_yet).unwrap();
        a.mov(byte_ptr(ebx + (RX + 12)), 0).unwrap();
        a.mov(eax, dword_ptr(ebx + RX)).unwrap();
        a.mov(al, byte_ptr(eax + 20)).unwrap();
        a.mov(dx, 0x3F8u32).unwrap();
        a.out(dx, al).unwrap();
        a.inc(edi).unwrap();
        a.lea(eax, dword_ptr(edi + 1)).unwrap();
        a.and(eax, 7).unwrap();
        a.mov(dword_ptr(REGISTERS + RDT as u32), eax).unwrap();
        a.cmp(edi, 20).unwrap();
        a.jne(wait).unwrap();
        leave(a, 1);
    });
    for engine in engines() {
        for (cpus, clock) in [(1, ClockSource::Instructions), (1, ClockSource::Host), (2, ClockSource::Host)]
        {
            let network = Loopback::new(Offloads::default());
            for n in 0..20 {
                network.inject(&[&[0xFF; 12], [n; 60].as_slice()].concat());
            }
            let (mut machine, log) = machine(config(engine, cpus, clock), &image, Some(network.clone()));
            // The first ones may come before the driver is there, and are thrown away: they come again.
            let control = machine.control();
            let thread = std::thread::spawn(move || machine.run());
            let mut said = 0;
            while !thread.is_finished() {
                let now = log.0.lock().unwrap().len();
                if now == said && network.is_empty() {
                    network.inject(&[&[0xFF; 12], [99; 60].as_slice()].concat());
                    control.wake();
                }
                said = now;
                std::thread::yield_now();
            }
            assert_eq!(thread.join().unwrap(), ExitReason::DebugExit(1), "{engine}, {cpus}, {clock:?}");
            let said = output(&log);
            let order: Vec<u8> = said.iter().copied().filter(|n| *n != 99).collect();
            assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{said:?}");
        }
    }
}

/// A vCPU on a thread of its own tells of packets while somebody has the card's lock.
#[test]
fn a_tail_waits_for_no_lock() {
    use trimotor_bus::{CpuBus, PhysAddr, Width};
    let image = multiboot(|a| {
        begin(a, 7);
        leave(a, 1);
    });
    let network = Loopback::new(Offloads::default());
    let config = config(engines()[0], 2, ClockSource::Host);
    let (mut machine, _) = machine(config, &image, Some(network.clone()));
    assert_eq!(machine.run(), ExitReason::DebugExit(1));
    let control = machine.control();
    let board = machine.board();
    let card = board.devices.find("e1000@00:03.0").unwrap();
    let mut bus = crate::vcpu_bus::VcpuBus::beside(board, 0, &control);
    let locked = board.devices.lock(card);
    let register = |register: u64| PhysAddr(u64::from(REGISTERS) + register);
    bus.mmio_write(register(TDT), Width::Dword, 2);
    bus.mmio_write(register(TDT), Width::Dword, 3);
    drop(locked);
    assert_eq!(bus.mmio_read(register(TDT), Width::Dword), 3);
    assert!(network.is_empty(), "nobody has told the card");
    board.answer_doorbells(&mut crate::clock::TimeSource::Board(&board.clock));
    assert_eq!(bus.mmio_read(register(TDH), Width::Dword), 3);
    assert_eq!(std::iter::from_fn(|| network.receive()).count(), 3);
}

/// The hostile twin: rings, descriptors and buffers at random, over the code that runs and where no RAM is, registers with any
/// value, resets amid packets.
fn at_random(a: &mut CodeAssembler, random: &mut Random) {
    begin(a, 7);
    let places =
        [RX, TX, PACKET, BUFFERS, 0x10_0000, 0xFFFF_0000, REGISTERS, 0xFEE0_0000, 0xA_0000, 0xFFFF_FFF0];
    for _ in 0..OPERATIONS {
        let value = random.next() as u32;
        match random.below(12) {
            0 => set(a, u64::from((value % 0x6000) & !3), random.next() as u32),
            1 => set(a, [RDBAL, TDBAL][random.below(2)], places[random.below(4)]),
            2 => set(a, [RDLEN, TDLEN][random.below(2)], [0, 128, 256, 0xF_FF80][random.below(4)]),
            3 | 4 => set(a, [RDT, TDT, RDH, TDH][random.below(4)], value % 18),
            5 => set(a, TDT, value % 8),
            // Loopback is on mostly.
            6 => set(a, RCTL, value | rctl::EN | 1 << 6),
            7 => set(a, [TCTL, CTRL][random.below(2)], value & !ctrl::PHY_RST | tctl::EN | ctrl::SLU),
            8 | 9 => {
                // A descriptor of either ring.
                let at = [RX, TX, TX, TX][random.below(4)] + 16 * (value % 16);
                let address = places[random.below(places.len())].wrapping_add(random.below(64) as u32);
                // Not over the code that runs, but for what lies behind it.
                let address = if address & 0xFFF0_0000 == 0x10_0000 { address + 0x8_0000 } else { address };
                let command = random.next() as u32 & 0xFF30_0FFF;
                for (offset, value) in
                    [(0, address), (4, value & value >> 31), (8, command), (12, random.next() as u32)]
                {
                    a.mov(dword_ptr(at + offset), value as i32).unwrap();
                }
            }
            10 => {
                a.mov(eax, dword_ptr(REGISTERS + ((value % 0x6000) & !3))).unwrap();
                a.mov(edi, eax).unwrap();
            }
            _ => set(a, [ICR, IMS, ITR, MDIC][random.below(4)], value),
        }
    }
    // After a reset the card is as new.
    let mut wrong = a.create_label();
    set(a, CTRL, ctrl::RST);
    a.mov(eax, dword_ptr(REGISTERS + RCTL as u32)).unwrap();
    a.test(eax, eax).unwrap();
    a.jne(wrong).unwrap();
    leave(a, 1);
    a.set_label(&mut wrong).unwrap();
    leave(a, 2);
}

#[test]
fn registers_and_rings_at_random_are_the_same_on_every_engine() {
    for seed in 0..TWINS {
        let image = multiboot(|a| at_random(a, &mut Random(seed)));
        let mut first = None;
        for engine in engines() {
            let mut config = config(engine, 1, ClockSource::Instructions);
            // No network: what comes back is the card's own.
            config.devices[2] = DeviceConfig::new("e1000");
            config.memory_bytes = 8 << 20;
            let (mut machine, log) = machine(config, &image, None);
            let reason = machine.run();
            assert_eq!(reason, ExitReason::DebugExit(1), "guest {seed}: {engine}");
            let saved = postcard::to_stdvec(&machine.save().unwrap()).unwrap();
            restored(&saved, engine, Log::default()).unwrap();
            let run = end(reason, &machine, output(&log));
            let card = machine.board().devices.find("e1000@00:03.0").unwrap();
            let card = machine.board().devices.lock(card).save_bytes().unwrap();
            let first =
                first.get_or_insert((end(ExitReason::DebugExit(1), &machine, output(&log)), card.clone()));
            assert!(run == first.0 && card == first.1, "guest {seed}: {engine} differs");
        }
        // With somebody at the other end, and vCPUs at once, it goes on too.
        let network =
            Loopback::new(Offloads { checksum: true, tcp4: true, tcp6: true, ecn: true, udp: true });
        for cpus in [1, 2] {
            let mut config = config(engines()[0], cpus, ClockSource::Host);
            config.memory_bytes = 8 << 20;
            let (mut machine, _) = machine(config, &image, Some(network.clone()));
            assert_eq!(machine.run(), ExitReason::DebugExit(1), "guest {seed}, {cpus} vCPUs");
        }
    }
}
