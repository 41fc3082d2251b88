use super::*;
use crate::model::{RevisionShare, RolloutContext, TemplateChange, TemplateField};

fn change(what: TemplateField, container: &str, name: &str, (before, after): (&str, &str)) -> TemplateChange {
    TemplateChange {
        what,
        container: container.into(),
        name: name.into(),
        before: text(before),
        after: text(after),
    }
}

fn pods(revision: &str, crashed: u32, healthy: u32, other: u32) -> RevisionShare {
    RevisionShare {
        revision: revision.into(),
        crashed,
        healthy,
        other,
    }
}

/// Revision 17 came 42 s before the end.
fn rollout() -> RolloutContext {
    RolloutContext {
        revision: "17".into(),
        previous: "16".into(),
        started_at: Some(after(-42_000)),
        changes: vec![
            change(
                TemplateField::Image,
                "app",
                "",
                ("reg:5000/app:1.4.2", "reg:5000/app:1.5.0"),
            ),
            change(TemplateField::EnvRemoved, "app", "DB_URL", ("", "")),
        ],
        revisions: vec![pods("17", 3, 0, 0), pods("16", 0, 5, 0)],
    }
}

fn crash(rollout: RolloutContext) -> Incident {
    incident(set(vec![
        (EvidenceSource::Containerd, after(2), Fact::RuntimeExit(exit(1))),
        (EvidenceSource::Kubernetes, after(2), Fact::RolloutContext(rollout)),
    ]))
}

fn line(rollout: RolloutContext, lang: Lang) -> Option<String> {
    changed(&crash(rollout), lang)
}

#[test]
fn a_crash_after_a_rollout_says_what_changed_and_how_old_pods_fare() {
    let mut looping = crash(rollout());
    (looping.looping, looping.occurrences) = (true, 7);
    insta::assert_snapshot!(plain(&looping, &[], Lang::En), @r#"
    Exits with 1, crash loop (7 times), 3 of 8 pods (37 %)   container "app", image img.local/app:1, pod shop/web-7d4b9c-abcde, node n1
      why      the program reported a failure
      hint     see the last lines of the log
      changed  started 42 s after revision 17 (image 1.4.2 → 1.5.0, env DB_URL removed); 3 of 3 new pods crash, 5 of 5 old pods healthy
      when     2026-03-01 12:01:07.183 +00:00 (7 times since 12:01:07.183)
      exit     1, confirmed by containerd; ran 3.2 s
      id       00000000010000000000000002 (cluster default-cluster, severity medium, 90 % sure)
    "#);
    assert_eq!(
        line(rollout(), Lang::Zh).unwrap(),
        "版本 17 发布 42 秒后开始（镜像 1.4.2 → 1.5.0，移除环境变量 DB_URL）；新 Pod 3/3 崩溃，旧 Pod 5/5 正常"
    );
    assert!(headline(&looping, Lang::Zh).ends_with("，8 个 Pod 中 3 个（37%）"));
}

/// People would look for the fault in the wrong place.
#[test]
fn a_crash_that_is_older_than_the_revision_is_not_blamed_on_it() {
    let mut old = crash(rollout());
    old.first_seen = after(-600_000);
    let said = changed(&old, Lang::En).unwrap();
    assert!(said.starts_with("started before revision 17 ("), "{said}");
}

#[test]
fn every_change_has_words_in_every_language_and_none_can_forge_a_line() {
    for what in TemplateField::ALL {
        let evil = change(*what, "side\ncar", "A\u{1b}[31m", ("1\u{202e}", ""));
        let changes = vec![evil];
        let told = RolloutContext { changes, ..rollout() };
        for lang in Lang::ALL {
            let said = line(told.clone(), *lang).unwrap();
            assert!(!said.contains(['\n', '\u{1b}', '\u{202e}']), "{said}");
            assert!(said.contains("side\\u{a}car"), "{said}");
            assert!(!said.contains("template") && !said.contains("模板"), "{what}: {said}");
        }
    }
}

#[test]
fn many_changes_are_counted_and_a_missing_value_is_named() {
    let one = change(TemplateField::MemoryLimit, "app", "", ("64Mi", ""));
    let told = RolloutContext {
        changes: vec![one; 9],
        ..rollout()
    };
    let said = line(told, Lang::En).unwrap();
    assert!(said.contains("memory limit 64Mi → none, 3 more)"), "{said}");
}

#[test]
fn images_of_other_names_are_quoted_whole() {
    let of = |before, after| {
        let changes = vec![change(TemplateField::Image, "app", "", (before, after))];
        let told = RolloutContext { changes, ..rollout() };
        line(told, Lang::En).unwrap()
    };
    assert!(of("reg:5000/a", "reg:5000/b").contains("(image reg:5000/a → reg:5000/b)"));
    assert!(of("a@sha256:1", "a@sha256:2").contains("(image sha256:1 → sha256:2)"));
    assert!(of("a:1", "b:1").contains("(image a:1 → b:1)"));
}

/// What says nothing costs no line.
#[test]
fn without_a_new_revision_only_the_share_is_told() {
    let quiet = RolloutContext {
        started_at: None,
        changes: vec![],
        revisions: vec![pods("16", 1, 1, 1)],
        ..rollout()
    };
    assert_eq!(line(quiet.clone(), Lang::En), None);
    assert_eq!(headline(&crash(quiet), Lang::En), "Exits with 1, 1 of 3 pods (33 %)");
    let single = RolloutContext {
        revisions: vec![pods("1", 1, 0, 0)],
        ..RolloutContext::default()
    };
    assert_eq!(headline(&crash(single), Lang::En), "Exits with 1");
    let both = RolloutContext {
        started_at: None,
        changes: vec![],
        ..rollout()
    };
    assert_eq!(
        line(both, Lang::En).unwrap(),
        "3 of 3 new pods crash, 5 of 5 old pods healthy"
    );
}
