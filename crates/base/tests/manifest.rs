//! Declared files: what is read, what is refused and where, what extends what.

use std::path::Path;

use cooper_base::manifest::{Layers, Mode, Variant};
use cooper_base::{ErrorKind, Manifest, Origin, presets};

fn load(files: &[(&str, &str)]) -> Result<Manifest, String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let prefix = format!("{}/", dir.path().display());
    Manifest::load(&Origin::File(dir.path().join(files[0].0))).map_err(|error| {
        let hint = error.hint().map_or(String::new(), |hint| format!("; hint: {hint}"));
        format!("{error}{hint}").replace(&prefix, "")
    })
}

#[track_caller]
fn check_fails(name: &str, text: &str, expect: &str) {
    let error = load(&[(name, text)]).unwrap_err();
    assert!(error.starts_with(expect), "{error}\nis not: {expect}");
}

#[test]
fn yaml_and_toml_say_the_same() {
    let yaml = "suite: bookworm\nvariant: minbase\npackages: [libc6, 'mawk | gawk', app=1.*]\nlayers: [[libc6], [app]]\n\
                files: [{path: /etc/x, text: hi, mode: 0640}]\nlinks: {/bin/a: b}\nconfig: {env: {A: '1'}, user: nonroot}\n\
                sources: [{uris: [http://m], suites: [s], signed-by: [k.asc], max-age-days: 9}]\n";
    let toml = "suite = 'bookworm'\nvariant = 'minbase'\npackages = ['libc6', 'mawk | gawk', 'app=1.*']\nlayers = [['libc6'], ['app']]\n\
                [[files]]\npath = '/etc/x'\ntext = 'hi'\nmode = '0640'\n[links]\n'/bin/a' = 'b'\n[config]\nenv = {A = '1'}\nuser = 'nonroot'\n\
                [[sources]]\nuris = ['http://m']\nsuites = ['s']\nsigned-by = ['k.asc']\nmax-age-days = 9\n";
    let (mut one, mut other) = (load(&[("a.yaml", yaml)]).unwrap(), load(&[("a.toml", toml)]).unwrap());
    assert!(one.sources[0].signed_by[0].ends_with("k.asc") && one.sources[0].signed_by[0].is_absolute());
    (one.sources[0].signed_by, other.sources[0].signed_by) = (Vec::new(), Vec::new());
    assert_eq!(one, other);
    assert_eq!((one.variant, one.files[0].mode), (Some(Variant::Minbase), Some(Mode(0o640))));
    assert_eq!(one.layers, Some(Layers::Groups(vec![vec!["libc6".into()], vec!["app".into()]])));
    assert_eq!(load(&[("a.yaml", "# nothing\n")]).unwrap(), Manifest::default());
}

#[test]
fn mistakes_are_told_with_place_and_nearest_key() {
    check_fails("a.yaml", "suite: x\npakages: [a]\n", "a.yaml:2:1: unknown field `pakages`, expected one of");
    assert!(load(&[("a.yaml", "pakages: [a]\n")]).unwrap_err().ends_with("did you mean `packages`?"));
    assert!(load(&[("a.toml", "[config]\nentrypiont = []\n")]).unwrap_err().ends_with("did you mean `entrypoint`?"));
    check_fails("a.toml", "suite = 'x'\n[config]\nenv = 3\n", "a.toml:3:7: invalid type");
    check_fails("a.yaml", "packages:\n  - 'A b'\n", "a.yaml:2:3: packages: `A b` is not a package");
    check_fails("a.yaml", "layers: many\n", "a.yaml:1:9: layers: invalid value: string \"many\", expected `single`");
    check_fails("a.yaml", "files: [{path: /x, text: y, mode: 755}]\n", "a.yaml:1:");
    check_fails("a.yaml", "a: [\n", "a.yaml:");
    check_fails("a.yaml", "suite: a\nsuite: b\n", "a.yaml");
    check_fails("a.yaml", "files: [{path: /x}]\n", "a.yaml: file /x: give either its text or its source");
    check_fails("a.yaml", "links: {../x: y}\n", "a.yaml: `../x` is not an absolute path");
    check_fails(
        "a.yaml",
        "architectures: [adm64]\n",
        "a.yaml: `adm64` is not a Debian architecture; did you mean `amd64`?",
    );
    check_fails(
        "a.yaml",
        "sources: [{uris: [], suites: [x], signed-by: [k]}]\n",
        "a.yaml: a source needs at least one",
    );
    check_fails("a.yaml", &" ".repeat(2 << 20), "a.yaml is longer than");
}

#[test]
fn an_alias_bomb_ends() {
    let mut text = String::from("a0: &a0 [x, x]\n");
    for at in 1..40 {
        text += &format!("a{at}: &a{at} [*a{0}, *a{0}]\n", at - 1);
    }
    check_fails("a.yaml", &text, "a.yaml");
}

#[test]
fn what_extends_adds_to_lists_and_overrides_values() {
    let child = "extends: ./parent.toml\npackages: [bb]\nsuite: two\narchitectures: [arm64]\nconfig: {env: {B: '2'}, cmd: [b]}\n";
    let parent = "suite = 'one'\npackages = ['aa']\narchitectures = ['amd64']\ntags = ['x']\n[config]\nenv = {A = '1', B = '1'}\ncmd = ['a']\nuser = 'u'\n";
    let merged = load(&[("child.yaml", child), ("parent.toml", parent)]).unwrap();
    let packages: Vec<String> = merged.packages.iter().map(ToString::to_string).collect();
    assert_eq!(
        (packages.join(" "), merged.suite.as_deref(), merged.architectures.join(" ")),
        ("aa bb".into(), Some("two"), "arm64".into())
    );
    let env: Vec<String> = merged.config.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!((env.join(" "), merged.config.user.as_deref()), ("A=1 B=2".into(), Some("u")));
    assert_eq!((merged.config.cmd, merged.tags.len()), (Some(vec!["b".into()]), 0));
}

#[test]
fn chains_end() {
    let error = load(&[("a.yaml", "extends: ./b.yaml\n"), ("b.yaml", "extends: ./a.yaml\n")]).unwrap_err();
    assert!(error.contains("extends itself"), "{error}");
    let error = load(&[("a.yaml", "extends: statik\n")]).unwrap_err();
    assert_eq!(error, "there is no preset `statik`; hint: did you mean `static`?");
}

#[test]
fn every_preset_loads() {
    for name in presets::NAMES {
        let manifest = Manifest::load(&Origin::of(name, Path::new("")).unwrap()).unwrap();
        assert!(!manifest.packages.is_empty() || manifest.variant.is_some(), "{name}");
    }
    assert_eq!(Origin::of("nothing", Path::new("")).unwrap_err().kind(), ErrorKind::NotFound);
}
