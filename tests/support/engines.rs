//! Boots on each engine.

use trimotor_machine::engines::Engine;

/// Whether the engine of this name can be started here; says so where not.
pub fn usable(name: &str) -> bool {
    let started = name.parse::<Engine>().and_then(Engine::start);
    if let Err(why) = &started {
        println!("skipped: engine {name}: {why}");
    }
    started.is_ok()
}

/// Makes tests of functions that take an engine's name: one for each engine that runs guests in this
/// process's way, so that they run side by side.
#[macro_export]
macro_rules! on_each_engine {
    ($($name:ident),* $(,)?) => {
        mod interp {
            $(#[test]
            fn $name() {
                super::$name("interp");
            })*
        }
        mod jit {
            $(#[test]
            fn $name() {
                if $crate::support::engines::usable("jit") {
                    super::$name("jit");
                }
            })*
        }
    };
}
