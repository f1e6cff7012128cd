//! Outlines and targets: a Dockerfile in, what it offers out.

use cooper_dockerfile::outline::{outline, targets};
use cooper_dockerfile::{Args, parse};
use cooper_oci::Platform;

fn args(target: &str, pairs: &[(&str, &str)]) -> Args {
    let build_args = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let target = Some(target.to_owned()).filter(|target| !target.is_empty());
    Args { build_args, target, ..Args::new(Platform::new("linux", "amd64")) }
}

fn check(text: &str, args: &Args, expect: &str) {
    let (file, found) = parse(text);
    assert_eq!(found, [], "{text}");
    let outline = outline(&file, args).unwrap();
    let mut drawn = format!("{} ({})\n", outline.name, outline.description);
    for arg in &outline.args {
        drawn += &format!("arg {} {}={} ({})\n", arg.lines.0, arg.name, arg.value, arg.description);
    }
    for (what, list) in [("secret", &outline.secrets), ("ssh", &outline.ssh)] {
        for asked in list {
            drawn += &format!("{what} {} {} {}\n", asked.lines.0, asked.name, asked.required);
        }
    }
    for (id, lines) in &outline.caches {
        drawn += &format!("cache {} {id}\n", lines.0);
    }
    assert_eq!(drawn, expect, "{text}");
}

/// The stages of a target count, with the global ARGs behind them; those of others do not.
#[test]
fn arguments_that_have_an_effect() {
    let text = "
ARG inherited=box
ARG inherited2=box2
ARG unused=abc${inherited2}
# sfx is a suffix
ARG sfx=\"usy${inherited}\"

FROM b${sfx} AS first
# nothing in particular
ARG FOO=123
# BAR is a number
ARG BAR=456
RUN true

FROM alpine${unused} AS second
ARG BAZ
RUN true

FROM scratch AS third
ARG ABC=a
# check=skip=all
ARG password
# alternate will be shown
# check=skip=all
ARG alternate

# target is what is built
FROM third AS target
COPY --from=first /etc/passwd /

FROM second
";
    check(
        text,
        &args("target", &[("BAR", "678")]),
        "target (is what is built)
arg 2 inherited=box ()
arg 6 sfx=usybox (is a suffix)
arg 10 FOO=123 ()
arg 12 BAR=678 (is a number)
arg 20 ABC=a ()
arg 22 password= ()
arg 25 alternate= (will be shown)
",
    );
    check(text, &args("", &[]), " ()\narg 3 inherited2=box2 ()\narg 4 unused=abcbox2 ()\narg 16 BAZ= ()\n");
}

#[test]
fn global_values_and_predefined_ones() {
    let text = "ARG V=1\nFROM a\nARG V TARGETARCH\nARG W=$V\n";
    check(text, &args("", &[]), " ()\narg 1 V=1 ()\narg 4 W=1 ()\n");
    check(text, &args("", &[("V", "2")]), " ()\narg 3 V=2 ()\narg 4 W=2 ()\n");
}

#[test]
fn secrets_agents_and_caches() {
    let text = "FROM a AS first
RUN --mount=type=secret,target=/etc/passwd,required=true --mount=type=ssh true
FROM a AS second
RUN --mount=type=secret,id=unused --mount=type=ssh,id=ssh2 true
FROM scratch AS third
ARG BAR
RUN --mount=type=secret,id=second$BAR --mount=type=cache,target=/root/.cache true
FROM third
COPY --from=first a b
";
    check(
        text,
        &args("", &[("BAR", "x")]),
        " ()
arg 6 BAR=x ()
secret 2 passwd true
secret 7 secondx false
ssh 2 default false
cache 7 /root/.cache
",
    );
}

#[test]
fn a_file_that_cannot_be_built_has_no_outline() {
    let (file, _) = parse("FROM scratch\n");
    let errors = outline(&file, &args("nosuch", &[])).unwrap_err();
    assert!(errors[0].message.contains("target stage `nosuch`"), "{errors:?}");
}

#[test]
fn all_targets() {
    let (file, _) = parse("# build makes\nFROM --platform=$BUILDPLATFORM golang:1 AS Build\n# other\nFROM scratch\n");
    let drawn: Vec<String> = targets(&file)
        .iter()
        .map(|target| {
            let default = if target.default { "*" } else { "" };
            format!(
                "{}{default} ({}) {} [{}] {}",
                target.name, target.description, target.base, target.platform, target.lines.0
            )
        })
        .collect();
    assert_eq!(drawn, ["build (makes) golang:1 [$BUILDPLATFORM] 2", "* () scratch [] 4"]);
}

/// Names and comments by the ten thousand: each look-up in a list would make this take minutes.
#[test]
fn hostile_shapes_end() {
    let names: String = (0..5_000).map(|i| format!(" a{i}")).collect();
    let comments: String = (0..5_000).map(|i| format!("# a{i} b\n")).collect();
    let mounts: String = (0..500).map(|i| format!(" --mount=type=secret,id=s{i}")).collect();
    let text = format!("ARG{names}\nFROM a\n{comments}ARG{names}\nRUN{mounts} x\n");
    let (file, _) = parse(&text);
    let outline = outline(&file, &args("", &[])).unwrap();
    assert_eq!((outline.args.len(), outline.secrets.len()), (5_000, 500));
}
