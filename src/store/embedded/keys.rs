//! The keys by which records are encrypted at rest: AES-256-GCM.
//!
//! A key is known by its id, which is derived from it: a wrong key has another id, so that "no such key" and "damaged"
//! are told apart. The file's key itself encrypts nothing. From it and a random seed of 16 bytes a key is derived
//! (HKDF-SHA-256) that serves one segment at most, and each record has a random nonce of 12 bytes: a segment holds fewer
//! than 2^21 frames, far below the 2^32 that NIST SP 800-38D (8.3) allows one key with random nonces, however long the
//! file's key is in use, whatever the clock says, and also when a directory and its restored copy go on separately.
//!
//! Must not know: what is encrypted, files, who puts keys there.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of a key in its file.
const KEY_BYTES: usize = 32;
/// Most keys of a file: more are a mistake, and every record names its own.
const MAX_KEYS: usize = 64;
const SEED_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// What stands before the ciphertext: id of the key, seed, nonce.
const PREFIX_BYTES: usize = 4 + SEED_BYTES + NONCE_BYTES;
/// What encryption adds to what it encrypts.
pub(super) const SEALED_EXTRA_BYTES: usize = PREFIX_BYTES + TAG_BYTES;

/// Separates this use of a key from any other one; part of the format.
const EXTRACT: &[u8] = b"tidegate store 1";
const INFO_ID: &[u8] = b"id";
const INFO_RECORDS: &[u8] = b"records";

/// Names a key in records and to people. It says nothing of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 4]);

impl KeyId {
    pub(super) const fn to_bytes(self) -> [u8; 4] {
        self.0
    }

    pub(super) const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// The keys of one reading of the file: the first encrypts, all decrypt. Empty: nothing is encrypted.
#[derive(Clone, Default)]
pub struct KeyRing(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: KeyId,
    root: Prk,
}

impl KeyRing {
    /// The keys of a file: one on each line, 32 bytes as 64 hexadecimal digits; empty lines and lines that begin with `#`
    /// are passed over.
    ///
    /// # Errors
    /// In words for whoever wrote the file, with the line and never with what stands there.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bytes = digits(line).ok_or_else(|| {
                format!(
                    "line {number} is no key: 64 hexadecimal digits, as `openssl rand -hex 32` prints them"
                )
            })?;
            let is_uniform = bytes.iter().all(|byte| Some(byte) == bytes.first());
            if is_uniform {
                return Err(format!("line {number} is no random key: all its bytes are the same"));
            }
            let key = Key::of(&bytes);
            if keys.iter().any(|other| other.id == key.id) {
                return Err(format!("line {number} has the key id {} of a line before it", key.id));
            }
            keys.push(key);
        }
        match keys.len() {
            0 => Err("holds no key: write one into it, as `openssl rand -hex 32` prints it".to_owned()),
            1..=MAX_KEYS => Ok(Self(keys)),
            found => Err(format!("holds {found} keys; at most {MAX_KEYS} are kept")),
        }
    }

    /// The key that encrypts, and then those that decrypt only.
    pub(crate) fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.0.iter().map(|key| key.id)
    }

    fn find(&self, id: KeyId) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }
}

// By their ids: what is compared or shown is never a key.
impl PartialEq for KeyRing {
    fn eq(&self, other: &Self) -> bool {
        self.ids().eq(other.ids())
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids().map(|id| id.to_string())).finish()
    }
}

impl Key {
    fn of(bytes: &[u8; KEY_BYTES]) -> Self {
        let root = Salt::new(HKDF_SHA256, EXTRACT).extract(bytes);
        let mut id = [0; 4];
        // Four bytes are always within what HKDF gives; zeros would be an id like any other.
        let _ = root.expand(&[INFO_ID], Length(id.len())).and_then(|okm| okm.fill(&mut id));
        Self { id: KeyId(id), root }
    }

    fn derive(&self, seed: &[u8; SEED_BYTES]) -> Option<LessSafeKey> {
        let info = [INFO_RECORDS, seed.as_slice()];
        let derived = self.root.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(derived)))
    }
}

/// How many bytes are asked of HKDF.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn digits(line: &str) -> Option<[u8; KEY_BYTES]> {
    let pairs = line.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| {
        let text =
            std::str::from_utf8(pair).ok().filter(|text| text.bytes().all(|c| c.is_ascii_hexdigit()))?;
        u8::from_str_radix(text, 16).ok().filter(|_| pair.len() == 2)
    });
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// The keys in use. Clones share them: what [`Keys::replace`] puts there holds for readers and writers at once.
#[derive(Clone, Default)]
pub struct Keys(Arc<ArcSwap<KeyRing>>);

/// Why something that is encrypted was not decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenError {
    /// Its key is not there: nothing is known about it.
    NoKey(KeyId),
    /// Its key is there, and the bytes are not what was encrypted with it at this place.
    Wrong,
}

impl Keys {
    /// Shared from here on.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub fn new(ring: KeyRing) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(ring)))
    }

    /// From now on these are the keys. What writes goes over to the first one when it begins its next segment.
    pub(crate) fn replace(&self, ring: KeyRing) {
        self.0.store(Arc::new(ring));
    }

    pub(crate) fn ring(&self) -> Arc<KeyRing> {
        self.0.load_full()
    }

    /// The key that encrypts; `None` when nothing is to be encrypted.
    pub(crate) fn first(&self) -> Option<KeyId> {
        self.0.load().ids().next()
    }

    /// Whether there is a key of this id.
    pub(crate) fn has(&self, id: KeyId) -> bool {
        self.0.load().find(id).is_some()
    }

    /// What encrypts a segment; `None` when nothing is to be encrypted.
    pub(super) fn sealer(&self) -> Option<Sealer> {
        let ring = self.0.load();
        let key = ring.0.first()?;
        let random = SystemRandom::new();
        let mut seed = [0; SEED_BYTES];
        let derived = random.fill(&mut seed).ok().and_then(|()| key.derive(&seed));
        Some(Sealer { id: key.id, seed, derived, random, bound: Vec::new() })
    }

    /// Decrypts what [`Sealer::seal`] made, when `bound` is what it was bound to.
    pub(super) fn open(&self, sealed: &[u8], bound: &[&[u8]]) -> Result<Vec<u8>, OpenError> {
        let (id, rest) = sealed.split_first_chunk().ok_or(OpenError::Wrong)?;
        let (seed, rest) = rest.split_first_chunk().ok_or(OpenError::Wrong)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError::Wrong)?;
        let ring = self.0.load();
        let key = ring.find(KeyId(*id)).ok_or(OpenError::NoKey(KeyId(*id)))?;
        let key = key.derive(seed).ok_or(OpenError::Wrong)?;
        let mut out = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key.open_in_place(nonce, Aad::from(bound.concat()), &mut out);
        let plain_bytes = plain.map_err(|_| OpenError::Wrong)?.len();
        out.truncate(plain_bytes);
        Ok(out)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ring().fmt(f)
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.ring() == other.ring()
    }
}

impl Eq for Keys {}

/// The id of the key by which something is encrypted; `None` when it is too short to be.
pub(super) fn key_of(sealed: &[u8]) -> Option<KeyId> {
    sealed.first_chunk().filter(|_| sealed.len() >= SEALED_EXTRA_BYTES).map(|id| KeyId(*id))
}

/// Encrypts the records of one segment.
pub(super) struct Sealer {
    id: KeyId,
    seed: [u8; SEED_BYTES],
    /// `None` when the system gave no random numbers for the seed.
    derived: Option<LessSafeKey>,
    random: SystemRandom,
    /// Kept from call to call for its memory.
    bound: Vec<u8>,
}

/// The system gives no random numbers: nothing may be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRandom;

impl Sealer {
    pub(super) fn id(&self) -> KeyId {
        self.id
    }

    /// Encrypts in place what lies between the room for the prefix and the room for the tag, [`SEALED_EXTRA_BYTES`] of
    /// `place` in all, and binds it to `bound`: it is decrypted only beside the same bytes.
    pub(super) fn seal(&mut self, place: &mut [u8], bound: &[&[u8]]) -> Result<(), NoRandom> {
        let key = self.derived.as_ref().ok_or(NoRandom)?;
        let mut nonce = [0; NONCE_BYTES];
        self.random.fill(&mut nonce).map_err(|_| NoRandom)?;
        self.bound.clear();
        bound.iter().for_each(|part| self.bound.extend_from_slice(part));
        let (prefix, rest) = place.split_at_mut_checked(PREFIX_BYTES).ok_or(NoRandom)?;
        let body_bytes = rest.len().checked_sub(TAG_BYTES).ok_or(NoRandom)?;
        let (body, tag_room) = rest.split_at_mut_checked(body_bytes).ok_or(NoRandom)?;
        let (aad, unique) = (Aad::from(&self.bound), Nonce::assume_unique_for_key(nonce));
        let tag = key.seal_in_place_separate_tag(unique, aad, body).map_err(|_| NoRandom)?;
        tag_room.copy_from_slice(tag.as_ref());
        let head = self.id.0.iter().chain(&self.seed).chain(&nonce);
        prefix.iter_mut().zip(head).for_each(|(to, byte)| *to = *byte);
        Ok(())
    }

    /// Reserves the room for the prefix.
    pub(super) fn begin(out: &mut Vec<u8>) {
        out.resize(out.len() + PREFIX_BYTES, 0);
    }

    /// Reserves the room for the tag.
    pub(super) fn end(out: &mut Vec<u8>) {
        out.resize(out.len() + TAG_BYTES, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const TWO: &str = "fff102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn keys(lines: &[&str]) -> Keys {
        Keys::new(KeyRing::parse(&lines.join("\n")).expect("keys"))
    }

    fn sealed(keys: &Keys, body: &[u8], bound: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Sealer::begin(&mut out);
        out.extend_from_slice(body);
        Sealer::end(&mut out);
        keys.sealer().expect("a key").seal(&mut out, &[bound]).expect("seals");
        out
    }

    #[test]
    fn what_one_key_encrypts_it_decrypts_at_its_place_alone() {
        let (one, both, two) = (keys(&[ONE]), keys(&["# new", TWO, "", ONE]), keys(&[TWO]));
        let made = sealed(&one, b"body", b"place");
        assert_eq!(made.len(), 4 + SEALED_EXTRA_BYTES);
        assert_eq!(one.open(&made, &[b"pla", b"ce"]).as_deref(), Ok(&b"body"[..]));
        assert_eq!(both.open(&made, &[b"place"]).as_deref(), Ok(&b"body"[..]), "an old key decrypts");
        assert_eq!(one.open(&made, &[b"other"]), Err(OpenError::Wrong));
        let id = one.first().expect("a key");
        assert_eq!(two.open(&made, &[b"place"]), Err(OpenError::NoKey(id)), "unknown, not damaged");
        assert_eq!(Keys::default().open(&made, &[b"place"]), Err(OpenError::NoKey(id)));
        for bit in 0..made.len() * 8 {
            let mut bytes = made.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let opened = one.open(&bytes, &[b"place"]);
            let is_of_id = bit < 32;
            assert_eq!(matches!(opened, Err(OpenError::NoKey(_))), is_of_id, "bit {bit}");
            assert!(opened.is_err(), "bit {bit}");
        }
        (0..made.len()).for_each(|cut| assert!(one.open(&made[..cut], &[b"place"]).is_err(), "cut at {cut}"));
        assert_ne!(sealed(&one, b"body", b"place"), made, "never the same twice");
        assert_eq!((key_of(&made), key_of(&made[..20])), (Some(id), None));
    }

    #[test]
    fn an_id_belongs_to_its_key_for_ever() {
        // Part of the format: another derivation would make every record unreadable.
        assert_eq!(keys(&[ONE]).first().map(|id| id.to_string()).as_deref(), Some("1d7dc38c"));
        assert_eq!(keys(&[TWO, ONE]).first(), keys(&[TWO]).first(), "the first one encrypts");
        assert!(Keys::default().sealer().is_none());
    }

    #[test]
    fn what_is_no_key_is_refused_by_its_line_and_never_shown() {
        let upper = ONE.to_uppercase();
        assert_eq!(keys(&[&upper]), keys(&[ONE]));
        let zeros = "0".repeat(64);
        let twice = format!("{ONE}\n{ONE}");
        let many: String = (0..=MAX_KEYS).map(|at| format!("{at:064x}\n")).skip(1).collect();
        let many = format!("{many}{ONE}\n{TWO}\n");
        for (text, rule) in [
            ("", "holds no key"),
            ("# only\n\n", "holds no key"),
            ("c0ffee", "line 1 is no key"),
            (&format!("{ONE}\n{}", &ONE[1..]), "line 2 is no key"),
            (&ONE.replace('0', "+"), "line 1 is no key"),
            (&zeros, "the same"),
            (&twice, "line 2 has the key id"),
            (&many, "at most 64"),
        ] {
            let problem = KeyRing::parse(text).expect_err(rule);
            assert!(problem.contains(rule), "{rule}: {problem}");
            assert!(!problem.contains("c0ffee") && !problem.contains("0405"), "{problem}");
        }
        assert!(!format!("{:?}", keys(&[ONE])).contains("0405"));
    }
}
