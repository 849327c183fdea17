//! The interpreter: the reference for what each instruction means.
//!
//! Guest code is decoded once into blocks of compact operations ([`op`]), kept by where their
//! bytes lie ([`cache`]) and dispatched by tail calls. One instruction is one small function
//! in the module of its family ([`insn`]); how it reaches memory is in [`access`], how blocks
//! follow each other in [`jump`], what happens between them in [`run`], and the engine's outside is [`vcpu`].

pub mod access;
mod block_lookup;
pub mod cache;
pub mod core;
pub mod debugger;
pub mod decode;
pub mod events;
pub mod fallback;
mod hot;
pub mod insn;
pub mod jump;
pub mod lower;
pub mod op;
pub mod run;
pub mod trace;
pub mod vcpu;

pub use vcpu::{InterpVcpu, Interpreter};
