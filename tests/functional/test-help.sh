#!/bin/bash
# Each help fits a screen, names every option, and every name has its place in
# a manual page.
. "$(dirname "$0")/functions.sh"

man=$top_srcdir/docs/man

fits()
{
	[ "$(wc -l <"$1")" -le 24 ] || fail "$1: more than 24 lines"
	[ "$(wc -L <"$1")" -le 80 ] || fail "$1: wider than 80 columns"
}

# in_page PAGE NAME...: each NAME stands in it; mdoc writes "Fl -name", "Fl n".
in_page()
{
	local page=$1 name

	[ -f "$page" ] || fail "there is no $page"
	sed 's/Fl -\([a-z]\)/--\1/g; s/Fl \([a-zA-Z]\) /-\1 /g
		s/Fl \([a-zA-Z]\)$/-\1/' "$page" >page
	shift
	for name; do
		grep -qE -- "(^|[^a-z_-])$name([^a-z_-]|\$)" page ||
			fail "${page##*/} does not say what $name is"
	done
}

"$RAWCOW" -h >help.all || fail "rawcow -h exits $?"
"$RAWCOW" --help | cmp - help.all || fail "--help differs"
fits help.all
commands=$(sed -n 's/^  \([a-z]*\) .*/\1/p' help.all)
for c in umount create info map check resize snapshot status; do
	grep -qx "$c" <<<"$commands" || fail "rawcow -h does not name $c"
done

for c in mount $commands; do
	"$RAWCOW" "$c" -h >"help.$c" 2>err || fail "rawcow $c -h exits $?"
	[ ! -s err ] || fail "rawcow $c -h says: $(cat err)"
	"$RAWCOW" "$c" --help | cmp - "help.$c"
	fits "help.$c"
	page=$man/rawcow-$c.1
	[ "$c" != mount ] || page=$man/rawcow.1
	grep -q "rawcow-$c" "$man/Makemodule.am" || [ "$c" = mount ] ||
		fail "the page of $c is not installed"
	# shellcheck disable=SC2046
	in_page "$page" $(grep -oE -- '--[a-z][a-z0-9-]+' "help.$c" | sort -u) \
		$(grep -oE '^  -[a-zA-Z]' "help.$c" | tr -d ' ')
	# keys of -o: the words before "=" in the indented lines
	# shellcheck disable=SC2046
	in_page "$page" $(sed -n 's/^      \([a-z].*\)/\1/p' "help.$c" |
		grep -oE '[a-z][a-z0-9_.]+\[?=' | tr -d '=[')
done

if [ -w /dev/full ]; then
	# one line says so, as for anything that fails
	mute() { [ "$1" = 1 ] && [ "$(grep -c 'standard output' err)" = 1 ]; }
	"$RAWCOW" create -q img 1M
	for c in -h -V "mount -h" "mount -V" "info -h" "info img" "info --json img" \
		"check img" "check --json img" "map img" "map --json img" \
		"snapshot --json img" "bitmap img" "resize img 2M" \
		"create --force img2 1M"; do
		status=0
		# shellcheck disable=SC2086
		"$RAWCOW" $c >/dev/full 2>err || status=$?
		mute $status || fail "rawcow $c, full: exit $status: $(cat err)"
		status=0
		# shellcheck disable=SC2086
		"$RAWCOW" $c >&- 2>err || status=$?
		mute $status || fail "rawcow $c, closed: exit $status: $(cat err)"
	done
fi

# every mount option that the program knows, but for those it only lets pass
sed -n '/^static const struct opts_item items/,/^};/p' \
	"$top_srcdir/src/fuse/opts_list.c" |
	grep -vE 'pass_on|swallow|not_yet' |
	grep -oE '(SIMPLE|FLAG|WORD|NUMBER|TEXT)\("[a-z0-9_]+"' |
	grep -oE '"[a-z0-9_]+"' | tr -d '"' >known
[ "$(wc -l <known)" -gt 20 ] || fail "the table of mount options was not found"
# shellcheck disable=SC2046
in_page "$man/rawcow.1" $(cat known)
for o in $(grep -vx debug known); do
	grep -qE "(^| )$o(\$|[=,[])" help.mount || fail "mount -h lacks $o"
done

# what is refused for now, and nothing else, is said to be
grep -B 9 '^Not there yet, and refused' "$man/rawcow.1" | sed -n '/^\.It/,$p' |
	grep '^\.Cm' | tr -s ' ,' '\n' | grep -v Cm | sort >said
grep -oE '"[a-z_]+", not_yet' "$top_srcdir/src/fuse/opts_list.c" |
	cut -d'"' -f2 | sort | cmp - said || fail "not there yet: $(cat said)"

# the first page leads to all commands
sed -n '/^\.Sh SYN/,/^\.Sh DESC/p' "$man/rawcow.1" | tr -s ' |' '\n' >synopsis
for c in $commands; do
	grep -qx "$c" synopsis || fail "the synopsis of rawcow.1 lacks $c"
	[ "$c" = mount ] || grep -q "^\.Xr rawcow-$c 1" "$man/rawcow.1" ||
		fail "rawcow.1 does not refer to rawcow-$c"
done
for page in "$man"/*.1; do
	twice=$(grep '^\.It Fl' "$page" | sort | uniq -d)
	[ -z "$twice" ] || fail "${page##*/} says twice: $twice"
done
