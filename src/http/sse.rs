//! Decoding server-sent events. Pure: bytes in, frames out.
//!
//! ```text
//! event: name        <- fields, one a line; lines end with LF, CR or CRLF
//! data: {"type":...}
//! : comment
//!                    <- a blank line ends the frame
//! ```
//!
//! Input may be split anywhere, within a character or a CRLF too. What is kept between two calls is at most one event, and bounded. The
//! crates that do this (`eventsource-stream`, `sse-stream`) neither bound an event nor report one that is cut off, and bring a parser
//! framework with them.

use memchr::{memchr, memchr2};

/// The longest field name that is looked at, with its colon and space.
const MAX_PREFIX: usize = "event: ".len();
const BOM: &[u8] = "\u{feff}".as_bytes();

/// A frame that means something: it has a name other than `ping`, and data.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// An event: its data verbatim, which the API sends as one JSON object.
    Event(String),
    /// An `error` event, which ends the stream: its data, the API's error object.
    Error(String),
}

/// An event is larger than the decoder accepts.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Decodes a stream of events. Use it no more after an error.
#[derive(Debug)]
pub struct Decoder {
    max_event_bytes: usize,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    name: Name,
    /// The lines of data of the frame, joined with LF; `None`: it has none.
    data: Option<Vec<u8>>,
    /// Whether a field of the frame has come, one without a meaning too.
    has_field: bool,
    /// Whether the last line ended with CR, so that a LF belongs to it.
    after_cr: bool,
    is_first_line: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Name {
    #[default]
    None,
    Ping,
    Error,
    Other,
}

impl Decoder {
    /// Makes a decoder. The data of one event may take up to `max_event_bytes`.
    pub fn new(max_event_bytes: usize) -> Decoder {
        Decoder {
            max_event_bytes,
            line: Vec::new(),
            name: Name::None,
            data: None,
            has_field: false,
            after_cr: false,
            is_first_line: true,
        }
    }

    /// Decodes `input` up to the end of the next frame, and removes what it has read from the front. `None`: the input is used up.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, TooLarge> {
        while !input.is_empty() {
            if std::mem::take(&mut self.after_cr) && input[0] == b'\n' {
                *input = &input[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', input) else {
                self.check_size(self.line.len() + input.len())?;
                self.line.extend_from_slice(input);
                *input = &[];
                break;
            };
            self.check_size(self.line.len() + end)?;
            self.after_cr = input[end] == b'\r';
            let line = &input[..end];
            *input = &input[end + 1..];
            let frame = if self.line.is_empty() {
                self.end_line(line)?
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.end_line(&whole)?
            };
            if frame.is_some() {
                return Ok(frame);
            }
        }
        Ok(None)
    }

    /// Returns whether the input so far ends within a frame.
    pub fn is_within_frame(&self) -> bool {
        let line = if self.is_first_line { self.line.strip_prefix(BOM).unwrap_or(&self.line) } else { &self.line };
        self.has_field || line.first().is_some_and(|first| *first != b':')
    }

    /// Checks that a line of this length, which may still grow, fits besides the data that the frame has already.
    fn check_size(&self, line: usize) -> Result<(), TooLarge> {
        let data = self.data.as_ref().map_or(0, Vec::len);
        if data + line > self.max_event_bytes.saturating_add(MAX_PREFIX) { Err(TooLarge) } else { Ok(()) }
    }

    fn end_line(&mut self, line: &[u8]) -> Result<Option<Frame>, TooLarge> {
        let line = if std::mem::take(&mut self.is_first_line) { line.strip_prefix(BOM).unwrap_or(line) } else { line };
        if line.is_empty() {
            return Ok(self.end_frame());
        }
        let (field, value) = match memchr(b':', line) {
            Some(0) => return Ok(None),
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        self.has_field = true;
        match field {
            b"event" => {
                self.name = match value {
                    b"" => Name::None,
                    b"ping" => Name::Ping,
                    b"error" => Name::Error,
                    _ => Name::Other,
                };
            }
            b"data" => {
                let data = match &mut self.data {
                    // With room for the NUL that ends it in C.
                    None => self.data.insert(Vec::with_capacity(value.len() + 1)),
                    Some(data) => {
                        data.push(b'\n');
                        data
                    }
                };
                if data.len() + value.len() > self.max_event_bytes {
                    return Err(TooLarge);
                }
                data.extend_from_slice(value);
            }
            _ => {}
        }
        Ok(None)
    }

    fn end_frame(&mut self) -> Option<Frame> {
        self.has_field = false;
        let name = std::mem::take(&mut self.name);
        let data = self.data.take().filter(|data| !data.is_empty())?;
        match name {
            Name::None | Name::Ping => None,
            Name::Error => Some(Frame::Error(text(data))),
            Name::Other => Some(Frame::Event(text(data))),
        }
    }
}

/// Returns data as text that C can take: what is not UTF-8, and NUL, becomes U+FFFD.
fn text(data: Vec<u8>) -> String {
    let text = String::from_utf8(data).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    if memchr(0, text.as_bytes()).is_some() { text.replace('\0', "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames of an input that comes in these parts, and whether it ends within a frame.
    fn decode<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, bool) {
        let mut decoder = Decoder::new(100);
        let mut frames = Vec::new();
        for mut part in parts {
            while let Some(frame) = decoder.next(&mut part).unwrap() {
                frames.push(match frame {
                    Frame::Event(data) => data,
                    Frame::Error(data) => format!("error {data}"),
                });
            }
            assert!(part.is_empty());
        }
        (frames, decoder.is_within_frame())
    }

    #[test]
    fn frames_are_read_in_every_framing() {
        for (input, frames, is_cut) in [
            ("event: e\ndata: 1\n\nevent: e\ndata: 2\n\n", &["1", "2"][..], false),
            ("event: e\r\ndata: 1\r\n\r\nevent: e\r\ndata: 2\r\n\r\n", &["1", "2"], false),
            ("event: e\rdata: 1\r\revent: e\rdata: 2\r\r", &["1", "2"], false),
            ("event: e\r\ndata: 1\n\revent: e\ndata: 2\r\n\n", &["1", "2"], false),
            ("\u{feff}event: e\ndata: 1\n\n", &["1"], false),
            ("\u{feff}\u{feff}event: e\ndata: 1\n\n", &[], false),
            ("\n\n: a comment\n\nevent: e\n: another\ndata: 1\n\n", &["1"], false),
            ("event:e\ndata:1\n\nevent: e\ndata:  2 \n\n", &["1", " 2 "], false),
            ("event: e\ndata: {\ndata:  \"a\": 1\ndata\ndata: }\n\n", &["{\n \"a\": 1\n\n}"], false),
            ("data: 1\nevent: e\n\n", &["1"], false),
            ("event: ping\nevent: e\ndata: 1\n\n", &["1"], false),
            ("data: unnamed\n\nevent:\ndata: unnamed\n\nevent: e\n\nevent: e\ndata\n\nevent: e\ndata:\n\n", &[], false),
            ("event: ping\ndata: {\"type\":\"ping\"}\n\n", &[], false),
            ("event: error\ndata: {}\n\nevent: e\ndata: 1\n\n", &["error {}", "1"], false),
            ("id: 7\nretry: 5\nevents: x\nevent : x\nevent: e\ndata: 1\n\n", &["1"], false),
            ("event: e\ndata: a: b\n\n", &["a: b"], false),
            ("event: e\ndata: \u{e9}\u{1f680}\n\n", &["\u{e9}\u{1f680}"], false),
            ("event: e\ndata: a\0b\n\n", &["a\u{fffd}b"], false),
            ("", &[], false),
            ("event: e\ndata: 1\n\n: bye", &["1"], false),
            ("\u{feff}", &[], false),
            ("e", &[], true),
            ("event: ping\n", &[], true),
            ("event: e\ndata: 1", &[], true),
            ("event: e\ndata: 1\n", &[], true),
            ("event: e\ndata: 1\r\n", &[], true),
            ("event: e\ndata: 1\r\n\r", &["1"], false),
        ] {
            assert_eq!(decode([input.as_bytes()]), (frames.iter().map(|&f| f.to_owned()).collect(), is_cut), "{input:?}");
        }
        assert_eq!(decode([&b"event: e\ndata: \xc3\xff\n\n"[..]]).0, ["\u{fffd}\u{fffd}"]);
    }

    #[test]
    fn it_does_not_matter_where_the_input_is_split() {
        let corpus = "\u{feff}: hello\r\n\r\nevent: ping\ndata: {}\n\nevent: \u{e9}\r\ndata: \u{1f680}1\r\ndata: \u{e9}2\r\n\r\nevent: error\r\
            data: {}\r\rid: 1\r\nevent: e\ndata: 3\n\r\n\nevent: e\rdata:4\r\n\r\nevent: cut\ndata: off"
            .as_bytes();
        let whole = decode([corpus]);
        assert_eq!((whole.0.len(), whole.1), (4, true), "{whole:?}");
        for first in 0..=corpus.len() {
            let (head, tail) = corpus.split_at(first);
            for second in 0..=tail.len() {
                let (middle, end) = tail.split_at(second);
                assert_eq!(decode([head, middle, end]), whole, "split at {first} and {}", first + second);
            }
        }
        assert_eq!(decode(corpus.chunks(1)), whole);
    }

    #[test]
    fn an_event_is_bounded_however_it_comes() {
        let run = |input: &str, part: usize| {
            let mut decoder = Decoder::new(10);
            input.as_bytes().chunks(part).map(|mut part| decoder.next(&mut part)).find(|outcome| *outcome != Ok(None))
        };
        for part in [1, 2, 7, 1000] {
            let event = |text: &str| Some(Ok(Some(Frame::Event(text.to_owned()))));
            assert_eq!(run("event: e\ndata: 0123456789\n\n", part), event("0123456789"));
            assert_eq!(run("event: e\ndata: 0123\ndata: 56789\n\n", part), event("0123\n56789"));
            assert_eq!(run("event: e\ndata: 0123456789a\n\n", part), Some(Err(TooLarge)));
            assert_eq!(run("event: e\ndata: 01234\ndata: 56789\n\n", part), Some(Err(TooLarge)));
        }
        // The end of it never comes.
        let endless = ["data: 1", "data\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\n", "event: 1", ": 1"];
        for beginning in endless {
            let mut decoder = Decoder::new(10);
            assert!((0..40).any(|_| decoder.next(&mut beginning.as_bytes()) == Err(TooLarge)), "{beginning}");
        }
    }
}
