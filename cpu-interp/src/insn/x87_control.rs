//! x87 control instructions: control and status words, environments, and EMMS.
//!
//! Those whose name starts with FN do not wait: they report no pending exception.
//!
//! Source: SDM Vol. 1, x87 FPU Control Instructions.

use iced_x86::Code::*;
use trimotor_cpu::x87::control;
use trimotor_cpu::x87::environment::{ENVIRONMENT_BYTES, Layout, SAVE_BYTES};

use super::x87::x87;
use crate::core::{Core, mode};
use crate::op::{Done, Op, Row, Unit, body, row};

/// The layout of FSTENV and FSAVE for an operand size.
fn layout(core: &Core, wide: bool) -> Layout {
    Layout {
        wide,
        real: core.state.mode & mode::PROTECTED == 0 && core.state.mode & mode::CODE_SIZE != mode::CODE64,
    }
}

/// FWAIT, and FNOP, which waits too.
fn fwait(core: &mut Core, _op: &Op) -> Done {
    core.waiting_x87()
}

/// FNENI, FNDISI, FNSETPM: nothing since the 80387.
fn nothing(_core: &mut Core, _op: &Op) -> Done {
    Ok(())
}

fn fldcw(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let word = core.load::<u16>(op)?;
    core.state.x87.set_control(word);
    Ok(())
}

fn fnstcw(core: &mut Core, op: &Op) -> Done {
    core.store(op, core.state.x87.control)
}

fn fnstsw_memory(core: &mut Core, op: &Op) -> Done {
    core.store(op, core.state.x87.status_word())
}

fn fnstsw_ax(core: &mut Core, op: &Op) -> Done {
    core.set_reg(op.r1, core.state.x87.status_word());
    Ok(())
}

fn fnclex(core: &mut Core, _op: &Op) -> Done {
    core.state.x87.clear_exceptions();
    core.x87_errors_changed();
    Ok(())
}

fn fninit(core: &mut Core, _op: &Op) -> Done {
    core.state.x87.init();
    core.x87_errors_changed();
    Ok(())
}

/// FDECSTP (`BY` = 7) and FINCSTP (`BY` = 1).
fn rotate<const BY: u8>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    core.state.x87.rotate(BY);
    core.note_x87(op);
    Ok(())
}

/// FFREE, and FFREEP, which pops too.
fn ffree<const POP: bool>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    core.state.x87.free(op.r1);
    if POP {
        core.state.x87.drop_top();
    }
    core.note_x87(op);
    Ok(())
}

/// FNSTENV: all exceptions are masked afterwards.
fn fnstenv<const WIDE: bool>(core: &mut Core, op: &Op) -> Done {
    let layout = layout(core, WIDE);
    let image = core.state.x87.environment(layout);
    core.write_bytes(op, 0, &image[..layout.bytes()])?;
    core.state.x87.control |= control::MASKS;
    core.state.x87.refresh_summary();
    Ok(())
}

fn fldenv<const WIDE: bool>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let layout = layout(core, WIDE);
    let mut image = [0; ENVIRONMENT_BYTES];
    core.read_bytes(op, 0, &mut image[..layout.bytes()])?;
    core.state.x87.load_environment(&image, layout);
    core.x87_errors_changed();
    Ok(())
}

/// FNSAVE: the unit is initialised afterwards.
fn fnsave<const WIDE: bool>(core: &mut Core, op: &Op) -> Done {
    let (image, len) = core.state.x87.save_image(layout(core, WIDE));
    core.write_bytes(op, 0, &image[..len])?;
    core.state.x87.init();
    core.x87_errors_changed();
    Ok(())
}

fn frstor<const WIDE: bool>(core: &mut Core, op: &Op) -> Done {
    core.waiting_x87()?;
    let layout = layout(core, WIDE);
    let mut image = [0; SAVE_BYTES];
    core.read_bytes(op, 0, &mut image[..layout.bytes() + 80])?;
    core.state.x87.restore_image(&image, layout);
    core.x87_errors_changed();
    Ok(())
}

fn emms(core: &mut Core, _op: &Op) -> Done {
    core.waiting_x87()?;
    core.state.x87.leave_mmx();
    Ok(())
}

pub(crate) const ROWS: &[Row] = &[
    x87(Wait, body(fwait)),
    x87(Fnop, body(fwait)),
    x87(Fneni, body(nothing)),
    x87(Fndisi, body(nothing)),
    x87(Fnsetpm, body(nothing)),
    x87(Fldcw_m2byte, body(fldcw)),
    x87(Fnstcw_m2byte, body(fnstcw)),
    x87(Fnstsw_m2byte, body(fnstsw_memory)),
    x87(Fnstsw_AX, body(fnstsw_ax)),
    x87(Fnclex, body(fnclex)),
    x87(Fninit, body(fninit)),
    x87(Fdecstp, body(rotate::<7>)),
    x87(Fincstp, body(rotate::<1>)),
    x87(Ffree_sti, body(ffree::<false>)),
    x87(Ffreep_sti, body(ffree::<true>)),
    x87(Fnstenv_m14byte, body(fnstenv::<false>)),
    x87(Fnstenv_m28byte, body(fnstenv::<true>)),
    x87(Fldenv_m14byte, body(fldenv::<false>)),
    x87(Fldenv_m28byte, body(fldenv::<true>)),
    x87(Fnsave_m94byte, body(fnsave::<false>)),
    x87(Fnsave_m108byte, body(fnsave::<true>)),
    x87(Frstor_m94byte, body(frstor::<false>)),
    x87(Frstor_m108byte, body(frstor::<true>)),
    row(Emms, body(emms)).unit(Unit::Mmx),
];
