//! Changing files without running anything.

/// Actions that together make one layer on top of input 0.
#[derive(Clone, Debug, PartialEq)]
pub struct FileOp {
    /// In order.
    pub actions: Vec<FileAction>,
    /// Modification time of every entry made, in seconds since 1970; `None` keeps the sources' times (`--timestamps=preserve`).
    pub clamp: Option<i64>,
}

/// One action.
#[derive(Clone, Debug, PartialEq)]
pub enum FileAction {
    /// Copies from an input.
    Copy {
        /// Index into the vertex's inputs.
        input: usize,
        /// What to copy, in order.
        sources: Vec<CopySource>,
        /// Absolute destination; a trailing `/` (or several sources) says directory.
        dest: String,
        /// Owner given to everything copied; `None` keeps the source's (0:0 for a context).
        chown: Option<Chown>,
        /// Mode given to everything copied.
        chmod: Option<Chmod>,
        /// Patterns left out, in .dockerignore syntax.
        excludes: Vec<String>,
        /// Unpack recognised tar archives (ADD).
        unpack: bool,
        /// Keep the source's directories below the destination (`--parents`).
        parents: bool,
        /// Do not follow links of the destination filesystem: the layer does not depend on input 0 (`--link`).
        link: bool,
    },
    /// Writes a file (here-documents).
    MakeFile {
        /// Absolute path; a trailing `/` is not allowed. Missing parents are made, 0755.
        path: String,
        /// If `path` turns out to be a directory, the file is made in it under this name (`COPY <<name /dir`).
        name: Option<String>,
        /// Content.
        data: Vec<u8>,
        /// Mode bits.
        mode: u32,
        /// Owner.
        chown: Option<Chown>,
    },
    /// Makes a directory and its parents, 0755, where they are missing (WORKDIR).
    MakeDir {
        /// Absolute path.
        path: String,
        /// Owner of the directories made.
        chown: Option<Chown>,
    },
}

/// One source of a copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CopySource {
    /// Path below the input's root, without leading `/`, `..` clamped to the root; empty for the root itself.
    /// May hold `*`, `?`, `[..]` (Go `filepath.Match`); with `--parents` also `**`, and one `/./` (or a leading `./`
    /// for none) marks where the kept directories begin.
    pub path: String,
    /// The pattern characters have their meaning.
    pub wildcard: bool,
}

/// `--chown`: looked up in the destination's passwd and group files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chown {
    /// User.
    pub user: UserName,
    /// Group; the user's primary group (or the same number) when absent.
    pub group: Option<UserName>,
}

/// A user or group as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UserName {
    /// By number, at most 2^31 - 1.
    Id(u32),
    /// By name.
    Name(String),
}

/// `--chmod`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Chmod {
    /// Octal, at most 07777.
    Mode(u32),
    /// Symbolic, such as `u+x,g=u`.
    Symbolic(String),
}
