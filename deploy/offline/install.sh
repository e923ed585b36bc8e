#!/bin/sh
# Installs GlioFed without a network, from a wheelhouse that `make wheelhouse` made on a machine like this one.
#
#   install.sh WHEELHOUSE client|server [--prefix /opt/gliofed] [--python python3]
#   install.sh --rollback [--prefix /opt/gliofed]
#
# A version lies in PREFIX/releases/VERSION; PREFIX/current points to the one in use, PREFIX/previous to the one before.
# `current` moves in one step, once everything is installed and answers; whatever fails before leaves it where it was.
# Needs: Python 3.11 or newer with its venv module (Debian: python3-venv), sha256sum. Research use only.
set -eu
umask 022
unset PYTHONPATH PYTHONHOME # what lies there would count as installed

prefix=/opt/gliofed python=python3 wheelhouse='' role='' rollback='' made=''

fail() {
    echo "error: $*" >&2
    exit 1
}

forget() { # of a release that was not finished nothing stays
    status=$?
    [ -z "$made" ] || rm -rf "$made"
    [ -z "$made" ] || echo "nothing was changed: current is $(readlink "$prefix/current" || echo none)" >&2
    exit "$status"
}

point() { # NAME RELEASE: in one step, so that a start in this moment finds the one or the other
    ln -sfn "$2" "$prefix/.$1.$$"
    mv -T "$prefix/.$1.$$" "$prefix/$1"
}

while [ $# -gt 0 ]; do
    case $1 in
    --prefix | --python)
        [ $# -ge 2 ] || fail "$1 needs a value"
        if [ "$1" = --prefix ]; then prefix=$2; else python=$2; fi
        shift
        ;;
    --rollback) rollback=1 ;;
    -h | --help)
        sed -n '2,10s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    -*) fail "$1: no option; see --help" ;;
    *) if [ -z "$wheelhouse" ]; then wheelhouse=$1; elif [ -z "$role" ]; then role=$1; else fail "$1: one word too many; see --help"; fi ;;
    esac
    shift
done
case $prefix in /*) ;; *) fail "--prefix $prefix: give the whole path, from / on" ;; esac

if [ -n "$rollback" ]; then
    before=$(readlink "$prefix/previous") || fail "$prefix/previous: there is no release before this one"
    now=$(readlink "$prefix/current") || fail "$prefix/current: nothing is installed"
    [ -f "$prefix/$before/.complete" ] || fail "$prefix/$before: is not there any more; install that version again"
    point current "$before"
    point previous "$now"
    echo "current is $before, previous is $now; restart the services"
    exit 0
fi

case $role in client | server) ;; *) fail "say whether this is a client or a server: install.sh WHEELHOUSE client|server" ;; esac
[ -f "$wheelhouse/SHA256SUMS" ] || fail "$wheelhouse: holds no SHA256SUMS; give the folder that \`make wheelhouse\` wrote, whole"
"$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "$python: is older than 3.11 or lacks its venv module (Debian: apt-get install python3-venv)"
wheelhouse=$(cd "$wheelhouse" && pwd)
(cd "$wheelhouse" && sha256sum --quiet --strict -c SHA256SUMS) ||
    fail "$wheelhouse: files are damaged or missing; copy it again and compare the digest of SHA256SUMS with the sender's"

set -- "$wheelhouse"/gliofed-*.whl
[ $# -eq 1 ] && [ -f "$1" ] || fail "$wheelhouse: must hold one gliofed-VERSION wheel"
version=$(basename "$1" | cut -d - -f 2)
case $version in *[!A-Za-z0-9.+_]* | '' | .*) fail "$1: has no version that can name a folder" ;; esac
release=releases/$version
target=$prefix/$release
[ ! -f "$target/.complete" ] || fail "$target: this version is installed; remove the folder to install it anew, unless it is current"

mkdir -p "$prefix/releases"
trap forget EXIT
trap 'exit 1' HUP INT TERM
rm -rf "$target" # what a power cut left of an earlier try
made=$target
"$python" -m venv "$target"
PIP_CONFIG_FILE=/dev/null "$target/bin/python" -m pip --isolated --disable-pip-version-check install --quiet --no-cache-dir \
    --no-index --find-links "$wheelhouse" "gliofed[$role]==$version"
"$target/bin/python" -m pip --isolated --disable-pip-version-check check
"$target/bin/gliofed-$role" --version
: >"$target/.complete"
sync "$target/.complete"
made=''

now=$(readlink "$prefix/current" || true)
point current "$release"
[ -z "$now" ] || [ "$now" = "$release" ] || point previous "$now"
trap - EXIT
echo "current is $release${now:+, before it was $now}; restart the services"
