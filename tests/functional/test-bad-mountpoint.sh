#!/bin/bash
# Mount points that are missing, in use or of the wrong kind; images on a
# read-only and on a full filesystem.
. "$(dirname "$0")/functions.sh"
requires root fuse qemu-img helpers

disk=mnt
oracle=raw
truncate -s 16M raw
qemu-img create -q -f qcow2 img 16M
qemu-img create -q -f qcow2 img2 16M
sum=$(sum_of img)
refuses_mount "none" img none
refuses_mount "none" img none/mnt
mkfifo fifo
refuses_mount "fifo" img fifo
: >mnt
mount_image img2 mnt
refuses "mnt" "$RAWCOW" img mnt
[ "$(stat -c %s mnt)" = $((16 << 20)) ] || fail "the first mount is gone"
umount_wait mnt
! is_mounted "$tmp/mnt" || fail "a second mount was left"
[ "$sum" = "$(sum_of img)" ] || fail "the image was changed"

# What mount.fuse3 -o drop_privileges leaves to the server.
refuses "drop_privileges" "$RAWCOW" img /dev/fd/5 5<>/dev/fuse
[ "$sum" = "$(sum_of img)" ] || fail "the image was changed"

mkdir fs
mount -t tmpfs -o size=4M none fs
cp img fs/
mount -o remount,ro fs
refuses "read.only.*-o ro" "$RAWCOW" fs/img mnt
! is_mounted "$tmp/mnt" || fail "left mounted"
mount_image fs/img mnt -o ro
same_file mnt raw
umount_wait mnt
mount -o remount,rw fs

# Full: what is allocated can be overwritten.
mount_image fs/img mnt
both write 1M 64k 1
umount_wait mnt
dd if=/dev/zero of=fs/ballast bs=64k status=none 2>/dev/null || true
mount_image fs/img mnt
both write 1M 64k 2 direct
same_file mnt raw
umount_wait mnt
check_clean fs/img
same_content fs/img raw
umount fs

if [ -n "$(command -v setpriv)" ]; then
	chmod 711 "$tmp"
	chmod 600 img
	as_nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups "$RAWCOW")
	refuses "img" "${as_nobody[@]}" img mnt
	# who may read it can mount it so; nothing else has that option
	chmod 644 img
	refuses "no permission to write '.*img'; with -o ro" "${as_nobody[@]}" img mnt
	while read -ra args; do
		refuses "no permission to write '?img'?\$" "${as_nobody[@]}" "${args[@]}"
	done <<-END
		resize img 100M
		snapshot -c s img
		bitmap --add img b
		check -r all img
		amend -o lazy_refcounts=on img
		create --force img 1M
	END
fi
