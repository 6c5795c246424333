#!/bin/bash
# Lists of a mount come from its server, of one moment, wherever its image is.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img

# make_both MOUNTPOINT: a snapshot and a bitmap, that the lists then have. To
# nobody else do they belong: not to base, nor to other.
make_both()
{
	"$RAWCOW" snapshot -c mine "$1"
	"$RAWCOW" bitmap --add "$1" mine
	"$RAWCOW" snapshot -l "$1" >snapshots
	"$RAWCOW" snapshot -l --json "$1" >snapshots.json
	"$RAWCOW" bitmap "$1" >bitmaps
	"$RAWCOW" bitmap --list --json "$1" >bitmaps.json
	for list in snapshots snapshots.json bitmaps bitmaps.json; do
		grep -q mine $list || fail "$list of $1: $(cat $list)"
		! grep -q foreign $list || fail "$list of $1: $(cat $list)"
	done
}

# as_offline IMAGE: the same lists, now that it is not mounted.
as_offline()
{
	"$RAWCOW" snapshot -l "$1" | diff - snapshots
	"$RAWCOW" snapshot -l --json "$1" | diff - snapshots.json
	"$RAWCOW" bitmap "$1" | diff - bitmaps
	"$RAWCOW" bitmap --list --json "$1" | diff - bitmaps.json
}

mkdir mnt
for name in base other; do
	qemu-img create -q -f qcow2 $name 4M
	"$RAWCOW" snapshot -c foreign $name
	"$RAWCOW" bitmap --add $name foreign
done

mount_image base mnt -o cow=over
make_both mnt
umount_wait mnt
as_offline over

mount_image base mnt -o cow
make_both mnt
umount_wait mnt

qemu-img create -q -f qcow2 img 4M
mount_image img mnt -o "fsname=$PWD/other"
make_both mnt
umount_wait mnt
as_offline img

# another file has its name by now
qemu-img create -q -f qcow2 img 4M
mount_image img mnt -o fsname=mydisk
mv img away
cp other img
make_both mnt
umount_wait mnt
as_offline away

qemu-img create -q -f qcow2 img 4M
mount_image img img
make_both img
umount_wait img
as_offline img

# More than one piece: an answer has 12 KiB.
mount_image img mnt -o cache=unsafe
mkdir "mnt/snapshots/$(printf '%0200d' 0)"{1..70}
"$RAWCOW" snapshot -l mnt >online
umount_wait mnt
"$RAWCOW" snapshot -l img | cmp - online
[ "$(wc -c <online)" -gt 12288 ] || fail "the list is too short for two pieces"

# Nothing.
qemu-img create -q -f qcow2 none 1M
"$RAWCOW" snapshot -l --json none >offline
mount_image none mnt
[ -z "$("$RAWCOW" snapshot -l mnt)" ] || fail "a list of nothing"
"$RAWCOW" snapshot -l --json mnt | cmp - offline
[ "$("$RAWCOW" bitmap mnt | wc -l)" = 1 ] || fail "a list of no bitmaps"
umount_wait mnt

# Commands for images say that the path is a mount, and what to do.
says_mounted()
{
	while read -ra args; do
		refuses "$2" "$RAWCOW" "${args[@]}"
	done <<-END
		info $1
		map $1
		resize $1 8M
		commit $1
		amend -o lazy_refcounts=on $1
		rebase -u -b x -F raw $1
	END
}
mount_image img img
says_mounted img "not a qcow2 image.*; an image is mounted there.* rawcow umount img"
umount_wait img
mount_pid img mnt
says_mounted mnt "is a folder.*; an image is mounted there.* rawcow umount mnt"

# The image, or the disk, in the place of the mount point.
for args in "umount" "status" "snapshot -l" "snapshot -c s" "bitmap" \
	"bitmap --add" "check" "check -r all" "info" "resize"; do
	last=
	case $args in *--add | resize) last=1M ;; esac
	# shellcheck disable=SC2086
	refuses "see the mount at $tmp/mnt\$" "$RAWCOW" $args img $last
done
: >mnt2
refuses "in use.* see the mount at $tmp/mnt\$" "$RAWCOW" img mnt2
refuses "see the mount at $tmp/mnt\$" "$RAWCOW" umount mnt/disk.raw
refuses "see the mount at $tmp/mnt\$" "$RAWCOW" status mnt/disk.raw

# Its server was killed.
kill -9 "$daemon"
wait_for 10 gone "$daemon"
says_mounted mnt "server.* gone.*fusermount3 -uz mnt"
for args in "status" "check" "snapshot -l" "snapshot -c s" "bitmap" "umount"; do
	# shellcheck disable=SC2086
	refuses "server.* gone.*fusermount3 -uz" "$RAWCOW" $args mnt
done
refuses "server.* gone.*fusermount3 -uz" "$RAWCOW" umount mnt/
refuses "server.* gone.*fusermount3 -uz" "$RAWCOW" umount "$tmp/mnt//"
