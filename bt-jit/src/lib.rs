//! The translator: x86 guest code becomes x86-64 host code.
//!
//! - [`translate`]: from guest instructions to host code.
//! - [`layout`]: which host register holds what, and where the rest is.
//! - [`cache`]: blocks, links between them, what happens when guest code is written to.
//! - [`profiler`]: what profilers learn of it.
//! - [`region`]: parts of code memory that are filled and emptied as a whole.
//! - [`listing`]: host code as text.
//! - [`positions`]: which guest instruction a place in host code belongs to.
//! - [`core_stack`]: where a vCPU's state lives, above a stack.
//! - [`engine_area`]: what is kept beside that state.
//! - [`host_fault`]: the report of a signal in translated code.
//! - [`statistics`]: what was counted.
//! - [`jumps`]: where indirect jumps lead.
//! - [`thunks`]: the way in and out, and calls from translated code into Rust.
//! - [`x87`]: the x87 registers between the state and the host's.
//! - [`vcpu`]: the engine and what translated code calls.
//! - `start`: the engine as a whole, on any host.
//! - [`code_memory`]: where host code lives: one memory object, mapped once to write and once to
//!   execute.
//! - [`emitter`]: writes the host instructions that a translator emits most, with labels.

pub mod code_memory;
pub mod emitter;
pub mod engine_area;

#[cfg(target_arch = "x86_64")]
pub mod cache;
#[cfg(target_arch = "x86_64")]
pub mod core_stack;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod host_fault;
#[cfg(target_arch = "x86_64")]
pub mod host_flags;
#[cfg(target_arch = "x86_64")]
mod inline_cache_policy;
#[cfg(target_arch = "x86_64")]
pub mod jumps;
#[cfg(target_arch = "x86_64")]
pub mod layout;
#[cfg(target_arch = "x86_64")]
pub mod listing;
#[cfg(target_arch = "x86_64")]
mod native;
#[cfg(target_arch = "x86_64")]
pub mod positions;
#[cfg(target_arch = "x86_64")]
pub mod profiler;
#[cfg(target_arch = "x86_64")]
pub mod region;
#[cfg(target_arch = "x86_64")]
mod retranslation_backoff;
#[cfg(target_arch = "x86_64")]
pub mod statistics;
#[cfg(target_arch = "x86_64")]
pub mod thunks;
#[cfg(target_arch = "x86_64")]
pub mod translate;
#[cfg(target_arch = "x86_64")]
pub mod vcpu;
#[cfg(target_arch = "x86_64")]
pub mod x87;

mod start;

pub use code_memory::{CodeMemory, CodeMemoryError, CodeOffset};
pub use emitter::{Emitter, EmitterError, Label};
pub use start::{CODE_BYTES, LEAST_CODE_BYTES, Options, Reporting, report_host_faults, start};
#[cfg(target_arch = "x86_64")]
pub use vcpu::Translator;

/// Why the translator cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unavailable {
    /// It emits x86-64 host code only.
    #[error("the translator emits x86-64 code, and this host is {arch}")]
    OtherHost {
        /// The host's architecture.
        arch: &'static str,
    },
    /// The host's CPU lacks instructions that translated code is made of.
    #[error("the translator needs a host CPU with AVX and BMI2 (2013 or later)")]
    OldHost,
}

/// Whether guests can run on the translator.
///
/// # Errors
/// See [`Unavailable`].
pub fn availability() -> Result<(), Unavailable> {
    available_on(HOST)?;
    if host_is_recent() { Ok(()) } else { Err(Unavailable::OldHost) }
}

fn host_is_recent() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("avx") && std::is_x86_feature_detected!("bmi2");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn availability_names_what_is_missing() {
        assert_eq!(available_on("x86_64"), Ok(()));
        let elsewhere = available_on("aarch64").unwrap_err().to_string();
        assert_eq!(elsewhere, "the translator emits x86-64 code, and this host is aarch64");
    }
}
