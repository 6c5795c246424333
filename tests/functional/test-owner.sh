#!/bin/bash
# uid, gid, umask, allow_other; mode, owner and times can be changed.
. "$(dirname "$0")/functions.sh"
requires root fuse qemu-img setpriv helpers

qemu-img create -q -f qcow2 img 16M
chmod 644 img
chmod 711 "$tmp"

mount_image img mnt
[ "$(stat -c %u:%g mnt)" = 0:0 ] || fail "owner $(stat -c %u:%g mnt)"
cp "$RAWCOW" ./program
refuses "mounted by root \(uid 0\)" setpriv --reuid 65534 --clear-groups ./program umount mnt
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

# A user may as fusermount3 lets him: fuse.conf may have a comment behind it. In
# a name space of its own, with a device that users may open.
[ -e /etc/fuse.conf ] && command -v fusermount3 unshare >/dev/null &&
	mknod -m 666 fusedev c 10 229 || exit 0
: >theirs
chown 65534 theirs
as_user()
{
	unshare -m bash -c '
		mount --bind fusedev /dev/fuse &&
		mount --bind fuse.conf /etc/fuse.conf &&
		exec setpriv --reuid 65534 --clear-groups bash -c "
			./program img theirs -o ro,allow_other &&
			cat theirs >/dev/null &&
			! PATH=/nowhere ./program umount theirs 2>said &&
			./program umount theirs"'
}
# What fusermount3 refuses is told in one line, as all is.
as_user_refused()
{
	# shellcheck disable=SC2016
	unshare -m bash -c 'mount --bind fusedev /dev/fuse &&
		exec setpriv --reuid 65534 --clear-groups ./program img "$1" -o "$2"' - "$@"
}
refuses "cannot mount on $tmp/theirs: fusermount3: .*nosuch" as_user_refused theirs ro,context=nosuch
: >roots
refuses "cannot mount on $tmp/roots: fusermount3: .*roots" as_user_refused roots ro

echo ' user_allow_other	# for backups' >fuse.conf
: >said
chmod 666 said
as_user || fail "user_allow_other in fuse.conf is not seen"
grep -q 'fusermount3: No such file' said || fail "umount without it says: $(cat said)"
echo '#user_allow_other' >fuse.conf
! as_user 2>err || fail "a comment allows others"
grep -q 'fuse\.conf' err || fail "the message: $(cat err)"
