//! Times how a tar is made a layer: `compress FILE.tar gzip|zstd LEVEL`. Prints sizes and seconds.
//!
//! The figures at [`cooper_oci::Compression::GZIP`] were made with it.

use std::io::Write;
use std::time::Instant;

use cooper_oci::{Compression, LayerReader, LayerWriter};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [_, path, method, level] = &std::env::args().collect::<Vec<_>>()[..] else {
        return Err("usage: compress FILE.tar gzip|zstd|none LEVEL".into());
    };
    let level = level.parse()?;
    let compression = match method.as_str() {
        "gzip" => Compression::Gzip(level),
        "zstd" => Compression::Zstd(level),
        _ => Compression::None,
    };
    let mut tar = std::fs::File::open(path)?;
    let start = Instant::now();
    let mut writer = LayerWriter::new(Vec::new(), compression, None)?;
    std::io::copy(&mut tar, &mut writer)?;
    let (bytes, sums) = writer.finish()?;
    let written = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let descriptor = cooper_oci::Descriptor::new("layer", sums.digest.clone(), sums.size);
    std::io::copy(&mut LayerReader::new(bytes.as_slice(), &descriptor, &sums.diff_id)?, &mut std::io::sink())?;
    let read = start.elapsed().as_secs_f64();
    let pieces = sums.pieces.len();
    writeln!(
        std::io::stdout(),
        "{compression:?}: {} -> {} bytes in {pieces} pieces, written in {written:.2} s, read in {read:.2} s, {}",
        sums.tar_size,
        sums.size,
        sums.digest.short()
    )?;
    Ok(())
}
