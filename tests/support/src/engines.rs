//! The engines that tests run on.

use crate::needs::{Case, Need, skip};
use trimotor_machine::engines::Engine;

/// The translator.
pub const JIT: Need = Need { name: "jit", check: || can_start(Engine::Jit) };

/// The host's KVM, with the interpreter's help where it needs it.
pub const KVM: Need = Need { name: "kvm", check: || can_start(Engine::Kvm) };

/// Each engine that counts instructions, as a command line names it.
pub const ENGINE_NAMES: [Case<&str>; 2] =
    [Case { name: "interp", needs: &[], value: "interp" }, Case { name: "jit", needs: &[JIT], value: "jit" }];
/// Each engine that counts instructions.
pub const ENGINES: [Case<Engine>; 2] = [
    Case { name: "interp", needs: &[], value: Engine::Interp },
    Case { name: "jit", needs: &[JIT], value: Engine::Jit },
];

/// Each engine: KVM counts no instructions.
pub const ALL_ENGINES: [Case<Engine>; 3] =
    [ENGINES[0], ENGINES[1], Case { name: "kvm", needs: &[KVM], value: Engine::Kvm }];

fn can_start(engine: Engine) -> Result<(), String> {
    engine.start().map(drop).map_err(|why| format!("engine {engine}: {why}"))
}

/// Those of [`ENGINES`] that this host can run, for a `#[test]` function that goes through them; says which it cannot.
pub fn usable() -> Vec<Engine> {
    let engines = [Engine::Interp, Engine::Jit].into_iter();
    engines.filter(|engine| !skip(can_start(*engine))).collect()
}
