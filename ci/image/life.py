#!/usr/bin/env python3
"""The life of a board from power-on to power cut, with the real server: see ci/image-test."""

import argparse
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from board import Board, Failed
from cloud import Cloud

MAC = "00:00:5e:00:53:01"
DEVICE = "00005e005301"
ACCOUNT = "fleet"

# The files that the manual lists for the data partition.
LISTED: set[str] = set()

# What a device has to do with, so that an outage is found out in seconds: see cloud.example.toml.
QUICK = '[sessions]\nheartbeat = "5s"\nidle_timeout = "15s"\n'
# Then a token is written ten times a second.
BUSY = QUICK + '[tokens]\nrefresh = "100ms"\n'


@contextmanager
def step(what: str):
    began = time.monotonic()
    yield
    print(f"  ✓ {time.monotonic() - began:6.1f} s  {what}", flush=True)


def same(what: str, found, expected) -> None:
    if found != expected:
        raise Failed(f"{what}: found {found!r}, expected {expected!r}")


def status(board: Board) -> dict:
    return json.loads(board.run("fedecks status --json"))


def names(paths: list[str]) -> set[str]:
    """What the manual calls the files: not their copies of before and those half written."""
    return {re.sub(r"^/data/fedecks/|\.(previous|new)$", "", path) for path in paths}


def no_credential_is_left(board: Board, password: str) -> None:
    found = board.run(f"grep -rlsF {shlex.quote(password)} /data", check=False)
    same("files of the data partition with the password in them", found, "")


def live(args: argparse.Namespace) -> None:
    LISTED.update(re.findall(r"^\| `data_dir/([a-z.]+)` \|", args.manual.read_text(), re.MULTILINE))
    folder, log = args.folder, args.folder / "serial.log"
    cloud = Cloud(args.cloud, folder, args.port, args.authority, args.certificate, args.key)
    args.running.append(cloud)
    cloud.configure(QUICK)
    cloud.command("account", "add", ACCOUNT, stdin=args.password)
    cloud.start()
    root_before = digest(folder / "root.img")

    def power_on(kernel: str = "", more: tuple = ()) -> Board:
        board = Board(folder, log, MAC, list(more), kernel)
        args.running.append(board)
        return board

    def came_back(by: str) -> None:
        event = cloud.event("connected")
        same("the device", event["device"], DEVICE)
        same("how it was let in", event["authenticated_by"], by)

    print("the first boot", flush=True)
    with step("power on: provisions itself and is connected"):
        board = power_on()
        came_back("credentials")
    with step("the provisioning file is gone and the token is on the data partition"):
        board.run("while [ -e /data/fedecks/provision.toml ]; do sleep 0.2; done", within=30)
        files = names(board.run("ls -A /data/fedecks").split())
        same("the files", (files - LISTED, {"identity", "token"} - files), (set(), set()))
        no_credential_is_left(board, args.password)
        seen = status(board)
        same("the state", seen["state"], "connected")
        same("who watches the network", seen["network_source"], "network-manager")
    with step("`fedecks send` at the board arrives at the cloud's API"):
        board.run("""fedecks send '{"temperature":21.5}'""")
        same("the message", cloud.event("message")["message"], {"temperature": 21.5})
    with step("a message of the cloud's API arrives at `fedecks listen`"):
        board.run("(fedecks listen --count 1 >/run/heard 2>/run/listening &)")
        board.run("until grep -q listening /run/listening; do sleep 0.2; done")
        cloud.ask("POST", f"/devices/{DEVICE}/messages", {"light": "on"}, wanted=202)
        heard = board.run("until [ -s /run/heard ]; do sleep 0.2; done; cat /run/heard")
        same("what was heard", heard, '{"light":"on"}')

    with step("the network cable is pulled: the device knows, and so does the cloud"):
        mark = board.mark()
        board.link(up=False)
        board.logs("there is no network", mark)
        board.logs("connection lost", mark)
        cloud.event("disconnected")
        same("the state", status(board)["state"], "offline")
    with step("the cable is plugged in again: the device is back"):
        mark = board.mark()
        plugged = time.monotonic()
        board.link(up=True)
        board.logs("there is a network", mark)
        up = time.monotonic()
        came_back("token")
    print(f"      {time.monotonic() - plugged:.2f} s after the cable, "
          f"{max(time.monotonic() - up, 0):.2f} s after NetworkManager said so", flush=True)
    with step("the cloud is killed and started again: the device is back"):
        mark = board.mark()
        cloud.kill()
        board.logs("connection lost", mark)
        cloud.configure(BUSY)
        cloud.start()
        came_back("token")

    print("power cuts", flush=True)
    for cut in range(args.cuts):
        with step("the power is cut while tokens are written, ten a second"):
            written = "stat --format %Z.%Y /data/fedecks/token"
            board.run(f"before=$({written}); until [ $({written}) != $before ]; do sleep 0.1; done")
            # Not always at the same moment of a write.
            time.sleep(0.237 * (cut + 1))
            board.cut_power()
            cloud.event("disconnected")
        last = cut + 1 == args.cuts
        with step("power on: back by its token" + (", with a clock that says 1970" if last else "")):
            mark_1970 = ("board.clock=1970", ("-rtc", "base=1970-01-01")) if last else ("", ())
            board = power_on(*mark_1970)
            came_back("token")
            no_credential_is_left(board, args.password)
    with step("it has noticed that the clock is wrong, and verified the cloud at a later time"):
        line = board.logs(r"the system's clock is wrong.*")[0]
        clock = re.search(r"clock=(\d{4})", line)
        same("the year that the clock said", clock and clock[1], "1970")
        same("the clock", status(board)["clock"]["state"], "behind")

    print("revoked, and a service that hangs", flush=True)
    cloud.kill()
    cloud.configure(QUICK)
    cloud.start()
    came_back("token")
    with step("its tokens are revoked: it is unregistered, and stays away"):
        cloud.ask("POST", f"/devices/{DEVICE}/revoke", wanted=204)
        cloud.event("disconnected")
        board.run("fedecks status --wait unregistered --timeout 30s")
        files = board.run("ls -A /data/fedecks").split()
        same("tokens on the data partition", [file for file in files if file.startswith("token")], [])
    with step("a new provisioning file is put in place: it is back"):
        lines = f'username = "{ACCOUNT}"\npassword = "{args.password}"\n'
        board.run("touch /data/fedecks/.made && chmod 600 /data/fedecks/.made && "
                  f"printf %s {shlex.quote(lines)} >/data/fedecks/.made && "
                  "chown fedecks:fedecks /data/fedecks/.made && "
                  "mv /data/fedecks/.made /data/fedecks/provision.toml")
        came_back("credentials")
        board.run("while [ -e /data/fedecks/provision.toml ]; do sleep 0.2; done", within=30)
        no_credential_is_left(board, args.password)
    with step("the service is stopped in its tracks: systemd's watchdog ends it and starts it anew"):
        # 15 seconds instead of 60.
        board.run("mkdir -p /run/systemd/system/fedecksd.service.d && "
                  "printf '[Service]\\nWatchdogSec=15s\\n' >/run/systemd/system/fedecksd.service.d/quick.conf && "
                  "systemctl daemon-reload && systemctl restart fedecksd")
        came_back("token")
        mark = board.mark()
        board.run("kill -STOP $(systemctl show --property MainPID --value fedecksd)")
        board.logs(r"fedecksd\.service: Watchdog timeout", mark)
        came_back("token")

    print("switched off", flush=True)
    with step("nothing was written to the root file system, and nothing failed because of it"):
        same("its mount", board.run("findmnt --noheadings --output FS-OPTIONS / | cut -d, -f1"), "ro")
        same("what the kernel says of it", board.run("dmesg | grep -iE 'nvme0n1.*(error|fail)'", check=False), "")
        on_data = board.run("find /data -mindepth 1 ! -name lost+found | sort").split()
        board.power_off()
        same("its digest", digest(folder / "root.img"), root_before)
    with step("the data partition is clean and has nothing on it that docs/device.md does not list"):
        checked = subprocess.run(["e2fsck", "-fn", folder / "data.img"], capture_output=True, text=True)
        same("e2fsck", (checked.returncode, checked.stdout if checked.returncode else ""), (0, ""))
        same("what is not listed", names(on_data) - LISTED - {"/data/fedecks"}, set())

    print("an empty data partition", flush=True)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "data", folder / "data.img"], check=True)
    with step("its folder is made, the device waits for a login"):
        board = power_on()
        board.logs("unregistered: waiting for a login")
        board.logs("there is a network")
        made = board.run("until [ -d /data/fedecks ]; do sleep 0.2; done; stat --format '%a %U:%G' /data/fedecks")
        same("the folder", made, "700 fedecks:fedecks")
    with step("`fedecks login` at the board: it is connected, and its token is on the partition"):
        credentials = json.dumps({"username": ACCOUNT, "password": args.password})
        board.run(f"printf %s {shlex.quote(credentials)} | fedecks login --stdin")
        came_back("credentials")
        board.run("until [ -s /data/fedecks/token ]; do sleep 0.2; done", within=30)
        no_credential_is_left(board, args.password)
        board.power_off()
    with step("a new image gave its user another number: it is back by its token"):
        files = ["", "/identity", "/token"]
        owned_by(folder / "data.img", 4242, files)
        board = power_on()
        came_back("token")
        owners = board.run("stat --format %U " + " ".join(f"/data/fedecks{file}" for file in files))
        same("who owns the folder and the files", owners.split(), ["fedecks"] * 3)
        board.power_off()


def owned_by(image: Path, number: int, files: list[str]) -> None:
    def debugfs(command: str) -> str:
        return subprocess.run(["debugfs", "-w", "-R", command, image], capture_output=True, text=True, check=True).stdout

    for file in files:
        debugfs(f"set_inode_field /fedecks{file} uid {number}")
        debugfs(f"set_inode_field /fedecks{file} gid {number}")
        owner = re.search(r"User: *(\d+) *Group: *(\d+)", debugfs(f"stat /fedecks{file}"))
        same(f"the owner of {file or 'the folder'}", owner and owner.groups(), (str(number), str(number)))


def digest(file: Path) -> str:
    return subprocess.run(["sha256sum", file], capture_output=True, text=True, check=True).stdout.split()[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("folder", "cloud", "authority", "certificate", "key", "manual"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cuts", type=int, default=2)
    args = parser.parse_args()
    args.password = sys.stdin.readline().strip()
    args.running = []
    # What was started is ended then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        live(args)
    except (Failed, OSError) as problem:
        print(f"FAILED: {problem}", file=sys.stderr)
        return 1
    finally:
        for one in args.running:
            one.kill() if isinstance(one, Cloud) else one.is_on() and one.cut_power()
    return 0


if __name__ == "__main__":
    sys.exit(main())
