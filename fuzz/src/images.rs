//! Hostile disk images: files in memory, what is changed in them, and what is done with them.

use crate::Input;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use trimotor_storage::qcow2::{Mode, NewSnapshot, Qcow2, Repair};
use trimotor_storage::{
    Access, BlockBackend, BlockError, FileError, Format, ImageFile, ImageOptions, MemoryFile, Opener, open, open_qcow2,
};

/// No file grows beyond this.
const MOST_FILE_BYTES: u64 = 4 << 20;

/// Files in memory: the image, and a small one by any other name.
pub struct Files {
    image: Vec<u8>,
}

impl Opener for Files {
    fn open(&self, path: &Path, _access: Access) -> Result<Arc<dyn ImageFile>, FileError> {
        match path.to_str() {
            Some("image") => Ok(Arc::new(MemoryFile::new(self.image.clone(), MOST_FILE_BYTES))),
            Some("below") => Ok(Arc::new(MemoryFile::new(vec![0x5A; 20_000], MOST_FILE_BYTES))),
            _ => Err(io::Error::from(io::ErrorKind::NotFound).into()),
        }
    }
    fn temporary(&self) -> Result<Arc<dyn ImageFile>, FileError> {
        Ok(Arc::new(MemoryFile::new(Vec::new(), MOST_FILE_BYTES)))
    }
}

/// Changes a valid image as the input says: numbers of one to eight bytes, mostly in its first kilobytes.
pub fn spoil(mut image: Vec<u8>, input: &mut Input<'_>) -> Vec<u8> {
    for _ in 0..input.below(24) {
        let width = 1 << input.below(4);
        let most = if input.below(4) == 0 { image.len() } else { image.len().min(2048) };
        let at = input.below(most);
        let value = input.bytes(width);
        let end = (at + value.len()).min(image.len());
        image[at..end].copy_from_slice(&value[..end - at]);
    }
    if input.below(8) == 0 {
        image.truncate(input.below(image.len()));
    }
    image
}

/// Places that are worth a look: the start, tables' borders, the end.
fn place(input: &mut Input<'_>, size: u64) -> (u64, u64) {
    let offset = match input.below(4) {
        0 => input.number(2) * 512,
        1 => size.saturating_sub(input.number(2) * 512),
        2 => input.number(8),
        _ => input.number(3),
    };
    (offset, (input.number(2) + 1).min(size.saturating_sub(offset)))
}

/// Reads here and there, and asks for extents; each answer must be in bounds.
fn read(disk: &dyn BlockBackend, input: &mut Input<'_>) {
    let size = disk.size();
    assert!(size.is_multiple_of(512));
    for _ in 0..8 {
        let (offset, bytes) = place(input, size);
        let _ = disk.read(offset, &mut vec![0; bytes as usize]);
        if bytes > 0
            && let Ok(extent) = disk.extent(offset, size - offset)
        {
            assert!(extent.bytes > 0 && extent.bytes <= size - offset);
        }
    }
}

/// Requests of all kinds.
fn write(disk: &dyn BlockBackend, input: &mut Input<'_>) {
    for _ in 0..24 {
        let (offset, bytes) = place(input, disk.size());
        let _ = match input.below(6) {
            0..=2 => disk.write(offset, &vec![0xC3; bytes as usize]),
            3 => disk.write_zeroes(offset, bytes, input.below(2) == 0),
            4 => disk.discard(offset, bytes),
            _ => disk.flush(),
        };
    }
    read(disk, input);
}

/// Opens an image of a format that is only read, and an overlay on it.
pub fn read_only(image: Vec<u8>, format: Format, input: &mut Input<'_>) {
    let files = Files { image };
    let mut options = ImageOptions::new("image").read_only().format(Some(format));
    if let Ok(disk) = open(&options, &files) {
        read(&*disk, input);
        assert!(disk.write(0, &[0; 512]).is_err());
    }
    (options.read_only, options.snapshot) = (false, true);
    if let Ok(disk) = open(&options, &files) {
        write(&*disk, input);
    }
}

/// Does with a qcow2 image all that can be done.
pub fn qcow2(image: Vec<u8>, input: &mut Input<'_>) {
    let files = Files { image };
    let mut options = ImageOptions::new("image").format(Some(Format::Qcow2));
    if let Ok(disk) = open(&options.clone().read_only(), &files) {
        read(&*disk, input);
    }
    for (mode, repair) in [(Mode::Check, Repair::Nothing), (Mode::Repair, Repair::All)] {
        let Ok(image) = open_qcow2(&options, mode, &files) else { continue };
        let Ok(found) = image.check(repair) else { continue };
        // What was repaired is right.
        if repair == Repair::All && found.errors == found.errors_repaired {
            let again = image.check(Repair::Nothing).expect("it was checked before");
            assert_eq!((again.errors, again.leaks), (0, 0), "{found:?} {again:?}");
        }
    }
    if let Ok(image) = open_qcow2(&options, Mode::Write, &files) {
        manage(&image, input);
    }
    options.discard = trimotor_storage::Discard::Unmap;
    if let Ok(disk) = open(&options, &files) {
        write(&*disk, input);
    }
}

fn manage(image: &Qcow2, input: &mut Input<'_>) {
    for _ in 0..6 {
        let name = ["one", "two", "1"][input.below(3)];
        let _ = match input.below(7) {
            0 => snapshot(image, name, input.below(2) > 0),
            1 => image.apply_snapshot(name),
            2 => image.delete_snapshot(name),
            3 => image.resize(input.number(3) << (4 * input.below(4))),
            4 => image.write(input.number(2) * 16, &[0x77; 700]),
            5 => read_states(image),
            _ => image.write_packed(input.number(1), &[0x03, 0]),
        };
    }
    let _ = image.check(Repair::Nothing);
}

/// Takes a snapshot with a small machine.
fn snapshot(image: &Qcow2, name: &str, replaces: bool) -> Result<(), BlockError> {
    let mut out = image.write_vm_state()?;
    let _ = out.write_all(&[0x55; 3000]);
    let vm_state_bytes = out.finish()?;
    image.create_snapshot(&NewSnapshot {
        name: name.to_owned(),
        vm_state_bytes,
        replaces,
        ..NewSnapshot::default()
    })
}
/// Reads the machines beside all snapshots, as far as a restore would.
fn read_states(image: &Qcow2) -> Result<(), BlockError> {
    for snapshot in image.snapshots()? {
        let _ = std::io::copy(&mut image.read_vm_state(&snapshot)?.take(1 << 20), &mut std::io::sink());
    }
    Ok(())
}
