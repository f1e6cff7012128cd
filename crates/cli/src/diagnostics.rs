//! Places in the Dockerfile, drawn for a person under the error they explain.
//!
//! Knows nothing of why a place is shown; the drawing is the Dockerfile crate's.

use cooper_engine::Error;

/// The lines of the Dockerfile an error belongs to: its diagnostics if it has some, else its place.
/// The drawing says the error's message itself.
pub(crate) fn excerpt_of(error: &Error) -> Option<String> {
    let (name, text) = error.dockerfile.as_deref()?;
    if !error.diagnostics.is_empty() {
        return Some(cooper_dockerfile::render(&error.diagnostics, name, text, false));
    }
    let place = error.place?;
    Some(cooper_dockerfile::excerpt(name, text, place.first_line, place.last_line, &error.what, false))
}
