#!/bin/bash
# cp --sparse, dd and qemu-img convert copy the mounted disk in both ways.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img helpers

sparse_raw raw 96M
qemu-img convert -f raw -O qcow2 raw img
mount_image img mnt -o ro
cp --sparse=auto mnt copy
same_file copy raw
[ "$(stat -c %b copy)" -lt $((48 << 11)) ] || fail "the copy is not sparse"
qemu-img convert -f raw -O qcow2 mnt copy.qcow2
qemu-img compare -f qcow2 -F raw copy.qcow2 raw >/dev/null || fail "qemu-img convert from the mount"
umount_wait mnt

qemu-img create -q -f qcow2 img2 96M
mount_image img2 mnt
dd if=raw of=mnt bs=1M conv=notrunc,sparse,fsync status=none
same_file mnt raw
[ "$(stat -c %b mnt)" -lt $((48 << 11)) ] || fail "holes were allocated"
umount_wait mnt
check_clean img2
same_content img2 raw

qemu-img create -q -f qcow2 img3 96M
mount_image img3 mnt
qemu-img convert -n -f raw -O raw raw mnt
same_file mnt raw
umount_wait mnt
check_clean img3
same_content img3 raw
