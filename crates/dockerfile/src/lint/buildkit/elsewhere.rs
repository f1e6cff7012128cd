//! Rules that are raised while the file is evaluated, because they need build arguments, base images or platforms.
//!
//! Knows only what is said about them.

use crate::Severity;
use crate::lint::rule::{Check, Group, Rule};

pub(super) static RULES: [&Rule; 5] = [
    &FROM_PLATFORM_FLAG_CONST_DISALLOWED,
    &INVALID_BASE_IMAGE_PLATFORM,
    &INVALID_DEFAULT_ARG_IN_FROM,
    &UNDEFINED_ARG_IN_FROM,
    &UNDEFINED_VAR,
];

static UNDEFINED_ARG_IN_FROM: Rule = Rule {
    id: "UndefinedArgInFrom",
    aliases: &[],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: false,
    summary: "FROM uses an argument that is not declared before it",
    meaning: "A variable in `FROM` is an `ARG` that stands before the first `FROM`, or one of the platform arguments. Any other \
              is empty there, `ARG`s inside stages included.",
    bad: "FROM alpine:3.22${VARIANT}\n",
    good: "ARG VARIANT\nFROM alpine:3.22${VARIANT}\n",
    check: Check::Elsewhere,
};

static INVALID_DEFAULT_ARG_IN_FROM: Rule = Rule {
    id: "InvalidDefaultArgInFrom",
    aliases: &[],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: false,
    summary: "without build arguments, FROM names no image",
    meaning: "With the defaults of its `ARG`s, the file cannot be built: the image's name comes out empty or invalid. Give the \
              argument a default, so that a build without arguments works and tools can read the file.",
    bad: "ARG TAG\nFROM alpine:${TAG}\n",
    good: "ARG TAG=3.22\nFROM alpine:${TAG}\n",
    check: Check::Elsewhere,
};

static UNDEFINED_VAR: Rule = Rule {
    id: "UndefinedVar",
    aliases: &[],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: false,
    summary: "a variable is used that nothing declares",
    meaning: "An undefined variable is replaced by nothing, without an error. Declare it with `ARG` or `ENV` in the same stage \
              before its use (an `ARG` before the first `FROM` must be declared again inside the stage), or mend its name.",
    bad: "FROM alpine:3.22\nCOPY $SOURCE /srv/\n",
    good: "FROM alpine:3.22\nARG SOURCE=src\nCOPY $SOURCE /srv/\n",
    check: Check::Elsewhere,
};

static INVALID_BASE_IMAGE_PLATFORM: Rule = Rule {
    id: "InvalidBaseImagePlatform",
    aliases: &[],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: false,
    summary: "the base image is for another platform than the stage",
    meaning: "The image that was found for `FROM` is not for the platform that was asked for; its programs may not run. Name \
              an image that exists for the platform, or say `--platform` where the other is meant.\n\nThe examples are for a \
              build for linux/amd64, with a base image that exists only for linux/arm64.",
    bad: "FROM example.com/only-arm64:1\n",
    good: "FROM --platform=linux/arm64 example.com/only-arm64:1 AS tools-arm64\n",
    check: Check::Elsewhere,
};

static FROM_PLATFORM_FLAG_CONST_DISALLOWED: Rule = Rule {
    id: "FromPlatformFlagConstDisallowed",
    aliases: &["DL3029"],
    group: Group::BuildKit,
    severity: Severity::Warning,
    enabled: true,
    fixable: false,
    summary: "FROM --platform has a fixed value",
    meaning: "A stage with a fixed platform is the same for every target platform, so the file cannot be built for several. Use \
              `$BUILDPLATFORM` for stages that cross-compile, and no flag for the rest. A stage whose name holds the system or \
              the architecture (`AS build-arm64`) says that it is meant.",
    bad: "FROM --platform=linux/amd64 alpine:3.22 AS app\n",
    good: "FROM --platform=$BUILDPLATFORM alpine:3.22 AS app\n",
    check: Check::Elsewhere,
};
