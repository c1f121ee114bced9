//! Generates the completions and man pages in `device/data` from `arguments.rs`, and checks that they are
//! current. They are in the repository so that an image can install them without running anything.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use crate::arguments::Arguments;

fn completions() -> Vec<(PathBuf, Vec<u8>)> {
    [(Shell::Bash, "fedecks"), (Shell::Zsh, "_fedecks"), (Shell::Fish, "fedecks.fish")]
        .into_iter()
        .map(|(shell, name)| {
            let mut text = Vec::new();
            generate(shell, &mut Arguments::command(), "fedecks", &mut text);
            (Path::new("completions").join(name), text)
        })
        .collect()
}

fn manual() -> Vec<(PathBuf, Vec<u8>)> {
    // The pages must be the same in every build.
    let mut command =
        Arguments::command().after_help("").after_long_help("").disable_help_subcommand(true);
    command.build();
    let exit_status = crate::arguments::EXIT_STATUS;
    let mut pages = vec![page(command.clone(), "fedecks", exit_status)];
    for subcommand in command.get_subcommands() {
        let name = format!("fedecks-{}", subcommand.get_name());
        pages.push(page(subcommand.clone(), &name, exit_status));
    }
    pages
}

fn page(command: clap::Command, name: &str, exit_status: &str) -> (PathBuf, Vec<u8>) {
    let man = Man::new(command)
        .title(name.to_uppercase())
        .section("1")
        .manual("Fedecks")
        .source("Fedecks");
    let mut text = Vec::new();
    man.render_title(&mut text).unwrap();
    man.render_name_section(&mut text).unwrap();
    man.render_synopsis_section(&mut text).unwrap();
    man.render_description_section(&mut text).unwrap();
    man.render_options_section(&mut text).unwrap();
    if name == "fedecks" {
        man.render_subcommands_section(&mut text).unwrap();
    }
    let mut text = String::from_utf8(text).unwrap();
    text.push_str(".SH \"EXIT STATUS\"\n");
    for line in exit_status.lines().skip(1) {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        text.push_str(&format!(".TP\n{code}\n{}\n", meaning.trim()));
    }
    text.push_str(
        ".SH ENVIRONMENT\n.TP\nDBUS_SYSTEM_BUS_ADDRESS\nThe address of the system bus.\n",
    );
    text.push_str(".TP\nNO_COLOR\nDisables colors.\n");
    text.push_str(".SH \"SEE ALSO\"\n");
    text.push_str(if name == "fedecks" {
        ".BR fedecksd (8)\n"
    } else {
        ".BR fedecks (1),\n.BR fedecksd (8)\n"
    });
    (Path::new("man").join(format!("{name}.1")), text.into_bytes())
}

/// Their directory in the repository.
fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data")
}

#[test]
fn generated_files_are_current_in_the_repository() {
    Arguments::command().debug_assert();
    let update = std::env::var_os("UPDATE").is_some();
    for (path, text) in completions().into_iter().chain(manual()) {
        let file = data().join(path);
        if update {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &text).unwrap();
        }
        assert!(
            fs::read(&file).unwrap_or_default() == text,
            "{} is out of date; run: UPDATE=1 cargo test -p fedecks-cli --bin fedecks, and commit it",
            file.display()
        );
    }

    // There is no page of a subcommand that was removed.
    let mut pages: Vec<_> = manual().into_iter().map(|(path, _)| data().join(path)).collect();
    pages.sort();
    let mut found: Vec<_> = fs::read_dir(data().join("man"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|section| section == "1"))
        .collect();
    found.sort();
    assert_eq!(found, pages);
}
