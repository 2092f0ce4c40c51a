//! Tokens that the login of tidegate gives out: each says by itself which account and user it was given to, so that no
//! record of them is kept and a restart ends none. They let nobody in: whoever hands in an event may name any account.
//!
//! Must not know: how a login is asked for.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};

/// How tokens of tidegate begin; those of Responsys do not.
const MARK: &str = "tidegate-";

/// To whom a token was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::manage::responsys) struct Token {
    /// The account to which the user belongs; `None` where there is none.
    #[serde(rename = "a")]
    pub(in crate::manage::responsys) account: Option<String>,
    #[serde(rename = "u")]
    pub(in crate::manage::responsys) user: String,
    /// When, in milliseconds since 1970.
    #[serde(rename = "t")]
    pub(in crate::manage::responsys) issued_ms: u64,
    /// A random number, so that no two tokens are the same.
    #[serde(rename = "r")]
    pub(in crate::manage::responsys) random: u64,
}

impl Token {
    pub(in crate::manage::responsys) fn write(&self) -> String {
        // Texts and numbers always serialise.
        format!("{MARK}{}", URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default()))
    }

    /// `None` for every text that is no token of tidegate.
    pub(in crate::manage::responsys) fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(MARK)?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The one that a request or a call carries.
    pub(in crate::manage::responsys) fn of(headers: &HeaderMap) -> Option<Self> {
        Self::read(headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_nothing_else_is_one() {
        let token =
            Token { account: Some("acme \u{fc}".to_owned()), user: "u".to_owned(), issued_ms: 7, random: 9 };
        let text = token.write();
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
        assert_eq!(Token::read(&text), Some(token));
        for other in ["", "tidegate-", "tidegate-x", "aGVsbG8", &text[1..], &format!("{text}!")] {
            assert_eq!(Token::read(other), None, "{other}");
        }
    }
}
