//! Reads the stored form of a book and hands on its policies one by one, so that they never stand in memory twice.
//!
//! Must not know: what the members of a policy mean, which formats there are.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::policy::PolicyError;
use crate::policy::document::{ElementV3, EndedV4};

/// What a stored book has beside its policies.
#[derive(Default)]
pub(super) struct BookRest {
    pub(super) next_order: u64,
    pub(super) elements: Vec<ElementV3>,
    pub(super) ended: Vec<EndedV4>,
}

/// Takes one policy, in the form that its format has; an error ends the reading.
type TakePolicy<'t, P> = &'t mut dyn FnMut(P) -> Result<(), PolicyError>;

/// Hands each policy to `take` in the order of the document.
///
/// # Errors
/// What is wrong with the document, or what `take` said, with the place.
pub(super) fn read_each<P: DeserializeOwned>(
    body: &[u8],
    take: TakePolicy<'_, P>,
) -> Result<BookRest, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let parts = Whole(take).deserialize(&mut deserializer)?;
    // Text behind the book is damage too.
    deserializer.end()?;
    Ok(parts)
}

/// The members of a book. Any other one is refused.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum BookMember {
    Format,
    NextOrder,
    Policies,
    Elements,
    Ended,
}

struct Whole<'t, P>(TakePolicy<'t, P>);

impl<'de, P: DeserializeOwned> DeserializeSeed<'de> for Whole<'_, P> {
    type Value = BookRest;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<BookRest, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, P: DeserializeOwned> Visitor<'de> for Whole<'_, P> {
    type Value = BookRest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a policy book")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<BookRest, A::Error> {
        let Self(take) = self;
        let mut parts = BookRest::default();
        let mut given = Vec::new();
        while let Some(member) = members.next_key::<BookMember>()? {
            // serde would take the last of two, and one of them is damage.
            if given.contains(&member) {
                return Err(A::Error::custom("a member stands twice"));
            }
            given.push(member);
            match member {
                // The caller has chosen `P` by it.
                BookMember::Format => {
                    let _: u32 = members.next_value()?;
                }
                BookMember::NextOrder => parts.next_order = members.next_value()?,
                BookMember::Policies => members.next_value_seed(Each(&mut *take))?,
                BookMember::Elements => parts.elements = members.next_value()?,
                BookMember::Ended => parts.ended = members.next_value()?,
            }
        }
        // Formats before 4 have no `ended` and those before 3 no `elements`; these two every format has.
        for (member, name) in [(BookMember::NextOrder, "next_order"), (BookMember::Policies, "policies")] {
            if !given.contains(&member) {
                return Err(A::Error::missing_field(name));
            }
        }
        Ok(parts)
    }
}

struct Each<'t, P>(TakePolicy<'t, P>);

impl<'de, P: DeserializeOwned> DeserializeSeed<'de> for Each<'_, P> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, P: DeserializeOwned> Visitor<'de> for Each<'_, P> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of policies")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut policies: A) -> Result<(), A::Error> {
        while let Some(policy) = policies.next_element::<P>()? {
            (self.0)(policy).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
