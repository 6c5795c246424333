#!/bin/bash
# rawcow check -r: refcounts, COPIED flags and marks become right, what the
# guest reads stays, QEMU agrees; what is not understood is left alone.
test_limit=120
. "$(dirname "$0")/functions.sh"
requires fuse qemu-img qemu-io jq helpers

seed=${SEED:-$RANDOM}
say "seed $seed"
RANDOM=$seed

# build OPTS: an image with all sorts of clusters and a snapshot, and its
# content as raw files
build()
{
	rm -f good good.raw
	qemu-img create -q -f qcow2 -o "$1" good 4M
	qemu-io -f qcow2 -c 'write -P 1 0 1M' -c 'write -P 2 2M 300k' \
		-c 'write -z 512k 64k' good >/dev/null
	qemu-img snapshot -c s good
	qemu-io -f qcow2 -c 'write -P 3 100k 200k' -c 'write -P 4 3M 200k' \
		good >/dev/null
	qemu-img convert -O raw good good.raw
	qemu-img convert -l snapshot.name=s -O raw good snap.raw
	reftable=$((0x$(peek good 48 8)))
	block=$((0x$(peek good $reftable 8)))
	l1=$((0x$(peek good 40 8)))
}

# repaired: image "bad" is as good as "good" after -r all
repaired()
{
	local status=0

	cp bad before
	"$RAWCOW" check -r all --json bad >out 2>err || status=$?
	[ $status = 0 ] || fail "$1: check -r all exits $status: $(cat out err)"
	qemu-img check -q bad || fail "$1: qemu-img is not content"
	"$RAWCOW" check -q bad || fail "$1: the second check is not clean"
	qemu-img compare -q -f qcow2 -F raw bad good.raw || fail "$1: data changed"
	qemu-img convert -l snapshot.name=s -O raw bad out.raw
	cmp out.raw snap.raw || fail "$1: the snapshot changed"
	sum=$(sum_of bad)
	"$RAWCOW" check -q -r all bad
	[ "$sum" = "$(sum_of bad)" ] || fail "$1: a clean image was changed"
}

for opts in cluster_size=64k cluster_size=4k compat=0.10 cluster_size=512 \
	cluster_size=64k,refcount_bits=64 cluster_size=8k,lazy_refcounts=on; do
	build "$opts"
	cp good bad
	repaired "$opts: good"
	cmp good bad || fail "$opts: a clean image was changed"
	width=$((1 << 0x$(peek good 96 4) >> 3))
	[ "$opts" != compat=0.10 ] || width=2
	# a count of each kind of cluster, and counts of nothing
	for ((i = 0; i < $(pick 3 8 60); i++)); do
		cp good bad
		for ((k = 0; k <= RANDOM % 5; k++)); do
			at=$((block + RANDOM % 60 * width + width - 1))
			poke bad $at "$(printf %02x $((RANDOM % 5)))"
		done
		repaired "$opts: counts $i"
	done
	# COPIED of L1 and L2 entries
	for ((i = 0; i < $(pick 2 5 40); i++)); do
		cp good bad
		l2=$((0x$(peek good $l1 8) & 0x00fffffffffffe00))
		for ((k = 0; k <= RANDOM % 4; k++)); do
			at=$((l2 + RANDOM % 16 * 8))
			[ $((RANDOM % 4)) != 0 ] || at=$l1
			byte=$((0x$(peek bad $at 1)))
			[ $((0x$(peek bad $at 8) & 0x00fffffffffffe00)) != 0 ] || continue
			poke bad $at "$(printf %02x $((byte ^ 0x80)))"
		done
		repaired "$opts: flags $i"
	done
done

# Marks: QEMU with lazy refcounts that was killed; the corrupt bit.
build lazy_refcounts=on
cp good bad
qemu-io -f qcow2 -c 'write -P 9 1500k 64k' -c flush -c abort bad >/dev/null 2>&1 || :
cp good.raw save.raw
qemu-io -f raw -c 'write -P 9 1500k 64k' good.raw >/dev/null
[ $((0x$(peek bad 79 1) & 1)) = 1 ] || fail "QEMU left no dirty image"
repaired dirty
[ $((0x$(peek bad 79 1))) = 0 ] || fail "still marked dirty"
cp save.raw good.raw
cp good bad
poke bad 79 02
mount_image bad mnt
! "$HELPERS" write mnt 0 1 1 2>/dev/null || fail "a corrupt image is written"
umount_wait mnt
repaired corrupt
mount_image bad mnt
"$HELPERS" write mnt 0 1 1 || fail "cannot be written after the repair"
umount_wait mnt

# -r leaks frees leaks and touches nothing else.
cp good bad
poke bad $((block + 50 * 2)) 0003
"$RAWCOW" check -r leaks --json bad >out
jq -e '."leaks-fixed" == 1 and .leaks == null' out >/dev/null || fail "$(cat out)"
cmp good bad || fail "-r leaks has changed something else"

# Where a table is broken, references may hide: what seems to leak is kept.
cp good bad
poke bad $((l1)) 8000000100000000
status=0
"$RAWCOW" check bad >out || status=$?
[ $status = 2 ] || fail "exit $status"
cp bad before
status=0
"$RAWCOW" check -r leaks bad >out || status=$?
[ $status = 2 ] || fail "exit $status for a broken L1 entry"
cmp bad before || fail "-r leaks has freed what may be in use"
"$RAWCOW" check -q -r all bad || fail "-r all leaves a broken L1 entry"
qemu-img check -q bad || fail "qemu-img is not content"

# Undone: every byte is back; not once the image has been used, nor twice.
cp good bad
poke bad $l1 8000000100000000
poke bad $((block + 20)) 0000
cp bad before
rm -f undo
"$RAWCOW" check -q -r all --undo=undo bad || fail "-r all --undo"
qemu-img check -q bad || fail "qemu-img is not content"
! cmp -s bad before || fail "nothing was repaired"
cp bad repaired
refuses "exist" "$RAWCOW" check -r all --undo=undo bad
"$RAWCOW" check --undo-apply=undo bad || fail "--undo-apply"
cmp bad before || fail "--undo-apply does not give back every byte"
"$RAWCOW" check -q --undo-apply=undo bad || fail "--undo-apply a second time"
cp repaired bad
qemu-io -f qcow2 -c 'write -P 5 1M 600k' bad >/dev/null
sum=$(sum_of bad)
refuses "changed since" "$RAWCOW" check --undo-apply=undo bad
[ "$sum" = "$(sum_of bad)" ] || fail "a refused undo has changed the image"
cp repaired bad
head -c 5000 undo >cut.undo
refuses "damaged" "$RAWCOW" check --undo-apply=cut.undo bad
refuses "no undo file" "$RAWCOW" check --undo-apply=good bad
refuses "goes with -r" "$RAWCOW" check --undo=x bad
cmp bad repaired || fail "a refused undo has changed the image"

# The undo file has a name, stably, before the image is written.
if can_inject; then
	cp before bad
	rm -f undo
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 \
		strace -f -qq -y -e trace=fsync,pwrite64 -o calls \
		"$RAWCOW" check -q -r all --undo=undo bad || fail "-r all --undo"
	awk -v dir="<$tmp>" -v image="<$tmp/bad>" \
		'/fsync/ && index($0, dir) { named = 1 }
		index($0, image) { exit !named }' calls ||
		fail "the image is written before the undo file is named: $(cat calls)"
fi

# No offset leads behind the end of the longest files. A compressed cluster that
# cannot be moved there is in nobody's way; data that cannot is not lost. ext4
# has no files of that length.
far=$(mktemp -d -p /dev/shm rawcow.XXXXXX) || far=
cleanup_fn rm -rf "$far"
if [ -n "$far" ] && truncate -s 600T "$far/i"; then
	rm "$far/i"
	qemu-img create -q -f qcow2 -o cluster_size=2M "$far/i" 32M
	qemu-io -f qcow2 -c 'write -c -P 1 4M 2M' -c 'write -P 2 8M 2M' \
		"$far/i" >/dev/null
	l1=$((0x$(peek "$far/i" 40 8)))
	l2=$((0x$(peek "$far/i" $l1 8) & 0x00fffffffffffe00))
	block=$((0x$(peek "$far/i" $((0x$(peek "$far/i" 48 8))) 8)))
	stream=$((0x$(peek "$far/i" $((l2 + 16)) 8) & 0x0001ffffffe00000))
	data=$((0x$(peek "$far/i" $((l2 + 32)) 8) & 0x00fffffffffffe00))
	poke "$far/i" $l2 "$(be64 $stream)"
	poke "$far/i" $((block + data / 0x200000 * 2)) 0000
	truncate -s 600T "$far/i"
	status=0
	"$RAWCOW" check -r all "$far/i" >out || status=$?
	[ $status = 2 ] || fail "exit $status for what cannot be moved"
	"$RAWCOW" check "$far/i" >out || :
	[ "$(grep -c ^ERROR out)" = 1 ] && grep -q role-clash out ||
		fail "what cannot be moved is in the way of others: $(cat out)"
	poke "$far/i" $((l2 + 16)) "$(be64 0)"
	poke "$far/i" $l2 "$(be64 $l2)"
	truncate -s $((1 << 56)) "$far/i"
	refuse_status=1 refuses "too long" "$RAWCOW" check -q -r all "$far/i"
	[ "$(stat -c %s "$far/i")" = $((1 << 56)) ] || fail "it has grown"
fi

# Refusals.
refuses "leaks" "$RAWCOW" check -r some good
refuses "exclude" "$RAWCOW" check -U -r all good
mount_image good mnt
refuses "use|lock" "$RAWCOW" check -r all good
umount_wait mnt
