#!/bin/bash
# Each snapshot is a folder below snapshots/, with its disk and its machine's
# state; mkdir makes one, rmdir deletes one, and the commands are followed.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

mkdir mnt
qemu-img create -q -f qcow2 img 24M
qemu-io -f qcow2 -c 'write -P 1 0 3M' -c 'write -P 2 10M 1M' img >/dev/null
qemu-img snapshot -c one img
qemu-img convert -O raw img one.raw
qemu-io -f qcow2 -c 'write -P 3 1M 1M' -c 'write -z 10M 64k' img >/dev/null
qemu-img snapshot -c 'a/b' img
qemu-img snapshot -c one img # once more: only its id tells them apart
qemu-img snapshot -c '..' img
qemu-img snapshot -c "$(printf 'x\n\033[2J')" img
qemu-img snapshot -c 'h:%41 100% ü' img
qemu-img convert -O raw img two.raw
qemu-img resize -q img 32M

mount_image img mnt
snaps=mnt/snapshots
[ "$(ls mnt)" = "bitmaps
disk.raw
snapshots" ] || fail "in the mount: $(ls mnt)"
find $snaps -mindepth 1 -maxdepth 1 -printf '%f\n' | sort >have
sort >want <<-'END'
	one
	a%2Fb
	@3
	%2E.
	x%0A%1B[2J
	h:%2541 100% ü
END
same_file have want
same_file $snaps/one/disk.raw one.raw
for i in a%2Fb @3 %2E. 'h:%2541 100% ü' @2 @4 @6; do
	same_file "$snaps/$i/disk.raw" two.raw
done
[ "$(readlink $snaps/@1)" = one ] || fail "@1 is no link to it"
[ "$(readlink $snaps/@4)" = %2E. ] || fail "@4 is no link to it"
for i in "a" "@7" "@" "a/b" "..."; do
	! stat "$snaps/$i" >/dev/null 2>&1 || fail "there is a '$i'"
done
[ "$(stat -c '%A %s' $snaps/one/disk.raw)" = "-r-------- $((24 << 20))" ] ||
	fail "$(stat $snaps/one/disk.raw)"
# blocks and holes
[ "$(stat -c %b $snaps/one/disk.raw)" = $((4 << 11)) ] ||
	fail "$(stat -c %b $snaps/one/disk.raw) blocks"
[ "$("$HELPERS" extents $snaps/one/disk.raw | grep -c data)" = 2 ] ||
	fail "extents"
cp --sparse=always $snaps/one/disk.raw copy.raw
same_file copy.raw one.raw
"$HELPERS" mmap-read $snaps/one/disk.raw 0 24M | cmp - one.raw
# nobody writes them
! "$HELPERS" write $snaps/one/disk.raw 0 1 1 2>/dev/null || fail "written"
! chmod 777 $snaps/one/disk.raw 2>/dev/null || fail "chmod"
! rm -f $snaps/one/disk.raw 2>/dev/null || fail "rm"
! mkdir $snaps/one/x 2>/dev/null || fail "mkdir inside"
same_file $snaps/one/disk.raw one.raw

# mkdir: all that was written is in it, what the kernel holds as well
"$HELPERS" write mnt/disk.raw 5M 3000000 7
cp mnt/disk.raw new.raw
"$HELPERS" mmap-write mnt/disk.raw 20M 100000 8
"$HELPERS" write new.raw 20M 100000 8
mkdir $snaps/new%2Fone
"$HELPERS" write mnt/disk.raw 5M 3000000 9
same_file $snaps/new%2Fone/disk.raw new.raw
[ "$(stat -c %s $snaps/new%2Fone/disk.raw)" = $((32 << 20)) ] || fail "size"
"$RAWCOW" snapshot -l mnt | grep -q 'new/one' || fail "it is not called new/one"

# refuse ERROR COMMAND...
refuse()
{
	! "${@:2}" 2>err.txt || fail "works: ${*:2}"
	grep -q "$1" err.txt || fail "not '$1': $(cat err.txt)"
}
refuse 'File exists' mkdir $snaps/new%2Fone
refuse 'File exists' mkdir $snaps/@3
refuse 'Invalid argument' mkdir $snaps/@77
refuse 'Invalid argument' mkdir $snaps/%41
refuse 'Invalid argument' mkdir "$snaps/$(printf 'a\001')"
refuse 'too long' mkdir "$snaps/$(printf '%0256d' 0)"
refuse 'not permitted' mkdir mnt/other
refuse 'No such file' rmdir $snaps/other
refuse 'not permitted' rmdir $snaps
refuse 'Not a directory' rmdir $snaps/@1
long=$(printf '%0255d' 0)
mkdir "$snaps/$long"
"$RAWCOW" snapshot -d "$long" mnt
! stat "$snaps/$long" 2>/dev/null || fail "still there"

# rmdir, but not under those who read
exec 8<$snaps/one/disk.raw
refuse 'busy' rmdir $snaps/one
refuses "in use" "$RAWCOW" snapshot -d 1 mnt
head -c 4096 <&8 | cmp -n 4096 - one.raw
"$RAWCOW" snapshot -a 4 mnt
same_file mnt/disk.raw two.raw
exec 8<&-
rmdir $snaps/one
! stat $snaps/one 2>/dev/null || fail "still there"
! stat $snaps/@1 2>/dev/null || fail "the link is still there"
same_file $snaps/@3/disk.raw two.raw

# right after them: the kernel tells of a close later
for ((i = 0; i < $(pick 20 50 1000); i++)); do
	mkdir $snaps/short
	cat $snaps/short/disk.raw >/dev/null
	if ((i % 2)); then
		rmdir $snaps/short || fail "round $i"
	else
		"$RAWCOW" snapshot -d short mnt || fail "round $i"
	fi
done

# by command: names come and go at once, a negative entry too
! stat $snaps/cmd 2>/dev/null || fail "what is that?"
"$RAWCOW" snapshot -c cmd mnt
same_file $snaps/cmd/disk.raw two.raw
printf "%s\n" $snaps/* | grep -q "/cmd$" || fail "not listed"
"$RAWCOW" snapshot -d cmd mnt
! stat $snaps/cmd 2>/dev/null || fail "still there"
! stat $snaps/cmd/disk.raw 2>/dev/null || fail "its disk is still there"
! printf "%s\n" $snaps/* | grep -q "/cmd$" || fail "still listed"
"$RAWCOW" snapshot -c cmd mnt
"$HELPERS" write mnt/disk.raw 0 1M 5
cp mnt/disk.raw now.raw
same_file $snaps/cmd/disk.raw two.raw
umount_wait mnt
check_clean img
same_content img now.raw

mount_image img mnt -o ro
same_file $snaps/cmd/disk.raw two.raw
refuse 'Read-only' mkdir $snaps/x
refuse 'Read-only' rmdir $snaps/cmd
umount_wait mnt


# a program holds one open when the mount is ended by a signal
mount_pid img mnt
exec 8<$snaps/cmd/disk.raw
kill "$daemon"
wait_for 10 gone "$daemon" || fail "it does not end"
exec 8<&-
check_clean img

# one-bit refcounts cannot have snapshots
qemu-img create -q -f qcow2 -o refcount_bits=1 one-bit 1M
mount_image one-bit mnt
refuse 'not supported' mkdir $snaps/x
umount_wait mnt

# in an overlay and over a longer backing file
qemu-img create -q -f qcow2 -b two.raw -F raw over 4M
mount_image over mnt
"$HELPERS" write mnt/disk.raw 3M 1M 6
cp mnt/disk.raw over.raw
mkdir $snaps/s
"$HELPERS" write mnt/disk.raw 0 4M 7
same_file $snaps/s/disk.raw over.raw
umount_wait mnt
check_clean over
