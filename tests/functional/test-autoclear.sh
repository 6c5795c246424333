#!/bin/bash
# What rawcow does not know is kept byte for byte: unknown compatible bits and
# header extensions. Unknown autoclear bits go with the first write, and only
# then; that of the bitmaps stays, because they are kept right.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

disk=mnt
oracle=raw
autoclear() { peek img 88 8; }

qemu-img create -q -f qcow2 img 32M
qemu-img bitmap --add img marks
qemu-io -f qcow2 -c 'write -P 1 1M 1M' img >/dev/null
qemu-img convert -f qcow2 -O raw img raw
[ "$(autoclear)" = 0000000000000001 ] || fail "QEMU sets $(autoclear)"
poke img 80 0123456789abcd00	# unknown compatible bits
poke img 88 80000000000000		# an unknown autoclear bit beside

# Reading, also through a mount that may write, changes nothing.
sum=$(sum_of img)
for opts in ro rw; do
	mount_image img mnt -o $opts
	same_file mnt raw
	"$HELPERS" fsync mnt 2>/dev/null || true
	umount_wait mnt
	[ "$sum" = "$(sum_of img)" ] || fail "reading ($opts) has changed the image"
done

both_once()
{
	mount_image img mnt
	both "$@"
	umount_wait mnt
	[ "$(autoclear)" = 0000000000000001 ] || fail "autoclear bits after $1: $(autoclear)"
	[ "$(peek img 80 8)" = 0123456789abcd00 ] || fail "compatible bits: $(peek img 80 8)"
	same_content img raw
}
cp img kept
both_once write 1000000 100 2
cp kept img
qemu-img convert -f qcow2 -O raw img raw
both_once fallocate punch 1M 65536
cp kept img
qemu-img convert -f qcow2 -O raw img raw
both_once write 20M 65536 3

# Unknown header extensions: put one in front of QEMU's own.
qemu-img create -q -f qcow2 -b raw -F raw img 32M
hlen=$((0x$(peek img 100 4)))
name=$((0x$(peek img 8 8)))
nlen=$((0x$(peek img 16 4)))
dd if=img of=tail bs=1 skip=$hlen count=$((name + nlen - hlen)) status=none
printf '\xde\xad\xbe\xef\x00\x00\x00\x05hello\0\0\0' | dd of=img bs=1 seek=$hlen conv=notrunc status=none
dd if=tail of=img bs=1 seek=$((hlen + 16)) conv=notrunc status=none
poke img 8 "$(be64 $((name + 16)))"
poke img 88 4000000000000000
before=$(peek img $hlen $((name + nlen + 16 - hlen)))
qemu-img check img >/dev/null || fail "the test's own image"
cp raw oracle
oracle=oracle
mount_image img mnt
both write 5M 1M 4
umount_wait mnt
[ "$(autoclear)" = 0000000000000000 ] || fail "unknown autoclear bit: $(autoclear)"
[ "$before" = "$(peek img $hlen $((name + nlen + 16 - hlen)))" ] || fail "header extensions have changed"
check_clean img
same_content img oracle
