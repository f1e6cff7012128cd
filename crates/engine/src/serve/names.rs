//! What images of the store are called at the server: a repository path here is that path at any of a few registries there.

use cooper_oci::Reference;

/// Where pushed images are named: this does not depend on the port, and no other machine has it.
const PUSHED: &str = "localhost";

/// The registry of names that docker completes: `app` is `docker.io/library/app`.
const COMPLETED: &str = "docker.io";
const LIBRARY: &str = "library/";

/// Under which registries the images of the store are named that a server shows.
#[derive(Clone, Debug)]
pub struct Names {
    /// The server's own, pushed ones first; then the builder's.
    registries: Vec<String>,
    own: usize,
}

impl Names {
    /// `localhost` and what else the server is known by (`localhost:5000`, `registry.example.com`); with `builder`, images
    /// that were built or pulled without a registry as well.
    pub fn new(others: impl IntoIterator<Item = String>, builder: bool) -> Self {
        let mut registries = vec![PUSHED.to_owned()];
        for other in others {
            if !registries.contains(&other) && other != COMPLETED {
                registries.push(other);
            }
        }
        let own = registries.len();
        registries.extend(builder.then(|| COMPLETED.to_owned()));
        Self { registries, own }
    }

    /// All registries.
    pub(super) fn registries(&self) -> &[String] {
        &self.registries
    }

    /// Registry and repository of everything that is `name` here.
    pub(super) fn of(&self, name: &str) -> Vec<(String, String)> {
        let repository = |registry: &str| match registry {
            COMPLETED if !name.contains('/') => format!("{LIBRARY}{name}"),
            _ => name.to_owned(),
        };
        self.registries.iter().map(|registry| (registry.clone(), repository(registry))).collect()
    }

    /// The names that `name:tag` here may have in the store, its own first.
    pub(super) fn references(&self, name: &str, tag: &str) -> Vec<Reference> {
        let all = self.of(name).into_iter();
        all.filter_map(|(registry, repository)| format!("{registry}/{repository}:{tag}").parse().ok()).collect()
    }

    /// Those of [`Names::references`] that are the server's to take away.
    pub(super) fn own(&self, name: &str, tag: &str) -> Vec<Reference> {
        self.references(name, tag).into_iter().filter(|reference| self.is_own(reference)).collect()
    }

    /// The name that pushing `name:tag` gives.
    pub(super) fn pushed(&self, name: &str, tag: &str) -> Option<Reference> {
        format!("{PUSHED}/{name}:{tag}").parse().ok()
    }

    pub(super) fn is_own(&self, reference: &Reference) -> bool {
        self.registries.iter().take(self.own).any(|registry| registry == reference.registry())
    }
}

/// The repository that an image's name is in here.
pub(super) fn repository_of(name: &Reference) -> String {
    let path = name.repository();
    let short = path.strip_prefix(LIBRARY).filter(|rest| name.registry() == COMPLETED && !rest.contains('/'));
    short.unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &Names, name: &str, expect: &[&str]) {
        let found: Vec<String> = names.references(name, "1").iter().map(ToString::to_string).collect();
        assert_eq!(found, expect);
        for reference in names.references(name, "1") {
            assert_eq!(repository_of(&reference), name, "{reference}");
        }
    }

    #[test]
    fn a_repository_is_found_under_every_name() {
        let names = Names::new(["localhost:5000".into(), "r.example.com".into(), "localhost".into()], true);
        check(
            &names,
            "app",
            &["localhost/app:1", "localhost:5000/app:1", "r.example.com/app:1", "docker.io/library/app:1"],
        );
        check(
            &names,
            "team/app",
            &["localhost/team/app:1", "localhost:5000/team/app:1", "r.example.com/team/app:1", "docker.io/team/app:1"],
        );
        let own: Vec<String> = names.own("app", "1").iter().map(ToString::to_string).collect();
        assert_eq!(own, ["localhost/app:1", "localhost:5000/app:1", "r.example.com/app:1"]);
    }

    #[test]
    fn the_builders_images_can_be_left_out() {
        check(&Names::new([], false), "app", &["localhost/app:1"]);
        let names = Names::new(["docker.io".into()], false);
        assert_eq!(names.registries(), ["localhost"], "names that docker completes are never the server's own");
    }
}
