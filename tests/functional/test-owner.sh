#!/bin/bash
# uid, gid, umask, allow_other; mode, owner and times can be changed.
. "$(dirname "$0")/functions.sh"
requires root fuse qemu-img setpriv helpers

qemu-img create -q -f qcow2 img 16M
chmod 644 img
chmod 711 "$tmp"

mount_image img mnt
[ "$(stat -c %u:%g mnt)" = 0:0 ] || fail "owner $(stat -c %u:%g mnt)"
! setpriv --reuid 65534 --clear-groups cat mnt >/dev/null 2>&1 || fail "others may read"
chmod 640 mnt || fail "chmod"
[ "$(stat -c %a mnt)" = 640 ] || fail "chmod has no effect: $(stat -c %a mnt)"
chown 1:2 mnt || fail "chown"
[ "$(stat -c %u:%g mnt)" = 1:2 ] || fail "chown has no effect"
touch -d '2001-02-03 04:05:06 UTC' mnt || fail "touch"
[ "$(stat -c %Y mnt)" = "$(date -d '2001-02-03 04:05:06 UTC' +%s)" ] || fail "touch has no effect"
umount_wait mnt

mount_image img mnt -o uid=1234,gid=2345
[ "$(stat -c %u:%g mnt)" = 1234:2345 ] || fail "uid and gid: $(stat -c %u:%g mnt)"
umount_wait mnt

mount_image img mnt -o umask=027
[ "$(stat -c %a mnt)" = 640 ] || fail "umask=027 gives $(stat -c %a mnt)"
umount_wait mnt

mount_image img mnt -o allow_other,umask=022
setpriv --reuid 65534 --clear-groups cat mnt >/dev/null || fail "allow_other does not allow"
! setpriv --reuid 65534 --clear-groups "$HELPERS" write mnt 0 1 1 2>/dev/null ||
	fail "the mode is not looked at"
umount_wait mnt
check_clean img
