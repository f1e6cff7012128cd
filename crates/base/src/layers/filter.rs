//! Which paths of a package are left out: dpkg's `path-exclude` and `path-include`, and slices. Licences always stay.

use std::collections::BTreeMap;
use std::path::Path;

use glob::Pattern;

use crate::{Error, ErrorKind, Manifest, Result};

/// The paths that stay whatever is excluded: what one has to give on with the program.
const LICENCES: &[&str] = &["/usr/share/doc/*/copyright", "/usr/share/common-licenses", "/usr/share/common-licenses/*"];

/// Directory whose links stand for the licences of a whole package.
const DOC: &str = "/usr/share/doc/";

/// What the declared file leaves out.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    exclude: Vec<Pattern>,
    include: Vec<Pattern>,
    slices: BTreeMap<String, Vec<Pattern>>,
    licences: Vec<Pattern>,
}

impl Filter {
    /// Reads the globs of a declared file. As with dpkg, `*` also stands for slashes.
    pub fn new(manifest: &Manifest) -> Result<Self> {
        let slice = |(package, globs): (&String, &Vec<String>)| Ok((package.clone(), patterns(globs)?));
        Ok(Self {
            exclude: patterns(&manifest.path_exclude)?,
            include: patterns(&manifest.path_include)?,
            slices: manifest.slices.iter().map(slice).collect::<Result<_>>()?,
            licences: patterns(LICENCES)?,
        })
    }

    /// Whether a path of a package stays. `path` is absolute; `is_link` says that it is a symbolic link.
    pub(super) fn keeps(&self, package: &str, path: &str, is_link: bool) -> bool {
        let is_doc_link = is_link && path.strip_prefix(DOC).is_some_and(|name| !name.contains('/'));
        if is_doc_link || matches(&self.licences, path) {
            return true;
        }
        let in_slice = self.slices.get(package).is_none_or(|slice| matches(slice, path));
        in_slice && (!matches(&self.exclude, path) || matches(&self.include, path))
    }
}

fn patterns<T: AsRef<str>>(globs: &[T]) -> Result<Vec<Pattern>> {
    let pattern = |glob: &T| {
        let glob = glob.as_ref();
        Pattern::new(glob)
            .map_err(|e| Error::new(ErrorKind::Invalid, format!("`{glob}` is not a glob: {}", e.msg)).with_source(e))
    };
    globs.iter().map(pattern).collect()
}

fn matches(patterns: &[Pattern], path: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(path))
}

/// A path of a layer as globs see it.
pub(super) fn absolute(path: &Path) -> String {
    format!("/{}", path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_leave_licences_and_what_is_included() {
        let manifest = Manifest {
            path_exclude: vec!["/usr/share/doc/*".into(), "/usr/share/man/*".into()],
            path_include: vec!["/usr/share/man/man1/a.1.gz".into()],
            slices: BTreeMap::from([("sliced".into(), vec!["/usr/bin/*".into()])]),
            ..Manifest::default()
        };
        let filter = Filter::new(&manifest).unwrap();
        for (package, path, is_link, stays) in [
            ("p", "/usr/bin/p", false, true),
            ("p", "/usr/share/doc/p/README", false, false),
            ("p", "/usr/share/doc/p/copyright", false, true),
            ("p", "/usr/share/doc/p", true, true),
            ("p", "/usr/share/doc/p", false, false),
            ("p", "/usr/share/man/man1/a.1.gz", false, true),
            ("p", "/usr/share/man/de/man1/a.1.gz", false, false),
            ("p", "/usr/share/common-licenses/GPL-3", false, true),
            ("sliced", "/usr/bin/x", false, true),
            ("sliced", "/usr/lib/x", false, false),
            ("sliced", "/usr/share/doc/sliced/copyright", false, true),
        ] {
            assert_eq!(filter.keeps(package, path, is_link), stays, "{package} {path}");
        }
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        let manifest = Manifest { path_exclude: vec!["/usr/[".into()], ..Manifest::default() };
        assert!(Filter::new(&manifest).unwrap_err().to_string().contains("`/usr/[` is not a glob"));
    }
}
