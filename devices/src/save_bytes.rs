//! Saved states as bytes, so that the board can save devices whose types it does not know.
//!
//! The encoding is `postcard`. Each state struct is a type of its own with a version in its name
//! ([`SaveState::State`]), so what the bytes mean is defined beside the device.

use trimotor_bus::{RestoreError, SaveState};

/// A part that can be saved to bytes and restored from them. Every [`SaveState`] is one.
pub trait SavedBytes {
    /// The state now.
    ///
    /// # Errors
    /// The state cannot be encoded.
    fn save_bytes(&self) -> Result<Vec<u8>, RestoreError>;
    /// Takes a saved state.
    ///
    /// # Errors
    /// Bytes that are no such state, or a value that the part cannot have; the part is then unchanged.
    fn restore_bytes(&mut self, bytes: &[u8]) -> Result<(), RestoreError>;
}

impl<T: SaveState> SavedBytes for T {
    fn save_bytes(&self) -> Result<Vec<u8>, RestoreError> {
        postcard::to_stdvec(&self.save()).map_err(|error| refused(&error))
    }
    fn restore_bytes(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let (state, rest) = postcard::take_from_bytes(bytes).map_err(|error| refused(&error))?;
        if !rest.is_empty() {
            return Err(refused(&format!("followed by {} bytes too many", rest.len())));
        }
        self.restore(state)
    }
}

fn refused(why: &dyn std::fmt::Display) -> RestoreError {
    RestoreError { part: "a device", field: "bytes", value: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::MachineRequests;
    use crate::reset_control::ResetControl;

    #[test]
    fn bytes_that_are_no_state_are_refused() {
        let mut chip = ResetControl::new(MachineRequests::new());
        let saved = chip.save_bytes().unwrap();
        chip.restore_bytes(&saved).unwrap();
        assert!(chip.restore_bytes(&saved[..saved.len() - 1]).is_err());
        let longer = [saved.as_slice(), &[0]].concat();
        assert!(chip.restore_bytes(&longer).unwrap_err().value.contains("1 bytes too many"));
    }
}
