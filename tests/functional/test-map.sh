#!/bin/bash
# map: JSON and table equal qemu-img's for all that an image can hold; bad
# input and a full disk below stdout are told.
. "$(dirname "$0")/functions.sh"
requires qemu-img qemu-io jq
[ -x "$RAWCOW" ] || skip "no program at $RAWCOW"

# merged: adjacent extents that say the same become one.
merged()
{
	older_map | jq -c 'reduce .[] as $e ([];
		if length > 0 and .[-1].start + .[-1].length == $e.start and
		   (.[-1] | del(.start, .length, .offset)) ==
		   ($e | del(.start, .length, .offset)) and
		   (if $e.offset == null then .[-1].offset == null
		    else .[-1].offset != null and
			 .[-1].offset + .[-1].length == $e.offset end)
		then .[-1].length += $e.length
		else . + [$e] end) | .[] | select(.length > 0)'
}

# table IMAGE ARG...: the human output of a program and how it ends.
table() { "$@" 2>table.err || echo "exit $?"; }

# like_qemu IMAGE [ARG...]
like_qemu()
{
	qemu-img map -f qcow2 --output=json "${@:2}" "$1" | merged >want
	"$RAWCOW" map --output=json "${@:2}" "$1" | merged >got
	diff want got >&2 || fail "JSON of $* differs"
	[ -s got ] || fail "nothing printed for $*"
	mv got got.json
	"$RAWCOW" map --json "${@:2}" "$1" | jq -e 'length == (map(.length > 0) | length)' >/dev/null
	table qemu-img map -f qcow2 "${@:2}" "$1" >want
	table "$RAWCOW" map "${@:2}" "$1" >got
	diff want got >&2 || fail "the table of $* differs"
}

# fill IMAGE SIZE CLUSTER [compressed]: some of everything.
fill()
{
	local s=$2 c=$3

	qemu-io -f qcow2 -c "write -P 1 0 $((3 * c))" \
		-c "write -P 2 $((5 * c)) $c" \
		-c "write -P 3 $((s - 512)) 512" \
		-c "write -P 4 $((s / 2)) 512" \
		-c "write -z $((5 * c)) $c" \
		-c "write -z -u $((7 * c)) $((2 * c))" \
		-c "write -P 5 $((20 * c)) $((4 * c))" \
		-c "write -z $((21 * c)) $c" \
		-c "discard $((23 * c)) $c" "$1" >/dev/null
	[ -z "${4:-}" ] || qemu-io -f qcow2 -c "write -c -P 6 $((30 * c)) $((3 * c))" \
		-c "write -P 7 $((31 * c)) 512" "$1" >/dev/null
}

say "versions and cluster sizes"
for o in 0.10,512 0.10,65536 1.1,512 1.1,4096 1.1,65536 1.1,2097152; do
	c=${o#*,}
	size=$((c * 40 + 3 * 512))
	qemu-img create -q -f qcow2 -o compat=${o%,*},cluster_size="$c" img $size
	like_qemu img
	fill img $size "$c"
	like_qemu img
	qemu-img snapshot -c one img
	qemu-io -f qcow2 -c "write -P 9 $c $((2 * c))" img >/dev/null
	like_qemu img
	for range in "$c 1" "$((c / 2)) $((9 * c))" "$((size - 512)) 512" "512 $((100 * c))"; do
		like_qemu img --start-offset="${range% *}" --max-length="${range#* }"
	done
	fill img $size "$c" compressed
	like_qemu img
	[ "$("$RAWCOW" map --json img | jq 'map(select(.compressed).length) | add')" = \
		$((2 * c)) ] || fail "compressed: $("$RAWCOW" map --json img)"
	like_qemu img -U
done

say "other options of an image"
for o in refcount_bits=1 refcount_bits=64 lazy_refcounts=on \
	cluster_size=1k,refcount_bits=32; do
	qemu-img create -q -f qcow2 -o $o img 20M
	fill img $((20 << 20)) 65536
	like_qemu img
done

say "preallocation"
for p in metadata falloc full; do
	for size in 5M 300M; do
		[ $p$size != full300M ] || continue
		qemu-img create -q -f qcow2 -o preallocation=$p img $size
		like_qemu img
		qemu-io -f qcow2 -c "write 1M 100k" -c "write 4M 64k" \
			-c "write -z 2M 1M" img >/dev/null
		like_qemu img
	done
done
"$RAWCOW" create -q -o preallocation=metadata,cluster_size=4k own 9M
like_qemu own
grep -q '"zero":true,"data":true,"offset"' got.json || fail "no hole was seen"

say "chains"
mkdir -p d/e
truncate -s 3M d/e/base.raw
qemu-io -f raw -c "write -P 1 0 500k" -c "write -P 2 2M 64k" d/e/base.raw >/dev/null
qemu-img create -q -f qcow2 -b e/base.raw -F raw d/mid.qcow2 5M
qemu-io -f qcow2 -c "write -P 3 64k 64k" -c "write -z 128k 64k" \
	-c "write -P 4 3584k 1M" d/mid.qcow2 >/dev/null
qemu-img create -q -f qcow2 -o cluster_size=4k -b mid.qcow2 -F qcow2 d/top.qcow2 8M
qemu-io -f qcow2 -c "write -P 5 60k 8k" -c "write -z 1M 1M" -c "write -P 6 4800k 500k" \
	d/top.qcow2 >/dev/null
like_qemu d/mid.qcow2
like_qemu d/top.qcow2
like_qemu "$tmp/d/top.qcow2"
like_qemu d/top.qcow2 -s 61k -l 4M
(cd d && like_qemu top.qcow2)
qemu-img create -q -f qcow2 -b d/top.qcow2 -F qcow2 short.qcow2 2M
like_qemu short.qcow2
qemu-io -f qcow2 -c "write -c -P 7 256k 64k" d/mid.qcow2 >/dev/null
like_qemu d/top.qcow2

for size in 70001 150003; do
	head -c 70001 /dev/zero | tr '\0' x >odd.raw
	truncate -s $size odd.raw
	qemu-img create -q -f qcow2 -b odd.raw -F raw odd.qcow2 1M
	like_qemu odd.qcow2
done

say "policy of backing files"
qemu-img create -q -f qcow2 -b ../short.qcow2 -F qcow2 d/up.qcow2 2M
refuses 'outside' "$RAWCOW" map d/up.qcow2
refuses 'none' "$RAWCOW" map -o backing=none d/top.qcow2
"$RAWCOW" map --json -o backing=any d/up.qcow2 | merged >got
qemu-img map --output=json d/up.qcow2 | merged >want
diff want got >&2 || fail "the chain with backing=any differs"

say "many extents"
n=$(pick 500 4000 20000)
qemu-img create -q -f qcow2 -o cluster_size=512 img 32M
for ((i = 0; i < n; i++)); do echo "write -P 1 $((i * 1536)) 512"; done |
	qemu-io -f qcow2 img >/dev/null
like_qemu img

say "edges"
qemu-img create -q -f qcow2 empty.qcow2 0
[ "$("$RAWCOW" map --json empty.qcow2)" = "[]" ] || fail "map of an empty disk"
qemu-img create -q -f qcow2 -o cluster_size=2M huge 1P
"$RAWCOW" map --json huge | merged >got
qemu-img map --output=json huge | merged >want
diff want got >&2 || fail "JSON of a huge disk differs"
[ "$("$RAWCOW" map --json -s 32M img)" = "[]" ] || fail "map from the end on"
refuses 'beyond the end' "$RAWCOW" map --start-offset=33M img
refuses 'size' "$RAWCOW" map --start-offset=-1 img
refuses 'size' "$RAWCOW" map --max-length=x img
refuses 'too big' "$RAWCOW" map --max-length=9E img

say "bad input"
refuses 'does not exist|No such' "$RAWCOW" map nowhere
refuses 'not a qcow2' "$RAWCOW" map d/e/base.raw
: >nothing
refuses 'not a qcow2' "$RAWCOW" map nothing
refuses 'one image' "$RAWCOW" map
refuses 'one image' "$RAWCOW" map img img
refuses '--nonsense' "$RAWCOW" map --nonsense img
refuses 'human, json' "$RAWCOW" map --output=xml img
refuses 'qcow2' "$RAWCOW" map -f raw img
refuses 'dir, none, any' "$RAWCOW" map -o backing=some img
refuses 'not known' "$RAWCOW" map -o nonsense img
"$RAWCOW" map -h | grep -q max-length || fail "map -h"
"$RAWCOW" -h >help
grep -q '^  map IMAGE' help || fail "rawcow -h does not name map"
[ "$(wc -l <help)" -le 24 ] || fail "rawcow -h does not fit a screen"

say "a broken L2 entry"
qemu-img create -q -f qcow2 bad 8M
qemu-io -f qcow2 -c "write 0 1M" bad >/dev/null
l1=$((16#$(peek bad 40 8)))
l2=$((16#$(peek bad $l1 8) & 0xffffffffffff00))
poke bad $((l2 + 8 * 4)) "$(be64 0x8000000000000201)"
status=0
"$RAWCOW" map bad >out 2>err || status=$?
[ $status = 1 ] || fail "exit $status for a broken entry"
grep -q 'offset 262144' err || fail "the message: $(cat err)"
grep -q '^0  *0x40000 ' out || fail "what comes before it is not shown"

say "names do no harm to a terminal"
esc=$(printf 'a\033[31mb\nc')
cp img "$esc"
"$RAWCOW" map "$esc" >out
! grep -q $'\033' out || fail "an escape reached the terminal"
grep -qF 'a\x1b[31mb\x0ac' out || fail "the name is not shown"

say "locks"
mkfifo commands
qemu-io -f qcow2 img <commands >held 2>&1 &
at_end_kill $!
exec 7>commands
echo length >&7
wait_for 10 grep -q MiB held || fail "qemu-io: $(cat held)"
refuses 'lock' "$RAWCOW" map img
says 'with -U'
"$RAWCOW" map -U --json img >/dev/null
exec 7>&-
wait
qemu-io -r -f qcow2 -c "sleep 1" img >/dev/null &
"$RAWCOW" map img >/dev/null
wait

if [ -w /dev/full ]; then
	say "stdout is full"
	for out in human json; do
		for f in img huge; do
			status=0
			"$RAWCOW" map --output=$out $f >/dev/full 2>err || status=$?
			[ $status = 1 ] || fail "exit $status on a full stdout"
			[ "$(grep -c . err)" = 1 ] && grep -q 'standard output' err ||
				fail "the message: $(cat err)"
		done
	done
fi
