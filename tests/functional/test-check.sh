#!/bin/bash
# check: exit status and JSON are qemu-img's, on clean images of all kinds and
# on broken ones; and what qemu-img cannot find is found.
. "$(dirname "$0")/functions.sh"
requires qemu-img qemu-io jq
[ -x "$RAWCOW" ] || skip "no program at $RAWCOW"

# like_qemu IMAGE: same status, and JSON but for our own member
like_qemu()
{
	local want=0 got=0

	qemu-img check --output=json "$1" >want.json 2>/dev/null || want=$?
	"$RAWCOW" check --output=json "$1" >got.json || got=$?
	[ $want = $got ] || fail "exit $got on $1, qemu-img $want"
	diff <(jq -S . want.json) \
		<(jq -S 'del(.problems)' got.json) >&2 ||
		fail "JSON of $1 differs"
}

# has_problem CODE IMAGE STATUS
has_problem()
{
	local status=0

	"$RAWCOW" check --json "$2" >got.json || status=$?
	[ $status = "$3" ] || { cat got.json >&2; fail "$1: exit $status, wanted $3"; }
	jq -e ".problems[] | select(.code == \"$1\")" got.json >/dev/null ||
		{ cat got.json >&2; fail "no $1 found"; }
}

offset_at() { echo $((0x$(peek "$1" "$2" 8) & 0x00fffffffffffe00)); }

say "clean images"
head -c 2000000 /usr/bin/env >raw
truncate -s 3M raw
for o in compat=0.10 cluster_size=512 cluster_size=4096,refcount_bits=64 \
	cluster_size=65536,refcount_bits=8 cluster_size=2M; do
	qemu-img create -q -f qcow2 -o $o img 20M
	like_qemu img
	qemu-io -c 'write -P 1 0 3M' -c 'write -P 2 7M 100k' -c 'write -P 3 3000k 9k' \
		-c 'write -c -P 4 10M 2M' img >/dev/null
	like_qemu img
	[ $o = compat=0.10 ] || qemu-io -c 'write -z 6M 1M' img >/dev/null
	qemu-img snapshot -c one img
	qemu-io -c 'write -P 9 1M 500k' -c 'discard 2M 64k' img >/dev/null
	qemu-img snapshot -c two img
	qemu-io -c 'write -P 7 0 5M' img >/dev/null
	like_qemu img
	qemu-img snapshot -d one img
	like_qemu img
	[ $o = compat=0.10 ] || { qemu-img bitmap --add img bits; like_qemu img; }
	qemu-img convert -c -O qcow2 -o $o raw compressed
	like_qemu compressed
	if [ "$("$RAWCOW" check compressed | head -1)" != "No errors were found on the image." ]; then
		fail "no summary"
	fi
done

say "broken images"
qemu-img create -q -f qcow2 good 20M
qemu-io -c 'write -P 1 0 1M' good >/dev/null
l1=$(offset_at good 40)
l2=$(offset_at good "$l1")
rb=$(offset_at good "$(offset_at good 48)")
data=$(offset_at good "$l2")
broken() { cp good img; }
# 16-bit counts, clusters of 64 KiB
refcount_at() { echo $((rb + ($1 >> 15))); }

broken; poke img "$l2" "$(be64 0)"
has_problem refcount-high img 3; like_qemu img
broken; poke img "$(refcount_at "$data")" 0000
has_problem refcount-low img 2; like_qemu img
has_problem copied-l2 img 2
broken; poke img "$l2" "$(be64 "$data")"
has_problem copied-l2 img 2; like_qemu img
broken; poke img "$l1" "$(be64 "$l2")"
has_problem copied-l1 img 2; like_qemu img
broken; poke img "$l2" "$(be64 $((1 << 63 | 1 << 40)))"
has_problem l2-range img 2
broken; poke img "$l1" "$(be64 $((1 << 63 | 1 << 40)))"
has_problem l1-range img 2
broken; poke img "$l2" "$(be64 $((1 << 63 | data | 512)))"
has_problem l2-entry img 2

say "what qemu-img check does not see"
broken
# entry 100 maps the L2 table itself, with counts that agree
poke img $((l2 + 800)) "$(be64 "$l2")"
poke img "$(refcount_at "$l2")" 0002
poke img "$l1" "$(be64 "$l2")"
qemu-img check -q img || say "(this qemu-img does see it)"
has_problem role-clash img 2
qemu-img convert -c -O qcow2 raw img
at=$((0x$(peek img "$(offset_at img "$(offset_at img 40)")" 8) & 0xffffffffffff))
poke img $((at)) ffffffffffffffff
qemu-img check -q img
has_problem compressed-data img 2

say "what cannot be checked"
refuse_status=63
cp good unknown
poke unknown 72 0000010000000000
refuses 'unknown|not know|not support' "$RAWCOW" check unknown
refuse_status=1
refuses 'not a qcow2' "$RAWCOW" check raw
refuses 'does not exist|No such' "$RAWCOW" check nowhere
refuses 'image' "$RAWCOW" check
: >empty
refuses 'not a qcow2' "$RAWCOW" check empty
[ -z "$("$RAWCOW" check -q good)" ] || fail "-q prints"
[ -z "$("$RAWCOW" check -q --json good)" ] || fail "-q prints JSON, which it does not for QEMU"
"$RAWCOW" check -h | grep -q 'Exit status' || fail "check -h"

say "locks"
qemu-io good <<<'sleep 20000' >/dev/null 2>&1 &
at_end_kill $!
# shellcheck disable=SC2016
wait_for 10 bash -c '! qemu-img check good >/dev/null 2>&1'
refuses 'in use.*-U' "$RAWCOW" check good
refuses 'in use.*-U' "$RAWCOW" info good
"$RAWCOW" check -U good >/dev/null
"$RAWCOW" info -U good >/dev/null
