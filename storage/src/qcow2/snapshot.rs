//! Internal snapshots: further L1 tables in the same file. ("Qcow2 Image File Format", "Snapshots".)
//!
//! These functions work alone on the image. Tables that they change as a whole are written to new places first, and the
//! header's fields, which are within a sector, then point there. Between the steps refcounts may be too high; the dirty
//! bit is set for that.

use super::entry::{COPIED, Entry, OFFSET};
use super::header::{L1_FIELDS_AT, MOST_L1_ENTRIES, MOST_SNAPSHOTS, SIZE_AT, SNAPSHOT_FIELDS_AT};
use super::{Header, Qcow2, Tables, read_table};
use crate::block::{BlockBackend, BlockError};
use crate::bytes::{be_bytes, be_table, be_u16, be_u32, be_u64};
use crate::file::ImageFile;
use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Bytes of a snapshot's entry before its extra data.
const FIXED_BYTES: usize = 40;
/// Most extra data of a snapshot, as QEMU has it.
const MOST_EXTRA_BYTES: u32 = 1024;
/// Longest name that is given, as QEMU has it.
const MOST_NAME_BYTES: usize = 255;
/// Largest table of snapshots that is read.
const MOST_TABLE_BYTES: u64 = 16 << 20;

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// A number as text, unlike all others.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// When it was made: seconds since 1970.
    pub seconds: u32,
    /// And nanoseconds.
    pub nanoseconds: u32,
    /// How long the guest had run, in nanoseconds.
    pub vm_clock_ns: u64,
    /// Bytes of a saved machine, which stand behind the disk's end.
    pub vm_state_bytes: u64,
    /// Bytes of the disk, if they are noted.
    pub disk_bytes: Option<u64>,
    /// Instructions that the guest had retired, where the machine counts them.
    pub instructions: Option<u64>,
    pub(super) l1_at: u64,
    pub(super) l1_entries: u32,
    extra: Vec<u8>,
}

/// A snapshot that is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSnapshot {
    /// What people call it.
    pub name: String,
    /// When it is made: seconds since 1970.
    pub seconds: u32,
    /// And nanoseconds.
    pub nanoseconds: u32,
    /// How long the guest has run, in nanoseconds.
    pub vm_clock_ns: u64,
    /// Bytes of the machine's state, which was written before ([`Qcow2::write_vm_state`]).
    pub vm_state_bytes: u64,
    /// Instructions that the guest has retired, where the machine counts them.
    pub instructions: Option<u64>,
    /// It takes the place of one with this name.
    pub replaces: bool,
}

impl Snapshot {
    /// When it was made, as a date and time (UTC).
    pub fn made(&self) -> String {
        super::date(u64::from(self.seconds))
    }
    /// Reads one; returns how many bytes of `bytes` it has.
    fn read(bytes: &[u8], header: &Header) -> Result<(Self, usize), BlockError> {
        let damaged = |what: &str| BlockError::Damaged(format!("the table of snapshots: {what}"));
        let (id_bytes, name_bytes) = (usize::from(be_u16(bytes, 12)), usize::from(be_u16(bytes, 14)));
        let extra_bytes = be_u32(bytes, 36);
        if extra_bytes > MOST_EXTRA_BYTES {
            return Err(damaged("an entry with too much extra data"));
        }
        let id_at = FIXED_BYTES + extra_bytes as usize;
        let end = id_at + id_bytes + name_bytes;
        let Some(whole) = bytes.get(..end) else { return Err(damaged("it is truncated")) };
        let text =
            |range: Range<usize>| String::from_utf8_lossy(whole.get(range).unwrap_or_default()).into_owned();
        let extra = whole.get(FIXED_BYTES..id_at).unwrap_or_default();
        let long_state = if extra.len() >= 8 { be_u64(extra, 0) } else { u64::from(be_u32(bytes, 32)) };
        let snapshot = Self {
            l1_at: be_u64(bytes, 0),
            l1_entries: be_u32(bytes, 8),
            seconds: be_u32(bytes, 16),
            nanoseconds: be_u32(bytes, 20),
            vm_clock_ns: be_u64(bytes, 24),
            vm_state_bytes: long_state,
            disk_bytes: (extra.len() >= 16).then(|| be_u64(extra, 8)),
            instructions: (extra.len() >= 24).then(|| be_u64(extra, 16)).filter(|count| *count != u64::MAX),
            id: text(id_at..id_at + id_bytes),
            name: text(id_at + id_bytes..end),
            extra: extra.to_vec(),
        };
        let is_start = snapshot.l1_at.is_multiple_of(header.cluster_bytes()) && snapshot.l1_at < 1 << 56;
        if snapshot.l1_entries > MOST_L1_ENTRIES || !is_start {
            return Err(damaged("an entry whose L1 table cannot be"));
        }
        Ok((snapshot, end.next_multiple_of(8)))
    }
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.l1_at.to_be_bytes().to_vec();
        bytes.extend(self.l1_entries.to_be_bytes());
        bytes.extend((self.id.len() as u16).to_be_bytes());
        bytes.extend((self.name.len() as u16).to_be_bytes());
        bytes.extend(self.seconds.to_be_bytes());
        bytes.extend(self.nanoseconds.to_be_bytes());
        bytes.extend(self.vm_clock_ns.to_be_bytes());
        bytes.extend(u32::try_from(self.vm_state_bytes).unwrap_or(0).to_be_bytes());
        bytes.extend((self.extra.len() as u32).to_be_bytes());
        bytes.extend(&self.extra);
        bytes.extend(self.id.bytes());
        bytes.extend(self.name.bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }
}

/// Reads the table of snapshots, and how many bytes it has.
pub(super) fn read_all(file: &dyn ImageFile, header: &Header) -> Result<(Vec<Snapshot>, u64), BlockError> {
    if header.snapshots == 0 {
        return Ok((Vec::new(), 0));
    }
    let there = file.bytes()?.saturating_sub(header.snapshots_at).min(MOST_TABLE_BYTES);
    let mut bytes = vec![0; there as usize];
    file.read_at(header.snapshots_at, &mut bytes)?;
    let mut snapshots = Vec::new();
    let mut at = 0;
    for _ in 0..header.snapshots {
        let (snapshot, length) = Snapshot::read(bytes.get(at..).unwrap_or_default(), header)?;
        snapshots.push(snapshot);
        at += length;
    }
    Ok((snapshots, at as u64))
}

impl Qcow2 {
    /// The image's snapshots.
    ///
    /// # Errors
    /// Their table is damaged.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, BlockError> {
        Ok(read_all(&*self.file, &self.header())?.0)
    }
    /// The snapshot with this name, or else with this id.
    fn find(snapshots: &[Snapshot], name: &str) -> Result<usize, BlockError> {
        let by = |matches: &dyn Fn(&Snapshot) -> bool| snapshots.iter().position(matches);
        let found = by(&|snapshot| snapshot.name == name).or_else(|| by(&|snapshot| snapshot.id == name));
        found.ok_or_else(|| BlockError::Refused(format!("it has no snapshot `{name}`")))
    }

    /// Makes a snapshot of the disk as it is, and of the machine's state that was written to it, if one was.
    ///
    /// # Errors
    /// There is one of this name that is not to be replaced, refcounts have too few bits, or the host fails.
    pub fn create_snapshot(&self, new: &NewSnapshot) -> Result<(), BlockError> {
        if new.vm_state_bytes == 0 {
            self.clear_vm_state()?;
        }
        self.add_snapshot(new)?;
        // The snapshot has it now.
        self.clear_vm_state()?;
        self.commit()
    }
    fn add_snapshot(&self, new: &NewSnapshot) -> Result<(), BlockError> {
        let _alone = self.begin_change()?;
        let (mut snapshots, _) = read_all(&*self.file, &self.header())?;
        let NewSnapshot { name, replaces, .. } = new;
        if name.is_empty() || name.len() > MOST_NAME_BYTES {
            return Err(BlockError::Refused(format!("a snapshot's name has 1 to {MOST_NAME_BYTES} bytes")));
        }
        let ids = snapshots.iter().filter_map(|snapshot| snapshot.id.parse::<u64>().ok());
        let id = ids.max().unwrap_or(0) + 1;
        let old = snapshots.iter().position(|snapshot| snapshot.name == *name);
        let old = old.map(|index| snapshots.remove(index));
        if old.is_some() && !replaces {
            return Err(BlockError::Refused(format!("it has a snapshot `{name}` already")));
        }
        if snapshots.len() >= MOST_SNAPSHOTS as usize {
            return Err(BlockError::Refused(format!("it has {MOST_SNAPSHOTS} snapshots already")));
        }
        let old = old.map(|old| Ok::<_, BlockError>((self.snapshot_l1(&old)?, old))).transpose()?;
        let l1 = self.tables().l1.clone();
        self.check_counts(&l1)?;
        self.count_tree(&l1, true)?;
        self.update_copied()?;
        let l1: Vec<u64> = l1.iter().map(|entry| entry & !COPIED).collect();
        let l1_at = self.write_new_table(&be_bytes(&l1))?;
        let added = self.described(new, id, l1_at, l1.len() as u32);
        snapshots.push(added);
        self.replace_snapshots(&snapshots)?;
        match old {
            Some((l1, old)) => self.free_snapshot(&l1, &old),
            None => Ok(()),
        }
    }
    /// A new snapshot's entry.
    fn described(&self, new: &NewSnapshot, id: u64, l1_at: u64, l1_entries: u32) -> Snapshot {
        let disk_bytes = self.size();
        let mut extra = new.vm_state_bytes.to_be_bytes().to_vec();
        extra.extend(disk_bytes.to_be_bytes());
        extra.extend(new.instructions.unwrap_or(u64::MAX).to_be_bytes());
        Snapshot {
            id: id.to_string(),
            name: new.name.clone(),
            seconds: new.seconds,
            nanoseconds: new.nanoseconds,
            vm_clock_ns: new.vm_clock_ns,
            vm_state_bytes: new.vm_state_bytes,
            disk_bytes: Some(disk_bytes),
            instructions: new.instructions,
            l1_at,
            l1_entries,
            extra,
        }
    }

    /// Makes the disk what it was at a snapshot.
    ///
    /// # Errors
    /// There is none of this name, the image is damaged, or the host fails.
    pub fn apply_snapshot(&self, name: &str) -> Result<(), BlockError> {
        let _alone = self.begin_change()?;
        let (snapshots, _) = read_all(&*self.file, &self.header())?;
        let Some(snapshot) = snapshots.get(Self::find(&snapshots, name)?) else { return Ok(()) };
        let size = snapshot.disk_bytes.unwrap_or(self.size());
        let mut l1 = self.snapshot_l1(snapshot)?;
        let needed = size.div_ceil(self.header().bytes_of_l1_entry());
        if size > i64::MAX as u64 || needed > l1.len() as u64 {
            return Err(BlockError::Damaged("the snapshot's L1 table is too small for its disk".into()));
        }
        l1.iter_mut().for_each(|entry| *entry &= !COPIED);
        // A machine's state stays the snapshot's own.
        l1.iter_mut().skip(needed as usize).for_each(|entry| *entry = 0);
        self.check_counts(&l1)?;
        self.count_tree(&l1, true)?;
        self.commit()?;
        let old = self.replace_l1(l1, size)?;
        self.count_tree(&old, false)?;
        self.update_copied()?;
        self.commit()
    }

    /// Deletes a snapshot; what only it has is given back.
    ///
    /// # Errors
    /// There is none of this name, the image is damaged, or the host fails.
    pub fn delete_snapshot(&self, name: &str) -> Result<(), BlockError> {
        let _alone = self.begin_change()?;
        let (mut snapshots, _) = read_all(&*self.file, &self.header())?;
        let snapshot = snapshots.remove(Self::find(&snapshots, name)?);
        let l1 = self.snapshot_l1(&snapshot)?;
        self.replace_snapshots(&snapshots)?;
        self.free_snapshot(&l1, &snapshot)
    }
    /// Gives back what only a snapshot had that is in the table no more.
    fn free_snapshot(&self, l1: &[u64], snapshot: &Snapshot) -> Result<(), BlockError> {
        self.count_tree(l1, false)?;
        let bits = self.cluster_bits;
        let clusters = (l1.len() as u64 * 8).div_ceil(self.cluster_bytes());
        self.tables_mut().refcounts.freed.extend((snapshot.l1_at >> bits..).take(clusters as usize));
        self.commit()?;
        self.update_copied()?;
        self.commit()
    }

    /// Begins a change to the image as a whole: alone, with nothing in memory that is not in the file.
    pub(super) fn begin_change(&self) -> Result<std::sync::RwLockWriteGuard<'_, ()>, BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        let alone = self.alone();
        self.commit()?;
        self.mark_in_use()?;
        *self.next_packed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.last_unpacked.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(alone)
    }
    pub(super) fn snapshot_l1(&self, snapshot: &Snapshot) -> Result<Vec<u64>, BlockError> {
        read_table(&*self.file, "a snapshot's L1 table", snapshot.l1_at, u64::from(snapshot.l1_entries) * 8)
    }

    /// Calls `visit` with the clusters that each entry of an L1 table's tree refers to, the L2 tables among them.
    fn for_each_run(
        &self,
        l1: &[u64],
        mut visit: impl FnMut(&mut Tables, Range<u64>) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        for entry in l1 {
            let at = entry & OFFSET;
            if at == 0 {
                continue;
            }
            let table = self.read_l2(at)?;
            let mut tables = self.tables_mut();
            visit(&mut tables, at >> self.cluster_bits..(at >> self.cluster_bits) + 1)?;
            for entry in table {
                let run = Entry::read(entry, self.version, self.cluster_bits)?.clusters(self.cluster_bits);
                visit(&mut tables, run)?;
            }
        }
        Ok(())
    }
    /// An L2 table as it is in the file.
    pub(super) fn read_l2(&self, at: u64) -> Result<Vec<u64>, BlockError> {
        if !at.is_multiple_of(self.cluster_bytes()) || at >= self.file.bytes()? {
            return Err(BlockError::Damaged(format!("an L2 table at {at:#x}, where none can be")));
        }
        let mut table = vec![0; self.cluster_bytes() as usize];
        self.file.read_at(at, &mut table)?;
        Ok(be_table(&table))
    }
    /// Checks that each cluster of a tree can have one more reference.
    fn check_counts(&self, l1: &[u64]) -> Result<(), BlockError> {
        let file = &*self.file;
        self.for_each_run(l1, |tables, run| {
            for cluster in run {
                let count = tables.refcounts.get(cluster, file)?;
                if count == 0 {
                    return Err(BlockError::Damaged(format!(
                        "cluster {cluster} is in use with a refcount of 0"
                    )));
                }
                if count >= tables.refcounts.most() {
                    return Err(BlockError::Unsupported(format!(
                        "more than {count} references to a cluster"
                    )));
                }
            }
            Ok(())
        })
    }
    /// Adds a reference to each cluster of a tree, or takes one away.
    fn count_tree(&self, l1: &[u64], up: bool) -> Result<(), BlockError> {
        let file = &*self.file;
        self.for_each_run(l1, |tables, run| {
            for cluster in run {
                if up {
                    let count = tables.refcounts.get(cluster, file)?;
                    tables.refcounts.set(cluster, count + 1, file)?;
                } else {
                    tables.refcounts.freed.push(cluster);
                }
            }
            Ok(())
        })
    }

    /// Sets the flags of the active tables that say which clusters have one reference.
    pub(super) fn update_copied(&self) -> Result<(), BlockError> {
        let file = &*self.file;
        self.commit()?;
        let l1 = self.tables().l1.clone();
        let mut new_l1 = l1.clone();
        for entry in &mut new_l1 {
            let at = *entry & OFFSET;
            if at == 0 {
                continue;
            }
            let table = self.read_l2(at)?;
            let mut tables = self.tables_mut();
            let is_own = tables.refcounts.get(at >> self.cluster_bits, file)? == 1;
            *entry = at | if is_own { COPIED } else { 0 };
            let mut new = table.clone();
            for raw in &mut new {
                *raw = match Entry::read(*raw, self.version, self.cluster_bits)? {
                    Entry::Data { at, .. } => {
                        let copied = tables.refcounts.get(at >> self.cluster_bits, file)? == 1;
                        Entry::Data { at, copied }.raw(self.cluster_bits)
                    }
                    Entry::Zero { at: Some(at), .. } => {
                        let copied = tables.refcounts.get(at >> self.cluster_bits, file)? == 1;
                        Entry::Zero { at: Some(at), copied }.raw(self.cluster_bits)
                    }
                    _ => *raw,
                };
            }
            if new != table {
                file.write_at(at, &be_bytes(&new))?;
            }
        }
        let mut tables = self.tables_mut();
        if new_l1 != l1 {
            tables.l1 = new_l1;
            tables.l1_changed();
        }
        tables.forget_slices();
        drop(tables);
        self.commit()
    }

    /// Writes a table to new clusters; nothing points to it yet.
    fn write_new_table(&self, bytes: &[u8]) -> Result<u64, BlockError> {
        let mut tables = self.tables_mut();
        let count = (bytes.len() as u64).div_ceil(self.cluster_bytes());
        if count == 0 {
            return Ok(0);
        }
        let file = &*self.file;
        let place = tables.refcounts.take_all(count, file)?;
        let mut whole = bytes.to_vec();
        whole.resize((count << self.cluster_bits) as usize, 0);
        if let Err(error) = file.write_at(place.start << self.cluster_bits, &whole) {
            tables.refcounts.release(place);
            return Err(error.into());
        }
        tables.used_up_to(place.end << self.cluster_bits);
        tables.refcounts.settle(place.clone(), file)?;
        Ok(place.start << self.cluster_bits)
    }
    /// Lets the header point to a new table of snapshots.
    fn replace_snapshots(&self, snapshots: &[Snapshot]) -> Result<(), BlockError> {
        let (_, old_bytes) = read_all(&*self.file, &self.header())?;
        let bytes: Vec<u8> = snapshots.iter().flat_map(Snapshot::to_bytes).collect();
        let at = self.write_new_table(&bytes)?;
        self.commit()?;
        let mut header = self.header.write().unwrap_or_else(PoisonError::into_inner);
        let mut fields = (snapshots.len() as u32).to_be_bytes().to_vec();
        fields.extend(at.to_be_bytes());
        self.file.write_at(SNAPSHOT_FIELDS_AT, &fields)?;
        let old = header.snapshots_at >> self.cluster_bits;
        (header.snapshots, header.snapshots_at) = (snapshots.len() as u32, at);
        drop(header);
        let clusters = old_bytes.div_ceil(self.cluster_bytes());
        self.tables_mut().refcounts.freed.extend(old..old + clusters);
        self.commit()
    }
    /// Lets the header point to a new active L1 table, for a disk of `size` bytes. Returns the old table.
    pub(super) fn replace_l1(&self, l1: Vec<u64>, size: u64) -> Result<Vec<u64>, BlockError> {
        let at = self.write_new_table(&be_bytes(&l1))?;
        self.commit()?;
        let mut header = self.header.write().unwrap_or_else(PoisonError::into_inner);
        let mut fields = size.to_be_bytes().to_vec();
        fields.extend(0u32.to_be_bytes());
        fields.extend((l1.len() as u32).to_be_bytes());
        fields.extend(at.to_be_bytes());
        debug_assert_eq!(SIZE_AT + fields.len() as u64, L1_FIELDS_AT + 12);
        self.file.write_at(SIZE_AT, &fields)?;
        let old_clusters = (u64::from(header.l1_entries) * 8).div_ceil(self.cluster_bytes());
        let old_at = header.l1_at >> self.cluster_bits;
        (header.size, header.l1_entries, header.l1_at) = (size, l1.len() as u32, at);
        drop(header);
        self.size.store(size.next_multiple_of(512), Ordering::Relaxed);
        let mut tables = self.tables_mut();
        tables.refcounts.freed.extend(old_at..old_at + old_clusters);
        tables.l1_at = at;
        let old = std::mem::replace(&mut tables.l1, l1);
        tables.forget_slices();
        Ok(old)
    }
}
