#!/bin/bash
# An image that QEMU left dirty is repaired when it is opened for writing, and
# only then; the guest's data and the image's settings stay.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

# A QEMU with lazy refcounts that was killed, and what its disk must hold.
qemu-img create -q -f qcow2 -o lazy_refcounts=on good 8M
qemu-io -f qcow2 -c 'write -P 1 0 1M' good >/dev/null
cp good dirty
qemu-io -f qcow2 -c 'write -P 2 2M 3M' -c flush -c abort dirty >/dev/null 2>&1 || :
[ "$(peek dirty 72 8)" = 0000000000000001 ] || fail "QEMU left no dirty image"
qemu-img convert -U -O raw dirty dirty.raw || fail "qemu-img cannot read it"
status=0
"$RAWCOW" check -q dirty || status=$?
[ $status = 2 ] || fail "the dirty image has no wrong refcounts: exit $status"

# Read-only, and with norecovery: as it is.
sum=$(sum_of dirty)
for o in ro norecovery; do
	mount_image dirty mnt -o $o 2>err
	cmp mnt dirty.raw || fail "$o: other data"
	! "$HELPERS" write mnt 0 1 1 2>/dev/null || fail "$o: it is written"
	umount_wait mnt
	[ "$sum" = "$(sum_of dirty)" ] || fail "$o has changed the image"
done
grep -q "check -r all" err || fail "no line names the command: $(cat err)"

# Nor is it changed for a mount that cannot be.
cp dirty img
refuses_mount "pid file" img mnt --pidfile "$tmp/none/pid"
[ "$sum" = "$(sum_of img)" ] || fail "repaired, and not mounted"

# To be written: first repaired.
cp dirty img
mount_image img mnt 2>err
grep -q "no longer marked dirty" err || fail "no line: $(cat err)"
cmp mnt dirty.raw || fail "the repair has changed the data"
"$HELPERS" write mnt 6M 64K 3 || fail "cannot be written"
umount_wait mnt
[ "$(peek img 72 8)" = 0000000000000000 ] || fail "still marked"
[ "$(peek img 80 8)" = 0000000000000001 ] || fail "lazy_refcounts is lost"
qemu-img check -q img || fail "qemu-img is not content"
"$HELPERS" write dirty.raw 6M 64K 3
qemu-img compare -q -f qcow2 -F raw img dirty.raw || fail "other data"

# Other commands that write do so, too; those that read do not.
cp dirty img
"$RAWCOW" snapshot -l img >/dev/null
"$RAWCOW" map img >/dev/null
[ "$sum" = "$(sum_of img)" ] || fail "a reader has changed the image"
"$RAWCOW" snapshot -c s img 2>/dev/null || fail "no snapshot of a dirty image"
qemu-img check -q img || fail "qemu-img is not content with the snapshot"

# Where more is wrong than refcounts: left alone, and not written.
cp dirty img
l1=$((0x$(peek img 40 8)))
poke img $((l1 + 7)) 06
mount_image img mnt 2>err
grep -q "check -r all" err || fail "no line names the command: $(cat err)"
! "$HELPERS" write mnt 0 1 1 2>/dev/null || fail "a broken image is written"
umount_wait mnt
[ "$(peek img 72 8)" = 0000000000000001 ] || fail "the mark is gone"
"$RAWCOW" check -q -r all img || fail "-r all does not repair it"
qemu-img check -q img || fail "qemu-img is not content after -r all"
