#!/bin/bash
# -o snapshot shows an internal snapshot, by name or id, and lets nobody write.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

head -c 2M /dev/urandom >base.raw
qemu-img create -q -f qcow2 -b base.raw -F raw img 3M
cp base.raw raw
truncate -s 3M raw
for i in 1 2 3; do
	args=(-c "write -P $i $((i * 300000 / 512 * 512)) 700000"
		-c "write -z $((i * 100))k 64k" -c "write -P 9 2900k 10k")
	qemu-io -f qcow2 "${args[@]/700000/699904}" img >/dev/null
	qemu-io -f raw "${args[@]/700000/699904}" raw >/dev/null
	qemu-img snapshot -c "s$i" img
	cp raw "s$i.raw"
done
qemu-img snapshot -c 3 img # a name that is another one's id
cp raw named3.raw
qemu-img resize -q img 8M
qemu-io -f qcow2 -c 'write -P 7 0 8M' img >/dev/null
before=$(sum_of img)
: >mnt
mkdir dir
for s in s1 s2 s3; do
	mount_image img mnt -o "snapshot=$s"
	[ "$(stat -c %s mnt)" = $((3 << 20)) ] || fail "$s: size $(stat -c %s mnt)"
	same_file mnt "$s.raw"
	! "$HELPERS" write mnt 0 1 1 2>/dev/null || fail "a snapshot is written"
	umount_wait mnt
done
mount_image img dir -o snapshot=2
same_file dir/disk.raw s2.raw
umount_wait dir
mount_image img mnt -o ro,snapshot=3
same_file mnt named3.raw
umount_wait mnt
refuse_status="1 2"
refuses_mount "no snapshot.*nosuch" img mnt -o snapshot=nosuch
refuses_mount "read" img mnt -o snapshot=s1,rw
refuses_mount "read" img mnt -o rw,snapshot=s1
# mount(8) says rw by itself
ln -s "$RAWCOW" mount.rawcow
./mount.rawcow img mnt -o rw,snapshot=s1
! "$HELPERS" write mnt 0 1 1 2>/dev/null || fail "a snapshot is written"
umount_wait mnt
refuses_mount "snapshot" img mnt -o snapshot
[ "$before" = "$(sum_of img)" ] || fail "the image has changed"
# beside a reader, not beside a writer
mount_image img mnt -o snapshot=s1
qemu-img check -q img || fail "a second reader is kept out"
umount_wait mnt
