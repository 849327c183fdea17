//! Models from their names, as the command line spells them.

use super::CpuModel;
use super::feature::{FEATURES, Feature, FeatureSet, Level};

/// The names of the models.
pub const NAMES: &[&str] = &["x86-64-v1", "x86-64-v2", "x86-64-v3", "max"];

/// Why a text names no CPU model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The part before the first comma names no model.
    #[error("no CPU model is called \"{name}\"; there are {}", NAMES.join(", "))]
    UnknownModel {
        /// What was given.
        name: String,
    },
    /// A part after a comma has no sign.
    #[error("\"{part}\" in a CPU model must begin with + or -, as in \"x86-64-v3,+la57,-avx2\"")]
    NoSign {
        /// What was given.
        part: String,
    },
    /// A frequency of the time-stamp counter that is none.
    #[error(
        "tsc-frequency={text}: wanted is a number of hertz from {} to {}, as in \"x86-64-v3,tsc-frequency=2400000000\"",
        TSC_HZ.start(), TSC_HZ.end()
    )]
    Frequency {
        /// What was given.
        text: String,
    },
    /// No feature has that name.
    #[error("no CPU feature is called \"{name}\"{}", near(near_names))]
    UnknownFeature {
        /// What was given.
        name: String,
        /// Names like it.
        near_names: Vec<&'static str>,
    },
    /// A feature stays without what it needs.
    #[error("CPU feature {feature} needs {needs}: add +{needs}, or -{feature}")]
    Dependency {
        /// The feature that is on.
        feature: &'static str,
        /// What is off.
        needs: &'static str,
    },
    /// A feature that every x86-64 machine needs cannot be switched off.
    #[error("CPU feature {name} cannot be switched off: the machine's firmware and timers need it")]
    Required {
        /// The feature.
        name: &'static str,
    },
}

fn near(names: &[&str]) -> String {
    if names.is_empty() {
        String::from("; names are those of /proc/cpuinfo in Linux")
    } else {
        format!("; did you mean {}?", names.join(" or "))
    }
}

/// Other names by which people know features.
const ALIASES: &[(&str, &str)] = &[
    ("sse3", "pni"),
    ("lzcnt", "abm"),
    ("sha", "sha_ni"),
    ("sse4.1", "sse4_1"),
    ("sse4.2", "sse4_2"),
    ("clfsh", "clflush"),
    ("cmpxchg16b", "cx16"),
    ("cmpxchg8b", "cx8"),
    ("invtsc", "nonstop_tsc"),
    ("constant_tsc", "nonstop_tsc"),
    ("prefetchw", "3dnowprefetch"),
    ("sse4a", "sse4_1"),
    ("lahf", "lahf_lm"),
];

/// Frequencies that a time-stamp counter may have, in hertz.
const TSC_HZ: std::ops::RangeInclusive<u64> = 100_000_000..=10_000_000_000;

/// Features without which the board cannot work.
const REQUIRED: &[Feature] = &[Feature::Fpu, Feature::Tsc, Feature::Msr, Feature::Apic, Feature::Cx8];

impl CpuModel {
    /// The model that `text` names: "x86-64-v3" or "max", and after commas "+feature", "-feature" or "tsc-frequency=HERTZ".
    /// `tsc_hz` is the frequency of its time-stamp counter where the text names none.
    ///
    /// # Errors
    /// An unknown model or feature, or a feature without what it needs.
    pub fn parse(text: &str, tsc_hz: u64) -> Result<CpuModel, ModelError> {
        let mut parts = text.split(',').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let level = match name {
            "x86-64-v1" | "x86-64" => Level::V1,
            "x86-64-v2" => Level::V2,
            "x86-64-v3" | "" => Level::V3,
            "max" => Level::Max,
            _ => return Err(ModelError::UnknownModel { name: name.to_owned() }),
        };
        let mut features = FeatureSet::up_to(level);
        let mut tsc_hz = tsc_hz;
        for part in parts {
            if let Some(hertz) = part.strip_prefix("tsc-frequency=") {
                let hz = hertz.parse().ok().filter(|hz| TSC_HZ.contains(hz));
                tsc_hz = hz.ok_or_else(|| ModelError::Frequency { text: hertz.to_owned() })?;
                continue;
            }
            let (on, feature) = match (part.strip_prefix('+'), part.strip_prefix('-')) {
                (Some(feature), _) => (true, feature),
                (_, Some(feature)) => (false, feature),
                _ => return Err(ModelError::NoSign { part: part.to_owned() }),
            };
            features = features.with(find(feature)?, on);
        }
        check(features)?;
        Ok(CpuModel::of(if text.is_empty() { "x86-64-v3" } else { text }, features, tsc_hz))
    }
}

fn find(name: &str) -> Result<Feature, ModelError> {
    let lower = name.to_ascii_lowercase();
    let real = if FEATURES.iter().any(|r| r.name == lower) {
        lower.as_str()
    } else {
        ALIASES.iter().find(|a| a.0 == lower).filter(|a| a.0 != "sse4a").map_or(lower.as_str(), |a| a.1)
    };
    if let Some(row) = FEATURES.iter().find(|r| r.name == real) {
        return Ok(row.feature);
    }
    let mut ranked: Vec<_> = FEATURES.iter().map(|r| (distance(&lower, r.name), r.name)).collect();
    ranked.sort();
    let near_names = ranked.into_iter().take_while(|r| r.0 <= 2).take(3).map(|r| r.1).collect();
    Err(ModelError::UnknownFeature { name: name.to_owned(), near_names })
}

fn check(features: FeatureSet) -> Result<(), ModelError> {
    for row in FEATURES {
        if !features.has(row.feature) {
            if REQUIRED.contains(&row.feature) {
                return Err(ModelError::Required { name: row.name });
            }
            continue;
        }
        if let Some(&missing) = row.needs.iter().find(|&&n| !features.has(n)) {
            let needs = FEATURES[missing as usize].name;
            return Err(ModelError::Dependency { feature: row.name, needs });
        }
    }
    Ok(())
}

/// How many single-letter edits lead from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_may_name_the_frequency_of_its_counter() {
        let model = CpuModel::parse("max,tsc-frequency=2445430000,-avx2", 1).expect("a model");
        assert_eq!((model.tsc_hz, model.has(Feature::Avx2)), (2_445_430_000, false));
        for wrong in ["0", "-1", "2.4G", "", "99999999999999999999"] {
            let error =
                CpuModel::parse(&format!("max,tsc-frequency={wrong}"), 1).expect_err("a refusal").to_string();
            assert!(error.contains(&format!("tsc-frequency={wrong}")) && error.contains("hertz"), "{error}");
        }
    }

    #[test]
    fn features_come_and_go() {
        let m = CpuModel::parse("x86-64-v3,+la57,-avx2", 1).expect("a model");
        assert!(m.has(Feature::La57) && !m.has(Feature::Avx2) && m.has(Feature::Fma));
        assert!(!CpuModel::parse("x86-64-v1", 1).expect("a model").has(Feature::Sse42));
        assert_eq!(CpuModel::parse("max,+sse3", 1).expect("a model").name, "max,+sse3");
    }

    #[test]
    fn mistakes_are_told_with_what_would_work() {
        let text = |t: &str| CpuModel::parse(t, 1).map(|_| ()).expect_err("refused").to_string();
        assert!(text("pentium").contains("x86-64-v3"));
        assert!(text("max,avx").contains("must begin with"));
        assert!(text("max,+avx3").contains("did you mean avx or avx2"), "{}", text("max,+avx3"));
        assert!(text("x86-64-v3,-avx").contains("fma needs avx"));
        assert!(text("max,+zzzzzzzz").contains("/proc/cpuinfo"));
        assert!(text("max,-apic").contains("cannot be switched off"));
    }

    #[test]
    fn features_stand_at_their_number_and_levels_are_closed() {
        for (i, row) in FEATURES.iter().enumerate() {
            assert_eq!(row.feature as usize, i);
        }
        for level in [Level::V1, Level::V2, Level::V3, Level::Max] {
            assert_eq!(check(FeatureSet::up_to(level)), Ok(()));
        }
    }
}
