#!/bin/bash
# Mount the image on itself: the path is the raw disk while it lasts, and the
# qcow2 file again afterwards.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img helpers

disk=img
oracle=raw
sparse_raw raw 32M
qemu-img convert -f raw -O qcow2 raw img

mount_image img img
same_file img raw
both write 10M 1M 5
both write 12345678 99 6
same_file img raw
umount_wait img
qemu-img info img | grep -q 'file format: qcow2' || fail "the image did not come back"
check_clean img
same_content img raw

mount_image img "$PWD/img" -o ro
same_file img raw
umount_wait img
check_clean img
