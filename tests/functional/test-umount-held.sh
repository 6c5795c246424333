#!/bin/bash
# rawcow umount ends, and says who still has the mount, when another mount
# namespace does; that one loses nothing.
. "$(dirname "$0")/functions.sh"
requires root fuse qemu-img unshare helpers

qemu-img create -q -f qcow2 img 16M
mount_pid img mnt
# a shell that has the disk open, and writes when it is told to
cat >other <<'END'
exec 3<>mnt
: >there
until [ -e go ]; do sleep 0.02; done
echo written later >&3
END
unshare -m --propagation private bash other &
other=$!
at_end_kill $other
wait_for 10 test -e there

refuse_status=74 refuses "unmounted here, but process $other \(bash\).*another mount namespace" \
	"$RAWCOW" umount --timeout=0 mnt
! is_mounted "$tmp/mnt" || fail "still mounted here"
! gone "$daemon" || fail "the server has ended"
: >go
wait $other
wait_for 10 gone "$daemon" || fail "the server goes on"
mount_image img mnt -o ro
[ "$(head -c 13 mnt)" = "written later" ] || fail "lost: $(peek mnt 0 16)"
umount_wait mnt

# Another place in this namespace is the same.
mount_image img mnt
: >second
mount --bind mnt second
refuse_status=74 refuses "unmounted here, but it is also mounted at $tmp/second" \
	"$RAWCOW" umount -t 0 mnt
umount_wait second

# It lets go in time.
mount_image img mnt
unshare -m --propagation private sleep 0.6 &
at_end_kill $!
sleep 0.2
"$RAWCOW" umount -t 1 mnt || fail "exit $? though the other lets go in time"
check_clean img
