//! Save state: what a part hands out and takes back for snapshots.

use serde::{Serialize, de::DeserializeOwned};

/// A part whose state can be saved and restored.
///
/// The state is a serde struct apart from the runtime type, named with its version
/// (`PitStateV1`). `save` and `restore` destructure without `..`, so that a forgotten
/// field does not compile. `restore` checks everything before it changes anything, and
/// sets levels without making edges.
pub trait SaveState {
    /// The serialised form.
    type State: Serialize + DeserializeOwned;
    /// The state now.
    fn save(&self) -> Self::State;
    /// Takes a saved state.
    ///
    /// # Errors
    /// A value that the part cannot have; the part is then unchanged.
    fn restore(&mut self, state: Self::State) -> Result<(), RestoreError>;
}

/// A saved state that a part refuses.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("saved state of {part}: {field} is {value}, which cannot be")]
pub struct RestoreError {
    /// The part, as a person knows it ("PIT").
    pub part: &'static str,
    /// The field.
    pub field: &'static str,
    /// Its value, printed.
    pub value: String,
}
