//! The instructions, a module a family. Each family's `ROWS` names its instruction forms and
//! the function that carries each out.

use crate::op::Row;

mod avx_int;
mod bmi;
pub(crate) mod branch_record;
mod control;
mod control_paging;
mod crypto;
pub(crate) mod debug;
mod f16c;
mod far;
mod far_stack;
mod fma;
pub mod fp_env;
mod fp_env_checked;
mod gates;
pub mod integer;
pub(crate) mod interrupt;
mod interrupt_event;
mod interrupt_report;
mod iret;
mod masked;
mod misc_system;
mod misc_system_flags;
mod misc_system_tables;
mod mmx;
mod msr;
mod msr_memory_types;
pub(crate) mod port_io;
mod segment;
mod segment_descriptor;
mod segment_load;
pub(crate) mod smm;
mod sse_fp;
mod sse_fp_compare;
mod sse_fp_convert;
mod sse_fp_form;
mod sse_fp_mmx;
#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod sse_fp_native;
mod sse_fp_shape;
#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod sse_fp_tests;
mod sse_int;
#[cfg(all(test, target_arch = "x86_64"))]
mod sse_int_tests;
mod sse_lanes;
mod sse_move;
mod sse_string;
mod syscall;
mod task;
mod task_segment;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vector_coverage;
mod vector_forms;
mod x87;
mod x87_control;
mod x87_move;
pub(crate) mod xsave;

/// The tables of all families.
pub(crate) fn families() -> &'static [&'static [Row]] {
    &[
        control::ROWS,
        debug::ROWS,
        far::ROWS,
        interrupt::ROWS,
        iret::ROWS,
        misc_system::ROWS,
        misc_system_flags::ROWS,
        misc_system_tables::ROWS,
        msr::ROWS,
        port_io::ROWS,
        smm::ROWS,
        segment::ROWS,
        syscall::ROWS,
        integer::bcd::ROWS,
        integer::bits::ROWS,
        integer::misc::ROWS,
        integer::muldiv::ROWS,
        integer::stack::ROWS,
        integer::string::ROWS,
        avx_int::ROWS,
        bmi::ROWS,
        crypto::ROWS,
        masked::ROWS,
        mmx::ROWS,
        sse_int::ROWS,
        sse_lanes::ROWS,
        sse_move::ROWS,
        sse_string::ROWS,
        f16c::ROWS,
        fma::ROWS,
        sse_fp::ROWS,
        sse_fp_compare::ROWS,
        sse_fp_convert::ROWS,
        sse_fp_mmx::ROWS,
        x87::ARITHMETIC,
        x87::ROWS,
        x87_control::ROWS,
        x87_move::ROWS,
        xsave::ROWS,
    ]
}
