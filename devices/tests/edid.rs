//! The monitor's EDID, as `edid-decode` judges it.

#![allow(clippy::unwrap_used, reason = "a failure to set the test up ends it")]

use std::io::Write;
use std::process::{Command, Stdio};
use trimotor_bus::{GuestMemory, GuestTime, PciBars, Width};
use trimotor_devices::vga::Vga;
use trimotor_devices::vga::edid::{EDID_BYTES, MAX_HEIGHT, MAX_WIDTH};
use trimotor_devices::vga::pci::REGISTER_BAR;
use trimotor_test_needs::{program, skip};

#[test]
fn edid_decode_finds_nothing_wrong() {
    if skip(program("edid-decode", "edid-decode")) {
        return;
    }
    let largest = (MAX_WIDTH as u16, MAX_HEIGHT as u16);
    for (width, height) in [(1280, 800), (640, 400), (800, 600), (1024, 768), (1920, 1080), largest] {
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        let memory = memory.add_device_memory("vga.vram", 1 << 20).unwrap();
        let mut vga = Vga::new(memory, None, (width, height));
        let byte = |at| vga.bar_read(REGISTER_BAR, at as u64, Width::Byte, GuestTime::ZERO) as u8;
        let edid: Vec<u8> = (0..EDID_BYTES).map(byte).collect();
        let mut decode = Command::new("edid-decode")
            .args(["--check", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        decode.stdin.take().unwrap().write_all(&edid).unwrap();
        let output = decode.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("EDID conformity: PASS") && !said.contains("Warnings:"), "{said}");
        assert!(said.contains(&format!("DTD 1:{width:>6}x{height}")), "{said}");
    }
}
