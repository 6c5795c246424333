#!/bin/bash
# Names and ids that stand against each other, are empty, or too long: every
# snapshot has a folder, and no two have the same.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img

mkdir mnt

# names ID NAME ID NAME...: an image with these snapshots
names()
{
	local n=$# at l1=0x10000

	rm -f img
	qemu-img create -q -f qcow2 img 1M
	at=$((3 << 20))
	truncate -s $((at + 65536)) img
	poke img 60 "$(be32 $((n / 2)))$(be64 $at)"
	while [ $# -gt 0 ]; do
		poke img $at "$(be64 $l1)$(be32 1)$(printf '%04x%04x' ${#1} ${#2})"
		poke img $((at + 36)) "$(be32 16)"
		poke img $((at + 48)) "$(be64 $((1 << 20)))"
		printf '%s%s' "$1" "$2" | dd of=img bs=1 seek=$((at + 56)) conv=notrunc status=none
		l1=$((l1 + 65536))
		at=$(((at + 56 + ${#1} + ${#2} + 7) / 8 * 8))
		shift 2
	done
}
# shows NAME...: these are listed, in order
shows()
{
	"$RAWCOW" img mnt -o ro || fail "not mounted"
	# shellcheck disable=SC2012
	ls -U mnt/snapshots | tr '\n' ' ' >have
	umount_wait mnt
	[ "$(cat have)" = "$* " ] || fail "names: $(cat have)"
}
long=$(printf '%0300d' 7)
names 1 "" 2 "$long" "" x "" "" "$long" y "$long" "$long" . @1 / %
shows @1 @2 x @@3 y @@5 %401 %
names 1 same 1 same 2 same
shows same @@1 @2
