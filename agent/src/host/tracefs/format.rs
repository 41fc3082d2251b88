//! The `format` file of a trace event, and the reading of a line by it. Owns the grammar of `print fmt`; knows no event.
//!
//! Kernels differ in what an event prints, so what stands in a line is read from the kernel itself. A text field (a process
//! name) may hold anything, line feeds included. Fields before it are read from the left and fields behind it from the
//! right, so that no text can shift a number.

/// Most pieces of one format; the longest of ours has 18.
const MAX_PIECES: usize = 64;

/// Why a format cannot be used. Retrying does not help: the kernel prints the event in a way that this version cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No `print fmt: "…"`.
    #[error("no print fmt")]
    NoPrint,
    /// A conversion that is neither a number nor a text, or more of them than arguments.
    #[error("a conversion that is not known")]
    Conversion,
    /// Two texts: the border between them could be forged.
    #[error("two texts in one line")]
    TwoTexts,
}

/// How one event prints itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Number(String),
    Text(String),
}

/// What one line says, by the names of the format.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields<'a> {
    numbers: Vec<(&'a str, i64)>,
    text: Option<(&'a str, &'a [u8])>,
}

impl<'a> Fields<'a> {
    /// A number; `None` when this kernel does not print it or when it does not fit.
    #[must_use]
    pub fn number<T: TryFrom<i64>>(&self, name: &str) -> Option<T> {
        let (_, value) = self.numbers.iter().find(|(known, _)| *known == name)?;
        T::try_from(*value).ok()
    }

    /// The text, as it came.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a [u8]> {
        self.text.filter(|(known, _)| *known == name).map(|(_, text)| text)
    }
}

impl Format {
    /// Reads a `format` file.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn parse(file: &str) -> Result<Self, FormatError> {
        let print = file.lines().find_map(|line| line.trim().strip_prefix("print fmt: \""));
        let (template, arguments) = print.and_then(|p| p.split_once('"')).ok_or(FormatError::NoPrint)?;
        let mut names = arguments.split(',').skip(1).map(argument_name);
        let mut pieces = Vec::new();
        let mut rest = template;
        while let Some((literal, conversion)) = rest.split_once('%') {
            push_literal(&mut pieces, literal.as_bytes());
            if let Some(after) = conversion.strip_prefix('%') {
                push_literal(&mut pieces, b"%");
                rest = after;
                continue;
            }
            let name = names
                .next()
                .filter(|name| !name.is_empty())
                .ok_or(FormatError::Conversion)?;
            let end = conversion.find(|c: char| c.is_ascii_alphabetic() && !"hlz".contains(c));
            let (kind, after) = end
                .and_then(|at| conversion.get(at..)?.split_at_checked(1))
                .ok_or(FormatError::Conversion)?;
            pieces.push(match kind {
                "d" | "i" | "u" => Piece::Number(name),
                "s" => Piece::Text(name),
                _ => return Err(FormatError::Conversion),
            });
            rest = after;
        }
        push_literal(&mut pieces, rest.as_bytes());
        let texts = pieces.iter().filter(|piece| matches!(piece, Piece::Text(_))).count();
        match (texts, pieces.len()) {
            (0 | 1, ..=MAX_PIECES) => Ok(Self(pieces)),
            (0 | 1, _) => Err(FormatError::Conversion),
            _ => Err(FormatError::TwoTexts),
        }
    }

    /// Reads what an event printed; `None` unless every byte is accounted for.
    #[must_use]
    pub fn read<'a>(&'a self, mut body: &'a [u8]) -> Option<Fields<'a>> {
        let mut fields = Fields::default();
        let text = self.0.iter().position(|piece| matches!(piece, Piece::Text(_)));
        let (before, behind) = self.0.split_at(text.unwrap_or(self.0.len()));
        for piece in before {
            body = match piece {
                Piece::Literal(literal) => body.strip_prefix(literal.as_slice())?,
                Piece::Number(name) => {
                    let digits = body
                        .iter()
                        .enumerate()
                        .take_while(|(at, b)| b.is_ascii_digit() || *at == 0 && **b == b'-');
                    let (number, rest) = body.split_at_checked(digits.count())?;
                    fields.numbers.push((name, number_of(number)?));
                    rest
                }
                Piece::Text(_) => return None,
            };
        }
        let Some((Piece::Text(name), behind)) = behind.split_first() else {
            return body.is_empty().then_some(fields);
        };
        for piece in behind.iter().rev() {
            body = match piece {
                Piece::Literal(literal) => body.strip_suffix(literal.as_slice())?,
                Piece::Number(name) => {
                    let digits = body.iter().rev().take_while(|b| b.is_ascii_digit()).count();
                    let start = body.len().checked_sub(digits)?;
                    let signed = start.checked_sub(1).filter(|at| body.get(*at) == Some(&b'-'));
                    let (rest, number) = body.split_at_checked(signed.unwrap_or(start))?;
                    fields.numbers.push((name, number_of(number)?));
                    rest
                }
                Piece::Text(_) => return None,
            };
        }
        fields.text = Some((name, body));
        Some(fields)
    }
}

fn push_literal(pieces: &mut Vec<Piece>, literal: &[u8]) {
    match pieces.last_mut() {
        Some(Piece::Literal(held)) => held.extend_from_slice(literal),
        _ if literal.is_empty() => {}
        _ => pieces.push(Piece::Literal(literal.to_vec())),
    }
}

/// `REC->pid` and `__get_str(comm)`; empty for anything else.
fn argument_name(argument: &str) -> String {
    let from = |mark: &str| argument.split_once(mark).map(|(_, name)| name);
    let name = from("REC->").or_else(|| from("__get_str(")).unwrap_or_default();
    name.chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}

fn number_of(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIGNAL: &str = include_str!("../../../../tests/fixtures/trace/6.18/signal_generate.format");
    const VICTIM: &str = include_str!("../../../../tests/fixtures/trace/6.18/mark_victim.format");
    const OLD_VICTIM: &str = include_str!("../../../../tests/fixtures/trace/6.1/mark_victim.format");

    #[test]
    fn the_victims_of_old_and_new_kernels_are_read_by_their_own_format() {
        let new = Format::parse(VICTIM).unwrap();
        let body = b"pid=5335 comm=tail total-vm=12432kB anon-rss=9600kB file-rss:1588kB shmem-rss:0kB uid=0 pgtables=72kB oom_score_adj=-5";
        let fields = new.read(body).unwrap();
        assert_eq!(fields.number("anon_rss"), Some(9600_u64));
        assert_eq!(fields.number("oom_score_adj"), Some(-5));
        assert_eq!(fields.text("comm"), Some(b"tail".as_slice()));
        let old = Format::parse(OLD_VICTIM).unwrap();
        let fields = old.read(b"pid=5335").unwrap();
        assert_eq!((fields.number("pid"), fields.text("comm")), (Some(5335_u32), None));
        assert_eq!(old.read(body), None, "what the format does not know is not guessed");
    }

    #[test]
    fn a_format_that_could_be_forged_or_is_none_is_refused() {
        assert_eq!(Format::parse("name: x"), Err(FormatError::NoPrint));
        assert_eq!(
            Format::parse("print fmt: \"a=%s b=%s\", REC->a, REC->b"),
            Err(FormatError::TwoTexts)
        );
        assert_eq!(
            Format::parse("print fmt: \"a=%pS\", REC->a"),
            Err(FormatError::Conversion)
        );
        assert_eq!(Format::parse("print fmt: \"a=%d\""), Err(FormatError::Conversion));
    }

    proptest! {
        /// A process can choose its name, and with it must not choose who is said to have killed whom.
        #[test]
        fn no_name_shifts_a_number(comm in prop::collection::vec(any::<u8>(), 0..16), pid in any::<i32>(), res in 0..5) {
            let format = Format::parse(SIGNAL).unwrap();
            let mut body = b"sig=9 errno=0 code=-6 comm=".to_vec();
            body.extend_from_slice(&comm);
            body.extend_from_slice(format!(" pid={pid} grp=1 res={res}").as_bytes());
            let fields = format.read(&body).unwrap();
            prop_assert_eq!(fields.text("comm"), Some(comm.as_slice()));
            prop_assert_eq!((fields.number("pid"), fields.number("result")), (Some(pid), Some(res)));
            prop_assert_eq!((fields.number("sig"), fields.number("code")), (Some(9_u8), Some(-6)));
        }

        #[test]
        fn any_format_and_any_line_are_read_without_panic(file in ".{0,200}", body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _format = Format::parse(&file);
            let _format = Format::parse(&format!("print fmt: \"{file}\", REC->a, REC->b"));
            let _fields = Format::parse(VICTIM).unwrap().read(&body);
        }
    }
}
