//! All packages that could be installed, and which of them satisfy or exclude which.
//!
//! Knows nothing of how they are chosen.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Id, Omitted};
use crate::index::{MultiArch, Package};
use crate::manifest::{PackageSpec, Variant, Wanted};
use crate::nearest::nearest;
use crate::relation::Relation;
use crate::version;
use crate::{Error, ErrorKind, Result};

/// A package and the release that offers it.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The package; the indexes of a distribution are large, and shared by all images of a lock.
    pub package: Arc<Package>,
    /// Name of the release; `None` for a package of a directory.
    pub release: Option<String>,
    /// Taken only where no other release has the package (`NotAutomatic`, as in backports).
    pub reluctant: bool,
}

/// The newest version of each package and architecture, or the one asked for.
#[derive(Debug)]
pub struct Universe {
    native: String,
    omitted: Omitted,
    offers: Vec<Offer>,
    /// The candidates of a name, the native one first.
    named: HashMap<String, Vec<Id>>,
    /// Candidates that provide a name, best first, and the version provided.
    providers: HashMap<String, Vec<(Id, Option<String>)>>,
    /// Names that an `=version` asked for.
    versions: HashMap<String, Vec<String>>,
}

impl Universe {
    /// A universe for images of the architecture `native`. `packages` tells which versions are asked for; what `omit` names is
    /// left out.
    pub fn new(offers: Vec<Offer>, native: &str, packages: &[PackageSpec], omit: &[String]) -> Self {
        let mut out = Self {
            native: native.to_owned(),
            omitted: omit.iter().cloned().collect(),
            offers,
            named: HashMap::new(),
            providers: HashMap::new(),
            versions: HashMap::new(),
        };
        let pins: Vec<&Wanted> =
            packages.iter().flat_map(|spec| &spec.choices).filter(|wanted| wanted.version.is_some()).collect();
        out.find_candidates(&pins);
        out.find_providers();
        out
    }

    fn find_candidates(&mut self, pins: &[&Wanted]) {
        let mut best: HashMap<(&str, &str), Id> = HashMap::new();
        for (id, offer) in self.offers.iter().enumerate() {
            let package = &offer.package;
            if self.omitted.contains(&package.name) {
                continue;
            }
            let architecture = self.architecture(package);
            best.entry((package.name.as_str(), architecture))
                .and_modify(|held| {
                    if is_better(offer, &self.offers[*held], &self.native, pins) {
                        *held = id;
                    }
                })
                .or_insert(id);
        }
        let mut named: HashMap<String, Vec<Id>> = HashMap::new();
        for ((name, _), id) in best {
            named.entry(name.to_owned()).or_default().push(id);
        }
        for ids in named.values_mut() {
            ids.sort_by_key(|id| {
                let architecture = self.architecture(&self.offers[*id].package);
                (architecture != self.native, architecture.to_owned())
            });
        }
        let asked = pins.iter().map(|pin| pin.name.as_str());
        for name in asked {
            let versions = self.offers.iter().filter(|offer| offer.package.name == name);
            self.versions.insert(name.to_owned(), versions.map(|offer| offer.package.version.clone()).collect());
        }
        self.named = named;
    }

    fn find_providers(&mut self) {
        for ids in self.named.values() {
            for id in ids {
                for (name, version) in &self.offers[*id].package.provides {
                    self.providers.entry(name.clone()).or_default().push((*id, version.clone()));
                }
            }
        }
        let offers = &self.offers;
        for list in self.providers.values_mut() {
            // apt's order: what is essential, then what has the higher priority; then a name, so that it is one.
            list.sort_by(|(a, _), (b, _)| {
                let key = |id: &Id| {
                    let package = &offers[*id].package;
                    (
                        !package.essential,
                        package.priority,
                        package.architecture != self.native && package.architecture != "all",
                    )
                };
                let (x, y) = (&offers[*a].package, &offers[*b].package);
                key(a).cmp(&key(b)).then_with(|| (&x.name, &x.architecture).cmp(&(&y.name, &y.architecture)))
            });
        }
    }

    /// The architecture a package counts for: `all` is the image's own.
    fn architecture<'a>(&'a self, package: &'a Package) -> &'a str {
        if package.architecture == "all" { &self.native } else { &package.architecture }
    }

    pub(super) fn native(&self) -> &str {
        &self.native
    }

    /// A package.
    pub fn package(&self, id: usize) -> &Package {
        &self.offers[id].package
    }

    /// A package and its release.
    pub fn offer(&self, id: usize) -> &Offer {
        &self.offers[id]
    }

    pub(super) fn sort_key(&self, id: Id) -> (&str, &str) {
        (&self.package(id).name, &self.package(id).architecture)
    }

    pub(super) fn omits(&self, name: &str) -> bool {
        self.omitted.contains(name)
    }

    pub(super) fn is_omitted(&self, spec: &PackageSpec) -> bool {
        spec.choices.iter().all(|wanted| self.omits(&wanted.name))
    }

    /// Candidates of a name, whatever their architecture.
    pub(super) fn named(&self, name: &str) -> &[Id] {
        self.named.get(name).map_or(&[], Vec::as_slice)
    }

    fn is_native(&self, id: Id) -> bool {
        self.architecture(self.package(id)) == self.native
    }

    /// Packages that a variant takes, sorted by name.
    pub(super) fn of_variant(&self, variant: Variant) -> Result<Vec<Id>> {
        use crate::index::Priority::{Important, Required, Standard};
        let highest = match variant {
            Variant::Extract => return Ok(Vec::new()),
            Variant::Essential | Variant::Apt => None,
            Variant::Minbase => Some(Required),
            Variant::Important => Some(Important),
            Variant::Standard => Some(Standard),
        };
        let is_in = |id: &Id| {
            let package = self.package(*id);
            let by_name = variant >= Variant::Apt && package.name == "apt";
            self.is_native(*id)
                && (package.essential || by_name || highest.is_some_and(|highest| package.priority <= highest))
        };
        let mut ids: Vec<Id> = self.named.values().flatten().copied().filter(is_in).collect();
        if !ids.iter().any(|id| self.package(*id).essential) {
            let what = format!("no package for {} is essential: the sources hold no distribution", self.native);
            return Err(Error::new(ErrorKind::NotFound, what));
        }
        ids.sort_by(|a, b| self.sort_key(*a).cmp(&self.sort_key(*b)));
        Ok(ids)
    }

    /// Packages that a line of the declared file can mean, first choice first; never empty.
    pub(super) fn roots_of(&self, spec: &PackageSpec) -> Result<Vec<Id>> {
        let ids: Vec<Id> = spec.choices.iter().flat_map(|wanted| self.candidates_of(wanted)).collect();
        if !ids.is_empty() {
            return Ok(ids);
        }
        let wanted = &spec.choices[0];
        let architecture = wanted.architecture.as_deref().unwrap_or(&self.native);
        let error = Error::new(ErrorKind::NotFound, format!("there is no package `{spec}` for {architecture}"));
        if let Some(versions) = self.versions.get(&wanted.name).filter(|versions| !versions.is_empty()) {
            return Err(error.with_hint(format!("there is {}", versions.join(", "))));
        }
        if let Some(providers) = self.providers.get(&wanted.name) {
            let names: Vec<&str> = providers.iter().map(|(id, _)| self.package(*id).name.as_str()).collect();
            return Err(error.with_hint(format!("the name is virtual; name one of {}", names.join(", "))));
        }
        match nearest(&wanted.name, self.named.keys().map(String::as_str)) {
            Some(name) => Err(error.with_hint(format!("did you mean `{name}`?"))),
            None => Err(error.with_hint("check the suites and components of the sources")),
        }
    }

    fn candidates_of(&self, wanted: &Wanted) -> Vec<Id> {
        let architecture = wanted.architecture.as_deref().unwrap_or(&self.native);
        let real = self.named(&wanted.name).iter().copied().filter(|id| {
            let package = self.package(*id);
            self.architecture(package) == architecture
                && wanted.version.as_deref().is_none_or(|pattern| version_matches(&package.version, pattern))
        });
        let real: Vec<Id> = real.collect();
        if !real.is_empty() || wanted.version.is_some() {
            return real;
        }
        // A virtual name that one package alone provides means that package.
        match self.providers.get(&wanted.name).map(Vec::as_slice) {
            Some([(id, _)]) => vec![*id],
            _ => Vec::new(),
        }
    }

    /// Candidates that satisfy a relation of `owner`, best first.
    pub(super) fn satisfying(&self, relation: &Relation, owner: Id) -> Vec<Id> {
        let real = self.named(&relation.name).iter().copied();
        let real = real.filter(|id| {
            relation.accepts(&self.package(*id).version) && self.serves(*id, relation.architecture.as_deref(), owner)
        });
        let provided = self.providers.get(&relation.name).into_iter().flatten().filter(|(id, version)| {
            let accepts = match (&relation.version, version) {
                (None, _) => true,
                (Some(_), Some(version)) => relation.accepts(version),
                (Some(_), None) => false,
            };
            accepts && self.serves(*id, relation.architecture.as_deref(), owner)
        });
        real.chain(provided.map(|(id, _)| *id)).collect()
    }

    /// The architecture of `id` will do for a relation of `owner` (the multi-arch specification).
    fn serves(&self, id: Id, qualifier: Option<&str>, owner: Id) -> bool {
        let package = self.package(id);
        let own = self.architecture(package);
        match qualifier {
            Some("any") => package.multi_arch == MultiArch::Allowed || own == self.architecture(self.package(owner)),
            Some("native") => own == self.native,
            Some(architecture) => own == architecture,
            None => package.multi_arch == MultiArch::Foreign || own == self.architecture(self.package(owner)),
        }
    }

    /// Candidates that cannot be there beside `id` because `id` says so, or because they share its name.
    pub(super) fn excluded_by(&self, id: Id) -> Vec<Id> {
        let package = self.package(id);
        let twins = self.named(&package.name).iter().copied().filter(|other| {
            let twin = self.package(*other);
            let both_same = package.multi_arch == MultiArch::Same && twin.multi_arch == MultiArch::Same;
            !(both_same && twin.version == package.version)
        });
        let mut out: Vec<Id> = twins.collect();
        for relation in &package.conflicts {
            let qualified = |id: &Id| {
                relation
                    .architecture
                    .as_deref()
                    .is_none_or(|word| word == "any" || word == self.architecture(self.package(*id)))
            };
            let real =
                self.named(&relation.name).iter().copied().filter(|id| relation.accepts(&self.package(*id).version));
            let provided = self.providers.get(&relation.name).into_iter().flatten();
            let provided = provided.filter(|(_, version)| match (&relation.version, version) {
                (None, _) => true,
                (Some(_), version) => version.as_deref().is_some_and(|version| relation.accepts(version)),
            });
            out.extend(real.chain(provided.map(|(id, _)| *id)).filter(qualified));
        }
        // A package may conflict with a name it provides itself: it means the others.
        out.retain(|other| *other != id);
        out
    }
}

/// The version asked for beats any other; a willing release beats a reluctant one; then the newer version; then the first.
fn is_better(offer: &Offer, held: &Offer, native: &str, pins: &[&Wanted]) -> bool {
    let is_asked = |offer: &Offer| {
        pins.iter().any(|pin| {
            let architecture = pin.architecture.as_deref().unwrap_or(native);
            let package = &offer.package;
            pin.name == package.name
                && (package.architecture == "all" || package.architecture == architecture)
                && pin.version.as_deref().is_some_and(|pattern| version_matches(&package.version, pattern))
        })
    };
    let by_version = || version::compare(&offer.package.version, &held.package.version);
    is_asked(offer)
        .cmp(&is_asked(held))
        .then_with(|| held.reluctant.cmp(&offer.reluctant))
        .then_with(by_version)
        .is_gt()
}

fn version_matches(version: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => version.starts_with(start),
        None => version::compare(version, pattern).is_eq(),
    }
}
