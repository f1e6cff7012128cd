//! The smallest programs of other processors, made of bytes: tests need no compiler for them.
//!
//! Knows nothing of images.

/// Where a program is loaded.
const BASE: u32 = 0x40_0000;

/// A static ELF program with this code, for the processor with this number (`e_machine`).
fn elf(wide: bool, machine: u16, code: &[u8]) -> Vec<u8> {
    let (header, entry) = if wide { (64_u16, 56_u16) } else { (52, 32) };
    let start = u32::from(header + entry);
    let size = start + code.len() as u32;
    let mut out = vec![0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, 1, 1];
    out.resize(16, 0);
    // An address or offset has the width of the processor.
    let word = |out: &mut Vec<u8>, value: u32| {
        out.extend(value.to_le_bytes());
        out.resize(out.len() + if wide { 4 } else { 0 }, 0);
    };
    out.extend([2_u16, machine].map(u16::to_le_bytes).concat());
    out.extend(1_u32.to_le_bytes());
    word(&mut out, BASE + start);
    word(&mut out, header.into());
    word(&mut out, 0);
    out.extend(0_u32.to_le_bytes());
    out.extend([header, entry, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    // One segment, loaded whole: read and execute.
    out.extend(1_u32.to_le_bytes());
    if wide {
        out.extend(5_u32.to_le_bytes());
    }
    for value in [0, BASE, BASE, size, size] {
        word(&mut out, value);
    }
    if !wide {
        out.extend(5_u32.to_le_bytes());
    }
    word(&mut out, 0x1000);
    assert_eq!(out.len(), start as usize);
    out.extend(code);
    out
}

/// x86-64: prints `text`.
pub(crate) fn amd64(text: &str) -> Vec<u8> {
    let mut code = vec![0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0]; // mov eax, 1 (write); mov edi, 1
    code.extend([0x48, 0x8d, 0x35, 16, 0, 0, 0, 0xba]); // lea rsi, [rip + 16]; mov edx, length
    code.extend((text.len() as u32).to_le_bytes());
    code.extend([0x0f, 0x05, 0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]); // syscall; mov eax, 60 (exit); xor edi, edi
    code.extend(text.as_bytes());
    elf(true, 62, &code)
}

/// i386: prints `text`, then succeeds only if it may not mount (EPERM; outside a sandbox that would be EFAULT).
pub(crate) fn i386(text: &str) -> Vec<u8> {
    let code_at = BASE + 52 + 32;
    let mut code = vec![0xb8, 4, 0, 0, 0, 0xbb, 1, 0, 0, 0, 0xb9]; // mov eax, 4 (write); mov ebx, 1; mov ecx, text
    code.extend((code_at + 53).to_le_bytes());
    code.push(0xba); // mov edx, length
    code.extend((text.len() as u32).to_le_bytes());
    code.extend([0xcd, 0x80, 0xb8, 21, 0, 0, 0]); // int 0x80; mov eax, 21 (mount)
    code.extend([0x31, 0xdb, 0x31, 0xc9, 0x31, 0xd2, 0x31, 0xf6, 0x31, 0xff, 0xcd, 0x80]); // its arguments are 0
    code.extend([0xf7, 0xd8, 0x83, 0xe8, 1, 0x89, 0xc3]); // neg eax; sub eax, 1; mov ebx, eax
    code.extend([0xb8, 1, 0, 0, 0, 0xcd, 0x80]); // mov eax, 1 (exit); int 0x80
    assert_eq!(code.len(), 53);
    code.extend(text.as_bytes());
    elf(false, 3, &code)
}

/// Of a processor that no machine running this test has: 64-bit ARM where this is not one.
pub(crate) fn arm64() -> Vec<u8> {
    elf(true, 183, &[0; 16])
}
