#!/bin/bash
# The mounted file can be mapped, for reading and for writing.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img helpers

disk=mnt
oracle=raw
sparse_raw raw 32M
qemu-img convert -f raw -O qcow2 raw img

mount_image img mnt
"$HELPERS" mmap-read mnt 0 32M | cmp - raw
both mmap-write 4096 1000000 5
both mmap-write 20000001 3333333 6
same_file mnt raw
"$HELPERS" read mnt 20000001 3333333 direct | cmp - <("$HELPERS" read raw 20000001 3333333)
both write 20M 70000 7
"$HELPERS" mmap-read mnt 19M 3M | cmp - <("$HELPERS" mmap-read raw 19M 3M)
umount_wait mnt
check_clean img
same_content img raw

mount_image img mnt -o ro
"$HELPERS" mmap-read mnt 1 31M | cmp - <("$HELPERS" mmap-read raw 1 31M)
umount_wait mnt
