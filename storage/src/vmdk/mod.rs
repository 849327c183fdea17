//! VMDK, the images of VMware, to be read: monolithicSparse, streamOptimized, and descriptors with flat and sparse extents.
//!
//! A disk is made of *extents*, which a *descriptor* lists, a text that stands in a file of its own or inside of the only
//! extent. A flat extent is content as it is. A sparse extent has *grains* (64 KiB, as a rule) and a directory of tables
//! that say where each is; in a stream-optimized one they are compressed. Left out: disks that stand on a parent (clones
//! and snapshots of VMware's), and ESX's own sparse kinds. (VMware, "Virtual Disk Format 5.0".)

mod descriptor;
mod sparse;

use crate::block::{BlockBackend, BlockError};
use crate::file::ImageFile;
use crate::mapped::{Map, Mapped, Place};
use descriptor::{Descriptor, Kind};
use sparse::Sparse;
use std::sync::Arc;

/// Opens the file of an extent by the name that the descriptor has.
pub(crate) type OpenExtent<'a> = &'a mut dyn FnMut(&str) -> Result<Arc<dyn ImageFile>, BlockError>;

struct Vmdk {
    extents: Vec<Extent>,
    size: u64,
}

/// A part of the disk.
struct Extent {
    start: u64,
    bytes: u64,
    content: Content,
}

enum Content {
    Zero,
    Flat(Arc<dyn ImageFile>, u64),
    Sparse(Sparse),
}

/// Opens a VMDK image, a descriptor or an extent with a descriptor inside.
///
/// # Errors
/// It is damaged, or of a kind that is not supported.
pub(crate) fn open(
    file: Arc<dyn ImageFile>,
    open_extent: OpenExtent<'_>,
) -> Result<Arc<dyn BlockBackend>, BlockError> {
    let mut mark = [0; 4];
    file.read_at(0, &mut mark)?;
    match &mark {
        b"KDMV" => {
            let sparse = Sparse::open(file)?;
            if let Some(text) = sparse.descriptor()? {
                Descriptor::read(&text)?.check_parent()?;
            }
            let bytes = sparse.bytes();
            let extents = vec![Extent { start: 0, bytes, content: Content::Sparse(sparse) }];
            Ok(Arc::new(Mapped(Vmdk { extents, size: bytes })))
        }
        b"COWD" => Err(BlockError::Unsupported("a sparse extent of ESX (COWD)".into())),
        _ => by_descriptor(&*file, open_extent),
    }
}

fn by_descriptor(
    file: &dyn ImageFile,
    open_extent: OpenExtent<'_>,
) -> Result<Arc<dyn BlockBackend>, BlockError> {
    let descriptor = Descriptor::read(&descriptor::text(file, 0, file.bytes()?)?)?;
    descriptor.check_parent()?;
    let mut extents = Vec::new();
    let mut start = 0u64;
    for extent in descriptor.extents {
        let content = match extent.kind {
            Kind::Zero => Content::Zero,
            Kind::Flat { name, at } => {
                let file = open_extent(&name)?;
                let (there, needed) = (file.bytes()?, at.saturating_add(extent.bytes));
                if there < needed {
                    return Err(BlockError::Damaged(format!(
                        "its extent {name} has {there} bytes instead of {needed}"
                    )));
                }
                Content::Flat(file, at)
            }
            Kind::Sparse { name } => Content::Sparse(Sparse::open(open_extent(&name)?)?),
        };
        extents.push(Extent { start, bytes: extent.bytes, content });
        start = start.saturating_add(extent.bytes);
    }
    if extents.is_empty() || start > i64::MAX as u64 - 511 {
        return Err(BlockError::Damaged("its descriptor lists no extents, or absurdly large ones".into()));
    }
    Ok(Arc::new(Mapped(Vmdk { extents, size: start })))
}

impl Map for Vmdk {
    fn size(&self) -> u64 {
        self.size
    }
    fn find(&self, offset: u64, decode: bool) -> Result<(Place, u64), BlockError> {
        let number = self.extents.partition_point(|extent| extent.start <= offset).saturating_sub(1);
        let Some(extent) = self.extents.get(number) else { return Ok((Place::Nowhere, 1)) };
        let within = offset - extent.start;
        let left = extent.bytes.saturating_sub(within);
        Ok(match &extent.content {
            Content::Zero => (Place::Nowhere, left),
            Content::Flat(file, at) => (Place::At(file.clone(), at + within), left),
            Content::Sparse(sparse) => {
                let (place, run) = sparse.find(within, decode)?;
                (place, run.min(left))
            }
        })
    }
}
