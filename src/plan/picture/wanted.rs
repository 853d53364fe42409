//! What a spec wants of its sources: keys by name, keys that a `dataFrom` gives, and what becomes of each without a value.

use super::row::Row;
use crate::api::{DataFrom, Fingerprint, Format, OnMissing};
use crate::plan::Input;
use crate::plan::recipe::{Made, Recipe, recipes};
use crate::plan::sources::TemplateUse;
use crate::plan::value::Fault;
use crate::reason::Reason;

/// A key that the spec names, or a value that only feeds templates.
#[derive(Debug)]
pub(in crate::plan) struct WantedKey<'a> {
    pub(in crate::plan) recipe: Recipe<'a>,
    /// The sources that go into it, by index; its own first.
    pub(in crate::plan) rows: Vec<usize>,
    /// For a template: what it is made of.
    pub(in crate::plan) template: Option<&'a TemplateUse>,
    /// What makes it, where the versions are known.
    pub(in crate::plan) of: Option<Fingerprint>,
    /// Whether the Secret's type needs it: then it stays, whatever the entry says.
    pub(super) required: bool,
}

/// What `spec.dataFrom` makes of a source.
#[derive(Debug)]
pub(in crate::plan) struct WantedObject<'a> {
    pub(in crate::plan) item: &'a DataFrom,
    /// Its source, by index.
    pub(in crate::plan) row: usize,
    /// What makes its keys, where the version is known.
    pub(in crate::plan) of: Option<Fingerprint>,
    pub(in crate::plan) on_missing: OnMissing,
    /// For a secret that was found: the key that it becomes.
    pub(in crate::plan) key: Option<String>,
    /// Another that was found comes to the same key.
    pub(in crate::plan) clashes: bool,
}

/// What becomes of a key, or of all that a `dataFrom` source gave, without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan) enum Fate {
    /// It keeps what it has, and no Secret is created without it.
    Needed,
    /// It keeps what it has, and a Secret is created without it.
    Stays,
    /// It leaves the Secret.
    Goes,
}

impl Fate {
    /// As an entry asks; `missing`: there is no such thing, rather than none that can be had or used now.
    const fn of(on_missing: OnMissing, missing: bool) -> Self {
        match on_missing {
            OnMissing::Keep => Self::Needed,
            OnMissing::Remove if missing => Self::Goes,
            OnMissing::Remove => Self::Stays,
        }
    }
}

/// Whether there is no such object, or no such part of it.
const fn is_missing(reason: Reason) -> bool {
    matches!(reason, Reason::SecretNotFound | Reason::KeyNotFound | Reason::PropertyNotFound)
}

impl WantedKey<'_> {
    /// What becomes of it without a value, for this reason.
    pub(in crate::plan) const fn fate(&self, reason: Reason) -> Fate {
        if self.required { Fate::Needed } else { Fate::of(self.recipe.on_missing, is_missing(reason)) }
    }

    /// Whether it would go, were it not for the Secret's type.
    pub(in crate::plan) const fn is_kept_by_type(&self, reason: Reason) -> bool {
        self.required && matches!(Fate::of(self.recipe.on_missing, is_missing(reason)), Fate::Goes)
    }
}

impl WantedObject<'_> {
    /// What becomes of its keys without a value, for this reason.
    pub(in crate::plan) const fn fate(&self, reason: Reason) -> Fate {
        match reason {
            // The other members are as whole as they can ever be.
            Reason::InvalidKey => Fate::Stays,
            // The rest of what was found does without it.
            Reason::SecretNotFound if self.key.is_some() => Fate::Goes,
            Reason::DuplicateKey if self.key.is_some() => Fate::Needed,
            _ if self.key.is_some() => Fate::Stays,
            _ => Fate::of(self.on_missing, matches!(reason, Reason::SecretNotFound)),
        }
    }
}

/// Why values that were read give no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::plan) enum Flaw {
    /// The value of a source is not as the spec says.
    Value(Reason),
    /// It is not in the format that `dataFrom` names, from this line on.
    Line(usize),
    /// A template cannot be rendered.
    Template(Fault),
}

impl Flaw {
    pub(in crate::plan) const fn reason(&self) -> Reason {
        match self {
            Self::Value(reason) => *reason,
            Self::Line(_) => Reason::InvalidFormat,
            Self::Template(_) => Reason::TemplateFailed,
        }
    }
}

pub(super) fn format_of(item: &DataFrom) -> Option<Format> {
    item.secret.as_ref().map(|secret| secret.format)
}

/// The keys that the spec names, with the sources that go into each; what makes them is not known yet.
pub(super) fn wanted_keys<'a>(input: &Input<'a>, rows: &[Row<'a>]) -> Vec<WantedKey<'a>> {
    let spec = &input.object.spec;
    let required = spec.secret_type().required_keys();
    let mut templates = input.sources.iter().flat_map(|sources| &sources.templates);
    // A spec of which recipes cannot be read has no sources either.
    let recipes = recipes(spec).unwrap_or_default().into_iter();
    let mut keys: Vec<WantedKey<'a>> = recipes
        .map(|recipe| WantedKey {
            rows: Vec::with_capacity(1),
            template: matches!(recipe.made, Made::Template(_)).then(|| templates.next()).flatten(),
            of: None,
            required: required.contains(&recipe.key),
            recipe,
        })
        .collect();
    for (index, row) in rows.iter().enumerate() {
        for &recipe in &row.used.recipes {
            if let Some(key) = keys.get_mut(recipe) {
                key.rows.push(index);
            }
        }
    }
    for key in keys.iter_mut().filter(|key| key.rows.len() > 1) {
        // In the order in which the recipe names them, not that in which the spec came upon them.
        let named: Vec<&str> = key.recipe.sources().map(|named| named.name).collect();
        let place = |row: &usize| {
            let name = rows.get(*row).map(|row| row.used.source.name.as_str()).unwrap_or_default();
            named.iter().position(|named| named.eq_ignore_ascii_case(name))
        };
        key.rows.sort_by_key(place);
    }
    keys
}
