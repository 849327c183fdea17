//! Cases of random instructions: where their memory is, what registers and memory hold, and which operands they have.

#![allow(missing_docs, reason = "fields with the names of registers")]
#![allow(unsafe_code, reason = "memory that the host's CPU and a guest work on is filled in place")]

pub mod layout;
pub mod operands;
pub mod registers;
pub mod values;
