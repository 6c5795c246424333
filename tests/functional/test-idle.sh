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

# Who gets the disk open can use it, also just when the time is over.
come_late()
{
	wait_for 10 grep -q unused late.err || fail "not idle: $(cat late.err)"
	{ exec 4<late/disk.raw; } 2>/dev/null || return 0
	sleep 1.5
	cat <&4 >/dev/null || fail "the disk was taken from who had it open"
}
if can_inject; then
	qemu-img create -q -f qcow2 img3 1M
	mkdir late
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 strace -f -qq -o /dev/null \
		-e trace=fsync -e inject=fsync:delay_enter=1000000 \
		"$RAWCOW" -f img3 late -o idle_timeout=1 2>late.err &
	at_end_kill $!
	come_late &
	late=$!
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
	if [ $place = dir ]; then
		(cd dir && exec sleep 2.5) &
		exec 3>&-
		sleep 2
		is_mounted "$tmp/dir" || fail "gone from under a shell"
	fi
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
[ -z "${late:-}" ] || wait "$late" || fail "the one that came late"

: >mnt
refuses "idle_timeout" "$RAWCOW" img mnt -o idle_timeout=0
refuses "idle_timeout" "$RAWCOW" img mnt -o idle_timeout
