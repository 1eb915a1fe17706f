#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Make the demo image: Debian 12 with ssh, OpenMPI, Python and the common shells.
#
#   debian.sh [--mirror URI] [--size SIZE] --base TAR --agent FILE OUTPUT
#
# TAR is the root file system as its packages made it. It is made where it is not there (minutes, and packages from the
# mirror) and can be kept for the next time. disk.sh makes OUTPUT, a qcow2 file, of it (seconds). Needs no root.
#
# Packages come from where this machine's own apt finds Debian 12, or from --mirror.
set -eu

RELEASE=bookworm
ARCH=amd64
PACKAGES='openssh-server openmpi-bin python3 tcsh zsh locales tzdata systemd systemd-sysv systemd-timesyncd udev iproute2 procps acl attr util-linux'
LOCALES='en_US de_DE' # in UTF-8; C.UTF-8 is in libc

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
mirror='' size='' base='' agent='' output='' work=''

fail() {
    echo "debian.sh: $*" >&2
    exit 1
}

usage() {
    echo "debian.sh: $*" >&2
    echo 'usage: debian.sh [--mirror URI] [--size SIZE] --base TAR --agent FILE OUTPUT' >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
    --mirror | --size | --base | --agent)
        [ $# -ge 2 ] || usage "$1 needs a value"
        case $1 in
        --mirror) mirror=$2 ;;
        --size) size=$2 ;;
        --base) base=$2 ;;
        --agent) agent=$2 ;;
        esac
        shift 2
        ;;
    -*) usage "unknown option '$1'" ;;
    *)
        [ -z "$output" ] || usage 'one OUTPUT only'
        output=$1
        shift
        ;;
    esac
done
case "$base|$agent|$output" in
'|'* | *'||'* | *'|') usage '--base, --agent and OUTPUT are needed' ;;
esac
[ -r "$agent" ] || fail "cannot read the agent '$agent'"

# The lines of this machine's apt sources that give Debian 12 itself; their origin is in the package lists.
apt_sources() {
    apt-get "$@" indextargets --format "\$(ORIGIN) deb \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" 'Created-By: Packages' |
        sed -nE "s/^Debian (.* $RELEASE(-updates|-security)? main)$/\\1/p" | sort -u
}

find_sources() {
    if [ -n "$mirror" ]; then
        echo "deb $mirror $RELEASE main"
        return
    fi
    command -v apt-get >/dev/null || fail "no apt-get here to say where Debian's packages are: name a mirror by --mirror"
    found=$(apt_sources)
    if [ -z "$found" ]; then # no lists yet: own ones, which any user may fetch
        mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
        set -- -o APT::Sandbox::User= -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache"
        apt-get -qq "$@" update || true
        found=$(apt_sources "$@")
    fi
    [ -n "$found" ] || fail "this machine's apt sources have no Debian 12 ($RELEASE main): name a mirror by --mirror"
    echo "$found"
}

# How files get other owners without root. Own ids need newuidmap, a line in /etc/subuid, and a /proc that may be mounted.
find_mode() {
    if [ "$(id -u)" -eq 0 ]; then
        echo root
    elif unshare --map-auto --map-root-user --fork --pid --mount-proc true 2>/dev/null; then
        echo unshare
    elif command -v fakechroot >/dev/null && command -v fakeroot >/dev/null; then
        echo fakechroot
    else
        fail "neither ids of your own (uidmap, /etc/subuid) nor 'fakechroot' are here: tools/install-packages image"
    fi
}

# Of documentation only licences stay. What only the making needs of this machine's apt settings is not left inside.
make_base() {
    command -v mmdebstrap >/dev/null || fail "'mmdebstrap' is not installed: tools/install-packages image"
    work=$(mktemp -d)
    trap 'rm -rf "$work" "$base.new"' EXIT
    trap 'exit 1' HUP INT TERM
    find_sources >"$work/sources"
    mode=$(find_mode)
    apt-config dump --format '%f "%v";%n' Acquire::http Acquire::https Acquire::Retries \
        Acquire::Check-Valid-Until Acquire::Check-Date 2>/dev/null | grep -v ' "";$' >"$work/apt.conf" || true
    # shellcheck disable=SC2016 # $1 is the hooks' own: the root directory
    mmdebstrap --quiet --mode="$mode" --variant=apt --architectures="$ARCH" --format=tar \
        --include="$(echo "$PACKAGES" | tr ' ' ,)" --aptopt="$work/apt.conf" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/lintian/*' --dpkgopt='path-exclude=/usr/share/locale/*/LC_MESSAGES/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --customize-hook="printf '%s.UTF-8 UTF-8\\n' $LOCALES"' >"$1/etc/locale.gen" && chroot "$1" locale-gen >/dev/null' \
        --customize-hook='rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"' \
        "$RELEASE" - - <"$work/sources" >"$base.new" || fail "mmdebstrap failed (mode $mode)"
    mv "$base.new" "$base"
    rm -rf "$work"
}

[ -e "$base" ] || make_base
exec "$here/disk.sh" ${size:+--size "$size"} --agent "$agent" "$base" "$output"
