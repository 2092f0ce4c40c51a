//! URL patterns: `*` stands for any run of characters in path and query, never in host or port
//! (contracts.md section 7, item 3).

/// A checked pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlPattern {
    text: Box<str>,
}
