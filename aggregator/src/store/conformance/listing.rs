//! Laws of queries: pages, filters and scopes.

use inquest_shared::{
    clock::UnixNanos,
    model::{Cause, DeliveryState, Severity, TransitionKind},
};

use super::{incident, occurrence, outbox, tail, ulid};
use crate::{
    record::{Commit, Filter, Scope},
    store::{Store, cursor_of_delivery, cursor_of_finding, cursor_of_incident},
};

pub(in crate::store) async fn pages_are_complete_and_stable_while_records_arrive(store: &dyn Store) {
    // many equal times, so that the order needs the id
    let occurrences: Vec<_> = (0..20)
        .map(|n| occurrence(if n % 2 == 0 { "a" } else { "b" }, n, i64::from(n / 5)))
        .collect();
    store
        .commit(&Commit {
            occurrences: occurrences.clone(),
            ..Commit::default()
        })
        .await
        .unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store
            .list_findings(&Scope::All, &Filter::default(), after.as_ref(), 3)
            .await
            .unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(cursor_of_finding(last));
        seen.extend(page.into_iter().map(|(row, _)| row));
        let newer = occurrence("a", 100 + u32::try_from(seen.len()).unwrap(), 1_000);
        store
            .commit(&Commit {
                occurrences: vec![newer],
                ..Commit::default()
            })
            .await
            .unwrap();
    }
    assert_eq!(seen.len(), occurrences.len());
    assert!(
        seen.windows(2)
            .all(|w| w[0].finding.observed_at >= w[1].finding.observed_at)
    );
    assert!(occurrences.iter().all(|o| seen.contains(o)));
}

/// Somebody who looks for what was given up finds all of it, page by page, and nothing that is not his to see.
pub(in crate::store) async fn dead_letters_are_found_by_state_receiver_and_scope(store: &dyn Store) {
    let (shop, bank) = (incident(1, "shop", 1), incident(2, "bank", 1));
    let mut rows: Vec<_> = (0..5)
        .map(|n| outbox(n, &shop, "hook", TransitionKind::Opened))
        .collect();
    rows.push(outbox(5, &bank, "hook", TransitionKind::Opened));
    rows.push(outbox(6, &shop, "mail", TransitionKind::Opened));
    let commit = Commit {
        incidents: vec![shop, bank],
        outbox: rows.clone(),
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    for row in rows.iter_mut().filter(|row| row.id != ulid(0)) {
        row.state = DeliveryState::Dead;
        row.last_error = "http 400".to_owned();
        store.put_outcome(row).await.unwrap();
    }
    let dead = Some(DeliveryState::Dead);
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store
            .list_deliveries(&Scope::All, dead, "hook", after.as_ref(), 2)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        after = Some(cursor_of_delivery(last));
        seen.extend(page.into_iter().map(|row| row.id));
    }
    assert_eq!(seen, [5, 4, 3, 2, 1].map(ulid));
    let all = store.list_deliveries(&Scope::All, None, "", None, 100).await.unwrap();
    assert_eq!((all.len(), all[0].last_error.as_str()), (7, "http 400"));
    let bank = Scope::Namespaces(vec!["bank".to_owned()]);
    let theirs = store.list_deliveries(&bank, None, "", None, 100).await.unwrap();
    assert_eq!(theirs.iter().map(|row| row.id).collect::<Vec<_>>(), [ulid(5)]);
}

pub(in crate::store) async fn incident_pages_and_filters_agree(store: &dyn Store) {
    let mut incidents: Vec<_> = (0..10).map(|n| incident(n, "shop", i64::from(n / 4))).collect();
    incidents[3].severity = Severity::Critical;
    incidents[4].workload.owner.name = "db".into();
    incidents[5].nodes.names = vec!["n-1".into(), "n-10".into()];
    incidents[6].cause = Cause::AppError;
    store
        .commit(&Commit {
            incidents: incidents.clone(),
            ..Commit::default()
        })
        .await
        .unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store
            .list_incidents(&Scope::All, &Filter::default(), after.as_ref(), 3)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        after = Some(cursor_of_incident(last));
        seen.extend(page);
    }
    let mut expected = incidents.clone();
    expected.sort_by_key(|i| std::cmp::Reverse((i.last_seen, i.id)));
    assert_eq!(seen, expected);

    let none = Filter::default;
    let cases = [
        (
            Filter {
                min_severity: Some(Severity::Critical),
                ..none()
            },
            vec![3],
        ),
        (
            Filter {
                workload: "db".into(),
                ..none()
            },
            vec![4],
        ),
        (
            Filter {
                node: "n-1".into(),
                ..none()
            },
            vec![5],
        ),
        (
            Filter {
                node: "n-".into(),
                ..none()
            },
            vec![],
        ),
        (
            Filter {
                cause: Some(Cause::AppError),
                ..none()
            },
            vec![6],
        ),
        (
            Filter {
                since: Some(UnixNanos(2)),
                ..none()
            },
            vec![9, 8],
        ),
        (
            Filter {
                namespace: "other".into(),
                ..none()
            },
            vec![],
        ),
        (
            Filter {
                cluster: "other".into(),
                ..none()
            },
            vec![],
        ),
        (
            Filter {
                container: "app".into(),
                workload: "db".into(),
                ..none()
            },
            vec![4],
        ),
    ];
    for (filter, expected) in cases {
        let found = store.list_incidents(&Scope::All, &filter, None, 100).await.unwrap();
        let ids: Vec<_> = found.iter().map(|i| i.id).collect();
        assert_eq!(ids, expected.into_iter().map(ulid).collect::<Vec<_>>(), "{filter:?}");
    }
}

pub(in crate::store) async fn finding_filters_agree(store: &dyn Store) {
    let mut rows: Vec<_> = (0..4).map(|n| occurrence("a", n, i64::from(n))).collect();
    rows[1].finding.subject.pod = "web-7".into();
    rows[2].finding.subject.container = "side".into();
    rows[3].node.name = "elsewhere".into();
    store
        .commit(&Commit {
            occurrences: rows.clone(),
            ..Commit::default()
        })
        .await
        .unwrap();
    let none = Filter::default;
    let cases = [
        (
            Filter {
                pod: "web-7".into(),
                ..none()
            },
            vec![1],
        ),
        (
            Filter {
                container: "side".into(),
                ..none()
            },
            vec![2],
        ),
        (
            Filter {
                node: "elsewhere".into(),
                ..none()
            },
            vec![3],
        ),
        (
            Filter {
                since: Some(UnixNanos(2)),
                ..none()
            },
            vec![3, 2],
        ),
        (
            Filter {
                cause: Some(Cause::Evicted),
                ..none()
            },
            vec![],
        ),
        (
            Filter {
                workload: "web' OR 1=1 --".into(),
                ..none()
            },
            vec![],
        ),
    ];
    for (filter, expected) in cases {
        let found = store.list_findings(&Scope::All, &filter, None, 100).await.unwrap();
        let keys: Vec<_> = found.iter().map(|(row, _)| row.finding.key).collect();
        let expected: Vec<_> = expected.into_iter().map(|n: usize| rows[n].finding.key).collect();
        assert_eq!(keys, expected, "{filter:?}");
    }
}

/// Rows of other namespaces, and rows about nodes, must not be seen, counted or told apart.
pub(in crate::store) async fn a_scope_leaks_nothing(store: &dyn Store) {
    let mut hidden = occurrence("a", 1, 10);
    hidden.finding.subject.namespace = "secret".into();
    let mut host = occurrence("a", 2, 11);
    host.finding.subject.namespace = String::new();
    let shown = occurrence("a", 3, 12);
    let commit = Commit {
        occurrences: vec![hidden.clone(), host.clone(), shown.clone()],
        incidents: vec![incident(1, "secret", 1), incident(2, "", 2), incident(3, "shop", 3)],
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    for row in [&hidden, &host, &shown] {
        store
            .put_log(&row.node, row.finding.key, 0, &tail("x"), row.stored_at)
            .await
            .unwrap();
    }
    let all = Filter::default();
    let shop = Scope::Namespaces(vec!["shop".into(), String::new()]);
    let findings = store.list_findings(&shop, &all, None, 9).await.unwrap();
    assert_eq!(findings, vec![(shown.clone(), true)]);
    let incidents = store.list_incidents(&shop, &all, None, 9).await.unwrap();
    assert_eq!(incidents.iter().map(|i| i.id).collect::<Vec<_>>(), [ulid(3)]);
    assert_eq!(store.find_incidents(&shop, "").await.unwrap().len(), 1);
    assert!(
        store
            .find_incidents(&shop, &ulid(1).to_string())
            .await
            .unwrap()
            .is_empty()
    );
    assert!(store.log(&shop, shown.finding.key).await.unwrap().is_some());
    for row in [&hidden, &host] {
        assert!(store.log(&shop, row.finding.key).await.unwrap().is_none());
        assert!(store.log(&Scope::All, row.finding.key).await.unwrap().is_some());
    }
    let nobody = Scope::Namespaces(Vec::new());
    assert!(store.list_findings(&nobody, &all, None, 9).await.unwrap().is_empty());
    assert!(store.list_incidents(&nobody, &all, None, 9).await.unwrap().is_empty());
}

pub(in crate::store) async fn a_prefix_of_an_id_finds_or_is_ambiguous(store: &dyn Store) {
    let incidents = vec![incident(1, "shop", 1), incident(2, "shop", 2), incident(3, "shop", 3)];
    store
        .commit(&Commit {
            incidents: incidents.clone(),
            ..Commit::default()
        })
        .await
        .unwrap();
    let full = incidents[1].id.to_string();
    assert_eq!(store.find_incidents(&Scope::All, &full).await.unwrap(), incidents[1..2]);
    assert_eq!(
        store.find_incidents(&Scope::All, &full.to_lowercase()).await.unwrap(),
        incidents[1..2]
    );
    assert_eq!(
        store
            .find_incidents(&Scope::All, full.get(..20).unwrap())
            .await
            .unwrap()
            .len(),
        2
    );
    for wrong in ["ZZZZZZ", "%", "' OR ''='", &format!("{full}0")] {
        assert!(
            store.find_incidents(&Scope::All, wrong).await.unwrap().is_empty(),
            "{wrong}"
        );
    }
}
