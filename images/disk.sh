#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Make a guest's disk of a root file system: unpack it, add the agent, and write it as ext4 into a qcow2 file.
#
#   disk.sh [--size SIZE] --agent FILE TAR OUTPUT
#
# TAR is any system's root directory, its paths relative. It needs no kernel. Nothing of it is run here. Needs neither root
# nor a loop mount: fakeroot remembers the owners. OUTPUT is written beside its place and renamed.
set -eu
umask 022

# Masked, so that a system does not do for a job's life what only pays on a machine of many days, or what a guest has not:
# its disk is new at each start and thrown away at the end, nobody logs in at its console, and its kernel has no modules on it.
# udev, journald, tmpfiles and sysctl stay.
MASKED='apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    systemd-tmpfiles-clean.timer getty.target getty-static.service systemd-logind.service systemd-pstore.service
    systemd-random-seed.service systemd-machine-id-commit.service systemd-update-utmp.service
    systemd-update-utmp-runlevel.service systemd-journal-flush.service proc-sys-fs-binfmt_misc.automount
    systemd-binfmt.service kmod-static-nodes.service modprobe@.service systemd-modules-load.service'

fail() {
    echo "disk.sh: $*" >&2
    exit 1
}

usage() {
    echo "disk.sh: $*" >&2
    echo 'usage: disk.sh [--size SIZE] --agent FILE TAR OUTPUT' >&2
    exit 2
}

add_systemd_units() {
    units=etc/systemd/system
    mkdir -p usr/lib/systemd/system $units/sysinit.target.wants $units/systemd-timesyncd.service.d etc/systemd/system-generators etc/tmpfiles.d
    install -m 0644 "$here/vtorque-agent.service" usr/lib/systemd/system
    ln -sf /usr/lib/systemd/system/vtorque-agent.service $units/sysinit.target.wants
    for unit in $MASKED; do
        ln -sf /dev/null "$units/$unit"
    done
    # A guest has the machine's clock, but where the site names time servers: the agent writes that file.
    printf '[Unit]\nConditionPathExists=/run/systemd/timesyncd.conf.d/vtorque.conf\n' >$units/systemd-timesyncd.service.d/vtorque.conf
    ln -sf /dev/null etc/systemd/system-generators/systemd-getty-generator # a login on what console= names
    ln -sf /dev/null etc/tmpfiles.d/systemd-nologin.conf                   # the job can be there before the system is up
    rm -f $units/multi-user.target.wants/ssh.service $units/sshd.service   # who starts it makes keys first
    touch etc/.updated var/.updated # nothing to bring up to date, each time again, because /usr is newer
}

# Nothing inside may be the same in two guests that should not be: machine-id, host keys, a password.
add_guest() {
    install -D -m 0755 "$agent" usr/lib/vtorque/vtorque-agent
    if [ -d usr/lib/systemd/system ]; then
        add_systemd_units
    fi
    rm -f etc/fstab etc/hostname etc/machine-id etc/resolv.conf var/lib/dbus/machine-id etc/ssh/ssh_host_*
    echo '/dev/vda / ext4 rw,noatime 0 0' >etc/fstab
    echo localhost >etc/hostname
    : >etc/machine-id
    : >etc/resolv.conf
    sed -i 's/^root:[^:]*:/root:*:/' etc/shadow
}

# No journal: a disk that is thrown away after a crash needs none, and without it everything is written once. Inode tables are
# complete (in the file they are holes): else the kernel would write them behind the job's back, into its scratch space.
make_raw() {
    mkdir "$work/root"
    tar -xf "$tar" -C "$work/root" --exclude='./dev/*'
    (cd "$work/root" && add_guest)
    truncate -s "$size" "$work/raw"
    mke2fs -q -F -t ext4 -L root -O ^has_journal -i 32768 -m 0 -E lazy_itable_init=0,root_owner=0:0 \
        -d "$work/root" "$work/raw"
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
size=8G agent='' tar='' output=''
while [ $# -gt 0 ]; do
    case $1 in
    --size | --agent)
        [ $# -ge 2 ] || usage "$1 needs a value"
        case $1 in
        --size) size=$2 ;;
        --agent) agent=$2 ;;
        esac
        shift 2
        ;;
    -*) usage "unknown option '$1'" ;;
    *)
        [ -z "$output" ] || usage 'one TAR and one OUTPUT only'
        [ -z "$tar" ] && tar=$1 || output=$1
        shift
        ;;
    esac
done
case "$agent|$output" in
'|'* | *'|') usage '--agent, TAR and OUTPUT are needed' ;;
esac
for file in "$agent" "$tar"; do
    [ -r "$file" ] || fail "cannot read '$file'"
done
agent=$(realpath "$agent")
PATH=$PATH:/usr/sbin:/sbin
if [ -n "${VTORQUE_DISK_WORK-}" ]; then # this is the part under fakeroot
    work=$VTORQUE_DISK_WORK
    make_raw
    exit
fi
for program in fakeroot mke2fs qemu-img; do
    command -v $program >/dev/null || fail "'$program' is not installed: tools/install-packages image"
done
work=$(mktemp -d "$(dirname -- "$output")/.new-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
VTORQUE_DISK_WORK=$work fakeroot "$0" --size "$size" --agent "$agent" "$tar" "$output"
# Not compressed: that boots as fast and is a third as large, but what a job reads would cost three to four times as much.
qemu-img convert -O qcow2 "$work/raw" "$work/qcow2"
mv "$work/qcow2" "$output"
