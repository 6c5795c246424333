#!/bin/bash
# -o detect_zeroes: written zeroes take no room; with unmap they give it back.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img helpers

disk=mnt
oracle=raw
host_bytes() { echo $(($(stat -c %b "$1") * 512)); }

for mode in on unmap; do
	rm -f img raw
	"$RAWCOW" create -q img 64M
	truncate -s 64M raw
	mount_image img mnt -o "detect_zeroes=$mode"
	dd if=/dev/zero of=mnt bs=1M count=64 conv=notrunc status=none
	"$HELPERS" fsync mnt
	[ "$(host_bytes img)" -lt 1000000 ] ||
		fail "$mode: zeroes took $(host_bytes img) bytes"
	both write 1M 16M 1
	both write 40M 70000 2
	"$HELPERS" fsync mnt
	dd if=/dev/zero of=mnt bs=1M seek=1 count=16 conv=notrunc status=none
	dd if=/dev/zero of=raw bs=1M seek=1 count=16 conv=notrunc status=none
	dd if=/dev/zero of=mnt bs=1000 seek=41945 count=9 conv=notrunc status=none
	dd if=/dev/zero of=raw bs=1000 seek=41945 count=9 conv=notrunc status=none
	same_file mnt raw
	umount_wait mnt
	check_clean img
	same_content img raw
	case $mode in
	on) [ "$(host_bytes img)" -gt 16000000 ] || fail "on: room was given back" ;;
	unmap) [ "$(host_bytes img)" -lt 3000000 ] ||
		fail "unmap: $(host_bytes img) bytes left" ;;
	esac
done
refuse_status="1 2"
refuses_mount "detect.zeroes=unmap" img mnt -o detect_zeroes=unmap,discard=ignore
refuses_mount "detect.zeroes=maybe" img mnt -o detect_zeroes=maybe
