//! qcow2 images: no file makes a reader, a writer, a check or a repair panic, hang or take memory without bound.
//!
//! The input changes bytes of a small valid image, then says what is done with it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Write;
use trimotor_fuzz::{Input, images};
use trimotor_storage::qcow2::{CreateOptions, Header, Mode, NewSnapshot, Qcow2, create};
use trimotor_storage::{BlockBackend, Format, MemoryFile};

/// A valid image with data in some clusters, in one of a few kinds.
fn valid(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.below(16);
    let mut options = CreateOptions::new(100 << 10);
    options.cluster_bytes = [512, 1024][kind & 1];
    options.version = if kind & 2 == 0 { 3 } else { 2 };
    if kind & 4 != 0 {
        options.backing = Some(("below".into(), Format::Raw));
    }
    if kind & 8 != 0 && options.version == 3 {
        options.refcount_bits = 1;
    }
    let file = std::sync::Arc::new(MemoryFile::new(Vec::new(), 1 << 20));
    create(&*file, &options).expect("valid options");
    let header = Header::read(&*file).expect("a valid image");
    let image = Qcow2::open(file.clone(), header, None, Mode::Write).expect("a valid image");
    image.write(700, &[1; 1500]).expect("writes");
    image.write(50_000, &[2; 100]).expect("writes");
    if kind & 8 == 0 {
        let mut out = image.write_vm_state().expect("a state");
        out.write_all(&[4; 2000]).expect("writes");
        let vm_state_bytes = out.finish().expect("writes");
        let new = NewSnapshot { name: "one".to_owned(), vm_state_bytes, ..NewSnapshot::default() };
        image.create_snapshot(&new).expect("a snapshot");
        image.write(1000, &[3; 10]).expect("writes");
    }
    image.close().expect("closes");
    drop(image);
    file.content()
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let image = valid(&mut input);
    let image = images::spoil(image, &mut input);
    images::qcow2(image, &mut input);
});
