#!/bin/bash
# Images that rawcow cannot serve are refused with the name of the feature,
# and dirty and corrupt ones are opened read-only with a line that says why.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

: >mnt

refused()
{
	local sum

	sum=$(sum_of "$2")
	refuses_mount "$1" "$2" mnt
	says "$2"
	[ "$sum" = "$(sum_of "$2")" ] || fail "$2 was changed"
	refuses_mount "$1" "$2" mnt -o ro
}

# An unknown bit, with its name from the image's own table.
qemu-img create -q -f qcow2 good.img 64M
cp good.img bit.img
poke bit.img 77 02
refused "17|unknown|feature" bit.img
at=$((0x$(peek good.img 100 4)))
while [ "$(peek good.img $at 4)" != 6803f857 ]; do
	[ "$(peek good.img $at 4)" != 00000000 ] || fail "no feature table in QEMU's image"
	at=$((at + 8 + (0x$(peek good.img $((at + 4)) 4) + 7) / 8 * 8))
done
poke bit.img $((at + 8)) 00116d6f6f6e6265616d00
refused "moonbeam" bit.img
poke bit.img $((at + 8)) 00111b5b32684a3b00	# a terminal escape is not printed
refused "feature|17" bit.img
! grep -q $'\033' <<<"$message" || fail "an escape sequence was printed"

# compression type and its bit must agree
cp good.img comp.img
poke comp.img 104 02
refused "compress" comp.img
cp good.img comp.img
poke comp.img 104 01
refused "compress" comp.img
cp good.img comp.img
poke comp.img 79 08
refused "compress" comp.img

# dirty and corrupt: read-only, with a line
qemu-io -f qcow2 -c 'write -P 7 1M 3M' good.img >/dev/null
for what in 03:corrupt 02:corrupt; do
	cp good.img state.img
	poke state.img 79 "${what%:*}"
	sum=$(sum_of state.img)
	"$RAWCOW" state.img mnt 2>err || fail "$what is not opened: $(cat err)"
	grep -qi "${what#*:}" err || fail "$what: no line that says so: $(cat err)"
	"$HELPERS" read mnt 1M 3M | cmp - <(head -c 3M /dev/zero | tr '\0' '\7')
	! "$HELPERS" write mnt 0 1 1 2>/dev/null || fail "$what is written"
	umount_wait mnt
	[ "$sum" = "$(sum_of state.img)" ] || fail "$what was changed"
done
