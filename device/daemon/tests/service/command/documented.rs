//! The examples of docs/device.md and the manual pages, compared with the programs.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::scene::Scene;
use crate::support::{PASSWORD, fedecks, path_after, skip, within};

/// The lines of the `console` blocks in the command's section of `docs/device.md`.
fn examples() -> Vec<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/device.md");
    let document = std::fs::read_to_string(document).unwrap();
    let section = document.split("\n## ").find(|part| part.starts_with("The command `fedecks`"));
    let mut lines = Vec::new();
    let mut inside = false;
    for line in section.unwrap().lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside {
            lines.push(line.to_owned());
        }
    }
    lines
}

#[tokio::test]
async fn the_documented_examples_print_what_is_documented() {
    let examples = examples();
    assert!(examples.len() > 5, "{examples:?}");
    let Some(scene) = Scene::unregistered().await else { return };
    let path = path_after(fedecks().parent().unwrap());
    let mut lines = examples.iter().peekable();
    while let Some(line) = lines.next() {
        let typed = line.strip_prefix("$ ").unwrap_or_else(|| panic!("not a command: {line}"));
        let typed = typed.replace("forty-two-towels", PASSWORD);
        let mut expected = String::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
            expected += line;
            expected.push('\n');
        }
        let child = tokio::process::Command::new("sh")
            .args(["-c", &format!("exec 2>&1; {typed}")])
            .current_dir(scene.setup.folder.path())
            .env("PATH", &path)
            .env("DBUS_SYSTEM_BUS_ADDRESS", scene.bus.address())
            .kill_on_drop(true)
            .output();
        let output = within(child).await.unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed, expected, "{typed}");
    }
}

/// The options in a text.
fn marked(text: &str) -> BTreeSet<String> {
    let text = text.replace("\\-", "-");
    let options = text.split(|c: char| !(c.is_alphanumeric() || c == '-'));
    options.filter(|word| word.starts_with('-') && word.len() > 1).map(str::to_owned).collect()
}

#[test]
fn the_manual_page_has_the_options_and_statuses_of_the_help() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/man/fedecksd.8");
    let page = std::fs::read_to_string(page).unwrap();
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_fedecksd")).arg("--help").output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    assert_eq!(marked(&page), marked(&help));
    let statuses = help.split("Exit status:").nth(1).unwrap();
    let numbers = statuses.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
    let section = page.split("EXIT STATUS").nth(1).unwrap().split(".SH").next().unwrap();
    let documented = section.lines().filter(|line| line.parse::<u8>().is_ok());
    assert_eq!(documented.collect::<Vec<_>>(), numbers.collect::<Vec<_>>());
}

#[test]
fn the_manual_pages_are_well_formed() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/man");
    for page in std::fs::read_dir(pages).unwrap() {
        let page = page.unwrap().path();
        let arguments = ["-Tutf8", "-man", "-z", "-ww"];
        let Ok(output) = std::process::Command::new("groff").args(arguments).arg(&page).output()
        else {
            return skip("groff is missing");
        };
        let is_good = output.status.success() && output.stderr.is_empty();
        assert!(is_good, "{}: {output:?}", page.display());
    }
}
