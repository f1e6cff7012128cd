//! The rules of `cooper check`: each one's examples, cases one by one, and whole files.

mod cases;
mod catalog;
mod fixes;
mod support;
mod whole;
