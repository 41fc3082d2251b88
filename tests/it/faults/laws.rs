//! The laws of the figures, read off the real programs while and after they are disturbed.

use std::time::Duration;

use anyhow::{Result, ensure};
use inquest_tests::{
    Behaviour, wait_for,
    world::{Options, PATIENCE, Program, World},
};

/// One look at `/metrics`.
struct Figures(String);

impl Figures {
    fn of(world: &World, program: Program) -> Result<Self> {
        let (status, text) = world.status_page(program, "/metrics")?;
        ensure!(status == 200, "{status}: {text}");
        Ok(Self(text))
    }

    /// Sum over all series of a metric with this label; every series when the label is empty.
    fn sum(&self, metric: &str, label: &str) -> i64 {
        let series = self
            .0
            .lines()
            .filter_map(|line| line.strip_prefix("inquest_")?.strip_prefix(metric));
        let values = series.filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(label));
        values
            .filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<i64>().ok())
            .sum()
    }

    /// Recovered + observed = acknowledged + waiting + shed, for one spool.
    fn spool_law(&self, spool: &str) -> (i64, i64) {
        let label = format!("spool=\"{spool}\"");
        let term = |name: &str| self.sum(name, &label);
        let settled = term("spool_acknowledged_records") + term("spool_records") + term("spool_shed_records");
        (
            term("spool_recovered_records") + term("spool_observed_records"),
            settled,
        )
    }

    /// Received = stored + repeated + unusable + waiting.
    fn ingest_law(&self) -> (i64, i64) {
        let settled = [
            "findings_stored_total",
            "findings_repeated_total",
            "findings_unusable_total",
        ];
        let settled: i64 = settled.iter().map(|name| self.sum(name, "")).sum();
        (
            self.sum("findings_received_total", ""),
            settled + self.sum("ingest_waiting_findings", ""),
        )
    }

    /// Planned = delivered + dead + superseded + pending.
    fn notification_law(&self) -> (i64, i64) {
        let settled = self.sum("notifications_settled_total", "") + self.sum("notifications_pending", "");
        (self.sum("notifications_planned_total", ""), settled)
    }
}

fn kill(world: &World, count: usize) -> Result<()> {
    for _ in 0..count {
        world.kill_one()?.remove()?;
    }
    Ok(())
}

/// Waits for a look at the agent that `ready` likes. The law must hold on the way; as a scrape may fall between the writing
/// of two figures, only what two looks show alike counts.
async fn agent_when(world: &World, what: &str, ready: impl Fn(&Figures) -> bool) -> Result<Figures> {
    let (mut broken, mut before) = (Vec::new(), Vec::new());
    let found = wait_for(what, PATIENCE, async || {
        let figures = Figures::of(world, Program::Agent)?;
        let laws = ["findings", "logs"].map(|spool| (spool, figures.spool_law(spool)));
        let wrong: Vec<_> = laws
            .into_iter()
            .filter(|(_, (given, settled))| given != settled)
            .collect();
        broken.extend(wrong.iter().filter(|law| before.contains(*law)).copied());
        before = wrong;
        ensure!(ready(&figures), "{}", figures.0);
        Ok::<_, anyhow::Error>(figures)
    });
    let found = found.await?;
    assert!(broken.is_empty(), "{broken:?}");
    Ok(found)
}

/// Everything at rest: nothing waits on either side, and all that was planned is settled.
async fn aggregator_at_rest(world: &World) -> Result<Figures> {
    wait_for("the aggregator is at rest", Duration::from_secs(60), async || {
        let figures = Figures::of(world, Program::Aggregator)?;
        let waiting = figures.sum("ingest_waiting_findings", "") + figures.sum("notifications_pending", "");
        let laws = [figures.ingest_law(), figures.notification_law()];
        ensure!(waiting == 0, "{waiting} wait");
        ensure!(laws.iter().all(|(given, accounted)| given == accounted), "{laws:?}");
        Ok::<_, anyhow::Error>(figures)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_laws_hold_while_programs_die_and_receivers_refuse() -> Result<()> {
    let mut world = World::start("laws", &Options::default()).await?;
    world.webhook.script([Behaviour::Status(500), Behaviour::Reset]);
    kill(&world, 3)?;
    world.wait_occurrences(3).await?;
    let calm = agent_when(&world, "all is acknowledged", |figures| {
        figures.sum("spool_acknowledged_records", "findings") >= 3 && figures.sum("spool_records", "findings") == 0
    })
    .await?;
    let first = aggregator_at_rest(&world).await?;
    assert!(
        first.notification_law().0 >= 2,
        "the opening and the third kill are told: {}",
        first.0
    );
    let received = first.sum("findings_received_total", "");
    assert_eq!(
        calm.sum("spool_acknowledged_records", "spool=\"findings\""),
        received,
        "nothing was sent twice"
    );

    world.aggregator.kill9()?;
    kill(&world, 3)?;
    agent_when(&world, "three findings wait", |figures| {
        figures.sum("spool_records", "spool=\"findings\"") >= 3
    })
    .await?;
    world.agent.kill9()?;
    kill(&world, 1)?;
    world.start_agent()?;
    agent_when(&world, "they are found again", |figures| {
        figures.sum("spool_recovered_records", "findings") >= 3
    })
    .await?;
    world.start_aggregator()?;
    world.wait_occurrences(7).await?;
    agent_when(&world, "nothing waits", |figures| {
        figures.sum("spool_records", "spool=\"findings\"") == 0
    })
    .await?;
    let last = aggregator_at_rest(&world).await?;
    assert!(last.sum("findings_stored_total", "") >= 4, "{}", last.0);
    assert_eq!(last.sum("notifications_settled_total", "outcome=\"dead\""), 0);
    Ok(())
}
