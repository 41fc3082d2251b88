//! A part of a bench that runs in a process of its own, so that neither the bench nor its runtime delays a time stamp.
//!
//! Owns both ends of the pipe between them: the child prints a word about itself, then, for each line that it reads, its
//! answers and a dot. It ends when the pipe does.

use std::{
    io::{self, BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result};

/// The child's end: says its word, then answers until the bench is gone.
///
/// # Errors
/// When the pipe breaks or there is no answer.
pub(super) fn answer(word: &str, mut answers: impl FnMut() -> Result<Vec<String>>) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{word}")?;
    out.flush()?;
    for question in io::stdin().lines() {
        question?;
        for line in answers()? {
            writeln!(out, "{line}")?;
        }
        writeln!(out, ".")?;
        out.flush()?;
    }
    Ok(())
}

/// The bench's end. The child ends with it.
#[derive(Debug)]
pub(super) struct Helper {
    name: String,
    child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Helper {
    /// Starts this program again with other arguments; gives its word as well.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) fn start(arguments: &[&str]) -> Result<(Self, String)> {
        let name = arguments.first().copied().unwrap_or_default().to_owned();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start the {name}"))?;
        let questions = child.stdin.take().with_context(|| format!("no pipe to the {name}"))?;
        let answers = child
            .stdout
            .take()
            .with_context(|| format!("no pipe from the {name}"))?;
        let mut helper = Self {
            name,
            child,
            questions,
            answers: BufReader::new(answers).lines(),
        };
        let word = helper.line()?;
        Ok((helper, word))
    }

    /// What it has to say since the last question.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn ask(&mut self) -> Result<Vec<String>> {
        writeln!(self.questions).with_context(|| format!("the {} does not listen", self.name))?;
        let mut lines = Vec::new();
        loop {
            match self.line()? {
                line if line == "." => return Ok(lines),
                line => lines.push(line),
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let line = self.answers.next();
        Ok(line.with_context(|| format!("the {} ended", self.name))??)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Both fail only for a child that has ended.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}
