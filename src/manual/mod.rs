//! The manual: its chapters, compiled in, so that the program can show them where it runs.
//!
//! Each chapter is a file of Markdown beside this one, and begins with its title. Links between chapters are file names.
//!
//! Must not know: what the program does; `tests/manual.rs` holds the tables against it.

mod html;

/// One chapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chapter {
    /// The word that names it on the command line and in links: the name of its file without `.md`.
    pub name: &'static str,
    /// Its text in Markdown.
    pub text: &'static str,
}

/// Lists the chapters by the names of their files.
macro_rules! chapters {
    ($($name:literal),+ $(,)?) => {
        &[$(Chapter { name: $name, text: include_str!(concat!($name, ".md")) }),+]
    };
}

/// All chapters, in the order in which a newcomer reads them.
pub const CHAPTERS: &[Chapter] = chapters![
    "overview",
    "events",
    "errors",
    "limits",
    "endpoints",
    "systems",
    "throttling",
    "capping",
    "mashery",
    "mediarithmics",
    "responsys",
    "http-api",
    "steering",
    "doubts",
    "dead-letters",
    "outcomes",
    "promises",
    "metrics",
    "monitoring",
    "configuration",
    "operations",
    "command-line",
    "exit-codes",
    "versions",
    "security",
    "contributing",
    "changelog",
];

/// The chapter of this name.
#[must_use]
pub fn chapter(name: &str) -> Option<&'static Chapter> {
    CHAPTERS.iter().find(|chapter| chapter.name == name)
}

impl Chapter {
    /// Its title: the first line without the mark of a heading.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }
}
