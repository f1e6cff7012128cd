//! Messages: severity, rule, the text pointed at, what is wrong, and a hint.
//!
//! Knows nothing of graphs and configs.

use cooper_dockerfile::Args;

use crate::support::{args, build, with_args};

fn check(text: &str, args: &Args, expect: &str) {
    let got = build(text, args).1;
    assert_eq!(got, expect, "\n--- got for:\n{text}\n{got}");
}

#[test]
fn no_stage() {
    check(
        r"ARG A=1
",
        &args(),
        r#"Error syntax at "ARG A=1": no stage to build (a Dockerfile needs at least one FROM)
"#,
    );
}

#[test]
fn unknown_target() {
    check(
        r"FROM scratch AS build
FROM scratch AS test
",
        &Args { target: Some("biuld".into()), ..args() },
        r#"Error syntax at "FROM scratch AS test": target stage `biuld` could not be found (did you mean `build`? the stages are build, test)
"#,
    );
}

#[test]
fn unknown_target_without_names() {
    check(
        r"FROM scratch
",
        &Args { target: Some("x".into()), ..args() },
        r#"Error syntax at "FROM scratch": target stage `x` could not be found (no stage has a name; they are 0 to 0)
"#,
    );
}

#[test]
fn blank_base() {
    check(
        r"ARG BASE
FROM $BASE
",
        &args(),
        r#"Error syntax at "$BASE": base name ($BASE) should not be blank (give the ARG a default before the first FROM, or pass it with --build-arg)
Warning InvalidDefaultArgInFrom at "$BASE": default value for ARG $BASE results in empty or invalid base image name
"#,
    );
}

#[test]
fn bad_base() {
    check(
        r"FROM scratch AS build
FROM biuld:A:b
",
        &args(),
        r#"Error syntax at "biuld:A:b": invalid image name `biuld:A:b`: the repository must be lower case
"#,
    );
}

#[test]
fn bad_base_of_an_unneeded_stage() {
    check(
        r"FROM UPPER
FROM scratch
",
        &args(),
        r"",
    );
}

#[test]
fn undeclared_in_from() {
    check(
        r"ARG VERSION=1
FROM debian:$VERSIOM$VERSION
",
        &args(),
        r#"Warning UndefinedArgInFrom at "debian:$VERSIOM$VERSION": FROM argument 'VERSIOM' is not declared (did you mean `$VERSION`?)
"#,
    );
}

#[test]
fn invalid_default() {
    check(
        r"ARG V
FROM debian:${V}
",
        &with_args(&[("V", "1")]),
        r#"Warning InvalidDefaultArgInFrom at "debian:${V}": default value for ARG debian:${V} results in empty or invalid base image name
"#,
    );
}

#[test]
fn const_platform() {
    check(
        r"FROM --platform=linux/amd64 alpine
FROM --platform=linux/amd64 alpine AS my-amd64
FROM scratch
COPY --from=0 a b
COPY --from=1 a b
",
        &args(),
        r#"Warning FromPlatformFlagConstDisallowed at "linux/amd64": FROM --platform flag should not use constant value "linux/amd64"
"#,
    );
}

#[test]
fn bad_platform() {
    check(
        r"FROM --platform=a/b/c/d alpine
",
        &args(),
        r#"Error syntax at "a/b/c/d": invalid platform `a/b/c/d` (write it as os/arch[/variant], such as linux/arm64)
"#,
    );
}

#[test]
fn empty_platform() {
    check(
        r"FROM --platform=$TARGETPLATFROM alpine
",
        &args(),
        r#"Error syntax at "$TARGETPLATFROM": empty platform value from expression $TARGETPLATFROM (did you mean `$TARGETPLATFORM`?)
Warning UndefinedArgInFrom at "$TARGETPLATFROM": FROM argument 'TARGETPLATFROM' is not declared (did you mean `$TARGETPLATFORM`?)
"#,
    );
}

#[test]
fn other_platform_than_the_base() {
    check(
        r"FROM armed
",
        &args(),
        r#"Warning InvalidBaseImagePlatform at "FROM armed": base image armed was pulled with platform "linux/arm64", expected "linux/amd64" for current build
"#,
    );
}

#[test]
fn undefined_variables() {
    check(
        r"FROM scratch
ARG DECLARED
ENV PATHS=1
COPY $DECLARED$PATH$PATHSS ${X:-y} /
COPY <<E /
$NOPE
E
",
        &args(),
        r#"Warning UndefinedVar at "$DECLARED$PATH$PATHSS": usage of undefined variable '$PATHSS' (did you mean `$PATHS`?)
Warning UndefinedVar at "${X:-y}": usage of undefined variable '$X'
Warning UndefinedVar at "$NOPE\n": usage of undefined variable '$NOPE'
"#,
    );
}

#[test]
fn global_args_are_not_in_stages() {
    check(
        r"ARG G=1
FROM scratch
ENV A=$G
",
        &args(),
        r#"Warning UndefinedVar at "$G": usage of undefined variable '$G'
"#,
    );
}

#[test]
fn required_variable() {
    check(
        r#"FROM scratch
ENV A="${B:?say B}"
"#,
        &args(),
        r#"Error syntax at "${B:?say B}\"": B: say B
"#,
    );
}

#[test]
fn bad_expansion() {
    check(
        r"FROM scratch
COPY ${a /
WORKDIR ${
",
        &args(),
        r#"Error syntax at "${a": missing `}` in `${..}`
Error syntax at "${": missing `}` in `${..}`
"#,
    );
}

#[test]
fn copy_from_later_stage() {
    check(
        r"FROM scratch AS a
COPY --from=b x y
FROM scratch AS b
",
        &Args { target: Some("a".into()), ..args() },
        r#"Error syntax at "b": cannot read from stage `b`: it needs to be defined before current stage `a` (move the stage `b` above this one)
"#,
    );
}

#[test]
fn copy_from_itself() {
    check(
        r"FROM scratch AS a
COPY --from=a x y
COPY --from=0 x y
",
        &args(),
        r#"Error syntax at "a": circular dependency: stage `a` reads from itself
Error syntax at "0": circular dependency: stage `a` reads from itself
"#,
    );
}

#[test]
fn copy_from_unknown_index() {
    check(
        r"FROM scratch
COPY --from=7 x y
",
        &args(),
        r#"Error syntax at "7": invalid stage index 7 (the stages are 0 to 0)
"#,
    );
}

#[test]
fn copy_from_bad_name() {
    check(
        r"FROM scratch AS build
FROM scratch
COPY --from=Biuld x y
COPY --from=$NOTHING x y
",
        &args(),
        r#"Error syntax at "Biuld": invalid image name `Biuld`: the repository must be lower case (did you mean the stage `build`?)
Error syntax at "$NOTHING": --from=$NOTHING is empty (declare it with ARG before the first FROM, or pass it with --build-arg)
Warning UndefinedVar at "$NOTHING": usage of undefined variable '$NOTHING'
"#,
    );
}

#[test]
fn mount_from_later_stage() {
    check(
        r"FROM scratch AS a
RUN --mount=from=b,target=/x y
FROM scratch AS b
",
        &Args { target: Some("a".into()), ..args() },
        r#"Error syntax at "from=b,target=/x": cannot read from stage `b`: it needs to be defined before current stage `a` (move the stage `b` above this one)
"#,
    );
}

#[test]
fn users_that_could_be_root() {
    check(
        r"FROM scratch
USER 2147483648
USER 0x0
USER -1
USER a:00
COPY --chown=4294967296 a b
USER 2147483647
",
        &args(),
        r#"Error syntax at "2147483648": invalid USER: `2147483648` is not a user id: ids are plain decimal numbers up to 2147483647 (write it as name|uid[:group|gid])
Error syntax at "0x0": invalid USER: `0x0` is not a user id: ids are plain decimal numbers up to 2147483647 (write it as name|uid[:group|gid])
Error syntax at "-1": invalid USER: `-1` is not a user id: ids are plain decimal numbers up to 2147483647 (write it as name|uid[:group|gid])
Error syntax at "a:00": invalid USER: `00` is not a group id: ids are plain decimal numbers up to 2147483647 (write it as name|uid[:group|gid])
Error syntax at "4294967296": invalid --chown: `4294967296` is not a user id: ids are plain decimal numbers up to 2147483647
"#,
    );
}

#[test]
fn hostile_user_of_the_base() {
    check(
        r"FROM rooted
RUN a
",
        &args(),
        r#"Error syntax at "FROM rooted": the base image's USER cannot be used: `0x0` is not a user id: ids are plain decimal numbers up to 2147483647
"#,
    );
}

#[test]
fn hostile_triggers_of_the_base() {
    check(
        r"FROM bad-triggers
",
        &args(),
        r#"Error syntax at "FROM bad-triggers": the base image's trigger `ONBUILD FROM x` cannot be used: FROM cannot be the trigger of ONBUILD
Error syntax at "FROM bad-triggers": the base image's trigger `ONBUILD RUN a
RUN b` cannot be used: a trigger is a single instruction
Error syntax at "FROM bad-triggers": the base image's trigger `ONBUILD NOPE` cannot be used: unknown instruction `NOPE`
"#,
    );
}

#[test]
fn bad_modes() {
    check(
        r"FROM scratch
COPY --chmod=99 a b
COPY --chmod=10000 a b
COPY --chmod=rwx a b
",
        &args(),
        r#"Error syntax at "99": invalid --chmod: `99` is not an octal mode between 0 and 07777
Error syntax at "10000": invalid --chmod: `10000` is not an octal mode between 0 and 07777
Error syntax at "rwx": invalid --chmod: `rwx` is not a mode; write it as 755 or u+x,g=u
"#,
    );
}

#[test]
fn bad_exclude() {
    check(
        r"FROM scratch
COPY --exclude=[ a b
",
        &args(),
        r#"Error syntax at "[": invalid --exclude: invalid pattern `[`: a `[` is not closed
"#,
    );
}

#[test]
fn remote_sources() {
    check(
        r"FROM scratch
ADD https://x/y.git#-h /
ADD https://x/y.git?what=1 /
ADD --keep-git-dir=true git@x:y?keep-git-dir=false /
ADD --checksum=a1 https://x/y.git?commit=b2 /
ADD --checksum=main https://x/y.git /
ADD --checksum=a1 https://x/y /
COPY http://x/y /
COPY git@x:y /
ADD --checksum=sha256:0 local /
ADD --checksum=a1 https://x/y.git https://x/z.git /z/
",
        &args(),
        r#"Error syntax at "https://x/y.git#-h": invalid source: `-h` is not the name of a branch, tag or commit
Error syntax at "https://x/y.git?what=1": invalid source: `what` is not known; there are: ref, tag, branch, subdir, checksum, commit, keep-git-dir, submodules, mtime, fetch-by-commit
Error syntax at "git@x:y?keep-git-dir=false": invalid source: --keep-git-dir=true contradicts keep-git-dir=false of the address
Error syntax at "https://x/y.git?commit=b2": invalid source: --checksum=a1 contradicts checksum=b2 of the address
Error syntax at "https://x/y.git": invalid source: --checksum: `main` is not the hex digits of a commit
Error syntax at "https://x/y": invalid source: --checksum: invalid digest `a1`: no `algorithm:` prefix
Error syntax at "http://x/y": the source of COPY cannot be an address: http://x/y (COPY reads files only; ADD fetches)
Error syntax at "git@x:y": the source of COPY cannot be an address: git@x:y (COPY reads files only; ADD fetches)
Error syntax at "checksum": --checksum requires an HTTP(S) or git source
Error syntax at "checksum": --checksum can't be specified for multiple sources
"#,
    );
}

#[test]
fn devices_without_a_name_and_unknown_options() {
    check(
        r"FROM scratch
RUN --device=required --device=vendor/x,requird a
",
        &args(),
        r#"Error syntax at "required": the device has no name (write `--device=vendor/class=name`)
Error syntax at "vendor/x,requird": unknown device option `requird` in `requird` (did you mean `required`?)
"#,
    );
}

#[test]
fn bad_network() {
    check(
        r"FROM scratch
RUN --network=bridge a
",
        &args(),
        r#"Error syntax at "bridge": `bridge` is not possible for `--network` (it takes default, none, host)
"#,
    );
}

#[test]
fn bad_global_network() {
    check(
        r"FROM scratch
RUN a
",
        &Args { network: Some("bridge".into()), ..args() },
        r#"Error syntax at "RUN a": unsupported network mode `bridge` (there are default, none and host)
"#,
    );
}

#[test]
fn bad_mounts() {
    check(
        r"FROM scratch
RUN --mount=type=cache,target=/ a
RUN --mount=type=cach,target=/x a
RUN --mount=type=ssh,source=x a
RUN --mount=type=secret a
RUN --mount=target=/x,typo=1 a
",
        &args(),
        r#"Error syntax at "type=cache,target=/": invalid mount target `/` (a mount cannot take the place of the root)
Error syntax at "type=cach": unknown mount type `cach` (did you mean `cache`?)
Error syntax at "type=ssh,source=x": a mount of type ssh has no `source`
Error syntax at "type=secret": the secret has no `id` (write `type=secret,id=<name>`)
Error syntax at "typo=1": unknown mount option `typo` in `typo=1` (did you mean `type`?)
"#,
    );
}

#[test]
fn other_syntax() {
    check(
        r"# syntax=example.com/my/frontend:1
FROM scratch
",
        &args(),
        r#"Error syntax at "example.com/my/frontend:1": the syntax `example.com/my/frontend:1` is not supported (cooper reads Dockerfiles itself and runs no frontend image; remove the line or write `# syntax=docker/dockerfile:1`)
"#,
    );
}

#[test]
fn known_syntax() {
    check(
        r"# syntax=docker/dockerfile:1.7-labs
FROM scratch
",
        &args(),
        r"",
    );
}

#[test]
fn bad_settings() {
    check(
        r"FROM scratch
EXPOSE 80/http
STOPSIGNAL SIGFOO
VOLUME $NOTHING
COPY $NOTHING /
",
        &args(),
        r#"Error syntax at "80/http": invalid port `80/http`: unknown protocol `http` (tcp, udp or sctp) (write ports as 80, 80-90 or 53/udp)
Error syntax at "SIGFOO": invalid signal: SIGFOO (did you mean `SIGFPE`?)
Error syntax at "$NOTHING": a VOLUME cannot be an empty string
Warning UndefinedVar at "$NOTHING": usage of undefined variable '$NOTHING'
Error syntax at "$NOTHING": the source `$NOTHING` is empty (write `.` for the whole context)
Warning UndefinedVar at "$NOTHING": usage of undefined variable '$NOTHING'
"#,
    );
}

#[test]
fn bad_epoch() {
    check(
        r"FROM scratch
",
        &with_args(&[("SOURCE_DATE_EPOCH", "soon")]),
        r#"Error syntax at "": SOURCE_DATE_EPOCH is `soon`, which is not a number of seconds since 1970
"#,
    );
}

#[test]
fn the_date_of_a_directory_is_no_date() {
    check(
        r"FROM scratch
",
        &with_args(&[("SOURCE_DATE_EPOCH", "context")]),
        r"",
    );
}

#[test]
fn rules_can_be_switched_off() {
    check(
        r"# check=skip=UndefinedVar
FROM scratch
ENV A=$B
",
        &args(),
        r"",
    );
}

#[test]
fn errors_cannot_be_switched_off() {
    check(
        r"# check=skip=all
FROM scratch
COPY --from=9 a b
",
        &args(),
        r#"Error syntax at "9": invalid stage index 9 (the stages are 0 to 0)
"#,
    );
}

#[test]
fn one_instruction_can_be_spared() {
    check(
        r"FROM scratch
# check=skip=UndefinedVar
ENV A=$B
ENV A=$C
",
        &args(),
        r#"Warning UndefinedVar at "$C": usage of undefined variable '$C'
"#,
    );
}

#[test]
fn rules_can_fail_the_build() {
    check(
        r"# check=error=true
FROM scratch
ENV A=$B
",
        &args(),
        r#"Error UndefinedVar at "$B": usage of undefined variable '$B'
"#,
    );
}

#[test]
fn the_nearest_word_is_named() {
    check(
        "FROM scratch\nSTOPSIGNAL SIGTREM\n",
        &args(),
        "Error syntax at \"SIGTREM\": invalid signal: SIGTREM (did you mean `SIGTERM`?)\n",
    );
    check(
        "FROM scratch\nHEALTHCHECK cdm x\n",
        &args(),
        "Error syntax at \"cdm\": HEALTHCHECK takes CMD or NONE, not `cdm` (did you mean `CMD`?)\n",
    );
}

#[test]
fn an_expansion_is_pointed_at_where_it_goes_wrong() {
    check(
        "FROM scratch\nENV A=ab${B:x}\n",
        &args(),
        "Error syntax at \":x}\": `:x` is not an operator of `${..}`; there are :- - :+ + :? ? # ## % %% / //\n",
    );
}
