//! A registry in this process: for tests, and the base of serving images. Everything is in memory.
