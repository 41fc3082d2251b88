//! Why a question gets no answer, as gRPC statuses.
//!
//! The one place that decides what a caller learns of an error of the store: never its SQL, paths or values.

use std::error::Error;

use inquest_shared::model::Untrusted;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::store::StoreError;

/// Most wrong fields that one answer names.
const MAX_VIOLATIONS: usize = 16;
/// Longest quotation of what a caller sent, in bytes.
const MAX_QUOTE: usize = 64;
/// Longest description of what is wrong with a field, in bytes.
const MAX_DESCRIPTION: usize = 1024;

/// What a caller learns; the log gets the rest. `Unavailable` may be tried again, the others need an operator.
pub(super) fn of_store(error: &StoreError) -> Status {
    tracing::warn!(error = error as &dyn Error, "a query failed");
    match error {
        StoreError::Refused { what, .. } => {
            Status::unavailable(format!("{what}: the store is not available, try again"))
        }
        StoreError::Damaged { what, .. } => Status::data_loss(format!("{what}: a stored record is damaged")),
        StoreError::Doubtful { .. }
        | StoreError::Newer { .. }
        | StoreError::Locked { .. }
        | StoreError::NetworkFileSystem { .. } => {
            Status::internal("the store cannot be used; the aggregator's log says why")
        }
    }
}

/// The answer of a process that is about to end.
pub(super) fn stopping() -> Status {
    Status::unavailable("the aggregator is stopping; connect again")
}

/// A caller's text, safe to show.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", Untrusted::bounded(text, MAX_QUOTE).escaped())
}

/// Wrong fields of one request; all are told at once.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<FieldViolation>);

impl Violations {
    /// Notes one. `description` says what would be right.
    pub(super) fn add(&mut self, field: &str, description: impl Into<String>) {
        if self.0.len() < MAX_VIOLATIONS {
            let description = Untrusted::bounded(&description.into(), MAX_DESCRIPTION).escaped();
            self.0.push(FieldViolation::new(
                Untrusted::bounded(field, MAX_QUOTE).escaped(),
                description,
            ));
        }
    }

    /// `InvalidArgument` with `google.rpc.BadRequest` when something was noted.
    pub(super) fn check(self) -> Result<(), Status> {
        if self.0.is_empty() {
            return Ok(());
        }
        let lines: Vec<_> = self
            .0
            .iter()
            .map(|v| format!("{}: {}", v.field, v.description))
            .collect();
        let details = ErrorDetails::with_bad_request(self.0);
        Err(Status::with_error_details(
            Code::InvalidArgument,
            lines.join("; "),
            details,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Box<dyn Error + Send + Sync> {
        "near \"SELECT\": syntax error in /data/inquest.db".into()
    }

    #[test]
    fn what_the_database_says_never_reaches_a_caller() {
        let path = "/data/inquest.db".into();
        let cases = [
            (
                StoreError::Refused {
                    what: "list",
                    source: source(),
                },
                Code::Unavailable,
            ),
            (
                StoreError::Damaged {
                    what: "list",
                    source: source(),
                },
                Code::DataLoss,
            ),
            (
                StoreError::Doubtful {
                    what: "list",
                    source: source(),
                },
                Code::Internal,
            ),
            (StoreError::Newer { found: 9, known: 1 }, Code::Internal),
            (StoreError::Locked { path }, Code::Internal),
        ];
        for (error, code) in cases {
            let status = of_store(&error);
            assert_eq!(status.code(), code);
            assert!(!format!("{status:?}").contains("inquest.db"), "{status:?}");
        }
    }

    #[test]
    fn every_wrong_field_is_named_in_one_answer() {
        let mut violations = Violations::default();
        violations.add("page_size", "at most 1000");
        violations.add("page_token", "not from this listing");
        let status = violations.check().unwrap_err();
        assert_eq!(
            status.message(),
            "page_size: at most 1000; page_token: not from this listing"
        );
        assert_eq!(status.get_details_bad_request().unwrap().field_violations.len(), 2);
    }

    #[test]
    fn a_quotation_is_short_and_harmless() {
        let quote = quoted(&format!("\u{1b}[2J{}", "x".repeat(9_999)));
        assert!(quote.len() < 120 && !quote.contains('\u{1b}'), "{quote}");
    }
}
