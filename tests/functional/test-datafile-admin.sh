#!/bin/bash
# External data files from the command line: create, info, map, check, resize
# do what qemu-img does, and what such an image cannot do is refused.
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io helpers

info() { "$1" info --output=json img | python3 -c 'import json, sys
d = json.load(sys.stdin)["format-specific"]["data"]
print({k: d[k] for k in ("data-file", "data-file-raw", "extended-l2")})'; }
# QEMU asks the host for holes only where an image looks preallocated
map_of() { qemu-img map --output=json "$1" | older_map | sed 's/"zero": [a-z]*,//'; }
same_map()
{
	"$RAWCOW" map --json img | older_map | tr -d ' ' >map.ours
	qemu-img map --output=json img | older_map | tr -d ' ' | diff - map.ours || fail "$*: maps differ"
	"$RAWCOW" map img >map.ours
	qemu-img map img | diff - map.ours || fail "$*: human maps differ"
}
holds() { stat -c '%s %b' data | awk '{ print $1, ($2 * 512 >= $1 && $1) }'; }

# create: the data file is as long and as full as QEMU's (which rounds it up to a
# cluster sometimes), the tables as complete
for pre in off metadata falloc full; do
	for raw in $(pick on "off on" "off on"); do
		opts=data_file=data,data_file_raw=$raw,preallocation=$pre
		rm -f img data
		qemu-img create -q -f qcow2 -o "$opts" img 1M
		qemu_data=$(holds)
		qemu_map=$(map_of img)
		qemu_info=$(info qemu-img)
		rm -f img data
		"$RAWCOW" create -q -o "$opts" img 1M
		[ "$(holds)" = "$qemu_data" ] || fail "$opts: data $(holds), not $qemu_data"
		[ "$(map_of img)" = "$qemu_map" ] || fail "$opts: map"
		[ "$(info qemu-img)" = "$qemu_info" ] || fail "$opts: $(info qemu-img)"
		[ "$(info "$RAWCOW")" = "$qemu_info" ] || fail "$opts: $(info "$RAWCOW")"
		diff <(qemu-img info img | grep 'data file') <("$RAWCOW" info img | grep 'data file')
		same_map "$opts"
		check_clean img
		qemu-io -f qcow2 -c 'write -P 7 70000 5000' img >/dev/null
		check_clean img
	done
done

# What is written to a raw data file alone is on the disk, extended L2 or not.
for extended in off on; do
	rm -f img data
	"$RAWCOW" create -q -o data_file=data,data_file_raw=on,extended_l2=$extended img 1M
	check_clean img
	qemu-io -f raw -c 'write -P 9 70000 5000' data >/dev/null
	same_content img data
	"$RAWCOW" check -q img
done

# A raw data file is the disk: an entry that names another place is set right,
# guest cluster 0 with its place 0, too. Elsewhere nobody knows.
for raw in on off; do
	rm -f img data
	qemu-img create -q -f qcow2 -o data_file=data,data_file_raw=$raw img 1M
	qemu-io -f qcow2 -c 'write -P 4 0 128k' img >/dev/null
	cp data want
	l2=$((0x$(peek img $((0x$(peek img 40 8))) 8) & 0x00fffffffffffe00))
	poke img $l2 "$(be64 0x8000000000090000)"
	poke img $((l2 + 8)) "$(be64 0x8000000000000000)"
	status=0
	"$RAWCOW" check -q -r all img || status=$?
	[ $raw = on ] || [ $status = 2 ] || fail "places: exit $status"
	[ $raw = off ] || [ $status = 0 ] || fail "places of a raw file: exit $status"
	[ $raw = off ] || same_content img want
done

# refused, and nothing is left behind
rm -f img data
refuses "needs a data|without" "$RAWCOW" create -o data_file_raw=on img 1M
refuses "version 3|compat" "$RAWCOW" create -o data_file=data,compat=0.10 img 1M
truncate -s 1M base
refuses "backing" "$RAWCOW" create -o data_file=data,data_file_raw=on -b base -F raw img
refuses "image" "$RAWCOW" create -o data_file=img img 1M
refuses "plain path" "$RAWCOW" create -o data_file=nbd:x img 1M
echo mine >data
refuses "not empty" "$RAWCOW" create -o data_file=data img 1M
[ "$(cat data)" = mine ] || fail "somebody's file was emptied"
[ ! -e img ] || fail "an image was left behind"
refuses "backing" "$RAWCOW" create --force -o data_file=base -b base -F raw img
[ "$(stat -c %s base)" = 1048576 ] || fail "the backing file was emptied"
rm data
: >mnt
"$RAWCOW" create -q -o data_file=data img 1M
refuses "data file.*overlay" "$RAWCOW" snapshot -c one img
refuses "compress.*data file|data file.*compress" "$RAWCOW" img mnt -o compress
refuses "no internal snapshots" "$RAWCOW" img mnt -o snapshot=one

rm -f raw.img raw.d
"$RAWCOW" create -q -o data_file=raw.d,data_file_raw=on raw.img 1M
refuses "no backing file" "$RAWCOW" rebase -u -b base -F raw raw.img
"$RAWCOW" amend -q -o refcount_bits=64 raw.img
check_clean raw.img
refuses "data file" "$RAWCOW" amend -o compat=0.10,refcount_bits=16 raw.img
# an overlay is committed into an image with a data file
"$RAWCOW" create -q -b raw.img -F qcow2 over
qemu-io -f qcow2 -c 'write -P 9 70000 100000' over >/dev/null
"$RAWCOW" commit -q over
check_clean raw.img
same_content raw.img raw.d
cmp -n 100000 -i 70000:0 raw.d <(head -c 100000 /dev/zero | tr '\0' '\11')

# a name counts from the image's folder, and the file may be named by hand
mkdir sub
(cd sub && "$RAWCOW" create -q -o data_file=d,data_file_raw=on img 1M)
cp -r sub moved
mount_image moved/img mnt
"$HELPERS" write mnt 0 100000 1
sync mnt
cmp mnt moved/d
umount_wait mnt
cmp -n 1048576 sub/d /dev/zero
mount_image moved/img mnt -o data_file=sub/d,ro
cmp -n 1048576 mnt /dev/zero
umount_wait mnt
cp moved/d other
"$RAWCOW" map -o data_file=other moved/img | grep -q other

# resize: the data file follows; what is new reads zero, also in the raw file
for raw in off on; do
	rm -f img data
	"$RAWCOW" create -q -o "data_file=data,data_file_raw=$raw" img 300k
	qemu-io -f qcow2 -c 'write -P 7 0 300k' img >/dev/null
	head -c 300k data >oracle
	head -c 100k /dev/urandom >>data # behind the end of the disk
	for size in $(pick 1024000 "1024000 2097152" "1024000 2097152") 512000 133120 716800; do
		shrink=
		[ $size -ge "$(stat -c %s oracle)" ] || shrink=--shrink
		"$RAWCOW" resize -q $shrink img $size
		truncate -s $size oracle
		[ "$(stat -c %s data)" = "$(stat -c %s oracle)" ] || fail "$size: the data file has $(stat -c %s data)"
		check_clean img
		same_content img oracle
		same_map "$size"
		[ $raw = off ] || same_file data oracle
	done
done

# F: one more, on the data file; one in all where nothing is mapped anew
if command -v strace >/dev/null; then
	rm -f img data
	"$RAWCOW" create -q -o data_file=data img 1M
	mount_pid img mnt -o commit_interval=3600
	"$HELPERS" write mnt 0 4096 1 # the L2 table is made here
	start_strace "$daemon" trace
	for byte in 2 1; do # and close: two F, then one
		"$HELPERS" write mnt 65536 4096 $byte
	done
	n=$(stop_strace)
	[ "$n" = 3 ] || fail "$n syncs, wanted 3: $(cat trace)"
	umount_wait mnt
	check_clean img
fi
