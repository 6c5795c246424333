#!/bin/bash
# -o idle_timeout: a mount that nobody uses goes by itself, with all that was
# written; one whose file is open stays.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img

qemu-img create -q -f qcow2 img 1M
truncate -s 1M raw
mkdir dir

# Meanwhile: the time counts from when the disk can be used.
if [ "$(id -u)" = 0 ] && can_inject; then
	qemu-img create -q -f qcow2 img2 1M
	: >mnt2
	{
		begin=$(date +%s%N)
		ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 strace -f -qq \
			-o /dev/null -e trace=truncate \
			-e inject=truncate:delay_enter=3000000 \
			"$RAWCOW" -f img2 mnt2 -o idle_timeout=4
		echo $((($(date +%s%N) - begin) / 1000000)) >lived
	} &
	slow=$!
fi

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

if [ -n "${slow:-}" ]; then
	wait $slow || fail "the slow one: exit $?"
	[ "$(cat lived)" -ge 5500 ] || fail "gone after $(cat lived) ms, 3 s of them not ready"
fi

: >mnt
refuses "idle_timeout" "$RAWCOW" img mnt -o idle_timeout=0
refuses "idle_timeout" "$RAWCOW" img mnt -o idle_timeout
