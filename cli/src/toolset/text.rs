//! The output of commands: its end within a limit, without control sequences of terminals.

/// The last bytes of an output of any length.
pub struct Tail {
    bytes: Vec<u8>,
    limit: usize,
    cut: bool,
}

impl Tail {
    pub fn new(limit: usize) -> Tail {
        Tail { bytes: Vec::new(), limit, cut: false }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // Not at each call: what is kept moves once per `limit` bytes.
        if self.bytes.len() > 2 * self.limit {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        let surplus = self.bytes.len().saturating_sub(self.limit);
        self.cut |= surplus > 0;
        self.bytes.drain(..surplus);
    }

    /// Returns the text, after a line that says so if its beginning is missing.
    pub fn into_text(mut self) -> String {
        self.shorten();
        // No half of a character at the beginning.
        let begin = if self.cut { self.bytes.iter().take(4).position(|byte| byte & 0xc0 != 0x80).unwrap_or(0) } else { 0 };
        let text = without_control_sequences(&String::from_utf8_lossy(&self.bytes[begin..]));
        if self.cut { format!("[output truncated]\n{text}") } else { text }
    }
}

/// Removes the control sequences of terminals (ECMA-48): colours, cursor movements, titles.
fn without_control_sequences(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '\x1b' {
            kept.push(character);
            continue;
        }
        match characters.next() {
            // A control sequence: parameters, then one final character.
            Some('[') => while characters.next_if(|next| matches!(next, '\x20'..='\x3f')).is_some() {},
            // A control string: up to BEL, or ESC and a backslash.
            Some(']' | 'P' | 'X' | '^' | '_') => {
                while let Some(next) = characters.next() {
                    if next == '\x07' || (next == '\x1b' && characters.next_if_eq(&'\\').is_some()) {
                        break;
                    }
                }
                continue;
            }
            // An escape sequence: intermediate characters, then one final character.
            Some('\x20'..='\x2f') => while characters.next_if(|next| matches!(next, '\x20'..='\x2f')).is_some() {},
            _ => continue,
        }
        characters.next_if(|next| matches!(next, '\x30'..='\x7e'));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_are_removed_and_nothing_else_is() {
        for (given, kept) in [
            ("plain\ttext\r\n", "plain\ttext\r\n"),
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]0;a title\x07text", "text"),
            ("\x1b]8;;http://host\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b(Btext\x1b=", "text"),
            ("\x1b[?25lhidden\x1b[2K", "hidden"),
            ("ends in \x1b", "ends in "),
            ("ends in \x1b[12", "ends in "),
            ("ends in \x1b]title", "ends in "),
            ("\x1b[31mé\x1b[m", "é"),
        ] {
            assert_eq!(without_control_sequences(given), kept, "{given:?}");
        }
    }

    #[test]
    fn a_tail_is_the_end_of_what_was_written() {
        for total in [0usize, 9, 10, 11, 20, 21, 1000] {
            for piece in [1, 3, 7, 1000] {
                let written: Vec<u8> = (0..total).map(|number| b'a' + (number % 26) as u8).collect();
                let mut tail = Tail::new(10);
                written.chunks(piece).for_each(|piece| tail.push(piece));
                let end = String::from_utf8(written[total.saturating_sub(10)..].to_vec()).unwrap();
                let expected = if total > 10 { format!("[output truncated]\n{end}") } else { end };
                assert_eq!(tail.into_text(), expected, "{total} bytes in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_tail_begins_with_a_whole_character() {
        let mut tail = Tail::new(7);
        tail.push("ééééé".as_bytes());
        assert_eq!(tail.into_text(), "[output truncated]\nééé");
    }
}
