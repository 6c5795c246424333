#!/bin/bash
# -o idle_timeout: a mount that nobody uses goes by itself, with all that was
# written; one whose file is open stays.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img

qemu-img create -q -f qcow2 img 1M
truncate -s 1M raw
mkdir dir

unmounted() { ! is_mounted "$tmp/$1"; }

for place in mnt dir; do
	mount_image img $place -o idle_timeout=1 --pidfile pid
	pid=$(cat pid)
	exec 3<>"$(disk_of $place)"
	printf 'idle %s' $place >&3
	printf 'idle %s' $place | dd of=raw conv=notrunc status=none
	sleep 3
	is_mounted "$tmp/$place" || fail "$place has gone while it was in use"
	exec 3>&-
	wait_for 10 unmounted $place || fail "$place is still there"
	wait_for 10 gone "$pid" || fail "the server is still there"
	[ ! -e pid ] || fail "the pidfile is still there"
	check_clean img
	same_content img raw
done

: >mnt
refuses "idle_timeout" "$RAWCOW" img mnt -o idle_timeout=0
refuses "idle_timeout" "$RAWCOW" img mnt -o idle_timeout
