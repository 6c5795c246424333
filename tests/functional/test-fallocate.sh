#!/bin/bash
# Punching holes and zeroing: always reads zero, costs no data, gives room
# back, changes no neighbour. Modes that a disk cannot do are refused.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img helpers

disk=mnt
oracle=raw

run()
{
	local opts=$1

	rm -f raw img
	truncate -s 64M raw
	"$HELPERS" write raw 0 24M 1
	"$HELPERS" write raw 40M 8M 2
	qemu-img convert -f raw -O qcow2 raw img
	# shellcheck disable=SC2086
	mount_image img mnt $opts
	both fallocate punch 0 65536
	both fallocate punch 1000000 1
	both fallocate punch 1M 300000
	both fallocate punch 3000001 5000000
	both fallocate punch 30M 4M
	both fallocate zero-keep 10M 2M
	both fallocate zero-keep 13M 77777
	both fallocate zero 12345678 511
	both fallocate zero 50M 3M
	same_file mnt raw
	both write 3500000 100000 3
	both write 50M 65536 4
	both write 31M 1 5
	both fallocate punch 40M 8M
	both write 41M 65536 6 direct
	same_file mnt raw
	"$HELPERS" fsync mnt
	umount_wait mnt
	check_clean img
	same_content img raw
}

run ""
run "-o discard=ignore"
run "-o cache=none"

# Room comes back: all data is punched, the image file shrinks on the host.
rm -f raw img
truncate -s 64M raw
"$HELPERS" write raw 0 48M 1
qemu-img convert -f raw -O qcow2 raw img
before=$(stat -c %b img)
mount_image img mnt
both fallocate punch 0 48M
umount_wait mnt
after=$(stat -c %b img)
[ "$after" -lt $((before / 4)) ] || fail "no room given back: $before, then $after blocks"
check_clean img
same_content img raw

mount_image img mnt
for mode in collapse insert; do
	! "$HELPERS" fallocate mnt $mode 1M 1M 2>err || fail "$mode is not possible"
	grep -qE 'EOPNOTSUPP|EINVAL|ENODEV' err || fail "$mode: $(cat err)"
done
! "$HELPERS" fallocate mnt zero 63M 2M 2>err || fail "grew by zeroing"
! "$HELPERS" truncate mnt 1M 2>err || fail "shrank by truncate"
[ "$(stat -c %s mnt)" = $((64 << 20)) ] || fail "the size has changed"
umount_wait mnt
check_clean img

mount_image img mnt -o ro
! "$HELPERS" fallocate mnt punch 0 65536 2>/dev/null || fail "punched a read-only disk"
umount_wait mnt
