#!/bin/bash
# The first process of a PID and a mount namespace for a container runtime: own_mounts.sh DIRECTORY CONFDIR.
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
mkdir -p "$1/netns" "$1/root"
# The paths that containerd and libcni have built in: /run/containerd, /var/lib/cni.
mount --move /run/netns "$1/netns"
mount -t tmpfs tmpfs /run
mkdir /run/netns
mount --move "$1/netns" /run/netns
mount -t tmpfs tmpfs "$1/root"
# What is written below these stays here (podman has /var/lib/containers built in).
for point in /etc /var/lib; do
  mkdir -p "/run/own$point/upper" "/run/own$point/work"
  mount -t overlay -o "lowerdir=$point,upperdir=/run/own$point/upper,workdir=/run/own$point/work" overlay "$point"
done
mkdir -p /var/lib/cni
mount -t tmpfs tmpfs /var/lib/cni
# And what ctr has built in: /etc/cni/net.d is the node's, /opt/cni/bin has its plugins.
mkdir -p /etc/cni/net.d
mount --bind "$2" /etc/cni/net.d
mount -t tmpfs tmpfs /opt
mkdir /opt/cni
ln -s "$1/bin" /opt/cni/bin
mount -t proc proc /proc
echo "$self"
read -r _ || true
