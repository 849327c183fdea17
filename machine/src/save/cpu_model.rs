//! The CPU model of a saved machine. A guest has seen it, and goes on with no other.

use crate::machine::MachineError;
use serde::{Deserialize, Serialize};
use trimotor_cpu::model::{CpuModel, FEATURES};

/// What a guest sees of a CPU model.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct CpuModelStateV1 {
    name: String,
    signature: u32,
    phys_bits: u32,
    tsc_hz: u64,
    cpus: u32,
    features: Vec<String>,
}

impl CpuModelStateV1 {
    pub(crate) fn of(model: &CpuModel) -> Self {
        let has = FEATURES.iter().filter(|row| model.has(row.feature));
        Self {
            name: model.name.clone(),
            signature: model.signature,
            phys_bits: model.phys_bits,
            tsc_hz: model.tsc_hz,
            cpus: model.cpus,
            features: has.map(|row| row.name.to_owned()).collect(),
        }
    }
    /// The name and the frequency of the time-stamp counter in Hz, which make the same model again.
    pub(crate) fn named(&self) -> (&str, u64) {
        (&self.name, self.tsc_hz)
    }
    /// Sees that `model` is the same to a guest.
    ///
    /// # Errors
    /// It is not; how it differs.
    pub(crate) fn check(&self, model: &CpuModel) -> Result<(), MachineError> {
        let other = Self::of(model);
        let missing = without(&self.features, &other.features);
        let added = without(&other.features, &self.features);
        let differs = if !missing.is_empty() || !added.is_empty() {
            let part = |what: &str, features: &[&str]| match features {
                [] => String::new(),
                features => format!(" {what} {}", features.join(", ")),
            };
            format!("this one is{}{}", part("without", &missing), part("with", &added))
        } else if (Self { name: other.name.clone(), ..self.clone() }) != other {
            let numbers = |model: &Self| {
                format!(
                    "signature {:#x}, {} address bits, a TSC of {} Hz, {} vCPUs",
                    model.signature, model.phys_bits, model.tsc_hz, model.cpus
                )
            };
            format!("it has {}; this one {}", numbers(self), numbers(&other))
        } else {
            return Ok(());
        };
        Err(MachineError::CpuModel { name: self.name.clone(), differs })
    }
}

/// The names that the other list is without.
fn without<'a>(names: &'a [String], other: &[String]) -> Vec<&'a str> {
    names.iter().filter(|name| !other.contains(name)).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_a_guest_can_tell_apart_are_refused() {
        let model = |text: &str| CpuModel::parse(text, 1_000_000_000).unwrap();
        let saved = CpuModelStateV1::of(&model("x86-64-v3"));
        assert!(saved.check(&model("x86-64-v3")).is_ok());
        let faster = CpuModel::parse("x86-64-v3", 2_000_000_000).unwrap();
        for (other, says) in [
            (model("x86-64-v3,-avx2"), "this one is without avx2"),
            (model("x86-64-v3,+la57"), "this one is with la57"),
            (faster, "a TSC of 1000000000 Hz"),
        ] {
            let message = saved.check(&other).unwrap_err().to_string();
            assert!(message.contains("x86-64-v3") && message.contains(says), "{message}");
        }
    }
}
