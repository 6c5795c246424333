#!/bin/bash
# The completion for bash offers commands, options, keys of -o and files.
. "$(dirname "$0")/functions.sh"
[ -x "$RAWCOW" ] || skip "no program at $RAWCOW"

# as in a shell that somebody types into
set +eE
trap - ERR

rawcow() { "$RAWCOW" "$@"; }
# shellcheck disable=SC1091
. "$top_srcdir/contrib/completions/rawcow"

# offers WANTED|! UNWANTED WORD...: completing the last word.
offers()
{
	local want=$1

	shift
	COMP_WORDS=(rawcow "$@")
	COMP_CWORD=$#
	COMPREPLY=()
	_rawcow
	case $want in
	!*) [[ " ${COMPREPLY[*]} " != *" ${want#!} "* ]] || fail "$*: ${COMPREPLY[*]}" ;;
	*) [[ " ${COMPREPLY[*]} " == *" $want "* ]] || fail "$*: ${COMPREPLY[*]}" ;;
	esac
}

: >disk.qcow2
offers create cr
offers disk.qcow2 di
offers mount m
offers !create in
offers --force create --f
offers --output= check --o
offers -q resize -
offers cluster_size= create -o clu
offers compat=1.1,cluster_size= create -o compat=1.1,clu
offers growable disk.qcow2 mnt -o gr
offers idle_timeout= mount disk.qcow2 mnt -o idle
offers disk.qcow2 info di
offers !--force info --f
