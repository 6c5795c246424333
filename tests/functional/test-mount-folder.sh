#!/bin/bash
# Mount on a folder: disk.raw is in it, and nothing can be made or removed.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img helpers

oracle=raw
sparse_raw raw 32M
qemu-img convert -f raw -O qcow2 raw img
mkdir mnt

mount_image img mnt
disk=$(disk_of mnt)
[ -f mnt/disk.raw ] || fail "no disk.raw: $(ls mnt)"
same_file "$disk" raw
[ "$(stat -c %s "$disk")" = "$(stat -c %s raw)" ] || fail "wrong size"
both write 1000001 2000000 5
same_file "$disk" raw
for cmd in 'touch mnt/new' 'ln -s x mnt/new' "ln $disk mnt/new" \
	"mv $disk mnt/new" "mkfifo mnt/new"; do
	! $cmd 2>err || fail "done: $cmd"
	grep -q "not permitted" err || fail "$(cat err)"
done
! mkdir mnt/dir 2>/dev/null || fail "a folder was created"
! rm -f "$disk" 2>/dev/null || fail "the disk was removed"
! stat mnt/none 2>/dev/null || fail "a name that is not there"
umount_wait mnt
[ -z "$(ls mnt)" ] || fail "something was left in the folder"
check_clean img
same_content img raw

mount_image img mnt/ -o ro
same_file "$disk" raw
umount_wait mnt
