//! Changes inputs a little, at random but repeatably.

use fastrand::Rng;

/// What parsers stumble over.
const TOKENS: &[&[u8]] = &[
    b"\0",
    b"\r\n",
    b"\n",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1e999",
    b"-0.0",
    b"18446744073709551616",
    b"9223372036854775807",
    b"ffffffffffffffff",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\xf0\x9f\x9a\x80",
    b"%00",
    b"%",
    b"../",
    b"?",
    b"#",
    b"://",
    b"@",
    b"[::1]",
    b"HTTP/1.1 ",
    b"content-length: 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b"999",
    b"000",
    b";",
    b" ",
    b"\t",
    b"\xc3\xa9",
];

/// A source of changes.
pub struct Mutator(Rng);

impl Mutator {
    /// The same seed makes the same changes.
    pub fn new(seed: u64) -> Mutator {
        Mutator(Rng::with_seed(seed))
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(..choices.len())]
    }

    /// Whether something happens that does so once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.0.usize(..times) == 0
    }

    /// A changed copy: now and then an unchanged one.
    pub fn mutate(&mut self, input: &[u8]) -> Vec<u8> {
        let mut data = input.to_vec();
        for _ in 0..self.0.usize(..6) {
            let at = self.0.usize(..=data.len());
            let end = (at + self.0.usize(1..9)).min(data.len());
            match self.0.u8(..9) {
                0 if at < data.len() => data[at] ^= 1 << self.0.u8(..8),
                1 if at < data.len() => data[at] = self.0.u8(..),
                2 => drop(data.splice(at..at, [self.0.u8(..)])),
                3 => drop(data.drain(at..end)),
                4 => data.truncate(at),
                5 => {
                    let copy = data[at..end].to_vec();
                    data.splice(at..at, copy.repeat(self.0.usize(1..40)));
                }
                6 => drop(data.splice(at..end, self.pick(TOKENS).iter().copied())),
                7 => drop(data.splice(at..at, self.pick(TOKENS).iter().copied())),
                // Deep nesting.
                8 if self.one_in(20) => drop(data.splice(at..at, b"[{\"a\":".repeat(self.0.usize(1..3000)))),
                _ => {}
            }
        }
        data
    }
}

/// An input as it can be put into a test again.
pub fn show(input: &[u8]) -> String {
    format!("b\"{}\"", input[..input.len().min(4000)].escape_ascii())
}
