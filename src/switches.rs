//! `--switch`: other engines go on with the guest, at moments that the command line names.

use crate::error::Failure;
use crate::note::note;
use crate::typing::instant;
use std::str::FromStr;
use trimotor_machine::{Engine, Machine, MachineEvent, PlannedSwitch, SwitchTime};

/// What is accepted, for messages.
const FORMS: &str = "write ENGINE@SECONDS of guest time, as in jit@2.5, or ENGINE@COUNTi, as in jit@5000000i, once so many \
                     instructions have retired";

/// A switch as the command line names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SwitchSpec(PlannedSwitch);

impl FromStr for SwitchSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (engine, when) = text.split_once('@').ok_or_else(|| FORMS.to_owned())?;
        let when = match when.strip_suffix('i') {
            Some(count) => count.parse().ok().map(SwitchTime::Instructions),
            None => instant(when).map(SwitchTime::Time),
        };
        let when = when.ok_or_else(|| format!("{:?} is no moment: {FORMS}", &text[engine.len() + 1..]))?;
        Ok(Self(PlannedSwitch { when, engine: engine.parse()? }))
    }
}

/// Sees that the engines can be used, before the guest runs for an hour.
///
/// # Errors
/// [`Failure::BadInput`] that names the engine and why it cannot be used.
pub fn check(switches: &[SwitchSpec]) -> Result<(), Failure> {
    let unusable = |switch: &SwitchSpec| {
        let engine = switch.0.engine;
        engine.can_start().err().map(|why| (engine, why))
    };
    match switches.iter().find_map(unusable) {
        Some((engine, why)) => {
            Err(Failure::bad(format!("--switch {engine}: {} (see `trimotor doctor`)", why.verdict)))
        }
        None => Ok(()),
    }
}

/// Whether the guest runs, now or later, on an engine that makes host code.
pub fn translates(first: Engine, switches: &[SwitchSpec]) -> bool {
    first.translates() || switches.iter().any(|switch| switch.0.engine.translates())
}

/// Has the machine make the switches, each of which is told of.
pub fn plan(machine: &mut Machine, switches: &[SwitchSpec]) {
    if switches.is_empty() {
        return;
    }
    machine.plan_switches(switches.iter().map(|switch| switch.0));
    machine.control().observe(|event| {
        if let MachineEvent::EngineSwitched(switched) = event {
            let (seconds, count) = (switched.at.ns() as f64 / 1e9, switched.instructions);
            note(format_args!("trimotor: {switched} (at {seconds:.6} s, {count} instructions)"));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_bus::GuestTime;

    #[test]
    fn moments_are_times_or_counts() {
        let read = |text: &str| text.parse::<SwitchSpec>().map(|spec| (spec.0.engine, spec.0.when));
        let time = |ns| SwitchTime::Time(GuestTime(ns));
        assert_eq!(read("jit@2.5"), Ok((Engine::Jit, time(2_500_000_000))));
        assert_eq!(read("interp@20ms"), Ok((Engine::Interp, time(20_000_000))));
        assert_eq!(read("jit@0"), Ok((Engine::Jit, time(0))));
        assert_eq!(read("jit@5000000i"), Ok((Engine::Jit, SwitchTime::Instructions(5_000_000))));
        for (text, says) in [
            ("jit", "ENGINE@SECONDS"),
            ("tcg@1", "there are interp, jit and kvm"),
            ("jit@", "\"\" is no moment"),
            ("jit@soon", "\"soon\" is no moment"),
            ("jit@-1", "is no moment"),
            ("jit@1.5i", "is no moment"),
            ("jit@99999999999999999999i", "is no moment"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(says), "{text}: {message}");
        }
    }
}
