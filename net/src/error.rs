//! What can go wrong when a network is set up.

use std::path::PathBuf;

/// Why a network, or a part of it, cannot be had. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// An option's value is not one.
    #[error("{option}={value}: {problem}")]
    Value {
        /// The option.
        option: String,
        /// What was given.
        value: String,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// There is no such option.
    #[error("{network} has no option {option}; it has {known}")]
    Option {
        /// The kind of network.
        network: &'static str,
        /// What was given.
        option: String,
        /// The names that there are.
        known: String,
    },
    /// An option that must be given is missing.
    #[error("{network}: {problem}")]
    Missing {
        /// The kind of network.
        network: &'static str,
        /// What is missing.
        problem: String,
    },
    /// The host refused something.
    #[error("{what}: {source}{hint}")]
    Host {
        /// What was tried.
        what: String,
        /// What the host said.
        source: std::io::Error,
        /// What to do, with a leading separator, or nothing.
        hint: String,
    },
    /// A file or folder is not what it should be.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is no such thing to remove or change.
    #[error("{0}")]
    Unknown(String),
}

impl NetError {
    /// An option's value is not one.
    pub fn value(option: &str, value: &str, problem: impl Into<String>) -> Self {
        Self::Value { option: option.into(), value: value.into(), problem: problem.into() }
    }
    /// The host refused something.
    pub fn host(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Host { what: what.into(), source: source.into(), hint: String::new() }
    }
    /// The host refused something, and this helps.
    pub fn host_with_hint(
        what: impl Into<String>,
        source: impl Into<std::io::Error>,
        hint: impl AsRef<str>,
    ) -> Self {
        Self::Host { what: what.into(), source: source.into(), hint: format!("; {}", hint.as_ref()) }
    }
}
