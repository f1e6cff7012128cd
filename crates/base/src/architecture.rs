//! Debian architectures and the platforms of the image-spec that they are. Knows nothing of the machine it runs on.

use cooper_oci::Platform;

/// Debian's name, then `os/architecture[/variant]` of the image-spec.
const TABLE: &[(&str, &str)] = &[
    ("amd64", "linux/amd64"),
    ("arm64", "linux/arm64"),
    ("armel", "linux/arm/v5"),
    ("armhf", "linux/arm/v7"),
    ("i386", "linux/386"),
    ("loong64", "linux/loong64"),
    ("mips64el", "linux/mips64le"),
    ("ppc64el", "linux/ppc64le"),
    ("riscv64", "linux/riscv64"),
    ("s390x", "linux/s390x"),
];

/// The platform that images of a Debian architecture have; `None` for one that is not known.
pub fn platform_of(architecture: &str) -> Option<Platform> {
    let (_, platform) = TABLE.iter().find(|(name, _)| *name == architecture)?;
    platform.parse().ok()
}

/// The Debian architecture of a platform; `None` where Debian has none.
pub fn architecture_of(platform: &Platform) -> Option<&'static str> {
    let is_it = |text: &str| text.parse::<Platform>().is_ok_and(|known| known == *platform);
    TABLE.iter().find(|(_, text)| is_it(text)).map(|(name, _)| *name)
}

/// Debian's names, sorted.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_is_a_platform_and_back() {
        for name in architectures() {
            let platform = platform_of(name).unwrap_or_else(|| panic!("{name} has a platform"));
            assert_eq!(architecture_of(&platform), Some(name));
        }
        assert_eq!(platform_of("amd65"), None);
    }
}
