//! What `ldconfig` wants to know of a shared library: its soname, and the flags of its machine.

use cooper_oci::EntryKind;
use goblin::elf::{Elf, header};

use crate::layers::Item;

/// A library larger than this is left out of the cache; the loader still finds it by its directory.
const LIBRARY_LIMIT: u64 = 512 << 20;

/// `FLAG_ELF_LIBC6` of glibc's ldconfig.h.
const LIBC6: u32 = 0x0003;

/// A shared library.
#[derive(Debug)]
pub(super) struct Library {
    /// DT_SONAME, if it has one.
    pub(super) soname: Option<String>,
    /// Flags of its entries in the cache.
    pub(super) flags: u32,
}

/// Reads a file as a shared library of a known machine; `None` for anything else (linker scripts, static archives).
pub(super) fn library(item: &Item) -> Option<Library> {
    let EntryKind::File { size } = item.entry.kind else { return None };
    if size > LIBRARY_LIMIT || item.part(0, header::SELFMAG).ok()? != header::ELFMAG {
        return None;
    }
    let bytes = item.bytes(LIBRARY_LIMIT as usize).ok()?;
    let elf = Elf::parse(&bytes).ok().filter(|elf| elf.header.e_type == header::ET_DYN)?;
    let flags = LIBC6 | machine_flags(&elf)?;
    Some(Library { soname: elf.soname.map(str::to_owned), flags })
}

/// The upper byte of the flags: which programs may use the library (glibc, sysdeps/generic/ldconfig.h).
fn machine_flags(elf: &Elf<'_>) -> Option<u32> {
    /// EF_ARM_ABI_FLOAT_HARD.
    const ARM_HARD_FLOAT: u32 = 0x400;
    Some(match (elf.header.e_machine, elf.is_64) {
        (header::EM_386, false) => 0x0000,
        (header::EM_X86_64, true) => 0x0300,
        (header::EM_X86_64, false) => 0x0800,
        (header::EM_S390, true) => 0x0400,
        (header::EM_PPC64, true) => 0x0500,
        (header::EM_MIPS, true) => 0x0700,
        (header::EM_ARM, false) if elf.header.e_flags & ARM_HARD_FLOAT != 0 => 0x0900,
        (header::EM_ARM, false) => 0x0b00,
        (header::EM_AARCH64, true) => 0x0a00,
        // lp64d, the only ABI of Debian's port.
        (header::EM_RISCV, true) => 0x1000,
        (header::EM_LOONGARCH, true) => 0x1200,
        _ => return None,
    })
}
