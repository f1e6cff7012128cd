//! Layers written in pieces: the same bytes on any number of threads, pieces used again, read by every reader at hand;
//! and compressed input that means harm.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cooper_oci::testing::{file, tar};
use cooper_oci::{
    Compression, Descriptor, Digest, Error, ErrorKind, Format, LayerReader, LayerSums, LayerWriter, Limits, PieceKey,
    Pieces, decompress, decompress_within, detect,
};

/// Text that compresses somewhat, another for each seed.
fn text(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:x} ", (state >> 40) & 0xfff)
    };
    let mut out: Vec<u8> = std::iter::repeat_with(word).take(length / 3 + 1).flat_map(String::into_bytes).collect();
    out.truncate(length);
    out
}

fn write(tar: &[u8], compression: Compression, pieces: Option<Arc<dyn Pieces>>) -> (Vec<u8>, LayerSums) {
    let mut writer = LayerWriter::new(Vec::new(), compression, pieces).unwrap();
    // Uneven writes, as a tar writer makes them.
    tar.chunks(100_003).for_each(|chunk| writer.write_all(chunk).unwrap());
    writer.finish().unwrap()
}

fn read(bytes: &[u8], sums: &LayerSums) -> io::Result<Vec<u8>> {
    let descriptor = Descriptor::new("layer", sums.digest.clone(), sums.size);
    let mut out = Vec::new();
    LayerReader::new(bytes, &descriptor, &sums.diff_id)?.read_to_end(&mut out)?;
    Ok(out)
}

fn kind(error: io::Error) -> ErrorKind {
    Error::io("outer", error).kind()
}

#[test]
fn round_trips_with_right_sums() {
    let empty = vec![0; 1024];
    let large = tar(&[file("a", &text(5 << 20, 1)), file("b", &vec![0; 9 << 20])]);
    for compression in
        [Compression::None, Compression::GZIP, Compression::Gzip(1), Compression::Gzip(0), Compression::ZSTD]
    {
        for bytes in [&b""[..], &empty, &large] {
            let (blob, sums) = write(bytes, compression, None);
            assert_eq!((&sums.digest, sums.size), (&Digest::of(&blob), blob.len() as u64), "{compression:?}");
            assert_eq!((&sums.diff_id, sums.tar_size), (&Digest::of(bytes), bytes.len() as u64));
            assert_eq!(read(&blob, &sums).unwrap(), bytes);
            let ends = sums.pieces.iter().map(|piece| piece.offset + u64::from(piece.len));
            let starts = sums.pieces.iter().map(|piece| piece.offset).skip(1).chain([sums.size]);
            assert!(ends.eq(starts) || compression == Compression::None, "pieces cover the blob");
        }
    }
}

#[test]
fn an_empty_tar_is_one_member() {
    for compression in [Compression::GZIP, Compression::ZSTD] {
        let (blob, sums) = write(&[0; 1024], compression, None);
        assert_eq!(sums.pieces.len(), 1);
        assert_eq!(sums.pieces[0].sum, *blake3::hash(&blob).as_bytes());
    }
}

#[test]
fn levels_out_of_range_are_errors() {
    for compression in [Compression::Gzip(13), Compression::Zstd(0), Compression::Zstd(23)] {
        let error = LayerWriter::new(Vec::new(), compression, None).unwrap_err();
        assert_eq!((error.kind(), error.hint().is_some()), (ErrorKind::Invalid, true));
    }
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let bytes = tar(&[file("a", &text(12 << 20, 2))]);
    let expect = write(&bytes, Compression::GZIP, None);
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| write(&bytes, Compression::GZIP, None)), expect, "{threads} threads");
    }
}

#[derive(Debug, Default)]
struct Kept {
    pieces: Mutex<BTreeMap<PieceKey, Vec<u8>>>,
    misses: AtomicUsize,
}

impl Pieces for Kept {
    fn get(&self, key: &PieceKey) -> Option<(Vec<u8>, [u8; 32])> {
        let found = self.pieces.lock().unwrap().get(key).cloned();
        self.misses.fetch_add(usize::from(found.is_none()), Ordering::Relaxed);
        let with_sum = |bytes: Vec<u8>| {
            let sum = blake3::hash(&bytes).into();
            (bytes, sum)
        };
        found.map(with_sum)
    }
}

impl Kept {
    fn of(blob: &[u8], sums: &LayerSums) -> Arc<Self> {
        let kept = Self::default();
        for piece in &sums.pieces {
            let bytes = blob[piece.offset as usize..][..piece.len as usize].to_vec();
            assert_eq!(piece.sum, *blake3::hash(&bytes).as_bytes());
            kept.pieces.lock().unwrap().insert(piece.key, bytes);
        }
        Arc::new(kept)
    }
}

#[test]
fn one_changed_file_leaves_the_other_pieces_alone() {
    let mut files: Vec<_> = (0..24).map(|n| file(&format!("f{n}"), &text(700_000, n))).collect();
    for compression in [Compression::GZIP, Compression::ZSTD] {
        let (blob, sums) = write(&tar(&files), compression, None);
        let kept = Kept::of(&blob, &sums);
        assert_eq!(write(&tar(&files), compression, Some(kept.clone())), (blob, sums));
        assert_eq!(kept.misses.swap(0, Ordering::Relaxed), 0);
        files[12] = file("f12", &text(650_000, 99 + files[12].1.len() as u64));
        let (blob, sums) = write(&tar(&files), compression, Some(kept.clone()));
        let misses = kept.misses.load(Ordering::Relaxed);
        assert!((1..=3).contains(&misses), "{misses} of {} pieces compressed again", sums.pieces.len());
        assert_eq!(write(&tar(&files), compression, None), (blob, sums), "the same bytes as without kept pieces");
        files[12] = file("f12", &text(700_000, 12));
    }
}

#[test]
fn pieces_that_were_mixed_up_are_made_again() {
    let bytes = tar(&[file("a", &text(6 << 20, 3))]);
    let (blob, sums) = write(&bytes, Compression::GZIP, None);
    let kept = Kept::of(&blob, &sums);
    let first = kept.pieces.lock().unwrap().values().next().cloned().unwrap();
    kept.pieces.lock().unwrap().values_mut().for_each(|bytes| bytes.clone_from(&first));
    assert_eq!(write(&bytes, Compression::GZIP, Some(kept)).0, blob);
}

/// What `program` makes of `input`, or `None` when it is not installed.
fn filter(program: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(program[0]).args(&program[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        let _ = io::stderr().write_all(format!("skipped: no {}\n", program[0]).as_bytes());
        return None;
    };
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program:?}");
    Some(output.stdout)
}

#[test]
fn other_programs_read_what_is_written() {
    let bytes = tar(&[file("a", &text(6 << 20, 4)), file("b", &[])]);
    let gzip = write(&bytes, Compression::GZIP, None).0;
    let zstd = write(&bytes, Compression::ZSTD, None).0;
    let python = "import sys,gzip;sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))";
    for (program, blob) in
        [(&["gzip", "-dc"][..], &gzip), (&["python3", "-c", python], &gzip), (&["zstd", "-dc"], &zstd)]
    {
        if let Some(found) = filter(program, blob) {
            assert!(found == bytes, "{program:?}");
        }
    }
}

#[test]
fn reads_and_detects_what_other_programs_write() {
    let bytes = tar(&[file("a", &text(1 << 20, 5))]);
    for (program, format) in [
        (&["gzip", "-c"][..], Format::Gzip),
        (&["bzip2", "-c"], Format::Bzip2),
        (&["xz", "-c"], Format::Xz),
        (&["zstd", "-c"], Format::Zstd),
        (&["cat"], Format::Tar),
    ] {
        let Some(blob) = filter(program, &bytes) else { continue };
        assert_eq!(detect(&blob[..512]), Some(format));
        // Two streams after each other are one.
        for (blob, expect) in [(blob.clone(), bytes.clone()), ([&blob[..], &blob].concat(), bytes.repeat(2))] {
            let mut out = Vec::new();
            decompress(blob.as_slice()).unwrap().read_to_end(&mut out).unwrap();
            assert!(out == expect, "{format}");
        }
        if format != Format::Tar {
            let mut cut = decompress(&blob[..blob.len() - 9]).unwrap();
            assert!(cut.read_to_end(&mut Vec::new()).is_err(), "{format} that is cut off");
            let mut more = decompress(io::Cursor::new([&blob[..], b"garbage"].concat())).unwrap();
            assert!(more.read_to_end(&mut Vec::new()).is_err(), "{format} with garbage behind");
        }
    }
    for head in [&b""[..], b"BZhello", b"\x1f\x8b", &[0; 512], b"plain text", &[b'a'; 512]] {
        assert_eq!(detect(head), None, "{head:?}");
    }
}

#[test]
fn a_layer_is_verified_from_both_sides() {
    let bytes = tar(&[file("a", &text(300_000, 6))]);
    for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
        let (blob, sums) = write(&bytes, compression, None);
        let with = |edit: &dyn Fn(&mut LayerSums)| {
            let mut sums = sums.clone();
            edit(&mut sums);
            read(&blob, &sums).map_err(kind)
        };
        assert_eq!(with(&|sums| sums.diff_id = Digest::of(b"")), Err(ErrorKind::Corrupt), "T07: a false diff id");
        assert_eq!(with(&|sums| sums.digest = Digest::of(b"")), Err(ErrorKind::Corrupt));
        assert_eq!(with(&|sums| sums.size += 1), Err(ErrorKind::Corrupt));
        assert_eq!(with(&|sums| sums.size -= 1), Err(ErrorKind::Corrupt));
        let longer = [&blob[..], b"x"].concat();
        let named = LayerSums { digest: Digest::of(&longer), size: longer.len() as u64, ..sums.clone() };
        assert!(read(&longer, &named).is_err(), "garbage behind, under its own digest");
        assert!(read(&blob[..blob.len() / 2], &sums).is_err());
    }
}

/// A source that gives one byte at a time: the magic is split.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

#[test]
fn a_slow_source_is_recognised() {
    let bytes = tar(&[file("a", b"hello")]);
    let (blob, sums) = write(&bytes, Compression::GZIP, None);
    let descriptor = Descriptor::new("layer", sums.digest.clone(), sums.size);
    let mut out = Vec::new();
    LayerReader::new(Drip(&blob), &descriptor, &sums.diff_id).unwrap().read_to_end(&mut out).unwrap();
    assert_eq!(out, bytes);
    let wrong = Descriptor::new("layer", Digest::of(b""), sums.size);
    let read = LayerReader::new(Drip(&blob), &wrong, &sums.diff_id)
        .and_then(|mut reader| reader.read_to_end(&mut out).map_err(|error| Error::io("read", error)));
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Gives a few bytes, one error, and then a clean end.
struct Broken(Vec<&'static [u8]>);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.pop() {
            Some(b"") => Err(io::Error::other("the line went dead")),
            Some(bytes) => (&mut &*bytes).read(buffer),
            None => Ok(0),
        }
    }
}

#[test]
fn an_error_of_the_source_is_not_the_end() {
    let mut out = decompress(Broken(vec![b"", b"some bytes"])).unwrap();
    let error = out.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "the line went dead");
}

/// T06.
#[test]
fn bombs_are_stopped() {
    let zeros = zstd::bulk::compress(&vec![0; 128 << 20], 3).unwrap();
    let mut out = decompress(zeros.as_slice()).unwrap();
    assert_eq!(io::copy(&mut out, &mut io::sink()).map_err(kind).unwrap_err(), ErrorKind::TooLarge);

    let limits = Limits { bytes: 1000, ..Limits::default() };
    let mut out = decompress_within(&[7; 1001][..], limits).unwrap();
    assert_eq!(io::copy(&mut out, &mut io::sink()).map_err(kind).unwrap_err(), ErrorKind::TooLarge);

    // A frame that claims a window of 2 GiB.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    assert!(decompress(&window[..]).unwrap().read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn a_flood_of_empty_members_and_skippable_frames_is_read_in_place() {
    let member = write(b"", Compression::GZIP, None).0;
    let mut out = Vec::new();
    decompress(io::Cursor::new(member.repeat(100_000))).unwrap().read_to_end(&mut out).unwrap();
    let frame = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    decompress(io::Cursor::new(frame.repeat(100_000))).unwrap().read_to_end(&mut out).unwrap();
    assert!(out.is_empty());
}

/// The bytes of every layer ever written hang on these. When they change, so must the names in `compress/piece.rs`.
#[test]
fn bytes_are_those_of_other_machines() {
    let bytes = tar(&[file("a", &text(3 << 20, 7))]);
    for (compression, expect) in [(Compression::GZIP, "9a5fc7658920"), (Compression::ZSTD, "a0828859e3d9")] {
        assert_eq!(write(&bytes, compression, None).1.digest.short(), expect);
    }
}

/// A piece key names the version of its compressor: another version may write other bytes for the same key.
#[test]
fn piece_keys_name_the_locked_compressors() {
    let lock = include_str!("../../../Cargo.lock");
    for (name, version) in [("libdeflater", "1.26.1"), ("zstd-sys", "2.1.2+zstd.1.5.7")] {
        let locked = format!("name = \"{name}\"\nversion = \"{version}\"");
        assert!(lock.contains(&locked), "{name} is no longer {version}: change its name in compress/piece.rs");
    }
}
