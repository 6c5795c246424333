#!/bin/bash
# create over its options: QEMU finds every image clean and of the right kind;
# what cannot be made is refused in one line and leaves no file behind.
. "$(dirname "$0")/functions.sh"
requires qemu-img qemu-io jq
[ -x "$RAWCOW" ] || skip "no program at $RAWCOW"

of() { qemu-img info --output=json "$1" | jq -r "$2"; }

for cs in $(pick "512 65536" "512 4096 65536 2097152" "512 1024 4096 16384 65536 2097152"); do
	for bits in 1 2 8 16 64; do
		for pre in off metadata falloc full; do
			"$RAWCOW" create -q --force -o \
				"cluster-size=$cs,refcount_bits=$bits,preallocation=$pre" \
				img 3000k
			check_clean img
			[ "$(of img '."virtual-size"')" = 3072000 ]
			[ "$(of img '."cluster-size"')" = "$cs" ]
			[ "$(of img '."format-specific".data."refcount-bits"')" = $bits ]
		done
	done
done

# QEMU can use what was made
qemu-io -c 'write -P 5 1M 1M' img >/dev/null
check_clean img

say "versions and features"
for compat in 0.10 v2 1.1 v3; do
	"$RAWCOW" create -q --force -o compat=$compat img 10M
	case $compat in 0.10 | v2) want=0.10 ;; *) want=1.1 ;; esac
	[ "$(of img '."format-specific".data.compat')" = $want ]
	check_clean img
done
"$RAWCOW" create -q --force -o compression_type=zstd,lazy_refcounts=on img 10M
[ "$(of img '."format-specific".data."compression-type"')" = zstd ]
[ "$(of img '."format-specific".data."lazy-refcounts"')" = true ]
"$RAWCOW" create -q --force img 0
check_clean img
"$RAWCOW" create img2 1T | grep -q '^Formatting .*size=1099511627776' || fail "no summary"

say "backing files"
mkdir d
qemu-img create -q -f qcow2 d/base.qcow2 7M
truncate -s 5000001 d/base.raw
"$RAWCOW" create -q -b base.qcow2 -F qcow2 d/o1
[ "$(of d/o1 '."virtual-size"')" = 7340032 ]
"$RAWCOW" create -q -b base.raw -F raw d/o2
[ "$(of d/o2 '."virtual-size"')" = 5000192 ]
[ "$(of d/o2 '."backing-filename-format"')" = raw ]
"$RAWCOW" create -q -o "backing_file=base.raw,backing_fmt=raw" d/o3 9M
[ "$(of d/o3 '."virtual-size"')" = 9437184 ]
"$RAWCOW" create -q -u -b nowhere -F raw d/o4 1M
check_clean d/o3

say "refusals"
refused() { refuses "$1" "$RAWCOW" create "${@:2}"; [ ! -e new ] || fail "$* left a file"; }
refused 'size' new
refused 'size' new 10x
refused 'too big' new 20E
refused 'cluster_size=2048' -o cluster_size=512 new 1T
refused 'cluster_size' -o cluster_size=3000 new 1M
refused 'refcount_bits' -o refcount_bits=7 new 1M
refused 'compat=1.1' -o compat=0.10,refcount_bits=8 new 1M
refused 'compat=1.1' -o compat=0.10,compression_type=zstd new 1M
refused 'preallocation' -o preallocation=most new 1M
refused 'preallocation' -o preallocation=full -b d/base.raw -F raw new
refused 'weak encryption' -o encrypt.format=aes new 1M
refused '16k' -o extended_l2=on,cluster_size=8k new 1M
refused 'compat=1.1' -o extended_l2=on,compat=0.10 new 1M
refused 'nonsense' -o nonsense=1 new 1M
refused '--nonsense' --nonsense new 1M
refused 'format' -b d/base.raw new
refused 'not known' -b d/base.raw -F vmdk new
refused 'not a qcow2' -b d/base.raw -F qcow2 new
refused 'nowhere' -b nowhere -F raw new
refused 'plain path' -b nbd://x/y -F raw new
refused 'plain path' -b 'json:{}' -F raw new
refused 'image'
refused 'does not exist|No such' nodir/new 1M

echo precious >keep
refuses '--force' "$RAWCOW" create keep 1M
[ "$(cat keep)" = precious ] || fail "the file was replaced"
# what is refused costs nothing, also with --force
kept() { [ "$(cat keep)" = precious ] || fail "a refusal emptied the file: $*"; }
for opts in cluster_size=3000 data_file=keep refcount_bits=8,compat=0.10 \
	data_file=d; do
	refuses . "$RAWCOW" create --force -o "$opts" keep 1M
	kept "$opts"
done
(umask 077 && echo secret >pass)
refuses 'hash' "$RAWCOW" create --force --key-file pass \
	-o encrypt.format=luks,encrypt.hash_alg=x keep 1M
kept encrypt.hash_alg=x
refuses 'cluster_size' "$RAWCOW" create --force \
	-o cluster_size=512,data_file=keep new 1T
kept data_file=keep
[ ! -e new ] || fail "a refusal left a file"
refuses 'not a (directory|folder)' "$RAWCOW" create keep/new 1M
kept keep/new
if can_inject; then
	refuses 'not empty' inject_enoent stat "$tmp/keep" \
		"$RAWCOW" create "$tmp/keep" 1M
	kept "made after the first look"
fi
refuses 'image itself' "$RAWCOW" create --force -b img -F qcow2 img
refuses 'folder|directory|regular' "$RAWCOW" create d 1M
mkfifo fifo
refuses 'FIFO|regular|pipe' timeout 10 "$RAWCOW" create fifo 1M

"$RAWCOW" create -h | grep -q cluster_size || fail "create -h"
