use super::*;
use trimotor_bus::{GuestMemory, PhysAddr};

const NOW: GuestTime = GuestTime::ZERO;

fn controllers() -> (Dma8237, Arc<GuestMemory>) {
    let memory = GuestMemory::new(2 << 20, &[]).unwrap();
    (Dma8237::new(memory.clone()), memory)
}
fn out(dma: &mut Dma8237, port: u16, value: u8) {
    dma.port_write(Port(port), Width::Byte, value.into(), NOW);
}
fn input(dma: &mut Dma8237, port: u16) -> u8 {
    dma.port_read(Port(port), Width::Byte, NOW) as u8
}
/// Channel 4 passes on the first controller's requests.
fn cascade(dma: &mut Dma8237) {
    out(dma, 0xD6, 0xC0);
    out(dma, 0xD4, 0);
}
/// Sets up channel 2: page, address, transfers less one, mode; and opens it.
fn channel_2(dma: &mut Dma8237, page: u8, address: u16, count: u16, mode: u8) {
    out(dma, 0x0C, 0);
    for byte in address.to_le_bytes() {
        out(dma, 0x04, byte);
    }
    for byte in count.to_le_bytes() {
        out(dma, 0x05, byte);
    }
    out(dma, 0x81, page);
    out(dma, 0x0B, mode | 2);
    out(dma, 0x0A, 2);
}

#[test]
fn addresses_read_back_byte_by_byte() {
    let (mut dma, _) = controllers();
    for (port, controller) in [(0x04, 0), (0xC8, 1)] {
        out(&mut dma, if controller == 0 { 0x0C } else { 0xD8 }, 0);
        out(&mut dma, port, 0x34);
        out(&mut dma, port, 0x12);
        assert_eq!(input(&mut dma, port), 0x34);
        assert_eq!(input(&mut dma, port), 0x12);
    }
    out(&mut dma, 0x87, 0x5A);
    assert_eq!(input(&mut dma, 0x87), 0x5A);
}

#[test]
fn masks_and_master_clear() {
    let (mut dma, _) = controllers();
    assert_eq!(input(&mut dma, 0x0F) & 0x0F, 0x0F);
    out(&mut dma, 0x0A, 2);
    assert_eq!(input(&mut dma, 0x0F) & 0x0F, 0x0B);
    out(&mut dma, 0x0D, 0);
    assert_eq!(input(&mut dma, 0x0F) & 0x0F, 0x0F);
    out(&mut dma, 0xDC, 0);
    assert_eq!(input(&mut dma, 0xDE) & 0x0F, 0);
    let (mut other, _) = controllers();
    other.restore(dma.save()).unwrap();
    assert_eq!(other.save(), dma.save());
}

#[test]
fn a_device_writes_memory_until_the_count_runs_out() {
    let (mut dma, memory) = controllers();
    let device = dma.channel(2);
    // Closed, and then without the cascade.
    assert_eq!(device.to_memory(&[1; 8]), Moved::default());
    channel_2(&mut dma, 0x0A, 0x1000, 9, 0x44);
    assert_eq!((device.room(), device.to_memory(&[1; 8])), (0, Moved::default()));
    cascade(&mut dma);
    assert_eq!(device.room(), 10);
    assert_eq!(device.to_memory(&[1, 2, 3, 4]), Moved { bytes: 4, terminal_count: false });
    // The wrong way moves nothing.
    assert_eq!(device.from_memory(&mut [0; 4]), Moved::default());
    assert_eq!(device.to_memory(&[5; 20]), Moved { bytes: 6, terminal_count: true });
    let mut bytes = [0; 12];
    memory.read(PhysAddr(0xA_1000), &mut bytes);
    assert_eq!(bytes[..4], [0xFF; 4], "no RAM there");
    // Now it is masked, and the status tells of it once.
    assert_eq!(device.room(), 0);
    assert_eq!((input(&mut dma, 0x08), input(&mut dma, 0x08)), (4, 0));
}

#[test]
fn addresses_wrap_within_their_page_and_go_down() {
    let (mut dma, memory) = controllers();
    cascade(&mut dma);
    let device = dma.channel(2);
    channel_2(&mut dma, 0x03, 0xFFFE, 3, 0x44);
    assert!(device.to_memory(&[1, 2, 3, 4]).terminal_count);
    let byte = |at: u64| {
        let mut byte = [0];
        memory.read(PhysAddr(at), &mut byte);
        byte[0]
    };
    assert_eq!([0x3_FFFE, 0x3_FFFF, 0x3_0000, 0x3_0001, 0x4_0000].map(byte), [1, 2, 3, 4, 0]);
    channel_2(&mut dma, 0x05, 1, 2, 0x64);
    assert!(device.to_memory(&[7, 8, 9]).terminal_count);
    assert_eq!([0x5_0001, 0x5_0000, 0x5_FFFF].map(byte), [7, 8, 9]);
}

#[test]
fn autoinit_starts_over_and_verify_only_counts() {
    let (mut dma, memory) = controllers();
    cascade(&mut dma);
    let device = dma.channel(2);
    memory.write(PhysAddr(0x2_0010), &[1, 2, 3, 4]);
    channel_2(&mut dma, 2, 0x10, 1, 0x58);
    let mut bytes = [0; 2];
    for _ in 0..2 {
        assert_eq!(device.from_memory(&mut bytes), Moved { bytes: 2, terminal_count: true });
        assert_eq!((bytes, device.room()), ([1, 2], 2));
    }
    channel_2(&mut dma, 2, 0x10, 1, 0x40);
    assert!(device.to_memory(&[9; 2]).terminal_count);
    memory.read(PhysAddr(0x2_0010), &mut bytes);
    assert_eq!(bytes, [1, 2]);
}

#[test]
fn the_second_controller_moves_words() {
    let (mut dma, memory) = controllers();
    let device = dma.channel(5);
    out(&mut dma, 0xD8, 0);
    for (port, value) in
        [(0xC4, 0), (0xC4, 0x80), (0xC6, 1), (0xC6, 0), (0x8B, 0x07), (0xD6, 0x45), (0xD4, 1)]
    {
        out(&mut dma, port, value);
    }
    assert_eq!(device.to_memory(&[1, 2, 3]), Moved { bytes: 2, terminal_count: false });
    assert_eq!(device.to_memory(&[3, 4]), Moved { bytes: 2, terminal_count: true });
    let mut bytes = [0; 4];
    memory.read(PhysAddr(0x7_0000), &mut bytes);
    assert_eq!(bytes, [1, 2, 3, 4]);
}
