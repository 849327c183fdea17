//! The file of a Unix socket, which goes with whoever listens there.

use std::path::PathBuf;

/// Removes the file when it is dropped.
pub struct SocketFile(pub PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(&self.0);
    }
}
