//! The protocol is a promise: what was once released keeps its names, numbers and types.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use inquest_proto::DESCRIPTORS;
use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, MessageDescriptor, ServiceDescriptor};

/// Set to write the present protocol as the promise, after a compatible extension.
const ACCEPT: &str = "INQUEST_ACCEPT_CONTRACT";

fn promise() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/contract/inquest.descriptors")
}

#[test]
fn nothing_that_was_released_has_changed_its_meaning() -> Result<()> {
    let path = promise();
    if std::env::var_os(ACCEPT).is_some() {
        fs::write(&path, DESCRIPTORS)?;
    }
    let old = DescriptorPool::decode(fs::read(&path).with_context(|| path.display().to_string())?.as_slice())?;
    let new = DescriptorPool::decode(DESCRIPTORS)?;
    let broken = breaking_changes(&old, &new);
    assert!(
        broken.is_empty(),
        "breaking changes; agents of the last release could not talk any more:\n{}",
        broken.join("\n")
    );
    // Not assert_eq: nobody reads fifty thousand bytes.
    assert!(
        fs::read(&path)? == DESCRIPTORS,
        "the protocol was extended: run this test with {ACCEPT}=1 and commit the new promise"
    );
    Ok(())
}

/// A changed field is found; a test that could not fail would promise nothing.
#[test]
fn a_renumbered_or_retyped_field_is_a_breaking_change() -> Result<()> {
    let new = DescriptorPool::decode(DESCRIPTORS)?;
    for (what, spoil) in spoiled() {
        let mut set = new.file_descriptor_protos().cloned().collect::<Vec<_>>();
        for file in &mut set {
            spoil(file);
        }
        let mut old = DescriptorPool::new();
        old.add_file_descriptor_protos(set)?;
        assert!(!breaking_changes(&old, &new).is_empty(), "{what}");
    }
    Ok(())
}

type Spoil = fn(&mut prost_types::FileDescriptorProto);

/// Releases of the past from which today's protocol would be a breaking change.
fn spoiled() -> [(&'static str, Spoil); 3] {
    fn each_message(
        file: &mut prost_types::FileDescriptorProto,
        name: &str,
        change: fn(&mut prost_types::DescriptorProto),
    ) {
        file.message_type
            .iter_mut()
            .filter(|m| m.name() == name)
            .for_each(change);
    }
    [
        ("another number", |f| {
            each_message(f, "Finding", |m| m.field[0].number = Some(99))
        }),
        ("another name", |f| {
            each_message(f, "Finding", |m| m.field[0].name = Some("once".into()))
        }),
        ("a removed rpc", |f| {
            for service in f.service.iter_mut().filter(|s| s.name() == "IngestService") {
                let mut gone = service.method[0].clone();
                gone.name = Some("Once".into());
                service.method.push(gone);
            }
        }),
    ]
}

fn breaking_changes(old: &DescriptorPool, new: &DescriptorPool) -> Vec<String> {
    let mut broken = Vec::new();
    for message in old.all_messages() {
        match new.get_message_by_name(message.full_name()) {
            Some(now) => check_message(&message, &now, &mut broken),
            None => broken.push(format!("message {} is gone", message.full_name())),
        }
    }
    for item in old.all_enums() {
        match new.get_enum_by_name(item.full_name()) {
            Some(now) => check_enum(&item, &now, &mut broken),
            None => broken.push(format!("enum {} is gone", item.full_name())),
        }
    }
    for service in old.services() {
        match new.get_service_by_name(service.full_name()) {
            Some(now) => check_service(&service, &now, &mut broken),
            None => broken.push(format!("service {} is gone", service.full_name())),
        }
    }
    broken
}

fn check_message(old: &MessageDescriptor, new: &MessageDescriptor, broken: &mut Vec<String>) {
    let reserved: Vec<_> = new.reserved_ranges().collect();
    for field in old.fields() {
        match new.get_field(field.number()) {
            Some(now) if shape(&now) == shape(&field) => {}
            Some(now) => broken.push(format!(
                "{}: {:?} became {:?}",
                field.full_name(),
                shape(&field),
                shape(&now)
            )),
            None if reserved.iter().any(|r| r.contains(&field.number())) => {}
            None => broken.push(format!(
                "{} is gone and {} is not reserved",
                field.full_name(),
                field.number()
            )),
        }
    }
}

fn shape(field: &FieldDescriptor) -> (String, String, String) {
    (
        field.name().to_owned(),
        format!("{:?}", field.kind()),
        format!("{:?}", field.cardinality()),
    )
}

fn check_enum(old: &EnumDescriptor, new: &EnumDescriptor, broken: &mut Vec<String>) {
    for value in old.values() {
        if new
            .get_value(value.number())
            .is_none_or(|now| now.name() != value.name())
        {
            broken.push(format!("{} = {} is gone or renamed", value.full_name(), value.number()));
        }
    }
}

fn check_service(old: &ServiceDescriptor, new: &ServiceDescriptor, broken: &mut Vec<String>) {
    let signature = |m: prost_reflect::MethodDescriptor| {
        let (input, output) = (m.input().full_name().to_owned(), m.output().full_name().to_owned());
        (
            m.name().to_owned(),
            input,
            output,
            m.is_client_streaming(),
            m.is_server_streaming(),
        )
    };
    let now: BTreeSet<_> = new.methods().map(signature).collect();
    for method in old.methods().map(signature) {
        if !now.contains(&method) {
            broken.push(format!("{}: {method:?} is gone or changed", old.full_name()));
        }
    }
}
