//! Image configs and history.
//!
//! Knows nothing of graphs and messages.

use cooper_dockerfile::Args;

use crate::support::{args, config, contexts, history, with_args};

fn check_history(text: &str, args: &Args, expect: &str) {
    let got = history(text, args);
    assert_eq!(got, expect, "\n--- got for:\n{text}\n{got}");
}

fn check_config(text: &str, args: &Args, expect: &str) {
    let got = config(text, args);
    assert_eq!(got, expect, "\n--- got for:\n{text}\n{got}");
}

#[test]
fn history_of_every_instruction() {
    check_history(
        r#"FROM scratch
MAINTAINER me & you
ENV A=1 B="two words" C=$A
ENV D old form
LABEL l="x y" $A=z
ARG X
ARG Y=1 Z
WORKDIR /w
WORKDIR sub
WORKDIR /
USER a:b
VOLUME /v ["/w"]
VOLUME ["/a b", "$A"]
EXPOSE 80 90-91/udp $Y
STOPSIGNAL SIGTERM
SHELL ["/bin/bash", "-c"]
CMD echo "a	b"
CMD ["x", "\"y\""]
ENTRYPOINT run it
ENTRYPOINT []
HEALTHCHECK --interval=90s --timeout=1500ms --retries=3 CMD curl x
HEALTHCHECK NONE
ONBUILD RUN x
RUN make all
RUN ["a", "b c"]
COPY --from=busybox --link --chown=1 --chmod=644 --parents a $A /d/
ADD t.tar <<f /e/
x
f
"#,
        &args(),
        r#"- MAINTAINER me & you
- ENV A=1 B=two words C=
- ENV D=old form
- LABEL l=x y 1=z
- ARG X
- ARG Y=1 Z
+ WORKDIR /w
+ WORKDIR /w/sub
- WORKDIR /
- USER a:b
- VOLUME [/v [/w]]
- VOLUME [/a b 1]
- EXPOSE [1/tcp 80/tcp 90/udp 91/udp]
- STOPSIGNAL SIGTERM
- SHELL [/bin/bash -c]
- CMD ["/bin/bash" "-c" "echo \"a\tb\""]
- CMD ["x" "\"y\""]
- ENTRYPOINT ["/bin/bash" "-c" "run it"]
- ENTRYPOINT []
- HEALTHCHECK {Test:[CMD-SHELL curl x] Interval:1m30s Timeout:1.5s StartPeriod:0s StartInterval:0s Retries:3}
- HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}
+ RUN |3 X= Y=1 Z= /bin/bash -c make all # buildkit
+ RUN |3 X= Y=1 Z= a b c # buildkit
+ COPY --parents --chown=1 --chmod=644 a 1 /d/ # buildkit
+ ADD t.tar <<f /e/ # buildkit
"#,
    );
}

#[test]
fn history_lists_args_with_their_values() {
    check_history(
        r"FROM scratch AS a
ARG A=1
ARG B
RUN x
ENV A=2
ARG A=3
RUN y
FROM a
ARG C=c
RUN z
",
        &with_args(&[("B", "b")]),
        r"- ARG A=1
- ARG B=b
+ RUN |2 A=1 B=b /bin/sh -c x # buildkit
- ENV A=2
- ARG A=3
+ RUN |2 A=3 B=b /bin/sh -c y # buildkit
- ARG C=c
+ RUN |3 A=3 B=b C=c /bin/sh -c z # buildkit
",
    );
}

#[test]
fn epoch_reaches_a_declared_arg() {
    check_config(
        r"FROM scratch
ARG SOURCE_DATE_EPOCH
",
        &Args { epoch: Some(9), ..args() },
        r#"{
  "architecture": "amd64",
  "os": "linux",
  "created": "1970-01-01T00:00:09Z",
  "config": {
    "Env": [
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ],
    "WorkingDir": "/"
  },
  "rootfs": {
    "type": "layers",
    "diff_ids": []
  },
  "history": [
    {
      "created": "1970-01-01T00:00:09Z",
      "created_by": "ARG SOURCE_DATE_EPOCH=9",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    }
  ]
}
"#,
    );
}

#[test]
fn history_of_heredocs() {
    check_history(
        r"FROM scratch
RUN <<E
a
b
E
RUN <<E
#!/x
E
RUN cat <<E
z
E
",
        &args(),
        r"+ RUN /bin/sh -c a
b
 # buildkit
+ RUN /bin/sh -c /dev/pipes/E # buildkit
+ RUN /bin/sh -c cat <<E
z
E # buildkit
",
    );
}

#[test]
fn config_from_scratch() {
    check_config(
        r"FROM scratch
CMD echo
",
        &args(),
        r#"{
  "architecture": "amd64",
  "os": "linux",
  "created": "1980-01-01T00:00:00Z",
  "config": {
    "Env": [
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ],
    "Cmd": [
      "/bin/sh",
      "-c",
      "echo"
    ],
    "ArgsEscaped": true,
    "WorkingDir": "/"
  },
  "rootfs": {
    "type": "layers",
    "diff_ids": []
  },
  "history": [
    {
      "created": "1980-01-01T00:00:00Z",
      "created_by": "CMD [\"/bin/sh\" \"-c\" \"echo\"]",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    }
  ]
}
"#,
    );
}

#[test]
fn config_inherits() {
    check_config(
        r#"FROM debian
ENV LANG=D NEW=1
ENTRYPOINT ["e"]
EXPOSE 80
VOLUME /v
LABEL a=b
WORKDIR w
"#,
        &Args { labels: [("from".to_owned(), "caller".to_owned())].into(), ..args() },
        r#"{
  "architecture": "amd64",
  "os": "linux",
  "created": "2024-01-02T03:04:05Z",
  "author": "them",
  "config": {
    "ExposedPorts": {
      "80/tcp": {}
    },
    "Env": [
      "PATH=/bin",
      "LANG=D",
      "NEW=1"
    ],
    "Entrypoint": [
      "e"
    ],
    "Volumes": {
      "/v": {}
    },
    "WorkingDir": "/home/w",
    "Labels": {
      "a": "b",
      "from": "caller"
    }
  },
  "rootfs": {
    "type": "layers",
    "diff_ids": []
  },
  "history": [
    {
      "created": "2023-01-01T00:00:00Z",
      "created_by": "ADD rootfs /"
    },
    {
      "created_by": "undated",
      "empty_layer": true
    },
    {
      "created": "2024-01-02T03:04:05Z",
      "created_by": "ENV LANG=D NEW=1",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    },
    {
      "created": "2024-01-02T03:04:05Z",
      "created_by": "ENTRYPOINT [\"e\"]",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    },
    {
      "created": "2024-01-02T03:04:05Z",
      "created_by": "EXPOSE [80/tcp]",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    },
    {
      "created": "2024-01-02T03:04:05Z",
      "created_by": "VOLUME [/v]",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    },
    {
      "created": "2024-01-02T03:04:05Z",
      "created_by": "LABEL a=b",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    },
    {
      "created": "2024-01-02T03:04:05Z",
      "created_by": "WORKDIR /home/w",
      "comment": "buildkit.dockerfile.v0"
    }
  ]
}
"#,
    );
}

#[test]
fn cmd_of_the_same_stage_survives_entrypoint() {
    check_config(
        r#"FROM debian
CMD ["c"]
ENTRYPOINT ["e"]
ONBUILD RUN x
USER 1
STOPSIGNAL 9
HEALTHCHECK CMD x
"#,
        &args(),
        r#"{
  "architecture": "amd64",
  "os": "linux",
  "created": "2024-01-02T03:04:05Z",
  "author": "them",
  "config": {
    "User": "1",
    "Env": [
      "PATH=/bin",
      "LANG=C"
    ],
    "Entrypoint": [
      "e"
    ],
    "Cmd": [
      "c"
    ],
    "Healthcheck": {
      "Test": [
        "CMD-SHELL",
        "x"
      ]
    },
    "ArgsEscaped": true,
    "WorkingDir": "/home",
    "OnBuild": [
      "RUN x"
    ],
    "Labels": {
      "from": "base"
    },
    "StopSignal": "9"
  },
  "rootfs": {
    "type": "layers",
    "diff_ids": []
  },
  "history": [
    {
      "created": "2023-01-01T00:00:00Z",
      "created_by": "ADD rootfs /"
    },
    {
      "created_by": "undated",
      "empty_layer": true
    },
    {
      "created": "2024-01-02T03:04:05Z",
      "created_by": "CMD [\"c\"]",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    },
    {
      "created": "2024-01-02T03:04:05Z",
      "created_by": "ENTRYPOINT [\"e\"]",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    },
    {
      "created": "2024-01-02T03:04:05Z",
      "created_by": "USER 1",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    },
    {
      "created": "2024-01-02T03:04:05Z",
      "created_by": "STOPSIGNAL 9",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    },
    {
      "created": "2024-01-02T03:04:05Z",
      "created_by": "HEALTHCHECK {Test:[CMD-SHELL x] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    }
  ]
}
"#,
    );
}

#[test]
fn cmd_of_a_stage_below_does_not_survive() {
    check_config(
        r#"FROM scratch AS a
CMD ["c"]
FROM a
ENTRYPOINT ["e"]
"#,
        &args(),
        r#"{
  "architecture": "amd64",
  "os": "linux",
  "created": "1980-01-01T00:00:00Z",
  "config": {
    "Env": [
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ],
    "Entrypoint": [
      "e"
    ],
    "ArgsEscaped": true,
    "WorkingDir": "/"
  },
  "rootfs": {
    "type": "layers",
    "diff_ids": []
  },
  "history": [
    {
      "created": "1980-01-01T00:00:00Z",
      "created_by": "CMD [\"c\"]",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    },
    {
      "created": "1980-01-01T00:00:00Z",
      "created_by": "ENTRYPOINT [\"e\"]",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    }
  ]
}
"#,
    );
}

#[test]
fn triggers_run_and_are_gone() {
    check_config(
        r"FROM scratch AS tools
FROM triggers
",
        &args(),
        r#"{
  "architecture": "amd64",
  "os": "linux",
  "created": "1980-01-01T00:00:00Z",
  "config": {
    "Env": [
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      "A=1"
    ]
  },
  "rootfs": {
    "type": "layers",
    "diff_ids": []
  },
  "history": [
    {
      "created": "1980-01-01T00:00:00Z",
      "created_by": "COPY /t /t # buildkit",
      "comment": "buildkit.dockerfile.v0"
    },
    {
      "created": "1980-01-01T00:00:00Z",
      "created_by": "RUN /bin/sh -c make $X # buildkit",
      "comment": "buildkit.dockerfile.v0"
    },
    {
      "created": "1980-01-01T00:00:00Z",
      "created_by": "ENV A=1",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    }
  ]
}
"#,
    );
}

#[test]
fn epoch_dates_history_and_image_but_not_layers() {
    check_config(
        r"FROM debian
RUN a
",
        &Args { epoch: Some(1), ..args() },
        r#"{
  "architecture": "amd64",
  "os": "linux",
  "created": "1970-01-01T00:00:01Z",
  "author": "them",
  "config": {
    "Env": [
      "PATH=/bin",
      "LANG=C"
    ],
    "Cmd": [
      "bash"
    ],
    "WorkingDir": "/home",
    "Labels": {
      "from": "base"
    }
  },
  "rootfs": {
    "type": "layers",
    "diff_ids": []
  },
  "history": [
    {
      "created": "2023-01-01T00:00:00Z",
      "created_by": "ADD rootfs /"
    },
    {
      "created_by": "undated",
      "empty_layer": true
    },
    {
      "created": "1970-01-01T00:00:01Z",
      "created_by": "RUN /bin/sh -c a # buildkit",
      "comment": "buildkit.dockerfile.v0"
    }
  ]
}
"#,
    );
}

#[test]
fn epoch_as_build_argument() {
    check_config(
        r"FROM scratch
CMD a
",
        &with_args(&[("SOURCE_DATE_EPOCH", "86400")]),
        r#"{
  "architecture": "amd64",
  "os": "linux",
  "created": "1970-01-02T00:00:00Z",
  "config": {
    "Env": [
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ],
    "Cmd": [
      "/bin/sh",
      "-c",
      "a"
    ],
    "ArgsEscaped": true,
    "WorkingDir": "/"
  },
  "rootfs": {
    "type": "layers",
    "diff_ids": []
  },
  "history": [
    {
      "created": "1970-01-02T00:00:00Z",
      "created_by": "CMD [\"/bin/sh\" \"-c\" \"a\"]",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    }
  ]
}
"#,
    );
}

#[test]
fn preserved_times_are_now() {
    check_config(
        r"FROM debian
RUN a
",
        &Args { clamp: false, now: 1_800_000_000, ..args() },
        r#"{
  "architecture": "amd64",
  "os": "linux",
  "created": "2027-01-15T08:00:00Z",
  "author": "them",
  "config": {
    "Env": [
      "PATH=/bin",
      "LANG=C"
    ],
    "Cmd": [
      "bash"
    ],
    "WorkingDir": "/home",
    "Labels": {
      "from": "base"
    }
  },
  "rootfs": {
    "type": "layers",
    "diff_ids": []
  },
  "history": [
    {
      "created": "2023-01-01T00:00:00Z",
      "created_by": "ADD rootfs /"
    },
    {
      "created_by": "undated",
      "empty_layer": true
    },
    {
      "created": "2027-01-15T08:00:00Z",
      "created_by": "RUN /bin/sh -c a # buildkit",
      "comment": "buildkit.dockerfile.v0"
    }
  ]
}
"#,
    );
}

#[test]
fn asked_platform_wins() {
    check_config(
        r"FROM armed
",
        &Args { platform: "linux/arm/v7".parse().unwrap(), platform_explicit: true, ..args() },
        r#"{
  "architecture": "arm",
  "os": "linux",
  "variant": "v7",
  "created": "1980-01-01T00:00:00Z",
  "config": {
    "Env": [
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ]
  },
  "rootfs": {
    "type": "layers",
    "diff_ids": []
  }
}
"#,
    );
}

#[test]
fn a_directory_as_base_has_history() {
    check_config(
        r"FROM files
CMD a
",
        &contexts(),
        r#"{
  "architecture": "amd64",
  "os": "linux",
  "created": "1980-01-01T00:00:00Z",
  "config": {
    "Env": [
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ],
    "Cmd": [
      "/bin/sh",
      "-c",
      "a"
    ],
    "ArgsEscaped": true,
    "WorkingDir": "/"
  },
  "rootfs": {
    "type": "layers",
    "diff_ids": []
  },
  "history": [
    {
      "created": "1980-01-01T00:00:00Z",
      "comment": "buildkit.exporter.image.v0"
    },
    {
      "created": "1980-01-01T00:00:00Z",
      "created_by": "CMD [\"/bin/sh\" \"-c\" \"a\"]",
      "comment": "buildkit.dockerfile.v0",
      "empty_layer": true
    }
  ]
}
"#,
    );
}
