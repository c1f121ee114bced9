//! The shipped description of the interface, compared with the service.

use zbus_xml::{Annotation, Arg, Interface, Node};

use crate::support::scene::Scene;

const SHIPPED: &str = include_str!("../../../../data/org.fedecks.Device1.xml");

#[tokio::test]
async fn the_shipped_description_matches_the_service() {
    let Some(scene) = Scene::unregistered().await else { return };
    let connection = scene.bus.connect().await;
    let (name, path) = ("org.fedecks.Device1", "/org/fedecks/Device1");
    let interface = Some("org.freedesktop.DBus.Introspectable");
    let reply = connection.call_method(Some(name), path, interface, "Introspect", &()).await;
    let answer: String = reply.unwrap().body().deserialize().unwrap();
    assert_eq!(described(&answer), described(SHIPPED));
}

#[test]
fn every_element_of_the_description_has_a_comment() {
    let mut has_comment = false;
    let mut found = 0;
    for line in SHIPPED.lines().map(str::trim) {
        if ["<method", "<property", "<signal", "<arg"].iter().any(|tag| line.starts_with(tag)) {
            assert!(has_comment, "no comment: {line}");
            found += 1;
        }
        has_comment = line.ends_with("-->");
    }
    assert_eq!(found, 16 + 7 + 4 + 37);
}

/// A line for each method, property and signal of the interface.
fn described(xml: &str) -> Vec<String> {
    let node = Node::from_reader(xml.as_bytes()).unwrap();
    let is_ours = |interface: &&Interface<'_>| interface.name() == "org.fedecks.Device1";
    let interface = node.interfaces().iter().find(is_ours).unwrap();
    let methods = interface.methods().iter();
    let methods = methods.map(|it| ("method", it.name().to_string(), it.args(), it.annotations()));
    let signals = interface.signals().iter();
    let signals = signals.map(|it| ("signal", it.name().to_string(), it.args(), it.annotations()));
    let members = methods.chain(signals).map(|(kind, name, args, annotated)| {
        format!("{kind} {name}{}{}", arguments(args), annotations(annotated))
    });
    let properties = interface.properties().iter().map(|property| {
        let (name, ty, access) = (property.name(), property.ty().to_string(), property.access());
        format!("property {name} {ty} {access:?}{}", annotations(property.annotations()))
    });
    let mut lines: Vec<String> = members.chain(properties).collect();
    lines.sort();
    lines
}

fn arguments(arguments: &[Arg]) -> String {
    let argument = |argument: &Arg| {
        let direction = argument.direction().map(|direction| format!("{direction:?} "));
        let name = argument.name().unwrap();
        format!(" {}{name}: {}", direction.unwrap_or_default(), argument.ty().to_string())
    };
    arguments.iter().map(argument).collect()
}

fn annotations(annotations: &[Annotation]) -> String {
    annotations.iter().map(|a| format!(" {}={}", a.name(), a.value())).collect()
}
