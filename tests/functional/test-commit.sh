#!/bin/bash
# rawcow commit gives the backing file what the overlay holds, exactly as
# qemu-img commit does; the disk shows the same before and after.
. "$(dirname "$0")/functions.sh"
requires qemu-img qemu-io

RANDOM=${1:-7}
say "seed ${1:-7}"

# For QEMU the name of a data file counts from its working folder.
ln -s d/over.d d/base.d .
make_base() { (cd d && qemu-img create -q -f qcow2 -o "$1" base "$2M"); }
make_over() { (cd d && qemu-img create -q -f qcow2 -o "$1" -b base -F "$2" over "$3M"); }

# is_hole FILE SIZE: as long as that, and nothing in it
is_hole()
{
	[ "$(stat -c %s "$1")" = "$2" ] || fail "$1 has $(stat -c %s "$1") bytes"
	[ "$(stat -c %b "$1")" -le 16 ] || fail "$1 has $(stat -c %b "$1") blocks"
	cmp -n "$2" "$1" /dev/zero || fail "$1 is not empty"
}

# round OVERLAY-OPTIONS BASE-OPTIONS|raw OVERLAY-MIB BASE-MIB [ARG...]
round()
{
	local over=$1 base=$2 omb=$3 bmb=$4 fmt=qcow2 sum

	shift 4
	rm -rf d q
	mkdir d
	if [ "$base" = raw ]; then
		fmt=raw
		head -c "${bmb}M" /dev/urandom >d/base
		truncate -s "$((bmb << 20))" d/base
	else
		make_base "$base" "$bmb"
		scribble d/base "$bmb" 10
	fi
	make_over "$over" $fmt "$omb"
	scribble d/over "$omb" "$(pick 8 20 60)"
	qemu-img convert -f qcow2 -O raw d/over want
	cp -r d q
	(cd q && qemu-img commit -q -f qcow2 over && qemu-img convert -f $fmt -O raw base ../theirs)
	"$RAWCOW" commit "$@" d/over >out || fail "commit exits $?"
	grep -q committed out || fail "it says $(cat out)"
	same_content d/over want
	qemu-img compare -f $fmt -F raw d/base theirs >out ||
		fail "$over on $base: the base differs from qemu-img's: $(cat out)"
	check_clean d/over
	[ $fmt = raw ] || check_clean d/base
	case $base in *data_file_raw=on*) same_content d/base d/base.d ;; esac
	# nothing is left in the overlay, and it can be written again
	case $* in
	*-d*) ;;
	*)
		[ "$(qemu-img map -f qcow2 d/over --output=json |
			grep -c '"depth": 0, .*"present": true')" = 0 ] ||
			fail "$over: the overlay still holds data"
		[ ! -e d/over.d ] || is_hole d/over.d $((omb << 20))
		;;
	esac
	scribble d/over "$omb" 5
	check_clean d/over
}

round cluster_size=64k cluster_size=64k 4 4
round cluster_size=4k,compat=0.10 raw 3 3 -p
round cluster_size=512 cluster_size=64k,compat=0.10 2 3 -d
round cluster_size=8k,refcount_bits=1 cluster_size=4k 6 2 -o backing=any
round cluster_size=16k,extended_l2=on cluster_size=64k,extended_l2=on 4 4
round data_file=over.d cluster_size=64k 3 3
round data_file=over.d,cluster_size=4k data_file=base.d,data_file_raw=on 4 2
round cluster_size=64k data_file=base.d,cluster_size=8k 2 3 -d
[ "$scale" = small ] || round data_file=over.d,extended_l2=on raw 3 3
[ "$scale" = small ] || round cluster_size=2M raw 9 2
[ "$scale" = small ] || round cluster_size=64k,compression_type=zstd cluster_size=64k,lazy_refcounts=on 3 3

# A chain: into the file below, and into the last one, past one that is shorter.
chain()
{
	rm -rf d
	mkdir d
	qemu-img create -q -f qcow2 d/base 4M
	scribble d/base 4 10
	qemu-img create -q -f qcow2 -b base -F qcow2 d/mid 2M
	scribble d/mid 2 10
	qemu-img create -q -f qcow2 -b mid -F qcow2 d/top 5M
	scribble d/top 5 10
	qemu-img convert -f qcow2 -O raw d/top want
}

chain
"$RAWCOW" commit d/top >/dev/null
same_content d/top want
same_content d/mid want
check_clean d/mid
chain
sum=$(sum_of d/top)
"$RAWCOW" commit -q -b base d/top >out
[ ! -s out ] || fail "-q prints $(cat out)"
same_content d/base want
check_clean d/base
[ "$(sum_of d/top)" = "$sum" ] || fail "-b has changed the overlay"
(cd d && "$RAWCOW" commit -q -b ./base top)
same_content d/base want

# What cannot be: the line says why, and no file is changed.
chain
sum=$(sum_of d/top)$(sum_of d/mid)$(sum_of d/base)
refuses "no backing file" "$RAWCOW" commit d/base
refuses "not among" "$RAWCOW" commit -b want d/top
refuses "not among" "$RAWCOW" commit -b d/top d/top
refuses "cannot find" "$RAWCOW" commit -b nowhere d/top
refuses "forbids" "$RAWCOW" commit -o backing=none d/top
refuses "one image" "$RAWCOW" commit
mkdir e
qemu-img create -q -f qcow2 -b "$tmp/d/base" -F qcow2 e/over
qemu-io -f qcow2 -c 'write 0 1M' e/over >/dev/null
refuses "outside the image's folder" "$RAWCOW" commit e/over
: >mnt
if [ -w /dev/fuse ]; then
	mount_image d/base mnt
	refuses "lock|in use|busy" "$RAWCOW" commit e/over -o backing=any
	umount_wait mnt
	mount_image e/over mnt -o backing=any
	refuses "lock|in use|busy" "$RAWCOW" commit e/over -o backing=any
	umount_wait mnt
fi
[ "$(sum_of d/top)$(sum_of d/mid)$(sum_of d/base)" = "$sum" ] ||
	fail "a refused commit has changed a file"
qemu-img snapshot -c s d/top
refuses "snapshots" "$RAWCOW" commit d/top
cp d/mid mid.bak
printf '\2' | dd of=d/mid bs=1 seek=79 conv=notrunc status=none
qemu-img create -q -f qcow2 -b mid -F qcow2 d/other
refuses "corrupt" "$RAWCOW" commit d/other
mv mid.bak d/mid

# Data files: under the same policy as backing files, locked, and named by hand.
rm -rf d
mkdir d
make_base data_file=base.d 1
make_over data_file=over.d qcow2 1
qemu-io -f qcow2 -c 'write -P 3 100k 300k' d/over >/dev/null
qemu-img convert -f qcow2 -O raw d/over want
sum=$(cat d/* | sum_of)
for file in over.d base.d; do
	mv d/$file e/
	refuses "$file.*does not exist" "$RAWCOW" commit d/over
	ln -s ../e/$file d/$file
	refuses "$file.*outside|outside.*$file" "$RAWCOW" commit d/over
	rm d/$file
	mv e/$file d/
done
if [ -w /dev/fuse ]; then
	mount_image d/base mnt -o ro
	refuses "base.*(lock|in use|busy)" "$RAWCOW" commit d/over
	umount_wait mnt
fi
# one file cannot hold the data of both, nor be data file and backing file
refuses "is in it twice" "$RAWCOW" commit -o data_file=d/base.d d/over
refuses "is in it twice" "$RAWCOW" commit -o data_file=d/base d/over
[ "$(cat d/* | sum_of)" = "$sum" ] || fail "a refused commit has changed a file"
mv d/over.d other
"$RAWCOW" commit -q -o data_file=other d/over
mv other d/over.d
check_clean d/over
check_clean d/base
same_content d/base want
same_content d/over want

# Past one that has a data file, into one that has another: only the last changes.
qemu-io -f qcow2 -c 'write -P 4 200k 300k' -c 'write -z 50k 100k' d/over >/dev/null
qemu-img create -q -f qcow2 -b over -F qcow2 d/top 2M
qemu-io -f qcow2 -c 'write -P 6 300k 100k' -c 'write -P 7 1500k 9k' d/top >/dev/null
qemu-img convert -f qcow2 -O raw d/top want
sum=$(cat d/over d/over.d d/top | sum_of)
"$RAWCOW" commit -q -b base d/top
[ "$(cat d/over d/over.d d/top | sum_of)" = "$sum" ] || fail "-b has changed another file"
same_content d/base want
same_content d/top want
check_clean d/base

# No room in the base: the overlay stays whole, and commits when there is some.
if [ "$(id -u)" = 0 ] && mkdir small && mount -t tmpfs -o size=2M none small; then
	qemu-img create -q -f qcow2 small/base 16M
	rm -f d/over
	qemu-img create -q -f qcow2 -b "$tmp/small/base" -F qcow2 d/over
	qemu-io -f qcow2 -c 'write -P 5 0 256k' -c 'write -P 9 1M 6M' d/over >/dev/null
	qemu-img convert -f qcow2 -O raw d/over want
	sum=$(sum_of d/over)
	refuses "no room.*nothing is lost" "$RAWCOW" commit d/over -o backing=any
	[ "$(sum_of d/over)" = "$sum" ] || fail "a full base has changed the overlay"
	same_content d/over want
	check_clean small/base
	mount -o remount,size=20M small
	"$RAWCOW" commit -q d/over -o backing=any
	same_content small/base want
	same_content d/over want
	rm -f small/* d/over
	mount -o remount,size=2M small
	(cd d && "$RAWCOW" create -q -o data_file="$tmp/small/data" full 16M)
	qemu-img create -q -f qcow2 -b full -F qcow2 d/over
	qemu-io -f qcow2 -c 'write -P 9 1M 6M' d/over >/dev/null
	qemu-img convert -f qcow2 -O raw d/over want
	refuses "no room.*data file.*nothing is lost" "$RAWCOW" commit d/over -o backing=any
	same_content d/over want
	check_clean d/full
	mount -o remount,size=20M small
	"$RAWCOW" commit -q d/over -o backing=any
	same_content d/full want
	umount small
fi

# The backing file's bitmaps note what comes, and stay good; also without a dirty
# cluster of the base's own.
rm -rf d
mkdir d
make_base cluster_size=64k 4
qemu-img bitmap --add -g 64k d/base x
make_over cluster_size=64k qcow2 8
qemu-io -f qcow2 -c 'write -P 3 1M 64k' -c 'write -P 4 6M 70k' d/over >/dev/null
qemu-img convert -O raw d/over want
"$RAWCOW" commit -q d/over
same_content d/base want
check_clean d/base
"$RAWCOW" bitmap --list --json d/base >list
python3 - <<-'END' || fail "bitmap: $(cat list)"
	import json
	b, = json.load(open("list"))
	assert b["name"] == "x" and "in-use" not in b["flags"], b
END
if [ "$(id -u)" = 0 ] && [ -e /dev/fuse ]; then
	mkdir dir
	mount_image d/base dir -o ro
	python3 - dir/bitmaps/x.json <<-'END'
		import json, sys
		have = [(e["start"], e["length"])
		        for e in json.load(open(sys.argv[1])) if e["dirty"]]
		# and what the disk has become larger by
		assert have == [(1 << 20, 65536), (4 << 20, 4 << 20)], have
	END
	umount_wait dir
fi
