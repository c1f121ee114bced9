//! The manual page and the completions in `cloud/data`, generated from the definition of the command
//! line. They are in the repository so that packaging does not have to run the program.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use super::Cli;
use super::error::EXIT_STATUS;

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
    // The page has its own sections for what follows the help.
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
    text += ".SH EXIT STATUS\n";
    for (code, meaning) in EXIT_STATUS {
        text += &format!(".TP\n{code}\n{}\n", meaning.replace('-', "\\-"));
    }
    text += SEE_ALSO;
    (PathBuf::from("man/fedecks-cloud.8"), text.into_bytes())
}

/// Every command without subcommands.
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

/// A section without its heading.
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
The server stops accepting connections, sends its devices away in batches, each with a time to return,
and exits; a second one ends it immediately.
.TP
SIGHUP
The server reloads its certificates.
.SH FILES
.TP
.I /etc/fedecks/cloud.toml
The configuration.
.TP
.I /usr/share/doc/fedecks\-cloud/cloud.example.toml
All its keys with their defaults.
.TP
.I /var/lib/fedecks/fedecks.sqlite
Accounts, devices, API tokens, the audit log and events that wait for webhooks, unless
.B store
names a PostgreSQL database.
.TP
.IR /var/lib/fedecks/secret ", " /var/lib/fedecks/salt
What devices' tokens are sealed with, generated when the package was installed.
.SH ENVIRONMENT
Every key of the configuration, except those in [[previous_key]], [[listener]] and [[webhook]], can be set
by a variable, which overrides the file: FEDECKS_ and the key in capitals with \(aq_\(aq for the dot, such
as FEDECKS_LIMITS_CONNECTIONS. FEDECKS_CONFIG names the file.
"#;

const SEE_ALSO: &str = r#".SH SEE ALSO
.IR /usr/share/doc/fedecks\-cloud/cloud.md ,
.BR systemctl (1),
.BR journalctl (1)
"#;

#[test]
fn generated_files_are_up_to_date() {
    let update = std::env::var_os("UPDATE").is_some();
    for (path, text) in completions().into_iter().chain([manual()]) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(path);
        if update {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &text).unwrap();
        }
        assert!(
            fs::read(&file).unwrap_or_default() == text,
            "{} differs from what cli/mod.rs defines; run: UPDATE=1 cargo test -p fedecks-server --lib \
             generated, and commit it",
            file.display()
        );
    }
    Cli::command().debug_assert();
}
