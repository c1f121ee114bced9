//! Makes the programs `fedecksd` and `fedecks` smaller: the build script of both packages.

/// In a build for size: relocations in 2 KB instead of 140 KB, all of which are read at each start and
/// stay in memory. The C library has to support this form: glibc does since 2.36, musl since 1.2.4. The
/// musl that Rust before 1.93 links statically is older, and a build script cannot detect which one is used.
/// So the form is used with glibc unless `FEDECKS_PACKED_RELOCATIONS` is 0, for an older glibc, and with musl
/// only if it is 1. GNU ld before 2.38 warns that it ignores the option.
fn main() {
    println!("cargo:rerun-if-changed=../build.rs");
    const SWITCH: &str = "FEDECKS_PACKED_RELOCATIONS";
    println!("cargo:rerun-if-env-changed={SWITCH}");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let for_size = matches!(variable("OPT_LEVEL").as_str(), "z" | "s");
    let brings_its_own =
        variable("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static");
    let known = match variable(SWITCH).as_str() {
        "0" => false,
        "1" => true,
        _ => variable("CARGO_CFG_TARGET_ENV") == "gnu" && !brings_its_own,
    };
    if for_size && known {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
