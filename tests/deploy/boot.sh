#!/usr/bin/env bash
# Boots systemd as process 1 of namespaces of its own, over a view of this machine that is thrown away.
#
#   boot.sh SCRATCH VENV CHECKOUT PYTHON    to be run by `unshare --mount`, as root
#
# SCRATCH is an empty directory. VENV becomes /opt/raftlog, with the package of CHECKOUT in it;
# CHECKOUT is seen as /checkout; PYTHON is where the interpreter of VENV is installed. What is
# written goes to memory. Exits with 77 and a line that says why where the kernel grants no such view.
set -euo pipefail
scratch=$1 venv=$2 checkout=$3 python=$4
root=$scratch/root

trap 'echo "no namespaces to be had: line $LINENO of boot.sh failed" >&2; exit 77' ERR
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$scratch"
mkdir "$root" "$scratch"/{machine,machine.work,venv,venv.work,cgroup}
mount -t cgroup2 none "$scratch/cgroup"
echo 0 >"$scratch/cgroup/$(basename "$(dirname "$scratch")")/cgroup.procs"
mount -t overlay overlay \
  -o "lowerdir=/,upperdir=$scratch/machine,workdir=$scratch/machine.work" "$root"
mkdir -p "$root"/opt/{raftlog,python} "$root/checkout"
mount -t overlay overlay \
  -o "lowerdir=$venv,upperdir=$scratch/venv,workdir=$scratch/venv.work" "$root/opt/raftlog"
mount --bind "$checkout" "$root/checkout"
mount -o remount,bind,ro "$root/checkout"
export root python scratch
unshare --cgroup --pid --fork --net --ipc --uts true
trap - ERR

# Processes of a new namespace have a new root only once it is there, so the rest runs inside.
exec unshare --cgroup --pid --fork --kill-child --net --ipc --uts --mount bash -euo pipefail -c '
  # A home is hidden from the unit, so an interpreter that lies in one is shown elsewhere.
  program=$(readlink -f "$root/opt/raftlog/bin/python3")
  program=$(basename "$program")
  mount --bind "$python" "$root/opt/python"
  ln -sfn "/opt/python/bin/$program" "$root/opt/raftlog/bin/python3"
  ln -sfn python3 "$root/opt/raftlog/bin/python"
  sed -i "s|^home = .*|home = /opt/python/bin|" "$root/opt/raftlog/pyvenv.cfg"
  for site in "$root"/opt/raftlog/lib/python3*/site-packages; do
    mkdir -p "$site/raftlog"
    mount --bind "$root/checkout/raftlog" "$site/raftlog"
  done
  printf "%s\n" "#!/opt/raftlog/bin/python" "import sys" "from raftlog.cli.main import main" \
    "sys.exit(main())" >"$root/opt/raftlog/bin/raftlog"
  chmod 755 "$root/opt/raftlog/bin/raftlog"

  mount -t proc proc "$root/proc"
  mount -t sysfs -o ro sysfs "$root/sys"
  mount -t cgroup2 none "$root/sys/fs/cgroup"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  for device in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
    read -r name major minor <<<"$device"
    mknod -m 666 "$root/dev/$name" c "$major" "$minor"
  done
  mkdir -m 1777 "$root/dev/shm"
  mkdir "$root/dev/pts"
  mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
  ln -s pts/ptmx "$root/dev/ptmx"
  ip link set lo up
  ip address add 10.0.0.1/32 dev lo

  # Nothing that this machine starts by itself is started here.
  find "$root/etc/systemd/system" -mindepth 1 -delete
  printf "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\n" \
    >"$root/etc/systemd/system/booted.target"
  : >"$root/etc/machine-id"
  cd "$root"
  mkdir -p old
  pivot_root . old
  umount -l /old
  ldconfig /opt/python/lib 2>/dev/null || true
  exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=booted.target --log-target=console --show-status=no
'
