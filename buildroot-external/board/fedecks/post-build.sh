#!/bin/sh
# Makes the root file system read-only and mounts the data partition.
set -eu

target=$1
mkdir -p "$target/data"
sed -i '\|^/dev/root[[:space:]]|d; \|[[:space:]]/data[[:space:]]|d' "$target/etc/fstab"
cat >>"$target/etc/fstab" <<'END'
/dev/root	/	auto	ro,noatime	0	0
LABEL=data	/data	ext4	rw,noatime,lazytime,nofail	0	2
END
