//! The presets: declared files that are part of the program. Knows nothing of what they declare.

/// Names of the presets, smallest first.
pub const NAMES: &[&str] = &["static", "base", "cc", "python3", "nodejs", "java", "slim", "build"];

/// The YAML of a preset.
pub fn text(name: &str) -> Option<&'static str> {
    Some(match name {
        "static" => include_str!("../presets/static.yaml"),
        "base" => include_str!("../presets/base.yaml"),
        "cc" => include_str!("../presets/cc.yaml"),
        "python3" => include_str!("../presets/python3.yaml"),
        "nodejs" => include_str!("../presets/nodejs.yaml"),
        "java" => include_str!("../presets/java.yaml"),
        "slim" => include_str!("../presets/slim.yaml"),
        "build" => include_str!("../presets/build.yaml"),
        _ => return None,
    })
}
