//! Questions to apiservers that nobody waits for: how often they may be asked, and what it means when one fails.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kube::Error;
use tokio::time::{Instant, sleep};

use crate::door::{Bucket, Budget};

/// Requests to apiservers, beside those of the watches.
const BUDGET: Budget = Budget {
    burst: 10,
    refill: Duration::from_millis(200),
};
/// Between two looks at a spent budget.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Failure {
    /// The apiserver does not answer in time, or says "not now". Asking again may help.
    #[error("the apiserver does not answer")]
    Away,
    /// A right is missing.
    #[error("not allowed: a right of the table in docs/install.md is missing")]
    Forbidden,
    /// What was asked for is not kept any more.
    #[error("it is not kept any more")]
    Gone,
    /// The answer is not what the API promises.
    #[error("the answer is not what the API promises")]
    Odd,
}

impl Failure {
    /// The label of the metric.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Forbidden => "forbidden",
            Self::Gone => "gone",
            Self::Odd => "odd",
        }
    }
}

/// Source of the codes: Kubernetes API conventions, "HTTP Status codes".
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(status) => match status.code {
                401 | 403 => Self::Forbidden,
                404 | 410 => Self::Gone,
                429 | 500..=599 => Self::Away,
                _ => Self::Odd,
            },
            Error::HyperError(_) | Error::Service(_) | Error::ReadEvents(_) => Self::Away,
            _ => Self::Odd,
        }
    }
}

/// Turns to ask, of one kind of question.
pub(super) struct Turns(Mutex<Bucket>);

impl Default for Turns {
    fn default() -> Self {
        Self(Mutex::new(Bucket::new(Instant::now())))
    }
}

impl Turns {
    /// Waits until one more request may be made.
    pub(super) async fn next(&self) {
        while !self.spend() {
            sleep(PAUSE).await;
        }
    }

    fn spend(&self) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.spend(BUDGET, Instant::now())
    }
}
