use super::*;
use crate::device::{Job, Outside};
use std::sync::Mutex;
use trimotor_bus::{GuestMemory, IrqSink};

const NOW: GuestTime = GuestTime::ZERO;

/// Jobs wait here until a test runs them.
#[derive(Default)]
struct Waiting(Mutex<Vec<(u64, GuestTime, Job)>>);
impl Outside for Waiting {
    fn begin(&self, token: u64, due: GuestTime, job: Job) {
        self.0.lock().unwrap().push((token, due, job));
    }
}
#[derive(Default)]
struct Pin(Mutex<bool>);
impl IrqSink for Pin {
    fn set_level(&self, _line: u8, high: bool) {
        *self.0.lock().unwrap() = high;
    }
}
#[derive(Default)]
struct Messages(Mutex<Vec<u32>>);
impl MsiSink for Messages {
    fn send(&self, _address: u64, data: u32) {
        self.0.lock().unwrap().push(data);
    }
}

struct Bench {
    card: DemoCard,
    memory: Arc<GuestMemory>,
    waiting: Arc<Waiting>,
    pin: Arc<Pin>,
    messages: Arc<Messages>,
}

impl Bench {
    fn new() -> Self {
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        let (waiting, pin, messages) =
            (Arc::new(Waiting::default()), Arc::new(Pin::default()), Arc::new(Messages::default()));
        let master = BusMaster::new(memory.clone());
        let intx = IrqLine::new(pin.clone(), 0);
        let own = CardMemory {
            vram: Some(memory.add_device_memory("vram", 64 << 10).unwrap()),
            rom: Some(memory.add_rom("rom", &rom::images(), rom::BYTES.into()).unwrap()),
        };
        let card = DemoCard::new(intx, messages.clone(), master, waiting.clone(), own);
        Self { card, memory, waiting, pin, messages }
    }
    fn set(&mut self, register: u64, value: u64) {
        self.card.bar_write(REGISTER_BAR, register, Width::Qword, value, NOW);
    }
    fn get(&mut self, register: u64) -> u64 {
        self.card.bar_read(REGISTER_BAR, register, Width::Qword, NOW)
    }
    fn master(&mut self) {
        self.card.config_write(4, Width::Word, 7, NOW);
    }
    fn request(&mut self, number: u64, length: u64) {
        self.set(SOURCE, 0x1000);
        self.set(DESTINATION, 0x2000 + number * 0x100);
        self.set(LENGTH, length);
        self.set(DOORBELL, number);
    }
    /// Runs the job that was begun as number `index` of those that wait.
    fn finish(&mut self, index: usize) {
        let (token, _, job) = self.waiting.0.lock().unwrap().remove(index);
        self.card.complete(token, &job(), NOW);
    }
}

#[test]
fn requests_complete_in_any_order() {
    let mut bench = Bench::new();
    bench.memory.write(PhysAddr(0x1000), b"abcd");
    bench.master();
    bench.request(1, 4);
    bench.request(2, 3);
    assert_eq!(bench.get(STATUS), 0);
    bench.finish(1);
    assert_eq!((bench.get(STATUS), *bench.pin.0.lock().unwrap()), (4, true));
    bench.finish(0);
    let mut bytes = [0; 4];
    bench.memory.read(PhysAddr(0x2100), &mut bytes);
    assert_eq!(&bytes, b"dcba");
    bench.memory.read(PhysAddr(0x2200), &mut bytes);
    assert_eq!(&bytes, b"cba\0");
    assert_eq!((bench.get(STATUS), bench.get(COMPLETED), bench.get(ORDER)), (6, 2, 0x21));
    bench.set(STATUS, 6);
    assert!(!*bench.pin.0.lock().unwrap());
}

#[test]
fn with_msi_x_there_are_messages_and_no_pin() {
    let mut bench = Bench::new();
    bench.master();
    bench.card.config_write(0x42, Width::Word, 0x8000, NOW);
    for vector in 0..VECTORS as u64 {
        for (offset, value) in [(0, 0xFEE0_0000), (8, 0x50 + vector), (12, 0)] {
            bench.card.bar_write(MSIX_BAR, vector * 16 + offset, Width::Dword, value, NOW);
        }
    }
    bench.request(6, 1);
    bench.finish(0);
    assert_eq!(*bench.messages.0.lock().unwrap(), [0x52]);
    assert!(!*bench.pin.0.lock().unwrap());
}

#[test]
fn what_cannot_be_done_is_refused() {
    let mut bench = Bench::new();
    bench.master();
    bench.request(3, 0);
    bench.request(4, MAX_BYTES + 1);
    bench.request(5, 1);
    bench.request(5, 1);
    assert_eq!(bench.get(STATUS), 0b11_1000 << 16);
    let token = bench.waiting.0.lock().unwrap()[0].0;
    bench.card.complete(token, &[], NOW);
    bench.card.complete(9, &[1], NOW);
    assert_eq!((bench.get(STATUS), bench.get(COMPLETED)), (0b11_1000 << 16, 1));
}

#[test]
fn a_card_that_is_no_bus_master_leaves_memory_alone() {
    let mut bench = Bench::new();
    bench.memory.write(PhysAddr(0x1000), b"abcd");
    bench.request(0, 4);
    bench.finish(0);
    let mut bytes = [0; 4];
    bench.memory.read(PhysAddr(0x2000), &mut bytes);
    assert_eq!((bytes, bench.get(STATUS)), ([0; 4], 1));
}

#[test]
fn requests_go_on_in_a_card_that_was_restored() {
    let mut bench = Bench::new();
    bench.memory.write(PhysAddr(0x1000), b"abcd");
    bench.master();
    bench.request(1, 4);
    bench.request(2, 4);
    bench.finish(0);
    let saved = bench.card.save();
    let mut other = Bench::new();
    other.card.restore(saved).unwrap();
    assert_eq!(other.card.decoded_regions(), bench.card.decoded_regions());
    assert_eq!((other.get(STATUS), *other.pin.0.lock().unwrap()), (2, true));
    other.finish(0);
    let mut bytes = [0; 4];
    other.memory.read(PhysAddr(0x2200), &mut bytes);
    assert_eq!((&bytes, other.get(ORDER)), (b"dcba", 0x12));
}

#[test]
fn memory_of_the_card_is_there_by_register_accesses_too() {
    let mut bench = Bench::new();
    bench.card.bar_write(VRAM_BAR, 0xFFFE, Width::Word, 0x1234, NOW);
    bench.card.bar_write(VRAM_BAR, 0xFFFF, Width::Word, 0x56, NOW);
    assert_eq!(bench.card.bar_read(VRAM_BAR, 0xFFFE, Width::Word, NOW), 0x5634);
    assert_eq!(bench.card.bar_read(VRAM_BAR, u64::MAX, Width::Word, NOW), 0xFFFF);
    bench.card.bar_write(VRAM_BAR, u64::MAX, Width::Qword, 0, NOW);
    bench.card.bar_write(ROM_BAR, 0, Width::Qword, 0, NOW);
    assert_eq!(bench.card.bar_read(ROM_BAR, 0, Width::Word, NOW), 0xAA55);
    assert_eq!((bench.get(DIRTY), bench.get(DIRTY)), (16, 0));
    bench.card.bar_write(VRAM_BAR, 0x3001, Width::Byte, 1, NOW);
    assert_eq!((bench.get(DIRTY), bench.get(DIRTY)), (1, 0));
}

#[test]
fn hostile_states_are_refused() {
    let mut bench = Bench::new();
    bench.master();
    bench.request(1, 4);
    let saved = bench.card.save();
    let request = RequestStateV1::clone(&saved.requests[&1]);
    let mut state = saved.clone();
    state.requests.insert(16, request);
    assert!(bench.card.restore(state).is_err());
    assert_eq!(bench.card.requests.len(), 1);
}
