#!/bin/bash
# --pidfile, --ready-fd and sd_notify tell when the mount is usable, and only
# then; -f, -d and -s.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img helpers

qemu-img create -q -f qcow2 img 16M
echo "no image" >bad
: >mnt

mount_image img mnt --pidfile "$PWD/pidfile"
pid=$(cat pidfile)
kill -0 "$pid" || fail "the pidfile names $pid, which is not there"
tr '\0' ' ' </proc/"$pid"/cmdline | grep -q rawcow || fail "$pid is not rawcow"
umount_wait mnt
wait_for 5 gone "$pid" || fail "$pid still runs after rawcow umount"
[ ! -e pidfile ] || fail "the pidfile was left"

# Not the file of another server that was started with it since.
mount_image img mnt --pidfile "$PWD/pidfile"
echo 1 >pidfile
umount_wait mnt
[ "$(cat pidfile)" = 1 ] || fail "the pidfile of another process was removed"
rm pidfile

# Nor another file, by mistake.
cp img had
refuses_mount "no pid file" img mnt --pidfile img
same_file img had

# Unmounted before it is ready: a line, as for each failure.
if [ "$(id -u)" = 0 ] && can_inject; then
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 strace -f -qq -o /dev/null \
		-P "$tmp/mnt" -e trace=openat \
		-e inject=openat:delay_enter=700000 "$RAWCOW" -f img mnt 2>err &
	pid=$!
	at_end_kill $pid
	wait_for 10 is_mounted "$tmp/mnt" || fail "no mount: $(cat err)"
	umount mnt
	! wait $pid || fail "exit 0, but it never was ready"
	[ "$(grep -c . err)" = 1 ] || fail "not one line: $(cat err)"

	# nor can more threads be had, with the mount made and waiting
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 refuses "starting a thread" \
		strace -f -qq -o /dev/null -e trace=?clone3,?clone \
		-e inject=?clone3,?clone:error=EAGAIN:when=5 "$RAWCOW" -f img mnt
	! is_mounted "$tmp/mnt" || fail "mounted without its threads"
fi

mkfifo fifo
exec 9<>fifo
mount_image img mnt --ready-fd 9
read -r -t 5 -N 1 -u 9 _ || fail "nothing came on the ready fd"
umount_wait mnt
refuses "bad" "$RAWCOW" bad mnt --ready-fd 9 --pidfile "$PWD/pidfile"
[ ! -e pidfile ] || fail "a pidfile after a failure"
exec 9>&-
# Also to a caller that ignores how its children end, which is inherited.
refuses "bad" env --ignore-signal=CHLD "$RAWCOW" bad mnt

# Also by a descriptor of the shell's, which the background has no use for.
for n in 1 2; do
	eval "mount_image img mnt --ready-fd $n $n>said"
	[ "$(cat said)" = ready ] || fail "--ready-fd $n says: $(cat said)"
	umount_wait mnt
done
cp img had
refuses "key_fd.*ready-fd" "$RAWCOW" img mnt -o key_fd=9 --ready-fd 9 9<>had
refuses "key_fd.*ready-fd" "$RAWCOW" --ready-fd 9 img mnt -o key_fd=9 9<>had
same_file img had

"$HELPERS" notify "$tmp/sock" 20 >notified &
listener=$!
at_end_kill $listener
wait_for 5 test -S sock
NOTIFY_SOCKET=$tmp/sock "$RAWCOW" -f img mnt 2>err &
pid=$!
at_end_kill $pid
wait $listener || fail "no READY=1; got: $(cat notified)"
is_mounted "$tmp/mnt" || fail "READY=1 before the mount"
umount_wait mnt
wait $pid || fail "rawcow -f exits $? after umount"

for flag in -f -d "-f -s"; do
	# shellcheck disable=SC2086
	"$RAWCOW" $flag img mnt >out 2>err &
	pid=$!
	at_end_kill $pid
	wait_for 10 is_mounted "$tmp/mnt" || fail "$flag: $(cat err)"
	"$HELPERS" write mnt 1000 5000 1
	umount_wait mnt
	wait $pid || fail "rawcow $flag exits $?: $(cat err)"
	[ "$flag" != -d ] || [ -s err ] || fail "-d says nothing"
done
mount_image img mnt -s
"$HELPERS" write mnt 100000 5000 1
umount_wait mnt
check_clean img

# In the background it holds on to nothing of the shell's.
out=$("$RAWCOW" img mnt 2>&1)
[ -z "$out" ] || fail "a successful mount says: $out"
umount_wait mnt

# Who ends the one that waits, as a time limit does, ends the mount. An image in
# another image, whose server stands still, is slow enough.
qemu-img create -q -f qcow2 outer 16M
: >slow
mount_pid outer slow
dd if=img of=slow conv=notrunc status=none
cleanup_fn kill -CONT "$daemon"
for signal in TERM KILL; do
	kill -STOP "$daemon"
	"$RAWCOW" slow mnt 2>err &
	pid=$!
	at_end_kill $pid
	wait_for 10 pgrep -P $pid >child || fail "no child"
	at_end_kill "$(cat child)"
	kill -$signal $pid
	! wait $pid || fail "exit 0 after SIG$signal"
	[ $signal = KILL ] || gone "$(cat child)" || fail "the child goes on after SIG$signal"
	kill -CONT "$daemon"
	wait_for 10 gone "$(cat child)" || fail "the child goes on after SIG$signal"
	! is_mounted "$tmp/mnt" || fail "mounted after SIG$signal"
done
umount_wait slow
