"""An ARM64 board in QEMU: its power, its network link, its serial log, and a shell on its console."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path


class Failed(Exception):
    """A check failed."""


class Board:
    """A running board. Its serial output goes to a file, with the seconds since power-on."""

    def __init__(self, folder: Path, log: Path, mac: str, more: list[str], kernel: str = ""):
        self._on = time.monotonic()
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._qmp = None
        self._folder = folder
        console, host = socket.socketpair()
        qmp, self._qmp_host = socket.socketpair()
        self._console = host
        self._asked = 0
        disk = "if=none,format=raw,file="
        self._qemu = subprocess.Popen(
            ["qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a53", "-m", "512"]
            + ["-accel", "tcg,thread=multi", "-nodefaults", "-no-reboot", "-display", "none"]
            + ["-kernel", str(folder / "vmlinuz")]
            + ["-append", "console=ttyAMA0 root=/dev/nvme0n1 rootfstype=ext4 ro quiet "
               "systemd.volatile=state systemd.journald.forward_to_console=1 "
               "systemd.journald.max_level_console=info systemd.show_status=0 " + kernel]
            + ["-drive", f"{disk}{folder / 'root.img'},id=root,readonly=on"]
            + ["-device", "nvme,serial=root,drive=root"]
            + ["-drive", f"{disk}{folder / 'data.img'},id=data"]
            + ["-device", "nvme,serial=data,drive=data"]
            + ["-netdev", "user,id=lan"]
            + ["-device", f"virtio-net-pci,netdev=lan,id=net0,mac={mac},romfile="]
            + ["-device", "virtio-rng-pci"]
            + ["-serial", "stdio"]
            + ["-chardev", f"socket,id=console,fd={console.fileno()}"]
            + ["-device", "pci-serial,chardev=console"]
            + ["-chardev", f"socket,id=qmp,fd={qmp.fileno()}", "-mon", "chardev=qmp,mode=control"]
            + more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(console.fileno(), qmp.fileno()),
        )
        console.close()
        qmp.close()
        self._log = log.open("a")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._qemu.stdout:
            text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line.decode("utf-8", "replace")).rstrip()
            self._log.write(f"{time.monotonic() - self._on:8.2f} {text}\n")
            self._log.flush()
            with self._news:
                self._lines.append(text)
                self._news.notify_all()
        with self._news:
            self._lines.append("the board is off")
            self._news.notify_all()

    def mark(self) -> int:
        """The current position in the serial log."""
        with self._news:
            return len(self._lines)

    def logs(self, pattern: str, after: int = 0, within: float = 120) -> re.Match:
        """Waits for a line of the serial log that matches the regular expression."""
        end = time.monotonic() + within
        with self._news:
            while True:
                for line in self._lines[after:]:
                    if found := re.search(pattern, line):
                        return found
                after = len(self._lines)
                if "the board is off" in self._lines[-1:] and pattern != "the board is off":
                    raise Failed(f"the board powered off before it logged {pattern!r}")
                left = end - time.monotonic()
                if left <= 0:
                    raise Failed(f"the board did not log {pattern!r} within {within:.0f} s")
                self._news.wait(left)

    def run(self, command: str, within: float = 60, check: bool = True) -> str:
        """Runs a command as root on the board and returns its output."""
        self._asked += 1
        done = f"@{self._asked}@"
        self._console.sendall(f"{{ {command}\n}} </dev/null 2>&1; echo {done}$?\n".encode())
        self._console.settimeout(within)
        said = b""
        while not (found := re.search(rf"(?s)^(.*?){done}(\d+)\r?\n", said.decode("utf-8", "replace"))):
            try:
                piece = self._console.recv(65536)
            except TimeoutError:
                raise Failed(f"on the board, {command!r} took longer than {within:.0f} s") from None
            if not piece:
                raise Failed(f"the board powered off during {command!r}")
            said += piece
        if check and found[2] != "0":
            raise Failed(f"on the board, {command!r} exited with {found[2]}: {found[1].strip()}")
        return found[1].replace("\r\n", "\n").strip()

    def link(self, up: bool) -> None:
        """Plugs the network cable in or out."""
        self._control("set_link", name="net0", up=up)

    def _control(self, command: str, **arguments) -> None:
        if self._qmp is None:
            self._qmp = self._qmp_host.makefile("rw")
            self._qmp.readline()
            self._control("qmp_capabilities")
        self._qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._qmp.flush()
        while "return" not in (answer := json.loads(self._qmp.readline())):
            if "error" in answer:
                raise Failed(f"QEMU: {command}: {answer['error']}")

    def cut_power(self) -> None:
        """Off at once, without writing anything back."""
        os.kill(self._qemu.pid, signal.SIGKILL)
        self._qemu.wait()

    def power_off(self) -> None:
        """An orderly shutdown by systemd."""
        self._console.sendall(b"systemctl poweroff\n")
        try:
            self._qemu.wait(60)
        except subprocess.TimeoutExpired:
            raise Failed("the board was not off within 60 s") from None

    def is_on(self) -> bool:
        return self._qemu.poll() is None
