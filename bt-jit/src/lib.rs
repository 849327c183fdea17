//! The translator, which will turn x86 guest code into x86-64 host code: what there is of it so far
//! is its two lowest layers.
//!
//! - [`code_memory`]: where host code lives: one memory object, mapped once to write and once to
//!   execute.
//! - [`emitter`]: writes the host instructions that a translator emits most, with labels, in about as
//!   many host instructions as they have bytes.
//!
//! There is no engine here yet: nothing translates guest code, and [`availability`] says so. The
//! translator itself (blocks keyed by guest-physical address and mode, register and flag mapping,
//! inline memory checks, block linking, precise faults) is on docs/ROADMAP.md.

pub mod code_memory;
pub mod emitter;

pub use code_memory::{CodeMemory, CodeMemoryError, CodeOffset};
pub use emitter::{Emitter, EmitterError, Label};

/// Why the translator cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unavailable {
    /// It emits x86-64 host code only.
    #[error("the translator emits x86-64 code, and this host is {arch}")]
    OtherHost {
        /// The host's architecture.
        arch: &'static str,
    },
    /// Its parts are here, the engine is not.
    #[error("the translator is not part of this build yet")]
    NotBuilt,
}

/// Whether guests can run on the translator.
///
/// # Errors
/// Always, for now: see [`Unavailable`].
pub fn availability() -> Result<(), Unavailable> {
    available_on(HOST)
}

/// The architecture that this build is for.
const HOST: &str = if cfg!(target_arch = "x86_64") {
    "x86_64"
} else if cfg!(target_arch = "aarch64") {
    "aarch64"
} else if cfg!(target_arch = "riscv64") {
    "riscv64"
} else {
    "another"
};

fn available_on(arch: &'static str) -> Result<(), Unavailable> {
    if arch != "x86_64" {
        return Err(Unavailable::OtherHost { arch });
    }
    Err(Unavailable::NotBuilt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn availability_names_what_is_missing() {
        assert_eq!(available_on("x86_64"), Err(Unavailable::NotBuilt));
        let elsewhere = available_on("aarch64").unwrap_err().to_string();
        assert_eq!(elsewhere, "the translator emits x86-64 code, and this host is aarch64");
    }
}
