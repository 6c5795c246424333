#!/bin/bash
# rawcow umount returns when the image is closed: QEMU opens it at once. A
# mount in use is refused and goes on; what is no mount is refused.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

disk=mnt
oracle=raw
truncate -s 64M raw
qemu-img create -q -f qcow2 img 64M
for ((i = 0; i < $(pick 5 40 1000); i++)); do
	mount_image img mnt
	both write $((i * 1000003 % 60000000)) 300000 $i
	"$RAWCOW" umount mnt || fail "round $i: rawcow umount exits $?"
	qemu-io -f qcow2 -c 'read 0 512' img >out 2>&1 || fail "round $i: $(cat out)"
	! grep -qi lock out || fail "round $i: $(cat out)"
done
check_clean img
same_content img raw

# In use: refused or waits; the data is safe, and the mount goes on.
mount_image img mnt
both write 1M 1M 1000
"$HELPERS" hold mnt 60 >held &
holder=$!
at_end_kill $holder
wait_for 5 test -s held
status=0
timeout 5 "$RAWCOW" umount mnt 2>err || status=$?
[ $status != 0 ] || fail "unmounted while it is in use"
if [ $status != 124 ]; then
	grep -qiE 'busy|use' err || fail "busy: $(cat err)"
fi
is_mounted "$tmp/mnt" || fail "not mounted any more"
same_file mnt raw
kill $holder
wait $holder || true
umount_wait mnt
check_clean img
same_content img raw

# Two wait for it to be free, the later one gives up: the other hears the end.
mount_image img mnt
exec 3<mnt
"$RAWCOW" umount mnt 2>err 3<&- &
first=$!
sleep 0.3
timeout -s KILL 0.3 "$RAWCOW" umount mnt 2>/dev/null 3<&- || :
exec 3<&-
wait $first || fail "the first of two: exit $?: $(cat err)"
! is_mounted "$tmp/mnt" || fail "still mounted"
check_clean img

# Two wait, and one of them does it: both hear that all was saved.
mount_image img mnt
exec 3<mnt
"$RAWCOW" umount mnt 2>err 3<&- &
first=$!
"$RAWCOW" umount mnt 2>err2 3<&- &
second=$!
sleep 0.3
exec 3<&-
wait $first || fail "the one of two: exit $?: $(cat err)"
wait $second || fail "the other of two: exit $?: $(cat err2)"
check_clean img

: >plain
mkdir folder
for what in plain folder none /; do
	! "$RAWCOW" umount $what 2>err || fail "umount $what succeeds"
	[ "$(grep -c . err)" = 1 ] || fail "umount $what: $(cat err)"
done
! "$RAWCOW" umount 2>err || fail "umount without a name succeeds"

# Two mounts of two images do not disturb each other.
qemu-img create -q -f qcow2 img2 64M
: >mnt2
mount_image img mnt
mount_image img2 mnt2
umount_wait mnt
is_mounted "$tmp/mnt2" || fail "the wrong one went"
"$HELPERS" write mnt2 0 1M 1
umount_wait mnt2
check_clean img2
