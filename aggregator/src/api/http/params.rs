//! Query parameters as requests: each is a field of the proto message by its proto name, with `filter.` left out.

use std::str::FromStr;

use axum::{extract::Query, http::Uri};
use inquest_proto::query::v1::Filter;
use inquest_shared::model::{DeliveryState, Severity};
use tonic::Status;

use crate::api::status::{Violations, quoted};

/// Longest query string.
const MAX_QUERY: usize = 8 * 1024;

/// The parameters of one request. Whatever was not asked for by name is unknown.
#[derive(Debug)]
pub(super) struct Params {
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
    wrong: Violations,
}

impl Params {
    /// Takes the query string apart.
    pub(super) fn of(uri: &Uri) -> Result<Self, Status> {
        if uri.query().is_some_and(|query| query.len() > MAX_QUERY) {
            return Err(Status::invalid_argument(format!(
                "the query string is longer than {MAX_QUERY} bytes"
            )));
        }
        let Query(given) = Query::try_from_uri(uri)
            .map_err(|error| Status::invalid_argument(format!("the query string cannot be read: {error}")))?;
        Ok(Self {
            given,
            known: Vec::new(),
            wrong: Violations::default(),
        })
    }

    /// Filter of incidents.
    pub(super) fn incident_filter(&mut self) -> Filter {
        Filter {
            min_severity: self.severity("min_severity"),
            open_only: self.flag("open_only"),
            ..self.common()
        }
    }

    /// Filter of findings.
    pub(super) fn finding_filter(&mut self) -> Filter {
        Filter {
            pod: self.text("pod"),
            ..self.common()
        }
    }

    fn common(&mut self) -> Filter {
        Filter {
            cluster: self.text("cluster"),
            namespace: self.text("namespace"),
            workload: self.text("workload"),
            container: self.text("container"),
            cause: self.text("cause"),
            node: self.text("node"),
            since_ns: self.number("since_ns"),
            ..Filter::default()
        }
    }

    /// A text; empty when not given.
    pub(super) fn text(&mut self, name: &'static str) -> String {
        self.take(name).unwrap_or_default()
    }

    /// A whole number; 0 when not given.
    pub(super) fn number<N: FromStr + Default>(&mut self, name: &'static str) -> N {
        self.parsed(name, "a whole number in range", |text| text.parse().ok())
    }

    /// `true` or `false`; false when not given.
    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        self.parsed(name, "true or false", |text| text.parse().ok())
    }

    /// A severity by its word or by the name of the proto enum; 0 when not given.
    fn severity(&mut self, name: &'static str) -> i32 {
        let read = |text: &str| {
            let word = text
                .strip_prefix("SEVERITY_")
                .map_or_else(|| text.to_owned(), str::to_ascii_lowercase);
            word.parse::<Severity>().ok().map(Severity::number)
        };
        self.parsed(name, "one of info, low, medium, high, critical", read)
    }

    /// The state of a delivery by its word or by the name of the proto enum; 0 when not given.
    pub(super) fn delivery_state(&mut self, name: &'static str) -> i32 {
        let read = |text: &str| {
            let word = text
                .strip_prefix("DELIVERY_STATE_")
                .map_or_else(|| text.to_owned(), str::to_ascii_lowercase);
            word.parse::<DeliveryState>().ok().map(DeliveryState::number)
        };
        self.parsed(name, "one of pending, delivered, dead, superseded", read)
    }

    /// Refuses parameters that are wrong or that nobody asked for.
    pub(super) fn check(mut self) -> Result<(), Status> {
        for (name, _) in &self.given {
            let nearest = self.known.iter().min_by_key(|known| distance(name, known));
            let hint = nearest.map_or_else(
                || "there are no parameters here".to_owned(),
                |nearest| format!("unknown parameter; did you mean {nearest}?"),
            );
            self.wrong.add(name, hint);
        }
        self.wrong.check()
    }

    fn take(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let at = self.given.iter().position(|(given, _)| given == name)?;
        let (_, value) = self.given.remove(at);
        if self.given.iter().any(|(given, _)| given == name) {
            self.given.retain(|(given, _)| given != name);
            self.wrong.add(name, "given more than once");
        }
        Some(value)
    }

    fn parsed<T: Default>(&mut self, name: &'static str, expected: &str, read: impl Fn(&str) -> Option<T>) -> T {
        let Some(text) = self.take(name) else {
            return T::default();
        };
        read(&text).unwrap_or_else(|| {
            self.wrong.add(name, format!("{} is not {expected}", quoted(&text)));
            T::default()
        })
    }
}

/// How many characters have to change (Levenshtein). Both are short: a query string has at most [`MAX_QUERY`] bytes.
fn distance(given: &str, known: &str) -> usize {
    let mut row: Vec<usize> = (0..=known.chars().count()).collect();
    for (line, a) in given.chars().enumerate() {
        let (mut diagonal, mut left) = (line, line.saturating_add(1));
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, b) in row.iter_mut().skip(1).zip(known.chars()) {
            let changed = diagonal.saturating_add(usize::from(a != b));
            diagonal = *cell;
            *cell = changed.min(left.saturating_add(1)).min(diagonal.saturating_add(1));
            left = *cell;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use inquest_proto::DESCRIPTORS;
    use prost_reflect::DescriptorPool;

    use super::*;

    fn params(query: &str) -> Params {
        Params::of(&format!("/x?{query}").parse().unwrap()).unwrap()
    }

    fn refusal(query: &str) -> String {
        let mut params = params(query);
        params.incident_filter();
        let _size: u32 = params.number("page_size");
        params.check().unwrap_err().message().to_owned()
    }

    #[test]
    fn a_misspelt_parameter_is_told_its_nearest_name() {
        assert_eq!(
            refusal("namespce=shop"),
            "namespce: unknown parameter; did you mean namespace?"
        );
        assert_eq!(
            refusal("pageSize=5"),
            "pageSize: unknown parameter; did you mean page_size?"
        );
        let message = params("verbose=1").check().unwrap_err();
        assert_eq!(message.message(), "verbose: there are no parameters here");
    }

    #[test]
    fn wrong_values_say_what_is_expected() {
        assert_eq!(refusal("open_only=1"), "open_only: \"1\" is not true or false");
        assert_eq!(
            refusal("page_size=-1"),
            "page_size: \"-1\" is not a whole number in range"
        );
        assert_eq!(refusal("cause=a&cause=b"), "cause: given more than once");
        assert!(refusal("min_severity=bad").contains("medium"));
    }

    #[test]
    fn a_severity_is_read_in_both_spellings() {
        for word in ["high", "SEVERITY_HIGH"] {
            let filter = params(&format!("min_severity={word}")).incident_filter();
            assert_eq!(filter.min_severity, Severity::High.number());
        }
    }

    #[test]
    fn every_field_of_the_filter_can_be_asked_for() {
        let mut params = params("");
        params.incident_filter();
        params.finding_filter();
        let known: BTreeSet<_> = params.known.into_iter().map(ToOwned::to_owned).collect();
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let filter = pool.get_message_by_name("inquest.query.v1.Filter").unwrap();
        assert_eq!(known, filter.fields().map(|field| field.name().to_owned()).collect());
    }

    #[test]
    fn distances_are_those_of_levenshtein() {
        assert_eq!(
            [distance("kitten", "sitting"), distance("", "abc"), distance("é", "e")],
            [3, 3, 1]
        );
    }
}
