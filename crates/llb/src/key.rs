//! What of an operation enters its cache key.

/// One typed, named input of a key. The ordered list is stored with every record, so that a miss can be explained.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeyInput {
    /// What it is: `arg`, `env`, `cwd`, `user`, `dest`, ...
    pub name: String,
    /// Its value, as a person would read it.
    pub value: String,
}
