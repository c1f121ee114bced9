#!/usr/bin/env python3
"""Tests a board from first boot to power cuts, with the real server: see ci/image-test."""

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

# The files on the data partition that the manual lists.
LISTED: set[str] = set()

# Settings with which an outage is detected in seconds: see cloud.example.toml.
QUICK = '[sessions]\nheartbeat = "5s"\nidle_timeout = "15s"\n'
# With these a token is written ten times per second.
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
    """The names of the files as in the manual, without previous copies, incomplete writes and the files of the queue."""
    return {re.sub(r"^/data/fedecks/|(?<=^/data/fedecks/queue)/.*|\.(previous|new)$", "", path) for path in paths}


def disk_writes(board: Board) -> tuple[int, int]:
    """The bytes that the data partition's disk has written, and its flushes."""
    disk = board.run("basename $(findmnt --noheadings --output SOURCE /data)")
    fields = board.run(f"grep -w {disk} /proc/diskstats").split()
    return int(fields[9]) * 512, int(fields[18])


def keep(board: Board, numbers: range, more: str = "") -> None:
    """Keeps messages of 100 bytes on the board's disk, each of which is there before the next."""
    board.run(f"(for n in $(seq {numbers.start} {numbers.stop - 1}); do {send(more)} || exit 1; done)", within=120)


def keep_every_2_s(board: Board, numbers: range) -> None:
    """The same, without waiting."""
    board.run(f"for n in $(seq {numbers.start} {numbers.stop - 1}); do {send()} & sleep 2; done; wait", within=120)


def send(more: str = "") -> str:
    return f"""fedecks send --keep disk {more} "{{\\"number\\":$n,\\"text\\":\\"{'x' * 80}\\"}}\""""


def arrive(cloud: Cloud, numbers: range) -> None:
    """Waits until the cloud's log has all these numbers, and checks that it has each once and in order."""
    end = time.monotonic() + 120
    while True:
        found, after = [], "0"
        while page := cloud.ask("GET", f"/messages?device={DEVICE}&after={after}&limit=500")[1]:
            found += [logged["message"]["number"] for logged in page["messages"]]
            after = page["next"]
            if len(page["messages"]) < 500:
                break
        if len(found) >= numbers.stop - 1 or time.monotonic() > end:
            return same("the kept messages", found, list(range(1, numbers.stop)))
        time.sleep(0.5)


def check_no_claim_is_left(board: Board, claim: str) -> None:
    found = board.run(f"grep -rlsF {shlex.quote(claim)} /data", check=False)
    same("files on the data partition that contain the claim", found, "")


def live(args: argparse.Namespace) -> None:
    LISTED.update(re.findall(r"^\| `data_dir/([a-z.-]+)/?` \|", args.manual.read_text(), re.MULTILINE))
    folder, log = args.folder, args.folder / "serial.log"
    cloud = Cloud(args.cloud, folder, args.port, args.authority, args.certificate, args.key)
    args.running.append(cloud)
    cloud.configure(QUICK)
    cloud.start()
    root_before = digest(folder / "root.img")

    def power_on(kernel: str = "", more: tuple = ()) -> Board:
        board = Board(folder, log, MAC, list(more), kernel)
        args.running.append(board)
        return board

    def connects_with(by: str) -> None:
        event = cloud.event("connected")
        same("the device", event["device"], DEVICE)
        same("how it authenticated", event["authenticated_by"], by)

    print("first boot", flush=True)
    with step("power on: the device provisions itself and connects"):
        board = power_on()
        connects_with("credentials")
    with step("the provisioning file is gone and the token is on the data partition"):
        board.run("while [ -e /data/fedecks/provision.toml ]; do sleep 0.2; done", within=30)
        files = names(board.run("ls -A /data/fedecks").split())
        same("the files", (files - LISTED, {"identity", "token"} - files), (set(), set()))
        check_no_claim_is_left(board, args.claim)
        seen = status(board)
        same("the state", seen["state"], "connected")
        same("the network source", seen["network_source"], "network-manager")
    with step("`fedecks send` on the board reaches the cloud's API"):
        board.run("""fedecks send '{"temperature":21.5}'""")
        same("the message", cloud.event("message")["message"], {"temperature": 21.5})
    with step("a message from the cloud's API reaches `fedecks listen`"):
        board.run("(fedecks listen --count 1 >/run/received 2>/run/listening &)")
        board.run("until grep -q listening /run/listening; do sleep 0.2; done")
        cloud.ask("POST", f"/devices/{DEVICE}/messages", {"light": "on"}, wanted=202)
        received = board.run("until [ -s /run/received ]; do sleep 0.2; done; cat /run/received")
        same("the received message", received, '{"light":"on"}')

    with step("the network cable is unplugged: device and cloud notice"):
        mark = board.mark()
        board.link(up=False)
        board.logs("there is no network", mark)
        board.logs("connection lost", mark)
        cloud.event("disconnected")
        same("the state", status(board)["state"], "offline")
    with step("the cable is plugged back in: the device reconnects"):
        mark = board.mark()
        plugged = time.monotonic()
        board.link(up=True)
        board.logs("there is a network", mark)
        up = time.monotonic()
        connects_with("token")
    print(f"      {time.monotonic() - plugged:.2f} s after the cable, "
          f"{max(time.monotonic() - up, 0):.2f} s after NetworkManager reported it", flush=True)
    with step("the cloud is killed and restarted: the device reconnects"):
        mark = board.mark()
        cloud.kill()
        board.logs("connection lost", mark)
        cloud.configure(BUSY)
        cloud.start()
        connects_with("token")

    print("power cuts", flush=True)
    for cut in range(args.cuts):
        with step("the power is cut while tokens are written, ten per second"):
            written = "stat --format %Z.%Y /data/fedecks/token"
            board.run(f"before=$({written}); until [ $({written}) != $before ]; do sleep 0.1; done")
            # At a different moment of a write each time.
            time.sleep(0.237 * (cut + 1))
            board.cut_power()
            cloud.event("disconnected")
        last = cut + 1 == args.cuts
        with step("power on: reconnects with its token" + (", with the clock at 1970" if last else "")):
            mark_1970 = ("board.clock=1970", ("-rtc", "base=1970-01-01")) if last else ("", ())
            board = power_on(*mark_1970)
            connects_with("token")
            check_no_claim_is_left(board, args.claim)
    with step("it detected the wrong clock and verified the cloud at a later time"):
        line = board.logs(r"the system clock is wrong.*")[0]
        clock = re.search(r"clock=(\d{4})", line)
        same("the year of the clock", clock and clock[1], "1970")
        same("the state of the clock", status(board)["clock"]["state"], "behind")

    cloud.kill()
    cloud.configure(QUICK)
    cloud.start()
    connects_with("token")

    print("messages on disk", flush=True)
    with step("10 messages that the cloud acknowledges at once: nothing is written to the data partition"):
        time.sleep(5)
        # What earlier writes left in the journal reaches its place up to half a minute later: not in these seconds.
        board.run("fsfreeze --freeze /data && fsfreeze --unfreeze /data")
        before = disk_writes(board)
        keep(board, range(1, 11), "--wait-acked")
        time.sleep(5)
        same("bytes and flushes", disk_writes(board), before)
    with step("no network, and a message every 2 s: they are written in groups"):
        board.link(up=False)
        cloud.event("disconnected")
        keep(board, range(11, 13))
        before, began = disk_writes(board), time.monotonic()
        keep_every_2_s(board, range(13, 33))
        took = time.monotonic() - began
        written, flushes = (after - first for after, first in zip(disk_writes(board), before))
        most = int(took / 5) + 2
        if flushes > most or written > most * 8192:
            raise Failed(f"{written} bytes and {flushes} flushes in {took:.0f} s, expected at most {most * 8192} and {most}")
    print(f"      {written} bytes and {flushes} flushes in {took:.0f} s", flush=True)
    with step("10 more, each on disk before the next; the power is cut"):
        keep(board, range(33, 43), "--sync")
        board.cut_power()
    with step("power on: all of them arrive, in order, once"):
        board = power_on()
        connects_with("token")
        arrive(cloud, range(1, 43))

    print("revocation and a hung service", flush=True)
    with step("its tokens are revoked: the device is unregistered and stays disconnected"):
        cloud.ask("POST", f"/devices/{DEVICE}/revoke", wanted=204)
        cloud.event("disconnected")
        board.run("fedecks status --wait unregistered --timeout 30s")
        files = board.run("ls -A /data/fedecks").split()
        same("tokens on the data partition", [file for file in files if file.startswith("token")], [])
    with step("the claim for its id appears once more: the device returns"):
        lines = f'claim = "{args.claim}"\n'
        board.run("touch /data/fedecks/.made && chmod 600 /data/fedecks/.made && "
                  f"printf %s {shlex.quote(lines)} >/data/fedecks/.made && "
                  "chown fedecks:fedecks /data/fedecks/.made && "
                  "mv /data/fedecks/.made /data/fedecks/provision.toml")
        connects_with("credentials")
        board.run("while [ -e /data/fedecks/provision.toml ]; do sleep 0.2; done", within=30)
        check_no_claim_is_left(board, args.claim)
    with step("the service is frozen: systemd's watchdog kills and restarts it"):
        # 15 seconds instead of 60.
        board.run("mkdir -p /run/systemd/system/fedecksd.service.d && "
                  "printf '[Service]\\nWatchdogSec=15s\\n' >/run/systemd/system/fedecksd.service.d/quick.conf && "
                  "systemctl daemon-reload && systemctl restart fedecksd")
        connects_with("token")
        mark = board.mark()
        board.run("kill -STOP $(systemctl show --property MainPID --value fedecksd)")
        board.logs(r"fedecksd\.service: Watchdog timeout", mark)
        connects_with("token")

    print("power off", flush=True)
    with step("nothing was written to the root file system, and nothing failed because of that"):
        same("its mount option", board.run("findmnt --noheadings --output FS-OPTIONS / | cut -d, -f1"), "ro")
        same("the kernel's errors about it", board.run("dmesg | grep -iE 'nvme0n1.*(error|fail)'", check=False), "")
        on_data = board.run("find /data -mindepth 1 ! -name lost+found | sort").split()
        board.power_off()
        same("its digest", digest(folder / "root.img"), root_before)
    with step("the data partition is clean and holds only files that docs/device.md lists"):
        checked = subprocess.run(["e2fsck", "-fn", folder / "data.img"], capture_output=True, text=True)
        same("e2fsck", (checked.returncode, checked.stdout if checked.returncode else ""), (0, ""))
        same("unlisted files", names(on_data) - LISTED - {"/data/fedecks"}, set())

    print("an empty data partition", flush=True)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "data", folder / "data.img"], check=True)
    with step("the directory is created and the device waits for a login"):
        board = power_on()
        board.logs("unregistered: waiting for a login")
        board.logs("there is a network")
        made = board.run("until [ -d /data/fedecks ]; do sleep 0.2; done; stat --format '%a %U:%G' /data/fedecks")
        same("the directory", made, "700 fedecks:fedecks")
    with step("`fedecks login` on the board: connected, and the token is on the partition"):
        # It has returned within the hour.
        cloud.command("device", "allow-reregistration", DEVICE)
        board.run(f"printf %s {shlex.quote(args.claim)} | fedecks login --claim -")
        connects_with("credentials")
        board.run("until [ -s /data/fedecks/token ] && [ -s /data/fedecks/identity ]; do sleep 0.2; done", within=30)
        check_no_claim_is_left(board, args.claim)
        board.power_off()
    with step("a new image gave the service's user another UID: reconnects with its token"):
        files = ["", "/identity", "/token"]
        change_owner(folder / "data.img", 4242, files)
        board = power_on()
        connects_with("token")
        owners = board.run("stat --format %U " + " ".join(f"/data/fedecks{file}" for file in files))
        same("the owners of the directory and the files", owners.split(), ["fedecks"] * 3)
    with step("a data directory in memory is noticed, in the log and the status"):
        board.run("mkdir -p /run/systemd/system/fedecksd.service.d && "
                  "printf '[Service]\\nEnvironment=FEDECKS_DATA_DIR=/var/lib/fedecks\\n' "
                  ">/run/systemd/system/fedecksd.service.d/volatile.conf && "
                  "systemctl daemon-reload && systemctl restart fedecksd")
        problem = "the data directory /var/lib/fedecks is in memory, so the token is lost with each boot"
        board.logs(problem)
        told = status(board)["configuration"] or []
        same("problems in the status", [line.startswith(problem) for line in told], [True])
    with step("two boards with the same host name are two devices"):
        board.run("sed /^device_id_from/d /etc/fedecks/fedecks.toml >/run/unnamed.toml")
        named = [board.run(f"echo {number}d1219c7c4c5404aaa1f6d2a48adfda4 >/data/machine-id && unshare --mount sh -c "
                           "'mount --bind /data/machine-id /etc/machine-id && FEDECKS_DATA_DIR=/data/none "
                           "fedecksd --config /run/unnamed.toml --check'", check=False) for number in (1, 2)]
        found = [re.search(r"valid: device ([0-9a-f]{32}) at ", text) for text in named]
        same("whether they are named by their machine ids", [bool(one) for one in found], [True, True])
        same("whether their names differ", found[0][1] != found[1][1], True)
        board.power_off()


def change_owner(image: Path, number: int, files: list[str]) -> None:
    def debugfs(command: str) -> str:
        return subprocess.run(["debugfs", "-w", "-R", command, image], capture_output=True, text=True, check=True).stdout

    for file in files:
        debugfs(f"set_inode_field /fedecks{file} uid {number}")
        debugfs(f"set_inode_field /fedecks{file} gid {number}")
        owner = re.search(r"User: *(\d+) *Group: *(\d+)", debugfs(f"stat /fedecks{file}"))
        same(f"the owner of {file or 'the directory'}", owner and owner.groups(), (str(number), str(number)))


def digest(file: Path) -> str:
    return subprocess.run(["sha256sum", file], capture_output=True, text=True, check=True).stdout.split()[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("folder", "cloud", "authority", "certificate", "key", "manual"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cuts", type=int, default=2)
    parser.add_argument("--make-claim", action="store_true", help="print a claim for the board, and exit")
    args = parser.parse_args()
    if args.make_claim:
        cloud = Cloud(args.cloud, args.folder, args.port, args.authority, args.certificate, args.key)
        cloud.configure("")
        print(cloud.command("claim", "add", "--devices", DEVICE).strip())
        return 0
    args.claim = sys.stdin.readline().strip()
    args.running = []
    # Ends what was started in this case too.
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
