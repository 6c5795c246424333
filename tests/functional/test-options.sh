#!/bin/bash
# Every -o of the manual is taken, with - and with _; a wrong value or an
# unknown option is refused by name, and nothing is mounted then.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

oracle=raw
disk=mnt
sparse_raw raw 16M
qemu-img convert -f raw -O qcow2 raw img
qemu-img create -q -f qcow2 -b img -F qcow2 over
: >mnt

for opts in rw cache=writeback cache=writethrough cache=none cache=directsync \
	cache=unsafe backing=dir backing=none backing=any commit_interval=1 \
	commit-interval=30 l2_cache_size=1M l2-cache-size=4M \
	refcount_cache_size=1M cluster_cache_size=2M max_threads=4 locking=on \
	locking=off discard=unmap discard=ignore \
	fsname=name,subtype=rawcow default_permissions,nosuid,nodev \
	cache=none,commit_interval=2,max_threads=2 busy_poll=0 busy_poll=1000; do
	mount_image img mnt -o "$opts"
	same_file mnt raw
	both write 123457 70000 ${#opts}
	both fallocate punch 200000 70000
	same_file mnt raw
	umount_wait mnt
	check_clean img
	same_content img raw
done

# Those of the kernel and of fstab, of which only a few can be seen.
for opts in suid,dev,exec,sync,dirsync,atime nosuid,nodev,noexec,async,noatime \
	diratime,relatime,strictatime,lazytime \
	nodiratime,norelatime,nostrictatime,nolazytime \
	defaults,auto,user,users,owner,group,nofail,_netdev,comment=c,x-a.b=c \
	noauto,nouser,X-mount.mkdir,max_read=65536 max_read=0; do
	mount_image img mnt -o "ro,$opts"
	same_file mnt raw
	umount_wait mnt
done
if command -v fusermount3 >/dev/null; then
	mount_image img mnt -o auto_unmount
	umount_wait mnt
fi
[ -e /sys/fs/selinux ] ||
	for opts in context fscontext defcontext rootcontext; do
		refuses_mount "cannot mount" img mnt -o $opts=nosuch # the kernel does
	done
refuses_mount "max_read" img mnt -o max_read=x

# -o repeated, and before the names
"$RAWCOW" -o cache=none -o ro img mnt
same_file mnt raw
! "$HELPERS" write mnt 0 1 1 2>/dev/null || fail "ro is ignored"
umount_wait mnt
"$RAWCOW" mount img mnt -o ro
umount_wait mnt
mount_image img mnt -o ro,force_share
same_file mnt raw
umount_wait mnt

# The sub-command's name is only needed for an image called like one.
mount_image over mnt -o ro,backing_file=img:qcow2
same_file mnt raw
umount_wait mnt

refuse_status="1 2"
for opts in cache=fast backing=sometimes commit_interval=x commit_interval=-1 \
	l2_cache_size=much refcount_cache_size=1X cluster_cache_size=-1 \
	max_threads=none busy_poll=1001 busy_poll=-1 locking=maybe discard=perhaps uid=nobody@ \
	gid=xyz umask=9 nosuchoption nosuchoption=1; do
	refuses_mount "${opts%%=*}|${opts//_/-}" img mnt -o "$opts"
done
refuses_mount "force.share" img mnt -o force_share
refuses_mount "key file x" img mnt -o key_file=x
refuses_mount "key_fd" img mnt -o key_fd=none
# Parts that are not there yet.
for opts in data_file=x partition=1; do
	refuses_mount "${opts%%=*}|${opts//_/-}" img mnt -o "$opts"
done
refuses_mount "needs a value" over mnt -o backing_file=:raw
refuses_mount "backing_file|none" over mnt -o backing_file=none.qcow2:qcow2
refuses "image|mount|usage" "$RAWCOW"
refuses "mount|usage" "$RAWCOW" img
refuses "." "$RAWCOW" img mnt extra
refuses "unknown option --nosuch; see rawcow mount -h" "$RAWCOW" img mnt --nosuch
refuses "unknown option -x;" "$RAWCOW" img mnt -fx
refuses "option --read-only=yes takes no value" "$RAWCOW" img mnt --read-only=yes
refuses "option --pidfile needs a value" "$RAWCOW" img mnt --pidfile
refuses "unknown option -o grow; see rawcow mount -h" "$RAWCOW" img mnt -o grow
for word in chekc help; do
	refuses "^rawcow: $word: no such file.* no command; see rawcow -h" "$RAWCOW" $word img
done

# Help and version.
"$RAWCOW" mount -h >out 2>err || fail "-h exits $?"
[ ! -s err ] || fail "-h writes to stderr"
for word in IMAGE MOUNTPOINT commit_interval cache= backing; do
	grep -q -- "$word" out || fail "-h does not name $word"
done
"$RAWCOW" mount --help | cmp - out
"$RAWCOW" -V >out 2>err || fail "-V exits $?"
grep -q '^rawcow.*[0-9]\.[0-9]' out || fail "-V: $(cat out)"
[ ! -s err ] || fail "-V writes to stderr"
"$RAWCOW" --version | cmp - out
