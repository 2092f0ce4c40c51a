//! Signatures of calls as the Standard Webhooks have them: `webhook-signature` holds `v1,` and the HMAC-SHA256 of id,
//! timestamp and body, once for each secret, so that a secret can be exchanged while both are known.
//!
//! Must not know: where secrets come from.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use ring::hmac;

/// What the text of a secret begins with.
const PREFIX: &str = "whsec_";
/// The scheme of a signature.
const SCHEME: &str = "v1,";

/// A secret that calls are signed with. Never shown.
#[derive(Clone)]
pub struct SigningSecret {
    bytes: Box<[u8]>,
    key: hmac::Key,
}

/// Why a text is no secret; it says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecretError {
    /// It does not begin with `whsec_`.
    #[error("must begin with {PREFIX}")]
    Prefix,
    /// What follows is not base64.
    #[error("must be base64 behind {PREFIX}")]
    Encoding,
    /// It is too short to be safe, or too long.
    #[error("must be 24 to 64 bytes in base64 behind {PREFIX}, not {bytes}")]
    Length {
        /// How many bytes it has.
        bytes: usize,
    },
}

impl SigningSecret {
    /// Reads `whsec_` and the secret in base64.
    ///
    /// # Errors
    /// [`SecretError`] names the rule that is broken.
    pub(crate) fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        let bytes = STANDARD.decode(text).map_err(|_| SecretError::Encoding)?;
        if !(24..=64).contains(&bytes.len()) {
            return Err(SecretError::Length { bytes: bytes.len() });
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        Ok(Self { bytes: bytes.into(), key })
    }
}

impl SigningSecret {
    /// As it is written, without what it begins with: to be looked for where it must not be shown.
    pub(super) fn in_base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }
}

impl PartialEq for SigningSecret {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for SigningSecret {}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret")
    }
}

/// The value of `webhook-signature` for a call with this id, these seconds of the epoch and this body; `None` without
/// secrets.
pub(super) fn signature(
    secrets: &[SigningSecret],
    id: &str,
    seconds: u64,
    body: &[u8],
) -> Option<HeaderValue> {
    let seconds = seconds.to_string();
    let mut all = String::new();
    for secret in secrets {
        let mut signed = hmac::Context::with_key(&secret.key);
        for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
            signed.update(part);
        }
        all.push_str(if all.is_empty() { SCHEME } else { concat!(" ", "v1,") });
        STANDARD.encode_string(signed.sign(), &mut all);
    }
    // Base64, commas and blanks: it is always a value.
    HeaderValue::try_from(all).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SECONDS: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn secret(text: &str) -> SigningSecret {
        SigningSecret::parse(text).expect("a secret")
    }

    /// The vector of the published libraries.
    #[test]
    fn the_published_vector_is_reproduced() {
        let value = signature(&[secret(SECRET)], ID, SECONDS, BODY).expect("a signature");
        assert_eq!(value, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        for (id, seconds, body) in [("msg", SECONDS, BODY), (ID, SECONDS + 1, BODY), (ID, SECONDS, b"{}")] {
            assert_ne!(signature(&[secret(SECRET)], id, seconds, body), Some(value.clone()), "the control");
        }
    }

    #[test]
    fn every_secret_signs_in_its_order() {
        let other = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let one = signature(&[secret(SECRET)], ID, SECONDS, BODY).expect("a signature");
        let two = signature(&[secret(other)], ID, SECONDS, BODY).expect("a signature");
        let both = signature(&[secret(SECRET), secret(other)], ID, SECONDS, BODY).expect("a signature");
        let [one, two, both] = [&one, &two, &both].map(|value| value.to_str().expect("text"));
        assert_eq!(both, format!("{one} {two}"));
        assert_eq!(signature(&[], ID, SECONDS, BODY), None);
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_shown() {
        for (text, error) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SecretError::Prefix),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!", SecretError::Encoding),
            ("whsec_", SecretError::Length { bytes: 0 }),
            ("whsec_AAECAwQFBgc=", SecretError::Length { bytes: 8 }),
        ] {
            assert_eq!(SigningSecret::parse(text), Err(error), "{text}");
            assert!(!error.to_string().contains("MfKQ") && !error.to_string().contains("AAEC"));
        }
        assert_eq!(format!("{:?}", secret(SECRET)), "SigningSecret");
    }
}
