#!/bin/bash
# rawcow amend and rebase -u change an image's format in place: disk, snapshots
# and everything else stay, and QEMU reads what comes of it.
. "$(dirname "$0")/functions.sh"
requires qemu-img qemu-io

head -c 3M /dev/urandom >base.raw
qemu-img convert -f raw -O qcow2 base.raw base.qcow2

# fill IMAGE: data, compressed, zero clusters with and without a place.
fill()
{
	qemu-io -f qcow2 -c 'write -c -P 7 1M 64k' "$1" >/dev/null || :
	qemu-io -f qcow2 -d unmap -c 'write -P 1 0 300k' -c 'write -z 100k 70k' \
		-c 'write -zu 200k 64k' -c 'write -P 3 1500k 512' \
		-c 'write -z 2900k 900k' "$1" >/dev/null
	# QEMU cannot in version 2 with a backing file
	qemu-io -f qcow2 -d unmap -c 'discard 1600k 64k' "$1" >/dev/null || :
}

# looks IMAGE KEY VALUE: qemu-img info says so.
looks()
{
	local have

	have=$(qemu-img info -f qcow2 --output=json "$1" |
		sed -n "s/.*\"$2\": \"\\?\\([^\",]*\\).*/\\1/p" | head -n 1)
	[ "$have" = "$3" ] || fail "$1: $2 is '$have', not '$3'"
}

# amended IMAGE WANT -o LIST: done, nothing else has changed.
amended()
{
	local img=$1 want=$2

	shift 2
	"$RAWCOW" amend "$@" "$img" || fail "amend $* exits $?"
	same_content "$img" "$want"
	check_clean "$img"
}

round()
{
	local opts=$1 bits widths="8 64 32 16"

	shift
	# small clusters share places for streams: more than narrow ones count
	[ "$opts" != cluster_size=64k ] || widths="1 8 64 2 16"
	rm -f img
	qemu-img create -q -f qcow2 -o "$opts" "$@" img 4M
	fill img
	qemu-img convert -f qcow2 -O raw img want
	case $opts in
	*refcount_bits* | *0.10*) ;;
	*)
		# to each width and back, written to between
		for bits in $widths; do
			amended img want -o refcount_bits="$bits"
			looks img refcount-bits "$bits"
			qemu-io -f qcow2 -c "write -P $bits 3M 100k" img >/dev/null
			qemu-img convert -f qcow2 -O raw img want
			check_clean img
		done
		amended img want -o lazy-refcounts=on
		looks img lazy-refcounts true
		amended img want -q -p -o lazy_refcounts=off,refcount_bits=32
		looks img lazy-refcounts false
		refuses "refcount_bits=16" "$RAWCOW" amend -o compat=v2 img
		amended img want -o lazy_refcounts=on
		;;
	esac
	amended img want -o compat=0.10,refcount_bits=16
	looks img compat 0.10
	qemu-io -f qcow2 -c 'write -P 9 200k 100k' img >/dev/null
	qemu-img convert -f qcow2 -O raw img want
	amended img want -o compat=1.1
	looks img compat 1.1
	fill img
	check_clean img
	# QEMU amends what we amended
	qemu-img convert -f qcow2 -O raw img want
	qemu-img amend -f qcow2 -o compat=0.10 img
	amended img want -o compat=1.1,refcount_bits=8
}

round cluster_size=64k
round cluster_size=512 -b base.raw -F raw
round cluster_size=4k,refcount_bits=32 -b base.qcow2 -F qcow2
[ "$scale" = small ] || round cluster_size=4k,compat=0.10 -b base.qcow2 -F qcow2
[ "$scale" = small ] || round cluster_size=2M

# Zero clusters from one L2 table into the next, which maps data behind them; and
# whole tables of them.
for back in "" "-b base.raw -F raw"; do
	rm -f img
	# shellcheck disable=SC2086 # several words on purpose
	qemu-img create -q -f qcow2 -o cluster_size=512 $back img 4M
	qemu-io -f qcow2 -c 'write -P 7 0 4M' -c 'write -z 24k 16k' \
		-c 'write -z 3000k 200k' img >/dev/null
	qemu-img convert -f qcow2 -O raw img want
	amended img want -o compat=0.10
done

# Whatever is in it, from version to version.
RANDOM=${1:-$$}
say "seed ${1:-$$}"
for ((i = 0; i < $(pick 2 6 60); i++)); do
	sizes=(512 1k 4k 64k)
	opts=cluster_size=${sizes[RANDOM % 4]}
	rm -f img
	back="-b base.qcow2 -F qcow2"
	[ $((RANDOM % 2)) = 0 ] || back=
	# shellcheck disable=SC2086 # several words on purpose
	qemu-img create -q -f qcow2 -o "$opts" $back img 4M
	scribble img 4 12
	for v in 0.10 1.1 0.10; do
		qemu-img convert -f qcow2 -O raw img want
		amended img want -o compat=$v
		scribble img 4 4 2>/dev/null || :
	done
done

# Snapshots, their counts and their content.
qemu-img create -q -f qcow2 -o cluster_size=4k img 4M
qemu-io -f qcow2 -c 'write -P 1 0 1M' img >/dev/null
qemu-img convert -f qcow2 -O raw img first
qemu-img snapshot -c first img
qemu-io -f qcow2 -c 'write -P 2 512k 1M' img >/dev/null
qemu-img convert -f qcow2 -O raw img want
sum=$(sum_of img)
refuses "2 times.*1 bits" "$RAWCOW" amend -o refcount_bits=1 img
[ "$(sum_of img)" = "$sum" ] || fail "a refused width has changed the image"
amended img want -o refcount_bits=2
amended img want -o refcount_bits=16,compat=0.10
amended img want -o compat=1.1
qemu-img convert -f qcow2 -O raw -l first img out
cmp out first
"$RAWCOW" snapshot -a first img
same_content img first
check_clean img
qemu-io -f qcow2 -c 'write -z 0 64k' img >/dev/null
qemu-img snapshot -c zeroes img
refuses "snapshot of it has zero" "$RAWCOW" amend -o compat=0.10 img
qemu-img snapshot -d zeroes img

# What cannot be.
sum=$(sum_of img)
refuses "cannot be changed" "$RAWCOW" amend -o cluster_size=4k img
refuses "resize" "$RAWCOW" amend -o size=4k img
refuses "rebase" "$RAWCOW" amend -o backing_file=x img
# what would not be looked at
refuses "encrypt.state is missing" "$RAWCOW" amend -o compat=1.1,encrypt.keyslot=3 img
refuses "encrypt.state is missing" "$RAWCOW" amend -o encrypt.iter_time=5,lazy_refcounts=on img
refuses "key-file" "$RAWCOW" amend --key-file /nonexistent -o lazy_refcounts=on img
refuses "backing goes with" "$RAWCOW" amend -o backing=any,lazy_refcounts=on img
refuses "power of two" "$RAWCOW" amend -o refcount_bits=3 img
refuses "version 2 has refcounts" "$RAWCOW" amend -o compat=0.10,refcount_bits=8 img
refuses "lazy_refcounts needs" "$RAWCOW" amend -o compat=0.10,lazy_refcounts=on img
refuses "say what to change" "$RAWCOW" amend img
refuses "0.10, 1.1" "$RAWCOW" amend -o compat=4 img
qemu-img bitmap --add img b0
qemu-io -f qcow2 -c 'write -z 1M 256k' img >/dev/null
sum=$(sum_of img)
refuses "bitmaps" "$RAWCOW" amend -o compat=0.10 img
[ "$sum" = "$(sum_of img)" ] || fail "zero clusters were written for nothing"
qemu-img bitmap --remove img b0
[ "$(sum_of img)" = "$sum" ] || check_clean img
printf '\2' | dd of=img bs=1 seek=79 conv=notrunc status=none
refuses "corrupt" "$RAWCOW" amend -o compat=0.10 img
if qemu-img create -q -f qcow2 -o compression_type=zstd z 1M 2>/dev/null; then
	refuses "zstd" "$RAWCOW" amend -o compat=0.10 z
fi

# Another backing file: the rest of the image stays byte for byte.
: >r
long=./$(printf 'd%.0s' {1..200})/x
for opts in cluster_size=512 cluster_size=512,compat=0.10 cluster_size=4k \
	cluster_size=64k,compat=0.10 cluster_size=64k; do
	rm -f img
	qemu-img create -q -f qcow2 -o "$opts" -b base.raw -F raw img 4M
	fill img
	[ "$opts" != cluster_size=64k ] || qemu-img bitmap --add img b0
	cluster=$(qemu-img info -f qcow2 --output=json img |
		sed -n 's/.*"cluster-size": \([0-9]*\).*/\1/p' | head -n 1)
	tail -c +$((cluster + 1)) img >rest
	for name in base.qcow2 r "$long" "" ./base.qcow2 "" "$long" base.raw; do
		fmt=raw
		[ "${name%qcow2}" = "$name" ] || fmt=qcow2
		# 512 bytes have no room for the long one beside the header
		if [ "$name" = "$long" ] && [ "$cluster" = 512 ] &&
			! "$RAWCOW" rebase -u -b "$name" -F $fmt img 2>err; then
			grep -q "no room" err || fail "$(cat err)"
			continue
		fi
		if [ -n "$name" ]; then
			"$RAWCOW" rebase -u -b "$name" -F $fmt img
			"$RAWCOW" info --json img >img.info
			looks_backing=$(sed -n 's/.*"backing-filename": "\(.*\)".*/\1/p' img.info)
			[ "$looks_backing" = "$name" ] || fail "info says '$looks_backing'"
			grep -q "\"backing-filename-format\": \"$fmt\"" img.info ||
				fail "the format of $name is not $fmt"
		else
			"$RAWCOW" rebase -u -b "" img
			! qemu-img info img | grep -q backing || fail "still a backing file"
		fi
		[ "$name" = "$long" ] || check_clean img
		tail -c +$((cluster + 1)) img | cmp - rest
	done
	qemu-img convert -f qcow2 -O raw img out
	"$RAWCOW" rebase -u -b base.qcow2 -F qcow2 img
	qemu-img compare -f qcow2 -F raw img out >/dev/null || fail "content differs"
	[ "$opts" != cluster_size=64k ] ||
		"$RAWCOW" info img | grep -q b0 || fail "the bitmap is gone"
done
refuses "-b is missing" "$RAWCOW" rebase -u img
refuses "only the name" "$RAWCOW" rebase -b base.raw -F raw img
refuses "format is not given" "$RAWCOW" rebase -u -b base.raw img
refuses "raw or qcow2" "$RAWCOW" rebase -u -b base.raw -F vmdk img
refuses "raw or qcow2" "$RAWCOW" rebase -u -b "" -F vmdk img
"$RAWCOW" rebase -u -b "" -F raw img
refuses "plain path" "$RAWCOW" rebase -u -b nbd:x -F raw img
refuses "1 to 1023" "$RAWCOW" rebase -u -b "$(printf 'd%.0s' {1..1024})" -F raw img
