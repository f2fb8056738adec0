#!/bin/bash
# The first process of a PID and a mount namespace for a container runtime: own_mounts.sh DIRECTORY.
# Nothing that is mounted from here on is seen by the machine, except below /run/netns, which stays
# shared: a namespace that a plugin makes belongs to the node. Prints its process id and waits until
# its standard input closes; with it everything ends that was started here.
set -eu
read -r self _ < /proc/self/stat
# Read at once: the file changes with every mount.
points=$(cut -d ' ' -f 5 /proc/self/mountinfo)
for point in $points; do
  case $point in
    /run/netns | /run/netns/*) ;;
    *) mount --make-private "$point" ;;
  esac
done
mkdir -p "$1/netns" "$1/root" /var/lib/cni
# The paths that containerd and libcni have built in: /run/containerd, /var/lib/cni.
mount --move /run/netns "$1/netns"
mount -t tmpfs tmpfs /run
mkdir /run/netns
mount --move "$1/netns" /run/netns
mount -t tmpfs tmpfs /var/lib/cni
mount -t tmpfs tmpfs "$1/root"
mount -t proc proc /proc
echo "$self"
read -r _ || true
