//! JSON pointers (RFC 6901) to the members that a refusal names: the one place that escapes them.
//!
//! Must not know: which members there are, who refuses.

/// Longest part of a name that is repeated, in characters: an answer stays small whatever was sent.
const MAX_NAME_CHARS: usize = 128;

/// The JSON pointer to the member that `names` lead to, the outermost first; empty for the whole document. A name of
/// more than 128 characters is cut there, so that its pointer leads nowhere but shows which one is meant.
pub(crate) fn json_pointer<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let mut pointer = String::new();
    for name in names {
        pointer.push('/');
        for c in name.chars().take(MAX_NAME_CHARS) {
            match c {
                '~' => pointer.push_str("~0"),
                '/' => pointer.push_str("~1"),
                c => pointer.push(c),
            }
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn names_are_escaped_and_cut() {
        assert_eq!(json_pointer([]), "");
        assert_eq!(json_pointer([""]), "/");
        assert_eq!(json_pointer(["a/b", "~1", "0"]), "/a~1b/~01/0");
        assert_eq!(json_pointer(["/".repeat(129).as_str()]), format!("/{}", "~1".repeat(128)));
    }

    proptest! {
        #[test]
        fn a_pointer_leads_to_its_member(names in prop::collection::vec("[~/01a\u{e9}]{0,6}", 0..5)) {
            let nested = |inner: Value, name: &String| json!({name.as_str(): inner});
            let document = names.iter().rev().fold(json!("found"), nested);
            let pointer = json_pointer(names.iter().map(String::as_str));
            prop_assert_eq!(document.pointer(&pointer), Some(&json!("found")));
        }
    }
}
