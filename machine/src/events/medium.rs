//! What is kept of media: what a guest learns of a disk beside what it reads.
//!
//! What is read comes to a replay with the results of requests. So it needs no file: a stand-in has the size and the limits of what
//! was in the drive.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use trimotor_devices::drive::Medium;
use trimotor_storage::block::check_range;
use trimotor_storage::{BlockBackend, BlockError, BlockLimits};

/// The largest disk: more than any file system of the host has in a file.
const MOST_BYTES: u64 = 1 << 62;

/// What a guest sees of a medium.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MediumFacts {
    bytes: u64,
    read_only: bool,
    preferred_bytes: u32,
    discard_bytes: Option<u32>,
    /// All that is on it, where a device reads that when the machine is made: flash memory does.
    #[serde(with = "serde_bytes")]
    content: Vec<u8>,
}

impl MediumFacts {
    /// Of this medium.
    pub fn of(medium: &Medium) -> Self {
        let BlockLimits { read_only, preferred_bytes, discard_bytes } = medium.limits();
        Self { bytes: medium.size(), read_only, preferred_bytes, discard_bytes, content: Vec::new() }
    }
    /// The same with all that is on it.
    ///
    /// # Errors
    /// The host cannot read.
    pub fn with_content(medium: &Medium) -> Result<Self, BlockError> {
        let mut content = vec![0; usize::try_from(medium.size()).unwrap_or_default()];
        medium.read(0, &mut content)?;
        Ok(Self { content, ..Self::of(medium) })
    }
    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
    /// Whether a disk can be like this.
    pub fn is_possible(&self) -> bool {
        let content = self.content.len() as u64;
        self.bytes.is_multiple_of(512)
            && self.bytes <= MOST_BYTES
            && self.preferred_bytes >= 512
            && (content == 0 || content == self.bytes)
    }
    /// How another medium differs from this one: in what its image cannot but have. How its host likes to read and write is the recording's.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let size = |facts: &Self| format!("{} bytes", facts.bytes);
        let writes = |facts: &Self| if facts.read_only { "read-only" } else { "written" };
        if self.bytes != other.bytes {
            Some(format!("it had {} in the recording, and has {}", size(self), size(other)))
        } else if self.read_only != other.read_only {
            Some(format!("it was {} in the recording, and is {}", writes(self), writes(other)))
        } else {
            None
        }
    }
    /// A medium that looks like it.
    pub fn stand_in(&self) -> Medium {
        Arc::new(StandIn(self.clone()))
    }
}

/// A medium whose content is in a log.
struct StandIn(MediumFacts);

const ELSEWHERE: &str = "a replay reads and writes no disk";

impl BlockBackend for StandIn {
    fn size(&self) -> u64 {
        self.0.bytes
    }
    fn limits(&self) -> BlockLimits {
        let MediumFacts { read_only, preferred_bytes, discard_bytes, .. } = self.0;
        BlockLimits { read_only, preferred_bytes, discard_bytes }
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        check_range(offset, into.len() as u64, self.0.content.len() as u64)
            .map_err(|_| BlockError::Refused(ELSEWHERE.to_owned()))?;
        into.copy_from_slice(&self.0.content[offset as usize..][..into.len()]);
        Ok(())
    }
    fn write(&self, _offset: u64, _from: &[u8]) -> Result<(), BlockError> {
        Err(BlockError::Refused(ELSEWHERE.to_owned()))
    }
    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
    fn write_zeroes(&self, _offset: u64, _bytes: u64, _unmap: bool) -> Result<(), BlockError> {
        Err(BlockError::Refused(ELSEWHERE.to_owned()))
    }
    fn discard(&self, _offset: u64, _bytes: u64) -> Result<(), BlockError> {
        Err(BlockError::Refused(ELSEWHERE.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_storage::MemoryDisk;

    #[test]
    fn a_stand_in_looks_like_its_medium() {
        let medium: Medium = Arc::new(MemoryDisk::new((0..=255).cycle().take(2048).collect()));
        let facts = MediumFacts::of(&medium);
        let stand_in = facts.stand_in();
        assert_eq!((stand_in.size(), stand_in.limits()), (medium.size(), medium.limits()));
        assert!(stand_in.read(0, &mut [0; 512]).is_err() && stand_in.write(0, &[0; 512]).is_err());
        let whole = MediumFacts::with_content(&medium).unwrap();
        let mut read = [0; 3];
        whole.stand_in().read(510, &mut read).unwrap();
        assert_eq!(read, [254, 255, 0]);
        assert_eq!(facts.difference(&whole), None);
        let other: Medium = Arc::new(MemoryDisk::new(vec![0; 512]));
        let told = facts.difference(&MediumFacts::of(&other)).unwrap();
        assert!(told.contains("had 2048 bytes") && told.contains("has 512"), "{told}");
        assert!(facts.is_possible() && !MediumFacts { bytes: 5, ..facts }.is_possible());
    }
}
