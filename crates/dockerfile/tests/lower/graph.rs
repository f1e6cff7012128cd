//! Graphs: one vertex a line.
//!
//! Knows nothing of configs and messages.

use cooper_dockerfile::Args;

use crate::support::{args, contexts, graph, with_args};

fn check(text: &str, args: &Args, expect: &str) {
    let got = graph(text, args);
    assert_eq!(got, expect, "\n--- got for:\n{text}\n{got}");
}

#[test]
fn one_layer_for_each_step() {
    check(
        r#"FROM scratch
COPY a b /d
ADD c.tar /
LABEL a=b
CMD ["x"]
"#,
        &args(),
        r#"0: scratch # FROM scratch
1: local context=context # [internal] load build context
2: <0> <1(paths path "a" path "b")> file copy from input=1 source name=a source name=b dest=/d/ # [1/2] COPY a b /d
3: <2> <1(paths path "c.tar")> file copy from input=1 source name=c.tar dest=/ flag=unpack # [2/2] ADD c.tar /
"#,
    );
}

#[test]
fn settings_reach_only_later_steps() {
    check(
        r#"FROM debian
RUN make
ENV A=1
USER u:7
WORKDIR x
RUN ["a", "b"]
SHELL ["/bin/bash", "-ec"]
RUN id
"#,
        &args(),
        r#"0: image reference=docker.io/library/debian:latest # [1/5] FROM docker.io/library/debian:latest
1: <0> run arg=make env=PATH=/bin env=LANG=C env=SOURCE_DATE_EPOCH=1704164645 cwd=/home clamp=1704164645 # [2/5] RUN make
2: <1> file make directory=/home/x chown="\"u\":7" clamp=1704164645 # [3/5] WORKDIR x
3: <2> run arg=a arg=b env=PATH=/bin env=LANG=C env=A=1 env=SOURCE_DATE_EPOCH=1704164645 cwd=/home/x user=u:7 clamp=1704164645 # [4/5] RUN ["a", "b"]
4: <3> run arg=/bin/bash arg=-ec arg=id env=PATH=/bin env=LANG=C env=A=1 env=SOURCE_DATE_EPOCH=1704164645 cwd=/home/x user=u:7 clamp=1704164645 # [5/5] RUN id
"#,
    );
}

#[test]
fn workdir_root_makes_no_layer() {
    check(
        r"FROM scratch
WORKDIR /
WORKDIR a
WORKDIR a
USER 5
WORKDIR /b/../c/
",
        &args(),
        r"0: scratch # FROM scratch
1: <0> file make directory=/a # [1/4] WORKDIR a
2: <1> file make directory=/a/a # [2/4] WORKDIR a
3: <2> file make directory=/c chown=5 # [3/4] WORKDIR /b/../c/
",
    );
}

#[test]
fn args_join_every_later_run() {
    check(
        r"ARG G=global
FROM scratch AS s
RUN a
ARG G
ARG D=d
ARG UNSET
RUN b
ENV D=env
RUN c
FROM s
RUN d
",
        &args(),
        r"0: scratch # FROM scratch
1: <0> run arg=a cwd=/ # [s 1/3] RUN a
2: <1> run arg=b env=G=global env=D=d cwd=/ # [s 2/3] RUN b
3: <2> run arg=c env=G=global env=D=env cwd=/ # [s 3/3] RUN c
4: <3> run arg=d env=G=global env=D=env cwd=/ # [stage-1 1/1] RUN d
",
    );
}

#[test]
fn build_args_override() {
    check(
        r"ARG G=global
FROM scratch
ARG G
ARG D=d
ARG TARGETARCH
ARG TARGETSTAGE
RUN b
",
        &with_args(&[("G", "1"), ("D", "2"), ("OTHER", "3")]),
        r"0: scratch # FROM scratch
1: <0> run arg=b env=G=1 env=D=2 env=TARGETARCH=amd64 env=TARGETSTAGE=default cwd=/ # [1/1] RUN b
",
    );
}

#[test]
fn proxies_stay_out_of_keys() {
    check(
        r"FROM scratch
RUN a
ARG http_proxy
RUN b
",
        &with_args(&[("HTTP_PROXY", "p"), ("http_proxy", "q")]),
        r"0: scratch # FROM scratch
1: <0> run arg=a cwd=/ # [1/2] RUN a
2: <1> run arg=b env=http_proxy=q cwd=/ # [2/2] RUN b
",
    );
}

#[test]
fn epoch_of_the_file_wins_over_the_clamp() {
    check(
        r"FROM scratch
ENV SOURCE_DATE_EPOCH=7
RUN a
",
        &args(),
        r"0: scratch # FROM scratch
1: <0> run arg=a env=SOURCE_DATE_EPOCH=7 cwd=/ # [1/1] RUN a
",
    );
}

#[test]
fn stages_keep_the_clamp_of_their_base() {
    check(
        r"FROM debian AS a
RUN a
FROM a
RUN b
COPY --from=a / /
FROM old
COPY --from=1 x /x
COPY --from=A y /y
",
        &args(),
        r#"0: image reference=docker.io/library/debian:latest # [a 1/2] FROM docker.io/library/debian:latest
1: <0> run arg=a env=PATH=/bin env=LANG=C env=SOURCE_DATE_EPOCH=1704164645 cwd=/home clamp=1704164645 # [a 2/2] RUN a
2: <1> run arg=b env=PATH=/bin env=LANG=C env=SOURCE_DATE_EPOCH=1704164645 cwd=/home clamp=1704164645 # [stage-1 1/2] RUN b
3: <2> <1(paths path "")> file copy from input=1 source name="" dest=/ clamp=1704164645 # [stage-1 2/2] COPY --from=a / /
4: image reference=docker.io/library/old:latest # [stage-2 1/3] FROM docker.io/library/old:latest
5: <4> <3(paths path "x")> file copy from input=1 source name=x dest=/x # [stage-2 2/3] COPY --from=1 x /x
6: <5> <1(paths path "y")> file copy from input=1 source name=y dest=/y # [stage-2 3/3] COPY --from=A y /y
"#,
    );
}

#[test]
fn preserved_times() {
    check(
        r"FROM debian
RUN a
COPY a b
",
        &Args { clamp: false, ..args() },
        r#"0: image reference=docker.io/library/debian:latest # [1/3] FROM docker.io/library/debian:latest
1: <0> run arg=a env=PATH=/bin env=LANG=C cwd=/home clamp=preserve # [2/3] RUN a
2: local context=context # [internal] load build context
3: <1> <2(paths path "a")> file copy from input=1 source name=a dest=/home/b clamp=preserve # [3/3] COPY a b
"#,
    );
}

#[test]
fn stages_that_are_not_needed_are_left_out() {
    check(
        r"FROM nothing AS unused
RUN a
FROM unknown:tag AS used
FROM scratch
COPY --from=used a b
",
        &args(),
        r#"0: image reference=docker.io/library/unknown:tag # [used 1/1] FROM docker.io/library/unknown:tag
1: scratch # FROM scratch
2: <1> <0(paths path "a")> file copy from input=1 source name=a dest=/b # [stage-2 1/1] COPY --from=used a b
"#,
    );
}

#[test]
fn target_by_name() {
    check(
        r"FROM scratch AS One
RUN a
FROM one AS two
RUN b
FROM nothing
",
        &Args { target: Some("TWO".into()), ..args() },
        r"0: scratch # FROM scratch
1: <0> run arg=a cwd=/ # [one 1/1] RUN a
2: <1> run arg=b cwd=/ # [two 1/1] RUN b
",
    );
}

#[test]
fn target_by_index() {
    check(
        r"FROM scratch
RUN a
FROM nothing
",
        &Args { target: Some("0".into()), ..args() },
        r"0: scratch # FROM scratch
1: <0> run arg=a cwd=/ # [stage-0 1/1] RUN a
",
    );
}

#[test]
fn equal_sources_are_one_vertex() {
    check(
        r"FROM debian AS a
COPY x /x
FROM debian AS b
COPY --from=a /x /y
COPY --from=debian:latest /z /z
RUN --mount=from=debian,target=/d --mount=from=debian,target=/e,source=s y
COPY z /w
",
        &args(),
        r#"0: image reference=docker.io/library/debian:latest # [a 1/2] FROM docker.io/library/debian:latest
1: local context=context # [internal] load build context
2: <0> <1(paths path "x")> file copy from input=1 source name=x dest=/x clamp=1704164645 # [a 2/2] COPY x /x
3: <0> <2(paths path "x")> file copy from input=1 source name=x dest=/y clamp=1704164645 # [b 2/5] COPY --from=a /x /y
4: <3> <0(paths path "z")> file copy from input=1 source name=z dest=/z clamp=1704164645 # [b 3/5] COPY --from=debian:latest /z /z
5: <4> <0(paths path "" path "s")> run arg=y env=PATH=/bin env=LANG=C env=SOURCE_DATE_EPOCH=1704164645 cwd=/home mount="bind ro at /d" mount input=1 mount="bind ro at /e" mount input=1 clamp=1704164645 # [b 4/5] RUN --mount=from=debian,target=/d --mount=from=debian,target=/e,source=s y
6: <5> <1(paths path "z")> file copy from input=1 source name=z dest=/w clamp=1704164645 # [b 5/5] COPY z /w
"#,
    );
}

#[test]
fn run_mounts() {
    check(
        r"FROM scratch AS seed
COPY s /s
FROM alpine AS build
WORKDIR /w
RUN --mount=type=cache,target=c,sharing=locked,uid=7 --mount=from=busybox,source=/bin,target=b --mount=target=/ctx,rw,source=src --mount=type=tmpfs,target=/t,size=1m --mount=type=cache,id=n,target=/n,from=seed,source=s go
",
        &args(),
        r#"0: scratch # FROM scratch
1: local context=context # [internal] load build context
2: <0> <1(paths path "s")> file copy from input=1 source name=s dest=/s # [seed 1/1] COPY s /s
3: image reference=docker.io/library/alpine:latest # [build 1/3] FROM docker.io/library/alpine:latest
4: <3> file make directory=/w # [build 2/3] WORKDIR /w
5: image reference=docker.io/library/busybox:latest # FROM docker.io/library/busybox:latest
6: <4> <5(paths path "bin")> <1(paths path "src")> <2(paths path "s")> run arg=go cwd=/w mount="cache \"c\" empty 0755 7:0 rw at /w/c" mount="bind ro at /w/b" mount input=1 mount="bind rw at /ctx" mount input=2 mount="tmpfs 1048576 at /t" mount="cache \"n\" filled 0755 0:0 rw at /n" mount input=3 # [build 3/3] RUN --mount=type=cache,target=c,sharing=locked,uid=7 --mount=from=busybox,source=/bin,target=b --mount=target=/ctx,rw,source=src --mount=type=tmpfs,target=/t,size=1m --mount=type=cache,id=n,target=/n,from=seed,source=s go
"#,
    );
}

#[test]
fn secrets_and_agents() {
    check(
        r"FROM scratch
RUN --mount=type=secret,id=a --mount=type=secret,id=b,env=B --mount=type=secret,target=/x/c,required,mode=0440,uid=1 --mount=type=ssh --mount=type=ssh,id=k,target=/s use $B
",
        &args(),
        r#"0: scratch # FROM scratch
1: <0> run arg="use $B" cwd=/ mount="secret \"a\" file no variable optional 0400 0:0 at /run/secrets/a" mount="secret \"b\" no file variable \"B\" optional 0400 0:0 at /run/secrets/b" mount="secret \"c\" file no variable required 0440 1:0 at /x/c" mount="ssh \"default\" optional 0600 0:0 at /run/buildkit/ssh_agent.0" mount="ssh \"k\" optional 0600 0:0 at /s" # [stage-0 1/1] RUN --mount=type=secret,id=a --mount=type=secret,id=b,env=B --mount=type=secret,target=/x/c,required,mode=0440,uid=1 --mount=type=ssh --mount=type=ssh,id=k,target=/s use ****
"#,
    );
}

#[test]
fn mount_values_are_expanded_by_themselves() {
    check(
        r"ARG IMG=busybox
FROM scratch
ARG T=/a,b
ARG S='/s'
RUN --mount=from=$IMG,target=$T,source=${S}/x run
",
        &args(),
        r#"0: scratch # FROM scratch
1: image reference=docker.io/library/busybox:latest # FROM docker.io/library/busybox:latest
2: <0> <1(paths path "s/x")> run arg=run env=T=/a,b env=S=/s cwd=/ mount="bind ro at /a,b" mount input=1 # [stage-0 1/1] RUN --mount=from=$IMG,target=/a,b,source=/s/x run
"#,
    );
}

#[test]
fn mounts_and_reads_count_as_stages_for_names() {
    check(
        r"FROM alpine
RUN --mount=type=cache,target=/c a
",
        &args(),
        r#"0: image reference=docker.io/library/alpine:latest # [stage-0 1/2] FROM docker.io/library/alpine:latest
1: <0> run arg=a cwd=/ mount="cache \"/c\" empty 0755 0:0 rw at /c" # [stage-0 2/2] RUN --mount=type=cache,target=/c a
"#,
    );
}

#[test]
fn copy_from_variables() {
    check(
        r"ARG IMG=busybox:1
ARG STAGE=build
FROM scratch AS build
FROM scratch
ARG LOCAL=2
COPY --from=$IMG a /a
COPY --from=${STAGE} b /b
COPY --from=x:$LOCAL c /c
",
        &args(),
        r#"0: scratch # FROM scratch
1: image reference=docker.io/library/busybox:1 # FROM docker.io/library/busybox:1
2: <0> <1(paths path "a")> file copy from input=1 source name=a dest=/a # [stage-1 1/3] COPY --from=busybox:1 a /a
3: <2> <0(paths path "b")> file copy from input=1 source name=b dest=/b # [stage-1 2/3] COPY --from=build b /b
4: image reference=docker.io/library/x:2 # FROM docker.io/library/x:2
5: <3> <4(paths path "c")> file copy from input=1 source name=c dest=/c # [stage-1 3/3] COPY --from=x:2 c /c
"#,
    );
}

#[test]
fn copy_flags() {
    check(
        r#"FROM scratch
ENV U=5 M=755
WORKDIR /w
COPY --chown=$U:root --chmod=$M --link --exclude=*.o --exclude=!a.o src .
COPY --chmod=u+x,g=u --parents ./a/./b/**/*.txt /x/./y /p/
ADD --unpack=false a.tar ../../b
COPY ../../up a* dir/ to
COPY ["x y", "/z/"]
COPY . .
"#,
        &args(),
        r#"0: scratch # FROM scratch
1: <0> file make directory=/w # [1/7] WORKDIR /w
2: local context=context # [internal] load build context
3: <1> <2(paths path "src" exclude "*.o" exclude "!a.o" ignore-mode ignore-owner)> file copy from input=1 source name=src dest=/w/ chown="5:\"root\"" chmod=0755 exclude=*.o exclude=!a.o flag=link # [2/7] COPY --chown=5:root --chmod=755 --link --exclude=*.o --exclude=!a.o src .
4: <3> <2(paths glob "a/./b/**/*.txt" path "x/./y" parents)> file copy from input=1 source name="parents a/./b/**/*.txt" source name="parents x/./y" dest=/p/ chmod=u+x,g=u flag=parents # [3/7] COPY --chmod=u+x,g=u --parents ./a/./b/**/*.txt /x/./y /p/
5: <4> <2(paths path "a.tar")> file copy from input=1 source name=a.tar dest=/b # [4/7] ADD --unpack=false a.tar ../../b
6: <5> <2(paths path "up" glob "a*" path "dir")> file copy from input=1 source name=up source name="glob a*" source name=dir dest=/w/to/ # [5/7] COPY ../../up a* dir/ to
7: <6> <2(paths path "x y")> file copy from input=1 source name="x y" dest=/z/ # [6/7] COPY [x y, /z/]
8: <7> <2(paths path "")> file copy from input=1 source name="" dest=/w/ # [7/7] COPY . .
"#,
    );
}

#[test]
fn heredocs() {
    check(
        r#"FROM alpine
RUN <<EOF
line $x
more
EOF
RUN <<S
#!/bin/env x
body
S
RUN cat <<A - <<-B
1
A
	2
B
ENV V='a b'
COPY <<f <<'g' /d/
$V ${V} \$V "q"
f
$V
g
COPY --chmod=u+x --chown=3 <<f /d
x
f
COPY a <<f b
y
f
"#,
        &args(),
        r##"0: image reference=docker.io/library/alpine:latest # [1/7] FROM docker.io/library/alpine:latest
1: <0> run arg="line $x\nmore\n" cwd=/ # [2/7] RUN <<EOF (line $x...)
2: <1> run arg=/dev/pipes/S cwd=/ pipe=S data="#!/bin/env x\nbody\n" # [3/7] RUN <<S (#!/bin/env x...)
3: <2> run arg="cat <<A - <<-B\n1\nA\n\t2\nB" cwd=/ # [4/7] RUN cat <<A - <<-B
4: <3> file make file=/d/f file name="" mode=0644 make file=/d/g file name="" mode=0644 data="a b a b $V \"q\"\n" data="$V\n" # [5/7] COPY <<f <<g /d/
5: <4> file make file=/d file name=f mode=0744 chown=3 data="x\n" # [6/7] COPY --chmod=u+x --chown=3 <<f /d
6: local context=context # [internal] load build context
7: <5> <6(paths path "a")> file copy from input=1 source name=a dest=/b/ make file=/b/f file name="" mode=0644 data="y\n" # [7/7] COPY a <<f b
"##,
    );
}

#[test]
fn onbuild_of_a_base_image() {
    check(
        r"FROM scratch AS tools
FROM triggers
ARG X
RUN x
",
        &args(),
        r#"0: scratch # FROM scratch
1: image reference=docker.io/library/triggers:latest # [stage-1 1/5] FROM docker.io/library/triggers:latest
2: <1> <0(paths path "t")> file copy from input=1 source name=t dest=/t # [stage-1 2/5] ONBUILD COPY --from=tools /t /t
3: <2> run arg="make $X" cwd=/ # [stage-1 3/5] ONBUILD RUN make $X
4: <3> run arg=x env=A=1 cwd=/ # [stage-1 4/5] RUN x
"#,
    );
}

#[test]
fn onbuild_of_a_stage() {
    check(
        r"FROM alpine AS base
ONBUILD RUN hook
ONBUILD COPY a /a
RUN base
FROM base AS child
RUN child
FROM child
RUN grandchild
",
        &args(),
        r#"0: image reference=docker.io/library/alpine:latest # [base 1/2] FROM docker.io/library/alpine:latest
1: <0> run arg=base cwd=/ # [base 2/2] RUN base
2: <1> run arg=hook cwd=/ # [child 1/3] ONBUILD RUN hook
3: local context=context # [internal] load build context
4: <2> <3(paths path "a")> file copy from input=1 source name=a dest=/a # [child 2/3] ONBUILD COPY a /a
5: <4> run arg=child cwd=/ # [child 3/3] RUN child
6: <5> run arg=grandchild cwd=/ # [stage-2 1/1] RUN grandchild
"#,
    );
}

#[test]
fn platforms() {
    check(
        r"FROM --platform=$BUILDPLATFORM alpine AS build-amd64
RUN a
FROM --platform=linux/arm64 armed AS arm64
COPY --from=build-amd64 a b
",
        &args(),
        r#"0: image reference=docker.io/library/alpine:latest # [build-amd64 1/2] FROM docker.io/library/alpine:latest
1: <0> run arg=a cwd=/ # [build-amd64 2/2] RUN a
2: image reference=docker.io/library/armed:latest platform=linux/arm64 # [arm64 1/2] FROM docker.io/library/armed:latest
3: <2> <1(paths path "a")> file copy from input=1 source name=a dest=/b # [arm64 2/2] COPY --from=build-amd64 a b
"#,
    );
}

#[test]
fn several_platforms() {
    check(
        r"FROM alpine AS b
RUN a
FROM scratch
COPY --from=b a b
",
        &Args { multi_platform: true, ..args() },
        r#"0: image reference=docker.io/library/alpine:latest # [linux/amd64 b 1/2] FROM docker.io/library/alpine:latest
1: <0> run arg=a cwd=/ # [linux/amd64 b 2/2] RUN a
2: scratch # FROM scratch
3: <2> <1(paths path "a")> file copy from input=1 source name=a dest=/b # [linux/amd64 stage-1 1/1] COPY --from=b a b
"#,
    );
}

#[test]
fn network_hosts_and_cache() {
    check(
        r"FROM alpine AS a
RUN --network=none a
RUN --network=default b
RUN --network=host --security=sandbox c
FROM a AS B
RUN d
WORKDIR /d
",
        &Args {
            network: Some("host".into()),
            hostname: Some("h".into()),
            add_hosts: vec![("n".into(), "1.2.3.4".into())],
            no_cache_stages: vec!["b".into()],
            ..args()
        },
        r"0: image reference=docker.io/library/alpine:latest # [a 1/4] FROM docker.io/library/alpine:latest
1: <0> run arg=a cwd=/ hostname=h extra host=n network=none # [a 2/4] RUN --network=none a
2: <1> run arg=b cwd=/ hostname=h extra host=n network=host # [a 3/4] RUN --network=default b
3: <2> run arg=c cwd=/ hostname=h extra host=n network=host # [a 4/4] RUN --network=host --security=sandbox c
4: <3> run arg=d cwd=/ hostname=h extra host=n network=host no-cache # [b 1/2] RUN d
5: <4> file make directory=/d no-cache # [b 2/2] WORKDIR /d
",
    );
}

#[test]
fn named_contexts() {
    check(
        r"FROM debian AS replaced
RUN never
FROM golang:1
COPY --from=replaced a b
COPY --from=files c d
RUN --mount=from=layout,target=/l e
",
        &contexts(),
        r#"0: image reference=mirror.example/golang:2 # [context golang:1] mirror.example/golang:2
1: image reference=docker.io/library/other:latest # [context replaced] docker.io/library/other:latest
2: <0> <1(paths path "a")> file copy from input=1 source name=a dest=/b # [stage-1 1/4] COPY --from=replaced a b
3: local context=files # [context files] load files
4: <2> <3(paths path "c")> file copy from input=1 source name=c dest=/d # [stage-1 2/4] COPY --from=files c d
5: oci-layout layout=layout target=v1 # [context layout] FROM layout
6: <4> <5(paths path "")> run arg=e cwd=/ mount="bind ro at /l" mount input=1 # [stage-1 3/4] RUN --mount=from=layout,target=/l e
"#,
    );
}

#[test]
fn a_directory_as_base() {
    check(
        r"FROM files
RUN a
",
        &contexts(),
        r#"0: scratch # FROM scratch
1: local context=files # [context files] load files
2: <0> <1(paths path "")> file copy from input=1 source name="" dest=/ # [context files] load files
3: <2> run arg=a cwd=/ # [1/2] RUN a
"#,
    );
}

#[test]
fn no_cache_and_pull() {
    check(
        r"FROM alpine
RUN a
",
        &Args { no_cache: true, pull: true, ..args() },
        r"0: image reference=docker.io/library/alpine:latest # [1/2] FROM docker.io/library/alpine:latest
1: <0> run arg=a cwd=/ no-cache # [2/2] RUN a
",
    );
}

#[test]
fn escape_directive() {
    check(
        r"# escape=`
FROM scratch
ENV A=x`\y
COPY $A `$A/
",
        &args(),
        r#"0: scratch # FROM scratch
1: local context=context # [internal] load build context
2: <0> <1(paths path "x\\y")> file copy from input=1 source name=x\y dest=/$A/ # [1/1] COPY x\y $A/
"#,
    );
}

#[test]
fn fetched_sources_are_inputs_of_their_own() {
    check(
        r#"FROM scratch
ARG V=1
ADD --unpack=true --chmod=755 https://h/x-$V.tgz?t=1 /a
ADD a.tar https://h/b b c git@h:r#v$V:d /to
ADD --keep-git-dir=true --checksum=AB --link https://h/r.git /r
"#,
        &args(),
        r#"0: scratch # FROM scratch
1: http url=https://h/x-1.tgz whole url=ed53a940121ecb7e05b496ae9cda4b9da92ae557efcf50871da5debaf500e510 file name=x-1.tgz # [internal] load https://h/x-1.tgz
2: <0> <1(paths path "x-1.tgz" ignore-mode)> file copy from input=1 source name=x-1.tgz dest=/a chmod=0755 flag=unpack # [1/3] ADD --unpack=true --chmod=755 https://h/x-1.tgz?t=1 /a
3: local context=context # [internal] load build context
4: http url=https://h/b whole url=447b00cbff0f934ca04724f782a972abf67e97f8cc6d9b9e9db790503a93de1f file name=b # [internal] load https://h/b
5: git remote=git@h:r ref=v1 subdir=d # [internal] load git source git@h:r#v1:d
6: <2> <3(paths path "a.tar" path "b" path "c")> <4(paths path "b")> <5(paths path "")> file copy from input=1 source name=a.tar dest=/to/ flag=unpack copy from input=2 source name=b dest=/to/ copy from input=1 source name=b source name=c dest=/to/ flag=unpack copy from input=3 source name="" dest=/to/ # [2/3] ADD a.tar https://h/b b c git@h:r#v1:d /to
7: git remote=https://h/r.git ref="" subdir="" checksum=ab flag=keep-git-dir # [internal] load git source https://h/r.git
8: <0> <7(paths path "")> file copy from input=1 source name="" dest=/r flag=link # [3/3] ADD --keep-git-dir=true --checksum=AB --link https://h/r.git /r
9: <6> <8> merge # 
"#,
    );
}

#[test]
fn the_date_of_the_context_is_used_where_the_file_asks_for_it_or_nothing_else_is_said() {
    let dated = |context_date, default_epoch, text: &str| {
        let args = Args { context_date, default_epoch, ..args() };
        crate::support::lowered(text, &args).image.created.unwrap()
    };
    let asked = "ARG SOURCE_DATE_EPOCH=context\nFROM scratch\n";
    assert_eq!(dated(Some(0), None, asked), "1970-01-01T00:00:00Z");
    assert_eq!(dated(Some(0), None, "FROM scratch\n"), "1980-01-01T00:00:00Z");
    assert_eq!(dated(Some(0), Some(0), "FROM scratch\n"), "1970-01-01T00:00:00Z");
    assert_eq!(dated(Some(0), Some(0), "ARG SOURCE_DATE_EPOCH=1\nFROM scratch\n"), "1970-01-01T00:00:01Z");
    assert_eq!(dated(None, None, asked), "1980-01-01T00:00:00Z");
}
