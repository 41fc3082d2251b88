use super::*;
use proptest::prelude::*;

const UID: &str = "4b0b5df8-f863-4bcb-a48d-887a4749fecd";
const CID: &str = "9135c97b4d0966f40d39feba36904f6c2506a977a2c3fc151ff1c5ebd295a5b0";
const NODE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const FORGED: &str = "2222222222222222222222222222222222222222222222222222222222222222";

/// 3 classes × 2 drivers × 3 runtimes × 2 hosts (plain, nested in a node container) = 36 paths.
fn vectors() -> Vec<(String, Qos)> {
    let uid_ = UID.replace('-', "_");
    let mut out = Vec::new();
    for (qos, class) in [
        (Qos::Guaranteed, ""),
        (Qos::Burstable, "burstable"),
        (Qos::BestEffort, "besteffort"),
    ] {
        for (bare, scope) in [("", "cri-containerd-"), ("crio-", "crio-"), ("", "docker-")] {
            let slash = if class.is_empty() {
                String::new()
            } else {
                format!("/{class}")
            };
            let cgroupfs = format!("/kubepods{slash}/pod{UID}/{bare}{CID}");
            out.push((cgroupfs.clone(), qos));
            out.push((format!("/docker/{NODE}/kubelet{cgroupfs}"), qos));
            for (host, root) in [
                (String::new(), ""),
                (format!("/system.slice/docker-{NODE}.scope/kubelet.slice"), "kubelet-"),
            ] {
                let (dir, dash) = match class {
                    "" => (String::new(), String::new()),
                    class => (format!("/{root}kubepods-{class}.slice"), format!("-{class}")),
                };
                out.push((
                    format!("{host}/{root}kubepods.slice{dir}/{root}kubepods{dash}-pod{uid_}.slice/{scope}{CID}.scope"),
                    qos,
                ));
            }
        }
    }
    out
}

#[test]
fn every_driver_class_runtime_and_nesting_gives_pod_container_and_class() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 36);
    for (path, qos) in vectors {
        let located = CgroupPath::parse(&path);
        assert_eq!(located.pod_uid.as_ref().map(PodUid::as_str), Some(UID), "{path}");
        assert_eq!(located.container_id.as_deref(), Some(CID), "{path}");
        assert_eq!(
            (located.qos, located.level.clone()),
            (Some(qos), Level::Container),
            "{path}"
        );
        assert_eq!(located.choose(|id| id == CID).unwrap().1, Confidence::Known, "{path}");
    }
}

#[test]
fn other_shapes_of_a_container_are_found() {
    let uid_ = UID.replace('-', "_");
    let paths = [
        format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid_}.slice/crio-{CID}.scope/container"
        ),
        format!("/kubepods.slice/kubepods-pod{uid_}.slice/cri-containerd-{CID}.scope/system.slice/x.service"),
        format!("/kubepods-burstable-pod{uid_}.slice:cri-containerd:{CID}"),
        format!("/lxc.payload.a/kubepods.slice/kubepods-pod{uid_}.slice/{CID}"),
        format!(
            "/data.slice/data-kubepods.slice/data-kubepods-burstable.slice/data-kubepods-burstable-pod{uid_}.slice/crio-{CID}.scope"
        ),
        format!("/../../kubepods/pod{UID}/{CID}"),
    ];
    for path in paths {
        let located = CgroupPath::parse(&path);
        assert_eq!(located.pod_uid.as_ref().map(PodUid::as_str), Some(UID), "{path}");
        assert_eq!(
            (located.container_id.as_deref(), &located.level),
            (Some(CID), &Level::Container),
            "{path}"
        );
    }
}

#[test]
fn a_container_without_a_pod_is_a_container() {
    for path in [
        format!("/docker/{CID}"),
        format!("/system.slice/docker-{CID}.scope"),
        format!("/machine.slice/libpod-{CID}.scope/container"),
    ] {
        let located = CgroupPath::parse(&path);
        assert_eq!(
            (located.container_id.as_deref(), located.pod_uid, located.level),
            (Some(CID), None, Level::Container),
            "{path}"
        );
    }
}

#[test]
fn a_static_pod_has_the_hash_of_its_file() {
    let located = CgroupPath::parse(&format!(
        "/kubepods/burstable/pod0123456789abcdef0123456789abcdef/{CID}"
    ));
    assert!(located.pod_uid.unwrap().is_static());
    assert_eq!(located.container_id.as_deref(), Some(CID));
}

#[test]
fn the_level_of_a_limit_is_told_apart() {
    let level = |path: &str| CgroupPath::parse(path).level;
    assert_eq!(level("/"), Level::Node);
    assert_eq!(level(&format!("/kubepods/burstable/pod{UID}")), Level::Pod);
    assert_eq!(level(&format!("/docker/{NODE}/kubelet/kubepods/pod{UID}")), Level::Pod);
    assert_eq!(level("/kubepods/burstable"), Level::QosClass);
    assert_eq!(level("/kubepods.slice/kubepods-besteffort.slice"), Level::QosClass);
    assert_eq!(level("/kubepods"), Level::NodeAllocatable);
    assert_eq!(level("/a.slice/a-kubepods.slice"), Level::NodeAllocatable);
    assert_eq!(
        level(&format!("/docker/{NODE}/kubelet/kubepods")),
        Level::NodeAllocatable
    );
    assert_eq!(
        level("/system.slice/k3s.service"),
        Level::HostService("k3s.service".into())
    );
    assert_eq!(
        level("/user.slice/user-0.slice/session-1.scope"),
        Level::HostService("session-1.scope".into())
    );
    assert_eq!(
        level("/batch/c84e170589fa4b68260bde4170608127"),
        Level::Other,
        "32 digits alone are no container"
    );
}

#[test]
fn a_pod_below_a_node_container_is_not_that_container() {
    let located = CgroupPath::parse(&format!("/docker/{NODE}/kubelet/kubepods/besteffort/pod{UID}"));
    assert_eq!((located.container_id, located.qos), (None, Some(Qos::BestEffort)));
}

#[test]
fn the_monitor_of_cri_o_is_not_its_container() {
    let located = CgroupPath::parse(&format!(
        "/kubepods.slice/kubepods-pod{}.slice/crio-conmon-{CID}.scope",
        UID.replace('-', "_")
    ));
    assert_eq!((located.container_id, located.level), (None, Level::Pod));
}

#[test]
fn a_forged_child_does_not_win_over_the_container_that_made_it() {
    let other = UID.replace('4', "5");
    let located = CgroupPath::parse(&format!("/kubepods/pod{UID}/{CID}/besteffort/pod{other}/{FORGED}"));
    let (known, confidence) = located.choose(|id| id == CID || id == FORGED).unwrap();
    assert_eq!(
        (known.container_id.as_deref(), confidence),
        (Some(CID), Confidence::Known)
    );
    assert_eq!(
        (known.pod_uid.as_ref().map(PodUid::as_str), known.qos),
        (Some(UID), Some(Qos::Guaranteed))
    );
    assert_eq!(located.choose(|_| false).unwrap().1, Confidence::Guess);
}

proptest! {
    #[test]
    fn any_path_is_read_within_bounds(path in "[/a-f0-9pod.:_-]{0,300}|.{0,300}") {
        let located = CgroupPath::parse(&path);
        prop_assert!(located.candidates.len() <= MAX_CANDIDATES);
    }

    #[test]
    fn forged_children_never_hide_the_known_container(child in "(/[a-z0-9.:_-]{1,70}){0,40}") {
        let path = format!("/kubepods/burstable/pod{UID}/{CID}{child}");
        let located = CgroupPath::parse(&path);
        let (chosen, confidence) = located.choose(|id| id == CID).unwrap();
        prop_assert_eq!((chosen.container_id.as_deref(), confidence), (Some(CID), Confidence::Known));
    }
}
