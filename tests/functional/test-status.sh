#!/bin/bash
# rawcow status, and the files of .rawcow/ and bitmaps/ in a mounted folder.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io python3 helpers

# field JSONFILE KEY...
field()
{
	python3 -c 'import json, sys
v = json.load(open(sys.argv[1]))
for k in sys.argv[2:]: v = v[int(k)] if isinstance(v, list) else v[k]
print(v)' "$@"
}

mkdir mnt
qemu-img create -q -f qcow2 img 64M
for place in mnt file; do
	mount_image img $place -o commit_interval=3600
	disk=$(disk_of $place)
	"$RAWCOW" status $place >text
	grep -qx "image: $tmp/img" text || fail "$(cat text)"
	grep -qx "state: ok" text || fail "$(cat text)"
	"$RAWCOW" status --output=json $place >one.json
	[ "$(field one.json virtual-size)" = $((64 << 20)) ] || fail "$(cat one.json)"
	[ "$(field one.json writers)" = 0 ] || fail "$(cat one.json)"
	exec 7<>"$disk"
	"$HELPERS" write "$disk" $((RANDOM << 9)) 10M 1
	"$HELPERS" fsync "$disk"
	"$RAWCOW" status --json $place >two.json
	[ "$(field two.json writers)" = 1 ] || fail "$(cat two.json)"
	[ "$(field two.json commits)" -gt "$(field one.json commits)" ] ||
		fail "no commit: $(cat one.json two.json)"
	[ "$(field two.json syncs)" -gt "$(field one.json syncs)" ] || fail "no sync"
	exec 7>&-
	if [ $place = mnt ]; then
		field mnt/.rawcow/stats.json pid >/dev/null
		[ "$(field mnt/.rawcow/stats.json state)" = ok ] || fail "stats.json"
		qemu-img info -U --output=json img >want.json
		for key in virtual-size cluster-size format; do
			[ "$(field mnt/.rawcow/info.json $key)" = "$(field want.json $key)" ] ||
				fail "info.json: $key"
		done
		mkdir mnt/snapshots/kept
		[ "$(field mnt/.rawcow/info.json snapshots 0 name)" = kept ] ||
			fail "info.json: $(cat mnt/.rawcow/info.json)"
		! "$HELPERS" write mnt/.rawcow/info.json 0 1 1 2>/dev/null || fail "written"
	fi
	umount_wait $place
done
refuses "no mount" "$RAWCOW" status img
refuses "no mount" "$RAWCOW" status nowhere
refuses "one mount point" "$RAWCOW" status
mount_image img mnt -o ro
"$RAWCOW" status mnt | grep -qx "state: read-only" || fail "not read-only"
umount_wait mnt
poke img 79 02 # marked corrupt
mount_image img mnt 2>err.txt
"$RAWCOW" status --json mnt >one.json
[ "$(field one.json state)" = read-only ] || fail "$(cat one.json)"
field one.json reason | grep -q corrupt || fail "$(cat one.json)"
umount_wait mnt
poke img 79 00

# Bitmaps as QEMU has made them, and as they are while the disk is written.
rm -f img
qemu-img create -q -f qcow2 img 8M
mount_image img mnt
[ -z "$(ls mnt/bitmaps)" ] || fail "bitmaps: $(ls mnt/bitmaps)"
umount_wait mnt
qemu-img bitmap --add -g 64k img daily
qemu-img bitmap --add -g 1M img 'a/b'
qemu-img bitmap --add img "$(printf '%0300d' 5)"
qemu-io -f qcow2 -c 'write 0 64k' -c 'write 3M 100k' img >/dev/null
# "qemu:dirty-bitmap" as rawcow shows it: dirty extents
dirty() { python3 -c 'import json, sys
for e in json.load(open(sys.argv[1])):
    if e["dirty"]: print(e["start"], e["length"])' "$1"; }
for o in ro rw; do
	mount_image img mnt -o $o
	[ "$(LC_ALL=C ls mnt/bitmaps | tr '\n' ' ')" = "@@3.json a%2Fb.json daily.json " ] ||
		fail "bitmaps: $(ls mnt/bitmaps)"
	[ "$(dirty mnt/bitmaps/daily.json)" = "0 65536
3145728 131072" ] || fail "daily: $(cat mnt/bitmaps/daily.json)"
	[ "$(dirty mnt/bitmaps/a%2Fb.json)" = "0 1048576
3145728 1048576" ] || fail "a/b: $(cat mnt/bitmaps/a%2Fb.json)"
	! stat mnt/bitmaps/other.json 2>/dev/null || fail "other.json"
	! mkdir mnt/bitmaps/x 2>/dev/null || fail "mkdir"
	! rm -f mnt/bitmaps/daily.json 2>/dev/null || fail "rm"
	if [ $o = rw ]; then
		"$HELPERS" write mnt/disk.raw 7M 1 1
		"$HELPERS" fsync mnt/disk.raw
		[ "$(dirty mnt/bitmaps/daily.json | tail -1)" = "7340032 65536" ] ||
			fail "daily: $(cat mnt/bitmaps/daily.json)"
	fi
	umount_wait mnt
	check_clean img
done

# What reads the image beside the server finds it by its whole name.
long=$(printf '%0200d/%0200d/%0200d' 1 2 3)
mkdir -p "$long"
mv img "$long/img"
rm -rf mnt
: >mnt
mount_image "$long/img" mnt
"$RAWCOW" status mnt | grep -qF "$long/img" || fail "the image's name is cut"
"$RAWCOW" snapshot -c one mnt
"$RAWCOW" snapshot -l mnt | grep -q one
"$RAWCOW" bitmap --list mnt | grep -q daily
umount_wait mnt
