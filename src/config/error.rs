//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Every problem of a configuration, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// In order of their places; never empty.
    pub problems: Vec<ConfigProblem>,
}

/// One problem of a configuration, shown in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where the value that breaks the rule stands.
    pub place: ConfigPlace,
    /// Which setting, or what else it is about.
    pub subject: String,
    /// The rule and the way out.
    pub detail: String,
}

/// Where a value stands, in the order in which layers are read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigPlace {
    /// The defaults that are compiled in.
    Defaults,
    /// A line of a file, from 1; no line when the file as a whole is meant.
    File {
        /// Path of the file, as it was named.
        path: Arc<Path>,
        /// The line, from 1; `None` for the file as a whole.
        line: Option<usize>,
    },
    /// A variable of the process's environment.
    Environment {
        /// Name of the variable, with its prefix.
        variable: String,
    },
    /// A flag of the command line.
    Flag {
        /// The flag with its two dashes, such as `--listen`.
        flag: &'static str,
    },
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let newline = if at == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.subject, self.detail)
    }
}

impl fmt::Display for ConfigPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { flag } => write!(f, "flag {flag}"),
        }
    }
}
