//! The manual page and the completions in `cloud/data` are made from the definition of the command line,
//! and kept in the repository so that a package can have them without running anything.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use super::Cli;

const PROGRAM: &str = "fedecks-cloud";

fn completions() -> Vec<(PathBuf, Vec<u8>)> {
    [
        (Shell::Bash, "fedecks-cloud"),
        (Shell::Zsh, "_fedecks-cloud"),
        (Shell::Fish, "fedecks-cloud.fish"),
    ]
    .into_iter()
    .map(|(shell, name)| {
        let mut text = Vec::new();
        generate(shell, &mut Cli::command(), PROGRAM, &mut text);
        (Path::new("completions").join(name), text)
    })
    .collect()
}

/// One page for all commands.
fn manual() -> (PathBuf, Vec<u8>) {
    // What the help says by itself has sections of its own here.
    let mut command = Cli::command().after_help("").disable_help_subcommand(true);
    command.build();
    let page = Man::new(command.clone()).title("FEDECKS-CLOUD").section("8");
    let page = page.manual("Fedecks").source("Fedecks");
    let mut text = rendered(|to| page.render_title(to));
    text += &rendered(|to| page.render_name_section(to));
    text += ".SH SYNOPSIS\n\\fBfedecks\\-cloud\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n";
    text += &rendered(|to| page.render_description_section(to));
    text += ".SH COMMANDS\n";
    describe(&command, &mut text);
    text += REST;
    (PathBuf::from("man/fedecks-cloud.8"), text.into_bytes())
}

/// Every command that has none below it.
fn describe(command: &clap::Command, text: &mut String) {
    for subcommand in command.get_subcommands() {
        if subcommand.has_subcommands() {
            describe(subcommand, text);
            continue;
        }
        let page = Man::new(subcommand.clone());
        let name = subcommand.get_bin_name().unwrap().strip_prefix(PROGRAM).unwrap();
        *text += &format!(".SS \"{}\"\n", name.trim().replace('-', "\\-"));
        *text += body(&rendered(|to| page.render_synopsis_section(to)));
        *text += ".PP\n";
        *text += body(&rendered(|to| page.render_description_section(to)));
        *text += body(&rendered(|to| page.render_options_section(to)));
    }
}

/// What stands below the heading.
fn body(section: &str) -> &str {
    section.split_once("\n.SH ").unwrap().1.split_once('\n').unwrap().1
}

fn rendered(render: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut text = Vec::new();
    render(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

const REST: &str = r#".SH SIGNALS
.TP
SIGTERM, SIGINT
The server accepts nobody any more, sends its devices away in batches with a spread return, and ends; a
second one ends it at once.
.TP
SIGHUP
The server reads its certificates anew.
.SH FILES
.TP
.I /etc/fedecks/cloud.toml
The configuration.
.TP
.I /usr/share/doc/fedecks\-cloud/cloud.example.toml
All keys of it with their defaults.
.TP
.I /var/lib/fedecks/fedecks.sqlite
Accounts, devices, API tokens, the audit log and what webhooks wait for.
.TP
.IR /var/lib/fedecks/secret ", " /var/lib/fedecks/salt
What devices' tokens are sealed with, made when the package was installed.
.SH ENVIRONMENT
Every key of the configuration that is no section of its own kind ([[former]], [[listener]],
[[webhook]]) can be set by a variable, which holds against the file: FEDECKS_ and the key in capitals with
\(aq_\(aq for the dot, such as FEDECKS_LIMITS_CONNECTIONS. FEDECKS_CONFIG names the file.
.SH EXIT STATUS
.TP
0
Done.
.TP
1
Failed.
.TP
2
Wrong usage.
.TP
78
Wrong configuration.
.SH SEE ALSO
.IR /usr/share/doc/fedecks\-cloud/cloud.md ,
.BR systemctl (1),
.BR journalctl (1)
"#;

#[test]
fn what_is_generated_is_in_the_repository() {
    let update = std::env::var_os("UPDATE").is_some();
    for (path, text) in completions().into_iter().chain([manual()]) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(path);
        if update {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &text).unwrap();
        }
        assert!(
            fs::read(&file).unwrap_or_default() == text,
            "{} is not what cli/mod.rs makes; run: UPDATE=1 cargo test -p fedecks-server --lib \
             generated, and commit it",
            file.display()
        );
    }
}

#[test]
fn the_definition_has_no_contradictions() {
    Cli::command().debug_assert();
}
