//! Which queue of a device a packet goes to, said by a program in the kernel (eBPF, `TUNSETSTEERINGEBPF`).
//!
//! Of itself the kernel moves a flow to the queue that its answers were last written to. Answers come by whichever thread has the path that the other end has chosen, so
//! that a flow would change threads whenever the other end changes paths, and what the former thread has yet to send would be overtaken.
//! The program computes a hash of addresses and ports, which nothing else moves. Parts of packets have no ports to go by: all parts between two addresses go together.

use crate::sys::bpf::Instruction;

/// Offsets in the headers of IP (RFC 791 section 3.1, RFC 8200 section 3).
const FRAGMENT: i32 = 6;
const PROTOCOL_V4: i32 = 9;
const ADDRESSES_V4: [i32; 2] = [12, 16];
const NEXT_V6: i32 = 6;
const ADDRESSES_V6: [i32; 8] = [8, 12, 16, 20, 24, 28, 32, 36];
const HEADER_V6: i32 = 40;
/// "More fragments", and where a part belongs.
const PART: i32 = 0x3fff;

const LOADED: u8 = 0;
const CONTEXT: u8 = 6;
const HASH: u8 = 7;
const TRANSPORT: u8 = 8;
const SCRATCH: u8 = 2;

/// A program in the making. A jump names a label, and is aimed when all is there.
#[derive(Default)]
struct Code {
    instructions: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
    labels: Vec<(Label, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Six,
    Ports,
    Load,
    End,
}

impl Code {
    fn push(&mut self, code: u32, (to, from): (u8, u8), value: i32) {
        self.instructions.push(Instruction::new(code as u8, to, from, 0, value));
    }

    /// Loads from the packet, in the order of the network. What is not there ends the program with 0, the first queue.
    fn load(&mut self, size: u32, at: i32) {
        self.push(libc::BPF_LD | libc::BPF_ABS | size, (0, 0), at);
    }

    fn jump(&mut self, test: u32, value: i32, label: Label) {
        self.jumps.push((self.instructions.len(), label));
        self.push(libc::BPF_JMP | test | libc::BPF_K, (LOADED, 0), value);
    }

    fn label(&mut self, label: Label) {
        self.labels.push((label, self.instructions.len()));
    }

    /// Stirs what was loaded into the hash.
    fn stir(&mut self) {
        self.push(ALU | libc::BPF_XOR | libc::BPF_X, (HASH, LOADED), 0);
        self.multiply(0x9e37_79b1);
        self.fold(15);
    }

    fn multiply(&mut self, by: u32) {
        self.push(ALU | libc::BPF_MUL | libc::BPF_K, (HASH, 0), by as i32);
    }

    /// Has high bits count in low ones.
    fn fold(&mut self, by: i32) {
        self.push(ALU | MOVE | libc::BPF_X, (SCRATCH, HASH), 0);
        self.push(ALU | libc::BPF_RSH | libc::BPF_K, (SCRATCH, 0), by);
        self.push(ALU | libc::BPF_XOR | libc::BPF_X, (HASH, SCRATCH), 0);
    }

    /// Each bit comes to depend on all others (the end of MurmurHash3): few queues are told apart by the lowest ones.
    fn spread(&mut self) {
        self.fold(16);
        self.multiply(0x85eb_ca6b);
        self.fold(13);
        self.multiply(0xc2b2_ae35);
        self.fold(16);
    }

    fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            let to = self.labels.iter().find(|(one, _)| *one == label).map(|(_, to)| *to);
            if let (Some(to), Some(jump)) = (to, self.instructions.get_mut(at)) {
                // Forwards, and counted from the instruction after it.
                jump.offset = (to - at - 1) as i16;
            }
        }
        self.instructions
    }
}

/// Those of eBPF that `libc` does not name: 32-bit arithmetic is as in classic BPF; moves, and the end.
const ALU: u32 = libc::BPF_ALU;
const ALU64: u32 = 0x07;
const MOVE: u32 = 0xb0;
const EXIT: u32 = libc::BPF_JMP | 0x90;
const ALWAYS: u32 = libc::BPF_JA;

/// The program; its hashes follow from `seed`, so that nobody can have all flows go to one queue. The kernel takes what it gives modulo the number of queues.
pub(super) fn program(seed: u32) -> Vec<Instruction> {
    let mut code = Code::default();
    code.push(ALU64 | MOVE | libc::BPF_X, (CONTEXT, 1), 0);
    code.push(ALU | MOVE | libc::BPF_K, (HASH, 0), seed as i32);
    code.load(libc::BPF_B, 0);
    // Four times the length of the header of version 4, should it be one.
    code.push(ALU | MOVE | libc::BPF_X, (TRANSPORT, LOADED), 0);
    code.push(ALU | libc::BPF_AND | libc::BPF_K, (TRANSPORT, 0), 0x0f);
    code.push(ALU | libc::BPF_LSH | libc::BPF_K, (TRANSPORT, 0), 2);
    code.push(ALU | libc::BPF_RSH | libc::BPF_K, (LOADED, 0), 4);
    code.jump(libc::BPF_JEQ, 6, Label::Six);
    for at in ADDRESSES_V4 {
        code.load(libc::BPF_W, at);
        code.stir();
    }
    code.load(libc::BPF_H, FRAGMENT);
    code.jump(libc::BPF_JSET, PART, Label::End);
    code.load(libc::BPF_B, PROTOCOL_V4);
    code.jump(ALWAYS, 0, Label::Ports);
    code.label(Label::Six);
    for at in ADDRESSES_V6 {
        code.load(libc::BPF_W, at);
        code.stir();
    }
    code.push(ALU | MOVE | libc::BPF_K, (TRANSPORT, 0), HEADER_V6);
    code.load(libc::BPF_B, NEXT_V6);
    code.label(Label::Ports);
    // Others have none, or have them behind headers that are not read here.
    for protocol in [libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_SCTP] {
        code.jump(libc::BPF_JEQ, protocol, Label::Load);
    }
    code.jump(ALWAYS, 0, Label::End);
    code.label(Label::Load);
    code.push(libc::BPF_LD | libc::BPF_IND | libc::BPF_W, (0, TRANSPORT), 0);
    code.stir();
    code.label(Label::End);
    code.spread();
    code.push(ALU | MOVE | libc::BPF_X, (LOADED, HASH), 0);
    code.push(EXIT, (0, 0), 0);
    code.finish()
}
