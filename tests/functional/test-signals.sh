#!/bin/bash
# SIGTERM, SIGINT and SIGHUP commit, unmount and exit 0. The commit timer
# works. A plain umount leaves a closed, clean image.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img helpers

disk=mnt
oracle=raw
truncate -s 32M raw
qemu-img create -q -f qcow2 img 32M
: >mnt
seed=1
how=()

start()
{
	"${how[@]}" "$RAWCOW" -f img mnt "$@" 2>err &
	pid=$!
	at_end_kill $pid
	wait_for 10 is_mounted "$tmp/mnt" || fail "no mount: $(cat err)"
	seed=$((seed + 1))
	both write $((seed * 1000001)) 900000 $seed
}

finished()
{
	wait $pid || fail "exit $? after $1: $(cat err)"
	! is_mounted "$tmp/mnt" || fail "still mounted after $1"
	check_clean img
	same_content img raw
}

for signal in TERM INT HUP; do
	start -o commit_interval=3600
	kill -$signal $pid
	finished SIG$signal
done

# Whatever signals the caller had blocked.
how=(env --block-signal)
start -o commit_interval=3600
kill -TERM $pid
wait_for 10 gone $pid || fail "does not end when started with signals blocked"
finished "blocked signals"
how=()

# What nohup(1) has ignored does not end it.
nohup "$RAWCOW" img mnt --pidfile pid 2>nohup.err
daemon=$(cat pid)
at_end_kill "$daemon"
kill -HUP "$daemon"
sleep 0.2
"$HELPERS" fsync mnt || fail "SIGHUP ended a mount made under nohup"
umount_wait mnt

start
if [ "$(id -u)" = 0 ]; then umount mnt; else fusermount3 -u mnt; fi
finished "umount"

mount_pid img mnt -o commit_interval=3600
both write 20M 1M 77
kill -TERM "$daemon"
wait_for 10 gone "$daemon" || fail "does not end on SIGTERM in the background"
! is_mounted "$tmp/mnt" || fail "still mounted"
check_clean img
same_content img raw

# The timer commits without anybody asking: a kill later loses nothing. The
# file stays open, because closing commits too.
mount_pid img mnt -o commit_interval=1
exec 8<>mnt
both write 25M 1M 78
sleep 3
kill -9 "$daemon"
wait_for 10 gone "$daemon"
exec 8>&-
umount -l mnt 2>/dev/null || fusermount3 -uz mnt
check_not_corrupt img
same_content img raw

# In the middle of orders, of which some wait their turn, and of much to save for
# each of them. What hangs, hangs in the kernel: no SIGKILL ends it.
rm -rf img
mkdir dir
for opts in rw clone_fd max_threads=1; do
	rm -f img
	qemu-img create -q -f qcow2 img 256M
	mount_pid img dir -o $opts
	orders=()
	for i in 1 2 3; do
		while "$RAWCOW" snapshot -c s$i dir && "$RAWCOW" snapshot -d s$i dir; do
			:
		done 2>/dev/null &
		orders+=($!)
	done
	while "$HELPERS" write dir/disk.raw 100M 40M 1; do :; done 2>/dev/null &
	orders+=($!)
	sleep 0.5
	for i in "${orders[@]}"; do ! gone "$i" || fail "$opts: there is nothing to do"; done
	kill -TERM "$daemon"
	wait_for 15 gone "$daemon" || fail "$opts: does not end while it takes orders"
	wait "${orders[@]}" || :
	! is_mounted "$tmp/dir" || fail "$opts: still mounted"
	check_clean img
done

# Taken away before, and another mount in its place: that one is not the server's.
[ "$(id -u)" = 0 ] || exit 0
mkdir over

# Aborted: what the kernel had not sent is lost, and the mount stays. Also over
# the image itself, whose path leads elsewhere then.
for on in over img; do
	rm -f ready
	"$RAWCOW" -f img $on --pidfile ready 2>err &
	pid=$!
	at_end_kill $pid
	wait_for 10 test -s ready || fail "no mount: $(cat err)"
	disk=$on
	[ $on = img ] || disk=$on/disk.raw
	exec 8<>$disk
	echo dirty >&8
	! umount -f $on 2>/dev/null || fail "umount -f does not find it busy"
	status=0
	wait $pid || status=$?
	[ $status = 74 ] || fail "exit $status after umount -f: $(cat err)"
	grep -q aborted err || fail "no word of umount -f: $(cat err)"
	exec 8>&-
	umount -l $on
	check_clean img
done

mount_pid img over
exec 8<over/disk.raw
umount -l over
mount -t tmpfs none over
kill -TERM "$daemon"
wait_for 10 gone "$daemon" || fail "the server of a mount that is gone stays"
mountpoint -q over || fail "a mount of somebody else was taken away"
exec 8<&-
umount over
