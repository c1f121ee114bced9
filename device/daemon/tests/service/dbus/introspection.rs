use zbus::fdo::IntrospectableProxy;
use zbus_xml::{Annotation, Arg, Interface, Node};

use super::Scene;

const SHIPPED: &str = include_str!("../../../../data/org.fedecks.Device1.xml");

#[tokio::test]
async fn the_shipped_description_is_what_the_service_answers() {
    let Some(scene) = Scene::start().await else { return };
    let connection = scene.bus.connect().await;
    let object = IntrospectableProxy::builder(&connection)
        .destination("org.fedecks.Device1")
        .unwrap()
        .path("/org/fedecks/Device1")
        .unwrap()
        .build()
        .await
        .unwrap();
    let answered = object.introspect().await.unwrap();
    assert_eq!(described(&answered), described(SHIPPED));
}

#[test]
fn everything_in_the_shipped_description_is_explained() {
    let mut is_explained = false;
    let mut found = 0;
    for line in SHIPPED.lines().map(str::trim) {
        if ["<method", "<property", "<signal", "<arg"].iter().any(|tag| line.starts_with(tag)) {
            assert!(is_explained, "nothing is said about {line}");
            found += 1;
        }
        is_explained = line.ends_with("-->");
    }
    assert_eq!(found, 6 + 7 + 3 + 9);
}

/// A line for each method, property and signal of the interface.
fn described(xml: &str) -> Vec<String> {
    let node = Node::from_reader(xml.as_bytes()).unwrap();
    let is_ours = |interface: &&Interface<'_>| interface.name() == "org.fedecks.Device1";
    let interface = node.interfaces().iter().find(is_ours).unwrap();
    let methods = interface.methods().iter().map(|method| {
        format!(
            "method {}{}{}",
            method.name(),
            arguments(method.args()),
            annotations(method.annotations())
        )
    });
    let signals = interface.signals().iter().map(|signal| {
        format!(
            "signal {}{}{}",
            signal.name(),
            arguments(signal.args()),
            annotations(signal.annotations())
        )
    });
    let properties = interface.properties().iter().map(|property| {
        let (name, ty, access) = (property.name(), property.ty().to_string(), property.access());
        format!("property {name} {ty} {access:?}{}", annotations(property.annotations()))
    });
    let mut lines: Vec<String> = methods.chain(signals).chain(properties).collect();
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
