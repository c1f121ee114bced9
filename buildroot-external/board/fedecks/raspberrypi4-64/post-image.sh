#!/bin/sh
# Adds the firmware's files to the boot partition and makes the image of the card.
set -eu

board=$(dirname "$0")
files=''
for file in "$BINARIES_DIR"/*.dtb "$BINARIES_DIR"/rpi-firmware/* "$BINARIES_DIR/Image"; do
	files="$files\\t\\t\\t\"${file#"$BINARIES_DIR"/}\",\\n"
done
sed "s|#BOOT_FILES#|$files|" "$board/genimage.cfg.in" >"$BINARIES_DIR/genimage.cfg"
support/scripts/genimage.sh -c "$BINARIES_DIR/genimage.cfg"
