//! An archive in a directory: packages in a few words, indexes and a signed release made of them.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use cooper_base::sources::Archive;
use cooper_oci::Digest;
use tempfile::TempDir;

use crate::signer::{How, Signer};

/// What an archive says and holds, before it is written.
pub(crate) struct TestArchive {
    pub(crate) dir: TempDir,
    pub(crate) signer: Signer,
    pub(crate) suite: String,
    /// Fields of the release, besides its files.
    pub(crate) head: String,
    /// Paragraphs of the index, and path and bytes of each .deb.
    pub(crate) index: String,
    pub(crate) extension: &'static str,
    pub(crate) how: How,
    /// `InRelease`; else `Release` and `Release.gpg`.
    pub(crate) inline: bool,
}

/// A day before [`crate::NOW`].
pub(crate) const DATE: &str = "Sun, 01 Oct 2096 07:06:40 UTC";

impl TestArchive {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("there is room"),
            signer: Signer::ed25519(),
            suite: "stable".into(),
            head: format!(
                "Suite: stable\nCodename: tree\nDate: {DATE}\nArchitectures: amd64 arm64\nComponents: main\n"
            ),
            index: String::new(),
            extension: ".gz",
            how: How::default(),
            inline: true,
        }
    }

    /// Adds a package of these bytes: `name version; Field: value; ..`.
    pub(crate) fn add(&mut self, line: &str, deb: &[u8]) -> &mut Self {
        let mut parts = line.split(';').map(str::trim);
        let (name, version) = parts.next().and_then(|head| head.split_once(' ')).expect("a name and a version");
        let path = format!("pool/{name}_{version}_amd64.deb");
        self.write(&path, deb);
        let sha256 = Digest::of(deb);
        self.index += &format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: {path}\n");
        self.index += &format!("Size: {}\nSHA256: {}\n", deb.len(), sha256.hex());
        for field in parts {
            self.index += &format!("{field}\n");
        }
        self.index.push('\n');
        self
    }

    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("it is below the archive")).expect("there is room");
        fs::write(path, bytes).expect("there is room");
    }

    /// Writes index and release.
    pub(crate) fn publish(&self) {
        let index = compress(self.index.as_bytes(), self.extension);
        let base = format!("dists/{}", self.suite);
        let mut text = format!("{}SHA256:\n", self.head);
        for architecture in ["amd64", "arm64"] {
            let path = format!("main/binary-{architecture}/Packages{}", self.extension);
            self.write(&format!("{base}/{path}"), &index);
            text += &format!(" {} {} {path}\n", Digest::of(&index).hex(), index.len());
        }
        if self.inline {
            self.write(&format!("{base}/InRelease"), &self.signer.clearsign(&text, self.how));
        } else {
            self.write(&format!("{base}/Release"), text.as_bytes());
            self.write(&format!("{base}/Release.gpg"), &self.signer.detached(&text));
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn uri(&self) -> String {
        format!("file://{}", self.path().display())
    }

    pub(crate) fn source(&self) -> Archive {
        Archive {
            uris: vec![self.uri()],
            suites: vec![self.suite.clone()],
            components: vec!["main".into()],
            keyring: self.signer.keyring(),
            max_age_days: None,
            check_valid_until: true,
        }
    }
}

fn compress(bytes: &[u8], extension: &str) -> Vec<u8> {
    match extension {
        ".gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes everything")
        }
        ".xz" => liblzma::encode_all(bytes, 6).expect("memory takes everything"),
        ".zst" => zstd::encode_all(bytes, 3).expect("memory takes everything"),
        _ => bytes.to_vec(),
    }
}

/// A .deb with a changelog.
pub(crate) fn deb(name: &str, version: &str, changelog: &str) -> Vec<u8> {
    let control = format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\nDepends: base\n");
    let control = tar(&[("control", control.as_bytes())]);
    let log = compress(changelog.as_bytes(), ".gz");
    let doc = format!("usr/share/doc/{name}");
    let path = format!("{doc}/changelog.Debian.gz");
    let data =
        tar(&[("usr/", b""), ("usr/share/", b""), ("usr/share/doc/", b""), (&format!("{doc}/"), b""), (&path, &log)]);
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in [("debian-binary", &b"2.0\n"[..]), ("control.tar", &control), ("data.tar", &data)] {
        out.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, bytes.len()).bytes());
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(2), b'\n');
    }
    out
}

/// Files, and directories by a `/` at the end, in the old format.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        let kind = if name.ends_with('/') { b'5' } else { b'0' };
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000644\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{:011o}\0", bytes.len()));
        put(136, "00000000000\0");
        put(148, "        ");
        put(257, "ustar\x0000");
        header[156] = kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend(*bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}
