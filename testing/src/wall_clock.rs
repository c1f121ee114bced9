//! The wall clock of a real program under test, and what the kernel says about it. libfaketime, the
//! usual way, leaves `adjtimex` to the real kernel; a time namespace does not shift the wall clock.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::cloud_process::CloudProgram;

/// Shifts the wall clock of a program, also while it runs. Timers, which use the monotonic clock, are
/// not affected.
pub struct WallClock {
    folder: TempDir,
    settings: File,
}

/// One day, in seconds.
pub const DAY: i64 = 24 * 3600;

/// Loaded before libc. Reads the shift in seconds, and whether the clock is synchronized, from a file of
/// two numbers of 64 bits, at every call.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *settings;

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("TEST_WALL_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) abort();
    void *mapped = mmap(0, 16, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) abort();
    settings = mapped;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (!failed && settings && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        time->tv_sec += settings[0];
    return failed;
}

int adjtimex(struct timex *timex) {
    memset(timex, 0, sizeof *timex);
    timex->status = settings[1] ? STA_PLL : STA_UNSYNC;
    return settings[1] ? TIME_OK : TIME_ERROR;
}
"#;

impl WallClock {
    /// At the real time, and not synchronized. Compiles a library with the C compiler, which the linker of
    /// Rust programs is.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("clock.c"), LIBRARY).unwrap();
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", "clock.so", "clock.c"])
            .current_dir(folder.path())
            .status();
        assert!(compiled.unwrap().success());
        let settings = File::create(folder.path().join("settings")).unwrap();
        let clock = Self { folder, settings };
        clock.set(0, false);
        clock
    }

    /// Shifts the clock by seconds, and says whether the kernel calls it synchronized.
    pub fn set(&self, shift: i64, synchronized: bool) {
        let settings = [shift.to_ne_bytes(), i64::from(synchronized).to_ne_bytes()].concat();
        self.settings.write_all_at(&settings, 0).unwrap();
    }

    /// The program and its commands, by this clock.
    pub fn of(&self, program: CloudProgram) -> CloudProgram {
        let path = |name: &str| -> PathBuf { self.folder.path().join(name) };
        program
            .variable("LD_PRELOAD", path("clock.so").to_str().unwrap())
            .variable("TEST_WALL_CLOCK", path("settings").to_str().unwrap())
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}
