//! Generates the completions and man pages in `device/data` from `arguments.rs`, and checks that they are
//! current. They are in the repository so that an image can install them without running anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, iter};

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use crate::arguments::{Arguments, EXIT_STATUS};

/// The directory of the generated files in the repository.
fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data")
}

fn generated_files() -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let names = ["fedecks", "_fedecks", "fedecks.fish"];
    for (shell, name) in [Shell::Bash, Shell::Zsh, Shell::Fish].into_iter().zip(names) {
        let mut text = Vec::new();
        generate(shell, &mut Arguments::command(), "fedecks", &mut text);
        files.insert(data().join("completions").join(name), text);
    }
    // The pages must be the same in every build.
    let mut main =
        Arguments::command().after_help("").after_long_help("").disable_help_subcommand(true);
    main.build();
    for command in iter::once(&main).chain(main.get_subcommands()) {
        let name = command.get_name();
        let name = if name == "fedecks" { name.to_owned() } else { format!("fedecks-{name}") };
        files.insert(data().join(format!("man/{name}.1")), page(command.clone(), &name));
    }
    files
}

fn page(command: clap::Command, name: &str) -> Vec<u8> {
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
    for line in EXIT_STATUS.lines().skip(1) {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        text.push_str(&format!(".TP\n{code}\n{}\n", meaning.trim()));
    }
    let also = if name == "fedecks" { "" } else { ".BR fedecks (1),\n" };
    text.push_str(&format!(
        ".SH ENVIRONMENT\n.TP\nDBUS_SYSTEM_BUS_ADDRESS\nThe address of the system bus.\n\
         .TP\nNO_COLOR\nDisables colors.\n\
         .SH \"SEE ALSO\"\n{also}.BR fedecksd (8)\n"
    ));
    text.into_bytes()
}

#[test]
fn generated_files_are_current_in_the_repository() {
    Arguments::command().debug_assert();
    let update = std::env::var_os("UPDATE").is_some();
    let generated = generated_files();
    for (file, text) in &generated {
        if update {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        assert!(
            fs::read(file).unwrap_or_default() == *text,
            "{} is out of date; run: UPDATE=1 cargo test -p fedecks-cli --bin fedecks, and commit it",
            file.display()
        );
    }

    // The page of a removed subcommand is removed too.
    for entry in fs::read_dir(data().join("man")).unwrap() {
        let file = entry.unwrap().path();
        let is_page = file.extension().is_some_and(|section| section == "1");
        assert!(!is_page || generated.contains_key(&file), "{}", file.display());
    }
}
