#!/bin/bash
# Broken tables inside an image that opens: the ranges concerned give EIO, the
# rest is served, nothing crashes and no foreign data is overwritten.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

qemu-img create -q -f qcow2 good 1G
qemu-io -f qcow2 -c 'write -P 1 0 64k' -c 'write -P 2 64k 64k' \
	-c 'write -P 3 512M 64k' good >/dev/null
l1=$((0x$(peek good 40 8)))
l2=$((0x$(peek good $l1 8) & 0x00fffffffffffe00))
: >mnt

# broken OFFSET HEX ADDRESS WHAT: reading ADDRESS fails, 512M can be read; the
# image may as well be refused when it is opened
broken()
{
	local opts

	cp good bad
	poke bad "$1" "$2"
	for opts in ro rw; do
		if ! "$RAWCOW" bad mnt -o $opts 2>err; then
			[ "$(grep -c . err)" = 1 ] || fail "$4: $(cat err)"
			grep -q bad err || fail "$4: $(cat err)"
			continue
		fi
		! "$HELPERS" read mnt "$3" 4096 direct >/dev/null 2>err ||
			fail "$4: read without an error"
		grep -qE 'EIO|EUCLEAN' err || fail "$4: $(cat err)"
		"$HELPERS" read mnt 512M 64k |
			cmp - <(head -c 64k /dev/zero | tr '\0' '\3') ||
			fail "$4: the rest is not served"
		"$HELPERS" write mnt 512M 4k 1 direct 2>/dev/null || true
		"$RAWCOW" umount mnt 2>/dev/null || true
		! is_mounted "$tmp/mnt" || fail "$4: still mounted"
	done
}

broken $l1 8000000100000000 0 "L2 table past the end"
broken $l1 "$(be64 $((l2 + 512 | 1 << 63)))" 0 "L2 table misaligned"
broken $l1 "$(be64 $((l2 | 1 << 63 | 1)))" 0 "reserved bits of an L1 entry"
broken $l2 8000000100000000 0 "data past the end"
broken $l2 8000000000050200 0 "data misaligned"
broken $l2 c0000000000fffff 0 "compressed data that is none"
broken $l2 4000000100000000 0 "compressed data past the end"

# The header as data, the L1 table as data, a table that maps itself: the image
# is not mounted to write, the message says what to do, and nothing is written.
for target in 0 $l1 $l2; do
	cp good bad
	poke bad $l2 "$(be64 $((target | 1 << 63)))"
	before=$(sum_of bad)
	if [ $target = 0 ]; then # impossible by itself: found when it is read
		mount_image bad mnt
		! "$HELPERS" write mnt 0 4096 9 direct 2>/dev/null ||
			fail "the header was written as data"
		"$RAWCOW" umount mnt 2>/dev/null || true
		! is_mounted "$tmp/mnt" || fail "still mounted"
	else
		refuses_mount "at once.*-o ro.*rawcow check" bad mnt
		[ "$before" = "$(sum_of bad)" ] || fail "a refused image was changed"
	fi
	cmp -n 512 -i 512 good bad || fail "the header was overwritten"
	status=0
	"$RAWCOW" check bad >/dev/null 2>&1 || status=$?
	[ $status = 2 ] || fail "check exits $status for data in metadata at $target"
	mount_image bad mnt -o ro
	umount_wait mnt
done
