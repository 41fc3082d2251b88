//! The one message catalogue: from codes and evidence to words, in English and Chinese.
//!
//! Owns every sentence that people read about an incident. Must not know where a text goes: no input or output, no
//! clock, no width of a terminal. Whatever came from outside is bounded and escaped here.

use crate::{
    cause::facts::Facts,
    model::{Incident, Occurrence},
};

mod card;
mod changed;
mod evidence;
mod exit;
mod figures;
mod hint;
mod lang;
mod paint;
mod pod;
mod report;
mod sender;
mod title;
mod words;

pub use card::card;
pub use changed::changed;
pub use evidence::log_lines;
pub use exit::{exit_line, meaning_text, next_check};
pub use figures::{clock_time, date_time, duration, size};
pub use hint::hint_text;
pub use lang::Lang;
pub use paint::{Paint, Style};
pub use words::{delivery_state, incident_state, severity, source_name, source_state, transition, version_skew};

/// What happened, in a few words, such as "OOM at container limit" or "Exits with 1, crash loop (7 times), 1 of 3 pods
/// (33 %)".
#[must_use]
pub fn headline(incident: &Incident, lang: Lang) -> String {
    // Level, code and signal are quoted only from an event of the incident's own cause.
    let latest = &incident.latest;
    let own = (latest.verdict.cause == incident.cause).then(|| Facts::of(&latest.evidence));
    let title = title::title(incident.cause, own.as_ref(), lang);
    let times = incident.occurrences;
    let again = incident.looping.then(|| match lang {
        Lang::En => format!("crash loop ({times} times)"),
        Lang::Zh => format!("反复崩溃（{times} 次）"),
    });
    let parts = [Some(title), again, changed::share(&latest.evidence, lang)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(lang.comma())
}

/// What happened in one event, in a few words.
#[must_use]
pub fn occurrence_headline(occurrence: &Occurrence, lang: Lang) -> String {
    title::title(occurrence.verdict.cause, Some(&Facts::of(&occurrence.evidence)), lang)
}

/// The proof of an event in one line.
#[must_use]
pub fn why(occurrence: &Occurrence, lang: Lang) -> String {
    evidence::why(occurrence.verdict.cause, &Facts::of(&occurrence.evidence), lang)
}

#[cfg(test)]
mod tests;
