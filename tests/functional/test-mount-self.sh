#!/bin/bash
# Mount the image on itself: the path is the raw disk while it lasts, and the
# qcow2 file again afterwards.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img helpers fusermount3 perl

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

# As the manual has it: no program takes the disk for something that is mounted.
if command -v mke2fs >/dev/null; then
	mount_image img img
	mke2fs -q -t ext4 img || fail "mke2fs refuses the disk"
	e2fsck -fn img >fsck.out 2>&1 || fail "$(cat fsck.out)"
	umount_wait img
	check_clean img
fi

# Taken away while a program writes behind the end: the kernel is told the size
# again, the file below is left alone.
qemu-img create -q -f qcow2 -o preallocation=full full 1M
size=$(stat -c %s full)
[ "$size" -gt 1048576 ] || fail "the image is no larger than its disk"
mount_image full full --pidfile pid
server=$(cat pid)
# no descriptor may be closed before, for that sends what is written
perl -e 'open(F, "+<", "full") && sysseek(F, 1 << 20, 0) &&
	syswrite(F, "x" x 65536) == 65536 && open(R, ">", "written") or die $!;
	select(undef, undef, undef, 0.05) until -e "away"' &
at_end_kill $!
wait_for 20 test -e written
fusermount3 -uz full
: >away
wait_for 20 gone "$server"
[ "$(stat -c %s full)" = "$size" ] || fail "the image was cut off: $(stat -c %s full)"
check_clean full
