//! Who has how many connections, and who has used up the patience. Pure.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use tokio::time::Instant;

use super::bucket::{Bucket, Budget};

/// Sources remembered; further ones share one account. A peer that owns more networks than this is limited by the
/// totals.
const MAX_SOURCES: usize = 8_192;
/// Least time between two searches for sources that can be forgotten: a search looks at all of them.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Where a connection comes from: the network that one party usually holds, a /24 of IPv4 or a /64 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// First three bytes.
    V4([u8; 3]),
    /// First four groups.
    V6([u16; 4]),
    /// Everybody whom the ledger has no room for.
    Other,
}

impl Source {
    /// The source of an address; IPv4 inside IPv6 is IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    const fn of_v4(address: Ipv4Addr) -> Self {
        let [a, b, c, _] = address.octets();
        Self::V4([a, b, c])
    }

    const fn of_v6(address: Ipv6Addr) -> Self {
        let [a, b, c, d, ..] = address.segments();
        Self::V6([a, b, c, d])
    }
}

/// Limits of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once that have not proved themselves yet.
    pub pending: usize,
    /// The same from one source.
    pub pending_per_source: usize,
    /// Connections of one source that may end without having proved themselves; `None` does not count them.
    pub failures: Option<Budget>,
    /// Time from the accept to the proof.
    pub proof: Duration,
    /// Time without a byte in either direction, after the proof; `None` leaves that to the protocol.
    pub idle: Option<Duration>,
}

/// Why a connection was closed at once. Every kind passes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// All places are taken.
    Connections,
    /// Too many peers are about to prove themselves.
    Pending,
    /// Too many of this source are.
    SourcePending,
    /// Too many of this source did not prove themselves lately.
    SourceRate,
}

impl Refusal {
    /// Value of the metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections_full",
            Self::Pending => "pending_full",
            Self::SourcePending => "source_pending_full",
            Self::SourceRate => "source_rate",
        }
    }
}

#[derive(Debug)]
struct Account {
    open: usize,
    pending: usize,
    failures: Bucket,
}

impl Account {
    const fn new(now: Instant) -> Self {
        Self {
            open: 0,
            pending: 0,
            failures: Bucket::new(now),
        }
    }

    /// Whether nothing would be lost by forgetting it.
    fn is_blank(&mut self, budget: Option<Budget>, now: Instant) -> bool {
        self.open == 0 && budget.is_none_or(|budget| self.failures.is_full(budget, now))
    }
}

/// The accounts.
#[derive(Debug)]
pub(super) struct Ledger {
    limits: Limits,
    accounts: HashMap<Source, Account>,
    open: usize,
    pending: usize,
    swept: Option<Instant>,
}

impl Ledger {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            accounts: HashMap::new(),
            open: 0,
            pending: 0,
            swept: None,
        }
    }

    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// Notes a new connection and returns the account that it counts on.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is noted then.
    pub(super) fn admit(&mut self, source: Source, now: Instant) -> Result<Source, Refusal> {
        if self.open >= self.limits.connections {
            return Err(Refusal::Connections);
        }
        if self.pending >= self.limits.pending {
            return Err(Refusal::Pending);
        }
        let source = self.place(source, now);
        let limits = self.limits;
        let account = self.accounts.entry(source).or_insert_with(|| Account::new(now));
        if account.pending >= limits.pending_per_source {
            return Err(Refusal::SourcePending);
        }
        if limits
            .failures
            .is_some_and(|budget| account.failures.is_spent(budget, now))
        {
            return Err(Refusal::SourceRate);
        }
        account.open += 1;
        account.pending += 1;
        (self.open, self.pending) = (self.open + 1, self.pending + 1);
        Ok(source)
    }

    /// A connection proved itself.
    pub(super) fn proved(&mut self, source: Source) {
        self.pending = self.pending.saturating_sub(1);
        if let Some(account) = self.accounts.get_mut(&source) {
            account.pending = account.pending.saturating_sub(1);
        }
    }

    /// A connection ended; one that never proved itself is charged.
    pub(super) fn ended(&mut self, source: Source, proved: bool, now: Instant) {
        if !proved {
            self.proved(source);
        }
        self.open = self.open.saturating_sub(1);
        let Some(account) = self.accounts.get_mut(&source) else {
            return;
        };
        account.open = account.open.saturating_sub(1);
        let budget = self.limits.failures;
        if let Some(budget) = budget.filter(|_| !proved) {
            // A debt larger than the burst would shut the source out for longer than the budget says.
            account.failures.spend(budget, now);
        }
        if account.is_blank(budget, now) {
            self.accounts.remove(&source);
        }
    }

    /// The account of a source; when there is no room for it, those that owe nothing any more are forgotten first.
    fn place(&mut self, source: Source, now: Instant) -> Source {
        if self.accounts.contains_key(&source) || self.accounts.len() < MAX_SOURCES {
            return source;
        }
        if self
            .swept
            .is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY)
        {
            let budget = self.limits.failures;
            self.accounts.retain(|_, account| !account.is_blank(budget, now));
            self.swept = Some(now);
        }
        if self.accounts.len() < MAX_SOURCES {
            source
        } else {
            Source::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        connections: 10,
        pending: 6,
        pending_per_source: 4,
        failures: Some(Budget {
            burst: 3,
            refill: Duration::from_secs(1),
        }),
        proof: Duration::from_secs(5),
        idle: None,
    };

    fn source(last: u8) -> Source {
        Source::V4([10, 0, last])
    }

    #[test]
    fn one_source_cannot_take_the_places_of_others() {
        let (mut ledger, now) = (Ledger::new(LIMITS), Instant::now());
        for _ in 0..4 {
            ledger.admit(source(1), now).unwrap();
        }
        assert_eq!(ledger.admit(source(1), now), Err(Refusal::SourcePending));
        ledger.admit(source(2), now).unwrap();
        ledger.admit(source(2), now).unwrap();
        assert_eq!(ledger.admit(source(3), now), Err(Refusal::Pending));
        ledger.proved(source(1));
        assert!(ledger.admit(source(3), now).is_ok());
    }

    #[test]
    fn a_source_that_only_fails_is_shut_out_until_time_has_passed_and_honest_ones_pay_nothing() {
        let (mut ledger, now) = (Ledger::new(LIMITS), Instant::now());
        for _ in 0..3 {
            ledger.admit(source(1), now).unwrap();
            ledger.ended(source(1), false, now);
        }
        assert_eq!(ledger.admit(source(1), now), Err(Refusal::SourceRate));
        assert!(ledger.admit(source(1), now + Duration::from_secs(1)).is_ok());
        for _ in 0..100 {
            ledger.admit(source(2), now).unwrap();
            ledger.proved(source(2));
            ledger.ended(source(2), true, now);
        }
    }

    #[test]
    fn addresses_of_one_network_are_one_source_in_every_spelling() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("10.1.2.3"), of("::ffff:10.1.2.200"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("10.1.2.3"), of("10.1.3.3"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }

    #[test]
    fn more_sources_than_fit_share_one_account_and_memory_stays_bounded() {
        let limits = Limits {
            connections: usize::MAX,
            pending: usize::MAX,
            ..LIMITS
        };
        let (mut ledger, now) = (Ledger::new(limits), Instant::now());
        for n in 0..20_000_u32 {
            let [_, a, b, c] = n.to_be_bytes();
            assert!(ledger.admit(Source::V4([a, b, c]), now).is_ok() || ledger.accounts.contains_key(&Source::Other));
        }
        assert!(ledger.accounts.len() <= MAX_SOURCES + 1, "{}", ledger.accounts.len());
    }

    proptest! {
        /// Whatever comes and goes: limits hold, and when all have left nothing is held.
        #[test]
        fn every_order_of_coming_and_going_keeps_the_limits(steps in prop::collection::vec((0_u8..4, 0_u8..3, 0_u64..2_000), 0..200)) {
            let mut ledger = Ledger::new(LIMITS);
            let mut now = Instant::now();
            let mut inside: Vec<(Source, bool)> = Vec::new();
            for (who, what, later) in steps {
                now += Duration::from_millis(later);
                match what {
                    0 => if let Ok(source) = ledger.admit(source(who), now) { inside.push((source, false)) },
                    1 => if let Some(one) = inside.iter_mut().find(|one| !one.1) { one.1 = true; ledger.proved(one.0) },
                    _ => if let Some((source, proved)) = inside.pop() { ledger.ended(source, proved, now) },
                }
                prop_assert_eq!(ledger.open, inside.len());
                prop_assert_eq!(ledger.pending, inside.iter().filter(|one| !one.1).count());
                prop_assert!(ledger.open <= LIMITS.connections && ledger.pending <= LIMITS.pending);
            }
            for (source, proved) in inside { ledger.ended(source, proved, now) }
            prop_assert_eq!((ledger.open, ledger.pending), (0, 0));
            prop_assert!(ledger.accounts.values().all(|account| account.open == 0 && account.pending == 0));
        }
    }
}
