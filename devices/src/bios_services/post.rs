//! The power-on service: what low memory says of the drives.

use super::BiosServices;
use super::drives::{MAX_DISKS, SECTOR};
use super::edd::{device_parameters, fixed_disk_parameters};
use super::frame::Frame;
use super::low_memory::{
    DEVICE_PARAMETERS, DISK_COUNT, DISK_STATUS, DISK_VECTORS, EQUIPMENT, FIXED_DISK_PARAMETERS,
    FLOPPY_CALIBRATED, FLOPPY_INFO, FLOPPY_STATUS, FLOPPY_TRACK, MEDIA_STATE, put, read_word, set_vector,
};
use super::request::Step;
use trimotor_bus::DmaBus;

/// Bits of the equipment word that say how many floppy drives there are.
const EQUIPMENT_FLOPPIES: u16 = 0x00C1;

impl BiosServices {
    /// Service 0100h: AX hard disks, BX floppy drives, CX CD-ROM drives, DX entries of the boot order.
    pub(super) fn power_on_call(&mut self, frame: &mut Frame) -> Step {
        self.starts = self.starts.saturating_add(1);
        self.session = None;
        self.first_disk = 0;
        // Whatever is in the drives now is what was there at power-on.
        for (watch, floppy) in self.floppy_watches.iter_mut().zip(&self.drives.floppies) {
            watch.settle(&floppy.drive);
        }
        for (state, cd) in self.cds.iter_mut().zip(&self.drives.cds) {
            state.watch.settle(&cd.drive);
        }
        for at in [DISK_STATUS, FLOPPY_STATUS, FLOPPY_CALIBRATED] {
            self.memory.dma_write(at, &[0]);
        }
        for at in [MEDIA_STATE, FLOPPY_TRACK] {
            self.memory.dma_write(at, &[0; 2]);
        }
        let info = |number: usize| match self.drives.floppies.get(number).map(|drive| drive.drive_type) {
            None => 0,
            Some(1) => 4,
            Some(3) => 5,
            Some(_) => 7,
        };
        self.memory.dma_write(FLOPPY_INFO, &[info(0) | info(1) << 4]);
        for (index, drive) in (0..).zip(&self.drives.floppies) {
            if let Some(format) = drive.format() {
                self.put_parameters(index, format);
            }
        }
        self.put_counts();
        frame.set_ax(self.drives.disks.len() as u16);
        frame.set_bx(self.drives.floppies.len() as u16);
        frame.set_cx(self.drives.cds.len() as u16);
        frame.set_dx(self.boot_entries().len() as u16);
        frame.set_carry(false);
        Step::Answered
    }

    /// Writes how many drives there are, and the tables of the hard disks in the order of their numbers.
    pub(super) fn put_counts(&self) {
        let equipment = read_word(&self.memory, EQUIPMENT) & !EQUIPMENT_FLOPPIES;
        let floppies = match u16::from(self.floppy_count()) {
            0 => 0,
            count => 1 | (count - 1).min(3) << 6,
        };
        self.memory.dma_write(EQUIPMENT, &(equipment | floppies).to_le_bytes());
        self.memory.dma_write(DISK_COUNT, &[self.disk_count()]);
        for index in 0..MAX_DISKS.min(self.drives.disks.len()) as u8 {
            let Some(drive) = self.drives.disks.get(usize::from(self.ordered_disk(index))) else { continue };
            let Some(medium) = drive.drive.medium() else { continue };
            let sectors = medium.size() / SECTOR;
            let at = usize::from(index);
            if let (Some(offset), Some(vector)) = (FIXED_DISK_PARAMETERS.get(at), DISK_VECTORS.get(at)) {
                let place = put(&self.memory, *offset, &fixed_disk_parameters(sectors));
                set_vector(&self.memory, *vector, place);
            }
            // How a driver reaches it by itself: at an IDE controller only.
            if let Some(place) = drive.place {
                let offset = DEVICE_PARAMETERS + 16 * u16::from(index);
                put(&self.memory, offset, &device_parameters(place, sectors, false));
            }
        }
    }
}
