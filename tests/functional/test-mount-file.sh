#!/bin/bash
# Mount on a regular file: it is the raw disk, its size, mode and blocks are
# true, what is written is in the image after the unmount and at the next mount.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img helpers

disk=mnt
oracle=raw
sparse_raw raw 96M
qemu-img convert -f raw -O qcow2 raw img
echo underneath >mnt

mount_image img mnt
same_file mnt raw
[ "$(stat -c %s mnt)" = "$(stat -c %s raw)" ] || fail "wrong size"
[ "$(stat -c %a mnt)" = 600 ] || fail "mode $(stat -c %a mnt)"
[ "$(stat -c %F mnt)" = "regular file" ] || fail "not a regular file"
blocks=$(stat -c %b mnt)
[ "$blocks" -ge $((2970000 / 512)) ] || fail "too few blocks: $blocks"
[ "$blocks" -lt $((48 << 11)) ] || fail "too many blocks: $blocks"

both write 5000000 3000001 5
both write 511 2 6
both write 95M 1M 7
same_file mnt raw
[ "$(stat -c %b mnt)" -gt "$blocks" ] || fail "blocks do not grow"
umount_wait mnt
[ "$(cat mnt)" = underneath ] || fail "the file underneath has changed"
check_clean img
same_content img raw

mount_image img mnt
same_file mnt raw
for how in direct sync dsync; do
	both write 20M 128k 8 $how
	both write 40M 4k 9 $how
done
"$HELPERS" read mnt 20M 128k direct | cmp - <("$HELPERS" read raw 20M 128k)
"$HELPERS" fsync mnt
[ "$("$HELPERS" statfs mnt | cut -d' ' -f1,2)" = \
	"$("$HELPERS" statfs img | cut -d' ' -f1,2)" ] || fail "df: $("$HELPERS" statfs mnt)"
umount_wait mnt
check_clean img
same_content img raw

sum=$(sum_of img)
mount_image img mnt -o ro
[ "$(stat -c %a mnt)" = 400 ] || fail "mode $(stat -c %a mnt) of a read-only mount"
same_file mnt raw
! "$HELPERS" write mnt 0 1 1 2>/dev/null || fail "a read-only mount was written"
umount_wait mnt
[ "$sum" = "$(sum_of img)" ] || fail "a read-only mount changed the image"
